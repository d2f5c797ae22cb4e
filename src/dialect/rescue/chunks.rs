//! The chunks of a second OpenAI answer, chat or completion, as those of the first.

use serde_json::{Map, Value};

use super::chunk::{REASONING, Said, says};
use super::sequel::{Legs, Passed};
use super::skip::Skip;
use super::transcript::Delivered;
use crate::config::Dialect;

/// Continues one OpenAI answer with another.
#[derive(Debug)]
pub(super) struct Chunks {
    dialect: Dialect,
    delivered: Delivered,
    skip: Skip,
    legs: Legs,
    /// Whether something of the second answer goes beyond what was delivered.
    goes_on: bool,
    /// Whether thinking of it was left out.
    has_thought: bool,
}

/// What of a chunk's choice goes on.
enum Weighed {
    /// Nothing: it says no more than was delivered.
    Nothing,
    /// This.
    Rest(Rest),
}

#[derive(Default)]
struct Rest {
    /// The new part of its text, where only a part is new.
    text: Option<String>,
    drops_reasoning: bool,
}

impl Chunks {
    pub(super) fn new(dialect: Dialect, delivered: Delivered, skip: Skip, legs: Legs) -> Self {
        Self {
            dialect,
            delivered,
            skip,
            legs,
            goes_on: false,
            has_thought: false,
        }
    }

    /// `None` where the answers do not fit together.
    pub(super) fn pass(&mut self, data: &[u8]) -> Option<Passed> {
        if data.trim_ascii().starts_with(b"[DONE]") {
            return self.end();
        }
        let Ok(Value::Object(chunk)) = serde_json::from_slice(data) else {
            return Some(self.aside());
        };
        if says(chunk.get("error")) {
            return Some(Passed::Keep);
        }
        let choices = chunk.get("choices").and_then(Value::as_array);
        let choice = match choices.map(Vec::as_slice) {
            None | Some([]) => {
                // What is counted goes with the end; what else comes so goes before the text.
                if self.aside() == Passed::Drop && !says(chunk.get("usage")) {
                    return Some(Passed::Drop);
                }
                return Some(self.rewrite(chunk, Rest::default()));
            }
            Some([choice]) => choice.as_object()?,
            Some(_) => return None,
        };
        Some(match self.weigh(choice)? {
            Weighed::Nothing => Passed::Drop,
            Weighed::Rest(rest) => self.rewrite(chunk, rest),
        })
    }

    /// What to do with an event that says nothing known.
    fn aside(&self) -> Passed {
        if self.goes_on {
            Passed::Keep
        } else {
            Passed::Drop
        }
    }

    /// The end of the answer has come.
    fn end(&self) -> Option<Passed> {
        // A model that thinks on where its text should go on has not understood the beginning.
        let is_lost = self.legs.is_prefilled && self.has_thought && !self.goes_on;
        (!self.skip.is_short() && !is_lost).then_some(Passed::Keep)
    }

    /// What of a choice goes on. `None` where the answers do not fit together.
    fn weigh(&mut self, choice: &Map<String, Value>) -> Option<Weighed> {
        let said = Said::read(self.dialect, choice);
        let text = said.text.unwrap_or_default();
        let new = self.skip.take(text)?;
        let is_other = (said.is_garbled || said.refuses) && self.legs.has_spoken && !self.goes_on;
        let is_early = (said.calls || said.refuses || said.ends) && self.skip.is_short();
        if is_other || is_early {
            return None;
        }
        let drops_reasoning = said.reasons && self.legs.has_spoken && !self.goes_on;
        self.has_thought |= drops_reasoning;
        let is_new = said.is_garbled || said.refuses || (said.has_more && !self.legs.has_spoken);
        self.goes_on |= !new.is_empty() || said.calls || is_new;
        if said.ends {
            self.end()?;
            self.goes_on = true;
        }
        let delta = choice.get("delta").and_then(Value::as_object);
        let begins = delta.is_some_and(|delta| says(delta.get("role")));
        let says_more = self.goes_on
            || (said.reasons && !drops_reasoning)
            || (begins && !self.delivered.has_begun);
        if !says_more {
            return Some(Weighed::Nothing);
        }
        Some(Weighed::Rest(Rest {
            text: (new.len() < text.len()).then(|| new.to_owned()),
            drops_reasoning,
        }))
    }

    /// The chunk as one of the first answer.
    fn rewrite(&mut self, mut chunk: Map<String, Value>, rest: Rest) -> Passed {
        let mut changed = false;
        for (name, own) in [
            ("id", &self.delivered.id),
            ("created", &self.delivered.created),
        ] {
            if let (Some(own), Some(new)) = (own, chunk.get_mut(name))
                && own != new
            {
                new.clone_from(own);
                changed = true;
            }
        }
        let choice = chunk.get_mut("choices").and_then(|list| list.get_mut(0));
        if let Some(choice) = choice {
            changed |= self.rewrite_choice(choice, rest);
        }
        if changed {
            Passed::Instead(Value::Object(chunk).to_string().into_bytes())
        } else {
            Passed::Keep
        }
    }

    fn rewrite_choice(&mut self, choice: &mut Value, rest: Rest) -> bool {
        let mut changed = rest.text.is_some();
        if self.dialect == Dialect::OpenaiText {
            if let Some(text) = rest.text {
                choice["text"] = text.into();
            }
            return changed;
        }
        let Some(Value::Object(delta)) = choice.get_mut("delta") else {
            return changed;
        };
        if let Some(text) = rest.text {
            delta.insert("content".to_owned(), text.into());
        }
        // Clients that join strings would read the role twice.
        if self.delivered.has_begun {
            changed |= delta.shift_remove("role").is_some();
        }
        self.delivered.has_begun |= says(delta.get("role"));
        if rest.drops_reasoning {
            for name in REASONING {
                changed |= delta.shift_remove(name).is_some();
            }
        }
        changed
    }
}

//! The events of a second Anthropic answer as those of the first.
//!
//! Invariant: each block has an index of its own, counted on from the first answer's, and ends once;
//! only the first answer's text block may be gone on with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::sequel::{Legs, Passed};
use super::skip::Skip;
use super::transcript::{Delivered, TextBlock};

/// Continues one Anthropic answer with another.
#[derive(Debug)]
pub(super) struct Blocks {
    delivered: Delivered,
    skip: Skip,
    legs: Legs,
    /// Where each block of the second answer goes, by its index there.
    places: BTreeMap<u64, Place>,
    /// Whether its text has begun.
    has_text: bool,
    /// Whether thinking of it was left out.
    has_thought: bool,
}

/// Where a block of the second answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// To this index.
    At(u64),
    /// It is the first answer's text, all of which was delivered, and which has ended.
    Delivered,
    /// A text behind the one that the first answer ended: it begins once there is any. Callers could
    /// not send an empty one back, since the API refuses it.
    Pending,
    /// It is left out.
    Nowhere,
}

type Event = Map<String, Value>;

impl Blocks {
    pub(super) fn new(delivered: Delivered, skip: Skip, legs: Legs) -> Self {
        Self {
            delivered,
            skip,
            legs,
            places: BTreeMap::new(),
            has_text: false,
            has_thought: false,
        }
    }

    /// `None` where the answers do not fit together.
    pub(super) fn pass(&mut self, data: &[u8]) -> Option<Passed> {
        let Ok(Value::Object(event)) = serde_json::from_slice(data) else {
            return Some(self.aside());
        };
        let kind = event.get("type").and_then(Value::as_str);
        match kind.unwrap_or_default() {
            "ping" | "error" => Some(Passed::Keep),
            "message_start" => {
                let is_second = std::mem::replace(&mut self.delivered.has_begun, true);
                Some(if is_second {
                    Passed::Drop
                } else {
                    Passed::Keep
                })
            }
            "content_block_start" => self.start(event),
            "content_block_delta" => self.delta(event),
            "content_block_stop" => self.stop(event),
            "message_delta" | "message_stop" => self.end(),
            _ => Some(self.aside()),
        }
    }

    /// What to do with an event that says nothing known.
    fn aside(&self) -> Passed {
        if self.skip.is_short() {
            Passed::Drop
        } else {
            Passed::Keep
        }
    }

    /// The end of the answer has come.
    fn end(&mut self) -> Option<Passed> {
        // A model that thinks where its text should go on has not understood the beginning.
        let is_lost = self.legs.is_prefilled && self.has_thought && !self.has_text;
        if self.skip.is_short() || is_lost {
            return None;
        }
        Some(self.behind(Passed::Keep))
    }

    fn start(&mut self, mut event: Event) -> Option<Passed> {
        let index = event.get("index")?.as_u64()?;
        let block = event.get_mut("content_block")?;
        match block.get("type")?.as_str()? {
            "text" => {
                let text = block.get("text").and_then(Value::as_str);
                let text = text.unwrap_or_default();
                let new = self.skip.take(text)?.to_owned();
                if let Some(place) = self.joined() {
                    self.places.insert(index, place);
                    // There is no event that could bring it: a block begins but once.
                    return new.is_empty().then_some(Passed::Drop);
                }
                if self.skip.is_short() {
                    return None;
                }
                if new.len() < text.len() {
                    block["text"] = new.into();
                    return self.begin(index, event, true);
                }
            }
            "thinking" | "redacted_thinking" => {
                let is_told = !self.has_text || self.skip.is_short();
                if self.legs.has_spoken && is_told {
                    self.has_thought = true;
                    self.places.insert(index, Place::Nowhere);
                    return Some(Passed::Drop);
                }
            }
            _ if self.skip.is_short() => return None,
            _ => {}
        }
        self.begin(index, event, false)
    }

    /// Where the second answer's text goes, if it is the one that the first had begun.
    fn joined(&mut self) -> Option<Place> {
        let is_first = !std::mem::replace(&mut self.has_text, true);
        match self.delivered.text_block {
            TextBlock::Open(own) if is_first => Some(Place::At(own)),
            TextBlock::Closed if is_first && self.legs.is_prefilled => Some(Place::Pending),
            TextBlock::Closed if is_first => Some(Place::Delivered),
            _ => None,
        }
    }

    /// A block that the first answer does not have.
    fn begin(&mut self, index: u64, mut event: Event, changed: bool) -> Option<Passed> {
        let own = self.delivered.next_block;
        self.delivered.next_block = own.checked_add(1)?;
        self.places.insert(index, Place::At(own));
        event.insert("index".to_owned(), own.into());
        let passed = if own == index && !changed {
            Passed::Keep
        } else {
            Passed::Instead(bytes(event))
        };
        Some(self.behind(passed))
    }

    fn delta(&mut self, mut event: Event) -> Option<Passed> {
        let index = event.get("index")?.as_u64()?;
        let place = *self.places.get(&index)?;
        let delta = event.get_mut("delta")?;
        let mut changed = false;
        let is_text = delta.get("type")?.as_str()? == "text_delta";
        if is_text {
            let text = delta.get("text")?.as_str()?;
            let new = self.skip.take(text)?;
            if new.is_empty() {
                return Some(Passed::Drop);
            }
            if new.len() < text.len() {
                let new = new.to_owned();
                delta["text"] = new.into();
                changed = true;
            }
        } else if self.skip.is_short() {
            return Some(Passed::Drop);
        }
        match place {
            Place::At(own) => Some(put(event, index, own, changed)),
            Place::Pending if is_text => {
                let own = self.delivered.next_block;
                self.delivered.next_block = own.checked_add(1)?;
                self.places.insert(index, Place::At(own));
                let passed = put(event, index, own, changed);
                Some(passed.behind(START, &text_start(own)))
            }
            Place::Delivered if is_text => None,
            _ => Some(Passed::Drop),
        }
    }

    fn stop(&mut self, event: Event) -> Option<Passed> {
        let index = event.get("index")?.as_u64()?;
        let place = self.places.remove(&index).unwrap_or(Place::Nowhere);
        if matches!(place, Place::Nowhere | Place::Pending) {
            return Some(Passed::Drop);
        }
        if self.skip.is_short() {
            return None;
        }
        let Place::At(own) = place else {
            return Some(Passed::Drop);
        };
        if self.delivered.text_block == TextBlock::Open(own) {
            self.delivered.text_block = TextBlock::Closed;
        }
        Some(put(event, index, own, false))
    }

    /// The event behind the end of the first answer's text, if that has not come.
    fn behind(&mut self, passed: Passed) -> Passed {
        let TextBlock::Open(own) = self.delivered.text_block else {
            return passed;
        };
        self.delivered.text_block = TextBlock::Closed;
        passed.behind(STOP, &json!({ "type": STOP, "index": own }))
    }
}

const START: &str = "content_block_start";
const STOP: &str = "content_block_stop";

/// The beginning of a text.
fn text_start(own: u64) -> Value {
    let block = json!({ "type": "text", "text": "" });
    json!({ "type": START, "index": own, "content_block": block })
}

impl Passed {
    /// This, behind another event.
    fn behind(self, name: &'static str, first: &Value) -> Self {
        Self::Behind {
            name,
            first: first.to_string().into_bytes(),
            data: match self {
                Self::Instead(data) => Some(data),
                _ => None,
            },
        }
    }
}

/// The event of a block with the index it has in the first answer.
fn put(mut event: Event, index: u64, own: u64, changed: bool) -> Passed {
    if own == index && !changed {
        return Passed::Keep;
    }
    event.insert("index".to_owned(), own.into());
    Passed::Instead(bytes(event))
}

fn bytes(event: Event) -> Vec<u8> {
    Value::Object(event).to_string().into_bytes()
}

//! What a body says of an error: its codes and its messages, wherever they stand in it.

use serde_json::Value;

/// How deep documents are looked into, and messages that are documents themselves.
const DEEPEST: usize = 12;
/// The most codes or messages that are kept.
const MOST: usize = 64;
/// The most of one message that is looked at, in bytes.
const LONGEST: usize = 4096;
/// The most that may lie between two parts of a phrase, in bytes.
const GAP: usize = 160;

/// Members whose value names the error.
const CODES: [&str; 10] = [
    "code",
    "type",
    "status",
    "reason",
    "error_type",
    "error_code",
    "errorType",
    "__type",
    "blockReason",
    "status_code",
];

/// Members whose value tells of the error, in words or in a document of its own. What is not
/// here may be the caller's: vLLM and others quote the whole request (`input`), Groq what the
/// model wrote (`failed_generation`), OpenRouter what was flagged.
const TEXTS: [&str; 19] = [
    "error",
    "errors",
    "message",
    "Message",
    "msg",
    "detail",
    "details",
    "error_message",
    "errorMessage",
    "description",
    "raw",
    "reason",
    "innererror",
    "inner_error",
    "violations",
    "promptFeedback",
    "incomplete_details",
    "base_resp",
    "status_msg",
];

/// What a body says of an error.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Codes, without anything that is neither a letter nor a digit, in lower case.
    codes: Vec<String>,
    /// Messages in lower case.
    texts: Vec<String>,
    /// The first status that is named.
    status: Option<u16>,
    /// A quota of a day or more, or of nothing, is named.
    daily: bool,
}

impl Told {
    /// Reads a body: a document, a list of them, or a text. Pages are a proxy's, and speak of no
    /// model.
    pub fn read(body: &[u8]) -> Self {
        let mut told = Self::default();
        if body.trim_ascii_start().starts_with(b"<") {
            return told;
        }
        match serde_json::from_slice::<Value>(body) {
            Ok(document) => told.value(&document, DEEPEST),
            Err(_) => {
                let begin = &body[..body.len().min(LONGEST)];
                told.text(&String::from_utf8_lossy(begin), DEEPEST);
            }
        }
        told
    }

    /// Takes a code. AWS puts a namespace and `#` before it and `:` and an address behind it.
    pub fn code(&mut self, code: &str) {
        let name = code.rsplit('#').next().unwrap_or(code);
        let name = name.split(':').next().unwrap_or(name);
        let plain: String = name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .take(64)
            .map(|c| c.to_ascii_lowercase())
            .collect();
        if self.status.is_none() {
            self.status = plain.parse().ok().filter(|n| (400..=599).contains(n));
        }
        if !plain.is_empty() && self.codes.len() < MOST {
            self.codes.push(plain);
        }
    }

    /// Whether one of these codes was named.
    pub fn has_code(&self, codes: &[&str]) -> bool {
        self.codes.iter().any(|code| codes.contains(&code.as_str()))
    }

    /// The HTTP status that the error itself names.
    pub fn status(&self) -> Option<u16> {
        self.status
    }

    /// Whether a quota is named that does not fill again within minutes.
    pub fn daily(&self) -> bool {
        self.daily
    }

    /// Whether a message has all the parts of a phrase, in order and close to each other.
    pub fn says(&self, phrase: &[&str]) -> bool {
        self.texts.iter().any(|text| has_phrase(text, phrase))
    }

    fn value(&mut self, value: &Value, deep: usize) {
        let Some(deeper) = deep.checked_sub(1) else {
            return;
        };
        match value {
            Value::String(text) => self.text(text, deeper),
            Value::Array(list) => list
                .iter()
                .take(MOST)
                .for_each(|one| self.value(one, deeper)),
            Value::Object(members) => {
                for (name, value) in members {
                    self.member(name, value, deeper);
                }
            }
            _ => {}
        }
    }

    fn member(&mut self, name: &str, value: &Value, deep: usize) {
        if CODES.contains(&name) {
            match value {
                Value::String(code) => self.code(code),
                Value::Number(code) => self.code(&code.to_string()),
                _ => {}
            }
        }
        // A code may be a sentence: xAI's are.
        if TEXTS.contains(&name) || (name == "code" && value.is_string()) {
            self.value(value, deep);
        } else if name == "metadata" {
            self.metadata(value, deep);
        } else if name == "response" {
            // Of a Responses answer its error only: the rest is the caller's and the model's.
            ["error", "incomplete_details"]
                .iter()
                .filter_map(|part| value.get(part))
                .for_each(|part| self.value(part, deep));
        } else if name == "quotaId" {
            self.daily |= value.as_str().is_some_and(|id| id.contains("PerDay"));
        } else if name.ends_with("Exception") && value.is_object() {
            self.code(name);
            self.value(value, deep);
        }
    }

    /// Google's details of a quota; OpenRouter's word of the backend behind it. Callers have
    /// `metadata` of their own, which is free text and so names neither.
    fn metadata(&mut self, value: &Value, deep: usize) {
        if let Some(raw) = value.get("raw") {
            self.value(raw, deep);
        }
        let says = |name: &str, what: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .is_some_and(|text| text == what || (what.len() > 1 && text.contains(what)))
        };
        self.daily |= says("quota_limit", "PerDay") || says("quota_limit_value", "0");
    }

    /// A message. Gateways put the document that they were told into theirs, also behind a few
    /// words of their own.
    fn text(&mut self, text: &str, deep: usize) {
        if deep > 0
            && let Some(at) = text.find(['{', '['])
            && let Some(Ok(inner)) = serde_json::Deserializer::from_str(&text[at..])
                .into_iter::<Value>()
                .next()
            && (inner.is_object() || inner.is_array())
        {
            self.value(&inner, deep.min(3));
        }
        if self.texts.len() < MOST {
            let end = text.floor_char_boundary(LONGEST);
            self.texts.push(text[..end].to_ascii_lowercase());
        }
    }
}

fn has_phrase(text: &str, phrase: &[&str]) -> bool {
    let Some((first, rest)) = phrase.split_first() else {
        return true;
    };
    text.match_indices(first).any(|(at, _)| {
        let mut behind = at + first.len();
        rest.iter().all(|part| {
            let end = text.floor_char_boundary(behind + GAP + part.len());
            let Some(found) = text[behind..end].find(part) else {
                return false;
            };
            behind += found + part.len();
            true
        })
    })
}

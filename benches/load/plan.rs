//! What a client asks the backend for: the order travels in the request's own JSON body.
//!
//! Invariant: the order passes any proxy untouched, since it is part of an ordinary
//! `POST /v1/chat/completions`; a proxy under test needs no knowledge of this tool. A gateway that drops
//! fields it does not know passes it as the text of the message.

use serde::{Deserialize, Serialize};
use serde_json::json;

/// What the backend shall answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Plan {
    /// An event stream: the first event at once, the others paced.
    Paced {
        /// Events in all, without the closing `[DONE]`.
        events: u64,
        /// From one event to the next, in microseconds.
        interval_us: u64,
        /// From the first event to the second, in microseconds (spreads streams in time).
        phase_us: u64,
    },
    /// An event stream like a model's answer: silence, then an event for each token.
    Generated {
        /// Events in all, without the closing `[DONE]`.
        events: u64,
        /// From the request to the first event, in microseconds.
        first_us: u64,
        /// From the first event to the second, in microseconds (spreads streams in time).
        phase_us: u64,
        /// From one event to the next, in microseconds.
        gap_us: u64,
        /// Length of an event in bytes (no less than what its numbers take).
        event_bytes: usize,
    },
    /// One event, then silence until the client leaves.
    Hold,
    /// A small JSON answer with Content-Length.
    Answer {
        /// Length of the body in bytes (no less than the JSON around it).
        bytes: usize,
    },
    /// A large answer with Content-Length, as fast as it is taken.
    Bulk {
        /// Length of the body in bytes.
        bytes: u64,
    },
}

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    stream: bool,
    load: Option<Plan>,
}

#[derive(Deserialize)]
struct Asked {
    messages: [Message; 1],
}

#[derive(Deserialize)]
struct Message {
    content: String,
}

impl Plan {
    /// The request body that orders this plan.
    pub fn body(&self) -> String {
        json!({
            "model": "load",
            "stream": self.is_stream(),
            "messages": [{ "role": "user", "content": "Say something at the pace that is asked for." }],
            "load": self,
        })
        .to_string()
    }

    /// The request body that orders this plan in its message, and has no field of our own.
    pub fn body_for_models(&self) -> String {
        let content = json!(self).to_string();
        json!({
            "model": "load",
            "stream": self.is_stream(),
            "messages": [{ "role": "user", "content": content }],
        })
        .to_string()
    }

    fn is_stream(&self) -> bool {
        matches!(
            self,
            Self::Paced { .. } | Self::Generated { .. } | Self::Hold
        )
    }

    /// The plan in a request body; one that names none gets `default` for streams, else an answer.
    pub fn of_body(body: &[u8], default: Self) -> Self {
        match serde_json::from_slice::<Order>(body) {
            Ok(Order {
                load: Some(plan), ..
            }) => plan,
            Ok(Order { stream, .. }) => Self::of_message(body).unwrap_or(match stream {
                true => default,
                false => Self::Answer { bytes: 300 },
            }),
            Err(_) => Self::Answer { bytes: 300 },
        }
    }

    fn of_message(body: &[u8]) -> Option<Self> {
        let asked: Asked = serde_json::from_slice(body).ok()?;
        serde_json::from_str(&asked.messages[0].content).ok()
    }
}

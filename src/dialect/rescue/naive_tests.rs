//! A naive client of each dialect: what it makes of an answer's events.

use serde_json::Value;

use crate::config::Dialect;

/// What a client has read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Read {
    pub(super) text: String,
    pub(super) reasoning: String,
    /// The arguments of all tool calls, joined.
    pub(super) calls: String,
    /// How often a role was told.
    pub(super) roles: usize,
    pub(super) ids: Vec<String>,
    pub(super) finish: Vec<String>,
    /// How often the end was told: `[DONE]`, `message_stop`.
    pub(super) ends: usize,
    /// Anthropic's block that was open at the end.
    open: Option<u64>,
    begun: u64,
}

/// Reads events; fails on any that no client could follow.
pub(super) fn read<D: AsRef<[u8]>>(dialect: Dialect, events: &[D]) -> Read {
    let mut read = Read::default();
    for event in events {
        let event = event.as_ref();
        if event == b"[DONE]" {
            read.ends += 1;
            continue;
        }
        let event: Value = serde_json::from_slice(event).unwrap();
        if dialect == Dialect::AnthropicMessages {
            read.block_event(&event);
        } else {
            read.chunk(&event);
        }
    }
    read
}

fn add(to: &mut String, value: &Value) {
    to.push_str(value.as_str().unwrap_or_default());
}

impl Read {
    /// That each block has ended, and the answer once.
    pub(super) fn assert_whole(&self) {
        assert_eq!(self.open, None, "{self:?}");
        assert_eq!((self.ends, self.finish.len()), (1, 1), "{self:?}");
    }

    fn chunk(&mut self, chunk: &Value) {
        let id = chunk["id"].as_str().unwrap_or_default();
        if !id.is_empty() && self.ids.last().is_none_or(|last| last != id) {
            self.ids.push(id.to_owned());
        }
        let choice = &chunk["choices"][0];
        let delta = &choice["delta"];
        add(&mut self.text, &choice["text"]);
        add(&mut self.text, &delta["content"]);
        add(&mut self.reasoning, &delta["reasoning_content"]);
        add(&mut self.reasoning, &delta["reasoning"]);
        self.roles += usize::from(delta["role"].is_string());
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            add(&mut self.calls, &call["function"]["arguments"]);
        }
        if let Some(finish) = choice["finish_reason"].as_str() {
            self.finish.push(finish.to_owned());
        }
    }

    fn block_event(&mut self, event: &Value) {
        let index = event["index"].as_u64();
        match event["type"].as_str().unwrap() {
            "message_start" => {
                self.roles += 1;
                self.ids
                    .push(event["message"]["id"].as_str().unwrap().into());
            }
            "content_block_start" => {
                assert_eq!(self.open, None, "two blocks at once: {event}");
                assert_eq!(index, Some(self.begun), "{event}");
                self.begun += 1;
                self.open = index;
                add(&mut self.text, &event["content_block"]["text"]);
            }
            "content_block_delta" => {
                assert_eq!(self.open, index, "{event}");
                let delta = &event["delta"];
                add(&mut self.text, &delta["text"]);
                add(&mut self.reasoning, &delta["thinking"]);
                add(&mut self.calls, &delta["partial_json"]);
            }
            "content_block_stop" => {
                assert_eq!(self.open, index, "{event}");
                self.open = None;
            }
            "message_delta" => {
                let reason = event["delta"]["stop_reason"].as_str();
                self.finish.extend(reason.map(str::to_owned));
            }
            "message_stop" => self.ends += 1,
            _ => {}
        }
    }
}

//! Recorded answers of real backends, and the pieces they come in. It measures nothing itself.

use std::path::Path;

use bytes::Bytes;
use deltaway::config::Dialect;
use memchr::memmem;

/// A recorded answer.
pub struct Recorded {
    /// What is particular to its bytes.
    pub shape: &'static str,
    /// The API that it speaks.
    pub dialect: Dialect,
    /// The body.
    pub bytes: Bytes,
    /// What stands between two of its events.
    gap: &'static [u8],
}

/// How a body comes.
#[derive(Debug, Clone, Copy)]
pub enum Pieces {
    /// All at once.
    Whole,
    /// So many bytes at a time: 1,400 are what a packet holds, 16,384 what a TLS record does.
    Of(usize),
    /// An event at a time, as a backend writes them.
    Events,
}

impl Pieces {
    /// How it is called in a bench's name.
    pub fn name(self) -> String {
        match self {
            Self::Whole => "whole".to_owned(),
            Self::Of(size) => format!("of {size}"),
            Self::Events => "by event".to_owned(),
        }
    }

    /// The body in these pieces. They share its bytes.
    pub fn of(self, recorded: &Recorded) -> Vec<Bytes> {
        let body = &recorded.bytes;
        let ends: Vec<usize> = match self {
            Self::Whole => vec![body.len()],
            Self::Of(size) => (0..body.len())
                .step_by(size)
                .map(|start| body.len().min(start + size))
                .collect(),
            Self::Events => memmem::find_iter(body, recorded.gap)
                .map(|at| at + recorded.gap.len())
                .filter(|end| *end < body.len())
                .chain([body.len()])
                .collect(),
        };
        let mut start = 0;
        let piece = |end: usize| body.slice(std::mem::replace(&mut start, end)..end);
        ends.into_iter().map(piece).collect()
    }
}

/// One recording of each shape.
pub fn all() -> Vec<Recorded> {
    vec![
        // 304 events of a third of a kilobyte: what a chat is made of.
        read("deltas", Dialect::OpenaiChat, "openai/chat-text-eb7f"),
        // 168 events, one of them a line of 40 KB.
        read(
            "large",
            Dialect::AnthropicMessages,
            "anthropic/messages-thinking-websearch-servertool-4ecb",
        ),
        // 20 events, and 23 comments between them.
        read(
            "comments",
            Dialect::OpenaiChat,
            "openrouter/chat-annotations-emoji-comments-c430",
        ),
        // 76 events whose lines end with CRLF.
        read("crlf", Dialect::Gemini, "vertex/generate-tools-crlf-0da8"),
    ]
}

fn read(shape: &'static str, dialect: Dialect, name: &str) -> Recorded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let body = std::fs::read(folder.join(name).join("response.sse")).expect("the recording");
    let is_crlf = memmem::find(&body, b"\r\n").is_some();
    Recorded {
        shape,
        dialect,
        bytes: body.into(),
        gap: if is_crlf { b"\r\n\r\n" } else { b"\n\n" },
    }
}

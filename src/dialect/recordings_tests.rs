//! Every recorded answer of a real backend, through the watcher.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{BodyKind, Ending, Marker, TransportEnd, Watcher, judge};
use crate::config::Dialect;

/// Recordings whose backend reported an error inside the stream.
const FAILED: [&str; 6] = [
    "anthropic/messages-error-event-2113",
    "anthropic/messages-error-event-244e",
    // A refusal with a status of 404, all the same labelled an event stream.
    "gemini/generate-404-1fc2",
    "openai/chat-midstream-error-5774",
    "openrouter/chat-midstream-error-reasoning-comments-b4d2",
    // Bare JSON behind two events that each have a finish reason.
    "vertex/generate-blocked-fdcb",
];

/// Recordings without anything that says that they are whole.
const TRUNCATED: [&str; 4] = [
    // Ends as framed after 548 events, all of them with a null finish reason.
    "evroc/chat-reasoning-nodone-93ef",
    // No byte at all.
    "gemini/generate-text-c689",
    // The recorder kept the first chunks only.
    "openai/chat-tools-nodone-de0a",
    // One chunk, whose feedback names no reason to block.
    "vertex/generate-blocked-4521",
];

/// Recordings whose last event lacks its blank line and is therefore not counted.
const UNFINISHED_EVENT: [&str; 5] = [
    "azure-foundry/chat-text-c6ea",
    "azure-foundry/chat-tools-ae83",
    "gemini/generate-blocked-crlf-0464",
    "gemini/generate-text-d70d",
    "openai/chat-tools-nodone-de0a",
];

/// Recordings that end with bare JSON and no blank line.
const BARE_JSON: [&str; 2] = ["gemini/generate-404-1fc2", "vertex/generate-blocked-fdcb"];

pub(super) struct Recording {
    pub(super) name: String,
    pub(super) dialect: Dialect,
    pub(super) kind: BodyKind,
    events: u64,
    pub(super) body: Vec<u8>,
}

impl Recording {
    pub(super) fn watcher(&self) -> Watcher {
        Watcher::new(self.dialect, self.kind)
    }
}

/// Every recording with a streamed answer.
pub(super) fn recordings() -> Vec<Recording> {
    recordings_with(&[
        (BodyKind::Sse, "response.sse"),
        (BodyKind::Ndjson, "response.ndjson"),
        (BodyKind::Opaque, "response.bin"),
    ])
}

/// Every recording with a body of one of these names.
pub(super) fn recordings_with(files: &[(BodyKind, &str)]) -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
        folders.sort();
        folders
    };
    let mut found = Vec::new();
    for provider in folders(&root) {
        for folder in folders(&provider) {
            found.extend(recording(&root, &folder, files));
        }
    }
    assert!(
        found.len() > 50,
        "only {} recordings below {}",
        found.len(),
        root.display()
    );
    found
}

fn recording(root: &Path, folder: &Path, files: &[(BodyKind, &str)]) -> Option<Recording> {
    let (kind, body) = files
        .iter()
        .find_map(|(kind, file)| Some((*kind, fs::read(folder.join(file)).ok()?)))?;
    let meta: Value = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
    let dialect = match meta["dialect"].as_str().unwrap() {
        "openai-chat" => Dialect::OpenaiChat,
        "openai-completions" => Dialect::OpenaiText,
        "openai-responses" => Dialect::OpenaiResponses,
        "anthropic-messages" => Dialect::AnthropicMessages,
        "gemini" => Dialect::Gemini,
        "ollama-chat" | "ollama-generate" => Dialect::Ollama,
        "bedrock-converse-stream" | "bedrock-invoke-stream" => Dialect::Bedrock,
        _ => Dialect::Plain,
    };
    Some(Recording {
        name: folder
            .strip_prefix(root)
            .unwrap()
            .to_str()
            .unwrap()
            .replace('\\', "/"),
        dialect,
        kind,
        events: meta["events"].as_u64().unwrap(),
        body,
    })
}

fn state(watcher: &Watcher) -> (Marker, u64, bool) {
    (watcher.marker(), watcher.events(), watcher.at_boundary())
}

#[test]
fn endings_are_what_the_recordings_say() {
    let recordings = recordings();
    assert!(recordings.len() > 200, "only {}", recordings.len());
    for recording in recordings {
        let mut watcher = recording.watcher();
        watcher.feed(&recording.body);
        let name = recording.name.as_str();
        let expected = if FAILED.contains(&name) {
            Ending::Failed
        } else if TRUNCATED.contains(&name) {
            Ending::Truncated
        } else {
            Ending::Complete
        };
        assert_eq!(
            judge(TransportEnd::Framed, &watcher).ending,
            expected,
            "{name}"
        );
        assert_eq!(
            judge(TransportEnd::Closed, &watcher).ending,
            expected,
            "{name}"
        );
        if recording.kind != BodyKind::Opaque {
            let missing = u64::from(UNFINISHED_EVENT.contains(&name));
            assert_eq!(watcher.events() + missing, recording.events, "{name}");
            let whole = missing == 0 && !BARE_JSON.contains(&name);
            assert_eq!(watcher.at_boundary(), whole, "{name}");
        }
        assert_eq!(watcher.marker(), parsed_marker(&recording), "{name}");
    }
}

#[test]
fn a_cut_never_looks_finished() {
    for recording in recordings() {
        let mut watcher = recording.watcher();
        for chunk in recording.body.chunks(97) {
            watcher.feed(chunk);
            let ending = judge(TransportEnd::Cut, &watcher).ending;
            let expected = match watcher.marker() {
                Marker::Failed => Ending::Failed,
                Marker::Done if watcher.at_boundary() => Ending::Complete,
                _ => Ending::Truncated,
            };
            assert_eq!(ending, expected, "{}", recording.name);
        }
    }
}

/// Each event of each recording, split into two: behind its blank line all must be as if it had
/// come whole, and what came before it makes no difference any more.
#[test]
fn splits_make_no_difference() {
    let mut random = fastrand::Rng::with_seed(0x5EED);
    for recording in recordings() {
        let body = &recording.body[..];
        let mut by_bytes = recording.watcher();
        let mut before = recording.watcher();
        let mut start = 0;
        for at in 0..body.len() {
            by_bytes.feed(&body[at..=at]);
            if !by_bytes.at_boundary() && at + 1 < body.len() {
                continue;
            }
            let event = &body[start..=at];
            let mut whole = before.clone();
            whole.feed(event);
            assert_eq!(
                state(&whole),
                state(&by_bytes),
                "{} to {at}",
                recording.name
            );
            for cut in cuts(start, event.len(), body.len(), &mut random) {
                let mut split = before.clone();
                split.feed(&event[..cut]);
                split.feed(&event[cut..]);
                assert_eq!(
                    state(&split),
                    state(&whole),
                    "{} {start} + {cut}",
                    recording.name
                );
            }
            before = whole;
            start = at + 1;
        }
        let mut at_once = recording.watcher();
        at_once.feed(body);
        assert_eq!(state(&at_once), state(&by_bytes), "{}", recording.name);
    }
}

/// Where to split an event: everywhere in the first and last KB of a body, and at some random
/// places elsewhere, and in events so large that everywhere would take too long.
fn cuts(start: usize, len: usize, body: usize, random: &mut fastrand::Rng) -> Vec<usize> {
    const EVERY: usize = 1024;
    let near = start < EVERY || start + len + EVERY > body;
    match len {
        0 | 1 => Vec::new(),
        _ if near && len <= EVERY => (1..len).collect(),
        _ => (0..if near { 128 } else { 4 })
            .map(|_| random.usize(1..len))
            .collect(),
    }
}

/// The marker by a JSON parser, over the whole body, event by event.
fn parsed_marker(recording: &Recording) -> Marker {
    let text = String::from_utf8_lossy(&recording.body).replace("\r\n", "\n");
    match recording.kind {
        BodyKind::Opaque => None,
        BodyKind::Ndjson => text
            .lines()
            .map(|line| json_marker(recording.dialect, line))
            .max(),
        BodyKind::Sse if recording.dialect == Dialect::Plain => None,
        BodyKind::Sse => {
            let joined = text.split("\n\n").map(|block| {
                let data: Vec<_> = block
                    .lines()
                    .filter_map(|l| l.strip_prefix("data:"))
                    .collect();
                // A block without data may be the bare JSON that Google's errors come in.
                let document = if data.is_empty() {
                    block.to_owned()
                } else {
                    data.join("\n")
                };
                json_marker(recording.dialect, &document)
            });
            joined.max()
        }
    }
    .unwrap_or_default()
}

fn json_marker(dialect: Dialect, document: &str) -> Marker {
    if document.trim() == "[DONE]" {
        return Marker::Done;
    }
    let Ok(json) = serde_json::from_str::<Value>(document) else {
        return Marker::None;
    };
    let any = |list: &str, key: &str| {
        json[list]
            .as_array()
            .is_some_and(|list| list.iter().any(|one| one[key].is_string()))
    };
    let finished = any("choices", "finish_reason")
        || any("candidates", "finishReason")
        || json["promptFeedback"]["blockReason"].is_string()
        || json["delta"]["stop_reason"].is_string()
        || (dialect == Dialect::AnthropicMessages && json["message"]["stop_reason"].is_string());
    let kind = json["type"].as_str().unwrap_or_default();
    if json["error"].is_object() || kind == "error" || kind == "response.failed" {
        Marker::Failed
    } else if matches!(
        kind,
        "message_stop" | "response.completed" | "response.incomplete"
    ) || json["done"] == true
    {
        Marker::Done
    } else if finished {
        Marker::Finished
    } else {
        Marker::None
    }
}

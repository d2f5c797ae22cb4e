//! Every recorded answer, cut behind every event, and rescued with itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::naive::read;
use super::prefill::parts;
use super::{Passed, Sequel, Transcript};
use crate::config::Dialect;
use crate::sse::Splitter;

struct Recording {
    name: String,
    dialect: Dialect,
    events: Vec<String>,
}

fn recordings() -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let folders = |path: &Path| {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        entries
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
    };
    let folders: Vec<_> = folders(&root).flat_map(|path| folders(&path)).collect();
    let recordings = folders.iter().filter_map(|folder| recording(&root, folder));
    recordings.collect()
}

fn recording(root: &Path, folder: &Path) -> Option<Recording> {
    let body = fs::read(folder.join("response.sse")).ok()?;
    let meta: Value = serde_json::from_slice(&fs::read(folder.join("meta.json")).unwrap()).unwrap();
    let dialect = match meta["dialect"].as_str().unwrap() {
        "openai-chat" => Dialect::OpenaiChat,
        "openai-completions" => Dialect::OpenaiText,
        "anthropic-messages" => Dialect::AnthropicMessages,
        _ => return None,
    };
    let mut events = Vec::new();
    let mut splitter = Splitter::new(1 << 20);
    let mut gather = |block: crate::sse::Block| {
        events.extend(block.frame.map(|frame| frame.parts().data));
    };
    splitter.feed(&body, &mut gather).unwrap();
    splitter.finish(&mut gather).unwrap();
    let name = folder.strip_prefix(root).unwrap().to_str().unwrap();
    Some(Recording {
        name: name.replace('\\', "/"),
        dialect,
        events,
    })
}

/// What the caller has of an answer that is cut behind so many events, if it can be rescued.
fn rescued(recording: &Recording, cut: usize, second: &[String], prefilled: bool) -> Vec<Vec<u8>> {
    let delivered = &recording.events[..cut];
    let mut sequel = Sequel::after(&transcript(recording, cut), prefilled);
    let mut all: Vec<Vec<u8>> = delivered.iter().map(|one| one.clone().into()).collect();
    for event in second {
        match sequel.pass(event.as_bytes()) {
            Passed::Drop => {}
            Passed::Keep => all.push(event.clone().into()),
            Passed::Instead(data) => all.push(data),
            Passed::Behind { stop, data } => {
                all.push(stop);
                all.push(data.unwrap_or_else(|| event.clone().into()));
            }
            Passed::Differs => panic!("{} differs, cut at {cut}", recording.name),
        }
    }
    all
}

fn transcript(recording: &Recording, cut: usize) -> Transcript {
    let mut transcript = Transcript::new(recording.dialect);
    for event in &recording.events[..cut] {
        transcript.take(event.as_bytes());
    }
    transcript
}

/// The answer of a backend that goes on behind `sent`, and does not think.
fn continued(recording: &Recording, sent: &str) -> Vec<String> {
    let mut left = sent.len();
    let mut answer = Vec::new();
    for event in &recording.events {
        let Ok(mut event) = serde_json::from_str::<Value>(event) else {
            answer.push(event.clone());
            continue;
        };
        for path in ["/choices/0/delta/content", "/choices/0/text", "/delta/text"] {
            let Some(Value::String(text)) = event.pointer_mut(path) else {
                continue;
            };
            let said = left.min(text.len());
            left -= said;
            text.drain(..said);
        }
        if let Some(Value::Object(delta)) = event.pointer_mut("/choices/0/delta") {
            delta.retain(|name, _| !name.starts_with("reasoning"));
        }
        let is_thought = |at: &str| {
            let kind = event.pointer(at).and_then(Value::as_str);
            kind.is_some_and(|kind| kind.contains("thinking") || kind.contains("signature"))
        };
        if !is_thought("/content_block/type") && !is_thought("/delta/type") {
            answer.push(event.to_string());
        }
    }
    answer
}

#[test]
fn each_cut_is_mended_by_the_same_answer() {
    let (mut mended, mut answers) = (0, 0);
    for recording in recordings() {
        let whole = read(recording.dialect, &recording.events);
        let mut is_any = false;
        for cut in 0..=recording.events.len() {
            let transcript = transcript(&recording, cut);
            if !transcript.is_open() {
                continue;
            }
            is_any |= !transcript.text().is_empty();
            mended += 1;
            let mut ways = vec![(recording.events.clone(), false)];
            let (sent, _) = parts(transcript.text());
            if !sent.is_empty() {
                ways.push((continued(&recording, sent), true));
            }
            for (second, prefilled) in ways {
                let all = rescued(&recording, cut, &second, prefilled);
                let mut read = read(recording.dialect, &all);
                // Some backends tell it with each chunk; told once, it is told.
                assert!(read.roles <= whole.roles);
                read.roles = whole.roles;
                // Some name several, and azure's first is empty; from the cut on there is one.
                assert!(read.ids.len() <= whole.ids.len());
                if whole.ids.len() > 1 {
                    read.ids.clone_from(&whole.ids);
                }
                assert_eq!(
                    read.text, whole.text,
                    "{} {cut} {prefilled}",
                    recording.name
                );
                assert_eq!(read, whole, "{} {cut} {prefilled}", recording.name);
            }
        }
        answers += usize::from(is_any);
    }
    assert!(
        mended > 1000 && answers > 50,
        "{mended} cuts of {answers} answers"
    );
}

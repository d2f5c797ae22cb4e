//! Every recorded answer, cut behind every event, and rescued with itself.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::naive::{Read, read};
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

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn recording(root: &Path, folder: &Path) -> Option<Recording> {
    let body = fs::read(folder.join("response.sse")).ok()?;
    let meta = json(&folder.join("meta.json"));
    let dialect = match meta["dialect"].as_str().unwrap() {
        "openai-chat" => Dialect::OpenaiChat,
        "openai-completions" => Dialect::OpenaiText,
        "anthropic-messages" => Dialect::AnthropicMessages,
        _ => return None,
    };
    // Several choices are refused by the request.
    let request = json(&folder.join("request.json"));
    if request["body"]["n"].as_u64().is_some_and(|n| n > 1) {
        return None;
    }
    let mut events = Vec::new();
    let mut splitter = Splitter::new(1 << 20);
    let mut gather = |block: crate::sse::Block| {
        events.extend(block.frame.map(|frame| frame.parts().data));
    };
    splitter.feed(&body, &mut gather).unwrap();
    splitter.finish(&mut gather).unwrap();
    // Two recorders wrote several answers into one file.
    let begins = |event: &String| event.contains(r#""type":"message_start""#);
    let second = events.iter().skip(1).position(begins);
    events.truncate(second.map_or(usize::MAX, |second| second + 1));
    let name = folder.strip_prefix(root).unwrap().to_str().unwrap();
    Some(Recording {
        name: name.replace('\\', "/"),
        dialect,
        events,
    })
}

/// What the caller has, whose answer was cut behind so many events.
fn rescued(
    recording: &Recording,
    cut: usize,
    mut sequel: Sequel,
    second: &[String],
) -> Vec<Vec<u8>> {
    let delivered = &recording.events[..cut];
    let mut all: Vec<Vec<u8>> = delivered.iter().map(|one| one.clone().into()).collect();
    for event in second {
        match sequel.pass(event.as_bytes()) {
            Passed::Drop => {}
            Passed::Keep => all.push(event.clone().into()),
            Passed::Instead(data) => all.push(data),
            Passed::Behind { first, data, .. } => {
                all.push(first);
                all.push(data.unwrap_or_else(|| event.clone().into()));
            }
            Passed::Differs => panic!("{} differs, cut at {cut}", recording.name),
        }
    }
    all
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

/// Rescues the answer from one cut, with itself; anew, and from a beginning.
fn mend(recording: &Recording, whole: &Read, cut: usize, transcript: &Transcript) {
    let mut ways = vec![(recording.events.clone(), false)];
    let (sent, _) = parts(transcript.text());
    if !sent.is_empty() {
        ways.push((continued(recording, sent), true));
    }
    for (second, is_prefilled) in ways {
        let sequel = Sequel::after(transcript, is_prefilled);
        let all = rescued(recording, cut, sequel, &second);
        let mut read = read(recording.dialect, &all);
        // Some backends tell it with each chunk; told once, it is told.
        assert!(read.roles <= whole.roles);
        read.roles = whole.roles;
        // Some name several; from the cut on there is one.
        assert!(read.ids.len() <= whole.ids.len());
        if whole.ids.len() > 1 {
            read.ids.clone_from(&whole.ids);
        }
        assert_eq!(
            read, *whole,
            "{}, cut at {cut}, prefilled: {is_prefilled}",
            recording.name
        );
    }
}

#[test]
fn each_cut_is_mended_by_the_same_answer() {
    let (mut mended, mut answers) = (0, 0);
    for recording in recordings() {
        // Of a long answer not each, since each costs the whole.
        let step = 1 + recording.events.len() / 15;
        let whole = read(recording.dialect, &recording.events);
        let mut transcript = Transcript::new(recording.dialect);
        let mut is_any = false;
        for (cut, event) in recording.events.iter().enumerate() {
            if transcript.is_open() && cut % step == 0 {
                mend(&recording, &whole, cut, &transcript);
                is_any |= !transcript.text().is_empty();
                mended += 1;
            }
            transcript.take(event.as_bytes());
        }
        answers += usize::from(is_any);
        assert!(!transcript.is_open() || whole.ends == 0);
    }
    assert!(
        mended > 500 && answers > 50,
        "{mended} cuts of {answers} answers"
    );
}

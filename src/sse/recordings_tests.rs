//! Every recorded event stream of a real backend, cut into events.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Block, Lines, Splitter, TooLarge, reference};

struct Recording {
    name: String,
    /// The events that its maker counted.
    events: u64,
    body: Vec<u8>,
}

/// Every recording whose answer is in a file of this name.
fn recordings(file: &str) -> Vec<Recording> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut found = Vec::new();
    for folder in folders(&root).iter().flat_map(|path| folders(path)) {
        let Ok(body) = fs::read(folder.join(file)) else {
            continue;
        };
        let meta = fs::read(folder.join("meta.json")).unwrap();
        let meta: Value = serde_json::from_slice(&meta).unwrap();
        found.push(Recording {
            name: folder.display().to_string(),
            events: meta["events"].as_u64().unwrap(),
            body,
        });
    }
    found
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap();
    let mut folders: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

/// All blocks of a body that comes in chunks of so many bytes.
fn blocks(body: &[u8], chunk: usize) -> Result<Vec<Block>, TooLarge> {
    let mut splitter = Splitter::new(1 << 20);
    let mut blocks = Vec::new();
    let mut out = |block| blocks.push(block);
    for chunk in body.chunks(chunk) {
        splitter.feed(chunk, &mut out)?;
    }
    splitter.finish(&mut out)?;
    Ok(blocks)
}

#[test]
fn every_recording_comes_apart_the_same_at_any_chunking() {
    let recordings = recordings("response.sse");
    assert!(recordings.len() > 190, "only {}", recordings.len());
    for Recording { name, events, body } in recordings {
        let whole = blocks(&body, body.len().max(1)).unwrap();
        let frames = || whole.iter().filter_map(|block| block.frame.as_ref());
        assert_eq!(frames().count() as u64, events, "{name}");
        for chunk in [1, 7, 1460] {
            assert_eq!(blocks(&body, chunk).as_ref(), Ok(&whole), "{name}: {chunk}");
        }
        let said = reference::blocks(&[&body[..], b"\n\n"].concat());
        let said: Vec<_> = said.iter().filter(|said| said.data.is_some()).collect();
        assert_eq!(frames().count(), said.len(), "{name}");
        for (frame, said) in frames().zip(said) {
            assert_eq!(frame.as_bytes(), said.kept, "{name}");
            let parts = frame.parts();
            assert_eq!(Some(&parts.data), said.data.as_ref(), "{name}");
            assert_eq!(parts.event.unwrap_or_default(), said.name, "{name}");
        }
    }
}

/// What is kept of an event is an event again, and the same one.
#[test]
fn the_frames_of_a_recording_are_a_stream_again() {
    for Recording { name, body, .. } in recordings("response.sse") {
        let frames = |body: &[u8]| -> Vec<_> {
            let blocks = blocks(body, 4096).unwrap();
            blocks.into_iter().filter_map(|block| block.frame).collect()
        };
        let first = frames(&body);
        let again: Vec<u8> = first
            .iter()
            .flat_map(|frame| [frame.as_bytes(), b"\n"].concat())
            .collect();
        assert_eq!(frames(&again), first, "{name}");
    }
}

#[test]
fn every_recorded_line_is_an_event() {
    let recordings = recordings("response.ndjson");
    assert!(!recordings.is_empty());
    for Recording { name, events, body } in recordings {
        let read = |chunk: usize| {
            let mut lines = Lines::new(1 << 20);
            let mut data = Vec::new();
            let mut out = |block: Block| data.push(block.frame.unwrap().parts().data);
            for chunk in body.chunks(chunk) {
                lines.feed(chunk, &mut out).unwrap();
            }
            lines.finish(&mut out).unwrap();
            data
        };
        let data = read(body.len());
        assert_eq!(data.len() as u64, events, "{name}");
        assert_eq!(data, read(1), "{name}");
        for line in data {
            assert!(serde_json::from_str::<Value>(&line).is_ok(), "{name}");
        }
    }
}

//! Every recording, through the gateway over sockets: what comes out is what the backend sent.
//!
//! Three ways: whole, byte by byte, and cut at seeded random places. Each recording is asked for
//! with its own method, path and body, so that its dialect is the one at work.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::support::recording::{self, Recording};
use crate::support::wire::{self, Framing};
use crate::support::{Ask, Backend, Client, Ended, Gateway, gateway, toml};

/// Byte by byte costs a system call each way for each byte: beyond this, only both ends are.
const SINGLE_BYTES: usize = 2_500;

/// Recordings that are cut short themselves: they end with neither a terminal event nor a finish
/// reason, and the gateway must say so behind what there is, or abort where that is inside an event.
const CUT_AT_THE_SOURCE: &[&str] = &[
    "evroc/chat-reasoning-nodone-93ef",
    "gemini/generate-text-c689",
    "openai/chat-tools-nodone-de0a",
    "vertex/generate-blocked-4521",
];

fn ask(recording: &Recording) -> Ask {
    let ask = Ask::new(&recording.method, &recording.target);
    if recording.request.is_empty() {
        return ask;
    }
    ask.field("Content-Type: application/json")
        .body(&recording.request)
}

/// Which of the recordings an `X-Recording` header asks for, and how it is cut.
type Library = Arc<BTreeMap<String, (Recording, Cut)>>;

#[derive(Clone, Copy)]
enum Cut {
    Whole(Framing),
    Single,
    Random(u64),
}

async fn backend(library: Library) -> Backend {
    Backend::playing(move |mut peer| {
        let library = library.clone();
        async move {
            while let Some(request) = peer.request().await {
                let name = request.head.get("x-recording").expect("a name");
                let (recording, cut) = &library[name];
                let head = |framing: &str| {
                    let first = format!("HTTP/1.1 {} Recorded", recording.status);
                    let typed = recording.content_type.as_ref();
                    let typed = typed.map(|value| format!("Content-Type: {value}"));
                    let fields: Vec<&str> = typed.as_deref().into_iter().chain([framing]).collect();
                    wire::head(&first, &fields)
                };
                let body = &recording.body[..];
                match cut {
                    Cut::Whole(Framing::Length) => {
                        peer.send(head(&format!("Content-Length: {}", body.len())))
                            .await;
                        peer.send(body).await;
                    }
                    Cut::Whole(Framing::Chunked) => {
                        peer.send(head("Transfer-Encoding: chunked")).await;
                        if !body.is_empty() {
                            peer.chunk(body).await;
                        }
                        peer.send(wire::LAST).await;
                    }
                    Cut::Whole(Framing::Close | Framing::Http10) => {
                        peer.send(head("Connection: close")).await;
                        peer.send(body).await;
                        return;
                    }
                    Cut::Single | Cut::Random(_) => {
                        peer.send(head("Transfer-Encoding: chunked")).await;
                        for piece in pieces(body, *cut) {
                            peer.chunk(piece).await;
                        }
                        peer.send(wire::LAST).await;
                    }
                }
            }
        }
    })
    .await
}

fn pieces(body: &[u8], cut: Cut) -> Vec<&[u8]> {
    let mut random = match cut {
        Cut::Random(seed) => fastrand::Rng::with_seed(seed),
        _ => fastrand::Rng::with_seed(0),
    };
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let near_an_end = at < SINGLE_BYTES || body.len() - at < 300;
        let most = match cut {
            Cut::Single if near_an_end => 1,
            Cut::Single => 4_096,
            // Mostly small, now and then beyond any buffer.
            _ if random.u8(..) < 8 => 70_000,
            _ => 400,
        };
        let count = if most == 1 { 1 } else { random.usize(1..=most) };
        let end = body.len().min(at + count);
        pieces.push(&body[at..end]);
        at = end;
    }
    pieces
}

/// Sends every recording through one gateway and gives what was not as it should be.
async fn replay(cut: impl Fn(usize) -> Cut) -> Vec<String> {
    let library: BTreeMap<_, _> = recording::all()
        .into_iter()
        .enumerate()
        .map(|(index, recording)| (recording.name.clone(), (recording, cut(index))))
        .collect();
    let library = Arc::new(library);
    let backend = backend(library.clone()).await;
    // Heartbeats off: a loaded machine must not be able to put one in.
    let gateway = gateway(&backend, "heartbeat = \"off\"").await;
    let mut client = Client::connect(gateway.address).await;
    let mut faults = Vec::new();
    for (name, (recording, _)) in library.iter() {
        let ask = ask(recording).field(&format!("X-Recording: {name}"));
        let answer = client.exchange(&ask).await;
        if let Err(fault) = compare(recording, &answer) {
            faults.push(format!("{name}: {fault}"));
        }
        if !matches!(answer.ended, Ended::LastChunk(_) | Ended::Length) {
            client = Client::connect(gateway.address).await;
        }
    }
    gateway.stop().await;
    faults
}

fn compare(recording: &Recording, answer: &crate::support::client::Answer) -> Result<(), String> {
    if answer.status() != recording.status {
        return Err(format!("status {}", answer.status()));
    }
    if answer.head.get("content-type") != recording.content_type.as_deref() {
        return Err(format!(
            "content type {:?}",
            answer.head.get("content-type")
        ));
    }
    let Some(tail) = answer.body.strip_prefix(&recording.body[..]) else {
        let same = answer
            .body
            .iter()
            .zip(&recording.body)
            .take_while(|(a, b)| a == b);
        return Err(format!(
            "differs at byte {} of {} (got {})",
            same.count(),
            recording.body.len(),
            answer.body.len()
        ));
    };
    let looks_whole = tail.is_empty() && answer.ended.is_clean();
    let is_told = wire::find(tail, b"\"error\"").is_some() && answer.ended.is_clean();
    let is_abort = tail.is_empty() && !answer.ended.is_clean();
    let is_right = if CUT_AT_THE_SOURCE.contains(&recording.name.as_str()) {
        is_told || is_abort
    } else {
        looks_whole
    };
    if !is_right {
        let tail = String::from_utf8_lossy(tail);
        return Err(format!(
            "then came {tail:?}, and it ended {:?}",
            answer.ended
        ));
    }
    Ok(())
}

fn none(faults: &[String]) {
    assert!(
        faults.is_empty(),
        "{} faults:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

#[tokio::test]
async fn every_recording_comes_through_whole_in_every_framing() {
    for framing in [Framing::Chunked, Framing::Length, Framing::Close] {
        none(&replay(|_| Cut::Whole(framing)).await);
    }
}

#[tokio::test]
async fn every_recording_comes_through_byte_by_byte() {
    none(&replay(|_| Cut::Single).await);
}

#[tokio::test]
async fn every_recording_comes_through_cut_at_random_places() {
    for round in 0..3 {
        none(&replay(|index| Cut::Random(round * 1_000 + index as u64)).await);
    }
}

#[tokio::test]
async fn every_byte_of_a_binary_stream_leaves_before_the_next_is_sent() {
    let recording = recording::named("bedrock/converse-tools-f0eb");
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&toml(&backend.url(), "")).await;
    let mut client = gateway.asking(&ask(&recording)).await;
    let (mut peer, _) = backend.request().await;
    let typed = format!("Content-Type: {}", recording.content_type.as_ref().unwrap());
    peer.send(wire::head(
        "HTTP/1.1 200 OK",
        &[&typed, "Transfer-Encoding: chunked"],
    ))
    .await;
    client.head().await;
    for byte in recording.body.chunks(1) {
        peer.chunk(byte).await;
        client.reads(byte).await;
    }
    peer.send(wire::LAST).await;
    assert_eq!(client.rest().await.1, Ended::LastChunk(vec![]));
}

#[test]
fn every_recording_names_its_licence_and_its_source() {
    for recording in recording::all() {
        let source = &recording.meta["source"];
        for key in ["repo", "path", "commit", "licence"] {
            let value = source[key].as_str().unwrap_or_default();
            assert!(!value.is_empty(), "{} names no {key}", recording.name);
        }
        let licence = source["licence"].as_str();
        assert!(
            matches!(licence, Some("MIT" | "Apache-2.0")),
            "{}: {licence:?}",
            recording.name
        );
        assert_eq!(
            recording.meta["body_bytes"],
            Value::from(recording.body.len())
        );
    }
}

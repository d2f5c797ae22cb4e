//! The upstream codec as a whole, over sockets: answers that are valid in any framing and arrive in any
//! pieces come out equal; answers that are not never hang, and never touch the one that follows.

use std::sync::{Arc, Mutex};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use crate::support::wire::{self, LAST};
use crate::support::{Ask, Backend, Client, Ended, Gateway};

/// One valid answer, and how it is asked for and sent.
#[derive(Debug, Clone)]
struct Said {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    framed: Framed,
    /// Interim answers before it.
    interim: usize,
    /// Bytes of a field that only fills.
    filler: usize,
    /// Sizes of the pieces it is written in, over and over.
    pieces: Vec<usize>,
    ask: fn() -> Ask,
}

#[derive(Debug, Clone)]
enum Framed {
    Length,
    Chunked {
        sizes: Vec<usize>,
        extension: &'static str,
        trailer: bool,
    },
    Close,
    Http10,
}

impl Said {
    fn closes(&self) -> bool {
        matches!(self.framed, Framed::Close | Framed::Http10)
    }

    fn bytes(&self) -> Vec<u8> {
        let mut out = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(self.interim);
        let version = if matches!(self.framed, Framed::Http10) {
            "1.0"
        } else {
            "1.1"
        };
        let typed = format!("Content-Type: {}", self.content_type);
        let filler = format!("X-Filler: {}", "f".repeat(self.filler));
        let length = format!("content-length:{}", self.body.len());
        let framing: &[&str] = match &self.framed {
            Framed::Length => &[&length],
            Framed::Chunked { trailer: false, .. } => &["TRANSFER-ENCODING: chunked"],
            Framed::Chunked { trailer: true, .. } => {
                &["Transfer-Encoding:\tchunked", "Trailer: X-Sum"]
            }
            Framed::Close => &["Connection: close"],
            Framed::Http10 => &[],
        };
        let fields = [&[typed.as_str(), &filler], framing].concat();
        out.extend(wire::head(
            &format!("HTTP/{version} {} Said", self.status),
            &fields,
        ));
        let Framed::Chunked {
            sizes,
            extension,
            trailer,
        } = &self.framed
        else {
            out.extend_from_slice(&self.body);
            return out;
        };
        for chunk in cut(&self.body, sizes) {
            out.extend(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        let end: &[u8] = if *trailer {
            b"0\r\nX-Sum: 1\r\n\r\n"
        } else {
            LAST
        };
        out.extend_from_slice(end);
        out
    }
}

/// `bytes` in parts of these sizes, over and over.
fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, behind) = rest.split_at(rest.len().min(*size));
        parts.push(part);
        rest = behind;
    }
    parts
}

fn framed() -> impl Strategy<Value = Framed> {
    let extension = select(vec!["", ";a=b", "; a=\"x;y\"", "  "]);
    let sizes = vec(prop_oneof![1usize..20, 1usize..40_000], 1..6);
    let chunked = (sizes, extension, any::<bool>());
    prop_oneof![
        3 => Just(Framed::Length),
        5 => chunked.prop_map(|(sizes, extension, trailer)| Framed::Chunked { sizes, extension, trailer }),
        1 => Just(Framed::Close),
        1 => Just(Framed::Http10),
    ]
}

fn said() -> impl Strategy<Value = Said> {
    let types = vec![
        "text/plain",
        "text/event-stream",
        "application/json",
        "application/x-ndjson",
    ];
    let body = prop_oneof![
        3 => vec(any::<u8>(), 0..300),
        1 => (0usize..200_000, any::<u8>()).prop_map(|(count, byte)| vec![byte; count]),
    ];
    let pieces = vec(prop_oneof![2 => 1usize..60, 3 => 60usize..70_000], 1..5);
    let asks: Vec<fn() -> Ask> = vec![|| Ask::get("/events"), || Ask::post("/x", "{}"), || {
        Ask::post("/v1/chat/completions", "{\"model\":\"m\"}")
    }];
    let status = select(vec![200u16, 200, 200, 201, 404, 500]);
    let filler = prop_oneof![3 => 0usize..40, 1 => 0usize..20_000];
    let shape = (status, select(types), body, framed());
    (shape, 0usize..3, filler, pieces, select(asks)).prop_map(
        |((status, content_type, body, framed), interim, filler, pieces, ask)| Said {
            // A model's stream without an end of its own is told as truncated, rightly.
            content_type: if ask().bytes().starts_with(b"POST /v1") {
                "application/json"
            } else {
                content_type
            },
            status,
            body,
            framed,
            interim,
            filler,
            pieces,
            ask,
        },
    )
}

/// What the backend writes for the request that names its place in here, and whether it closes then.
type Script = Arc<Mutex<Vec<(Vec<Vec<u8>>, bool)>>>;

async fn following(script: Script) -> Backend {
    Backend::playing(move |mut peer| {
        let script = script.clone();
        async move {
            while let Some(request) = peer.request().await {
                let number: usize = request.head.get("x-number").unwrap().parse().unwrap();
                let (pieces, close) = script.lock().unwrap()[number].clone();
                for piece in pieces {
                    peer.send(piece).await;
                    tokio::task::yield_now().await;
                }
                if close {
                    return;
                }
            }
        }
    })
    .await
}

fn numbered(ask: Ask, number: usize) -> Ask {
    ask.field(&format!("X-Number: {number}"))
}

fn check<S: Strategy>(cases: u32, strategy: S, test: impl Fn(S::Value)) {
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |case| {
        test(case);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn valid_answers_come_out_equal_in_any_framing_and_any_pieces() {
    let runtime = Runtime::new().unwrap();
    let script = Script::default();
    let (_backend, gateway) = runtime.block_on(async {
        let backend = following(script.clone()).await;
        let gateway = crate::support::gateway(&backend, "heartbeat = \"off\"").await;
        (backend, gateway)
    });
    check(120, vec(said(), 1..6), |answers| {
        *script.lock().unwrap() = answers
            .iter()
            .map(|said| {
                let bytes = said.bytes();
                let pieces = cut(&bytes, &said.pieces);
                (
                    pieces.into_iter().map(<[u8]>::to_vec).collect(),
                    said.closes(),
                )
            })
            .collect();
        runtime.block_on(async {
            let mut client = Client::connect(gateway.address).await;
            for (number, said) in answers.iter().enumerate() {
                let ask = numbered((said.ask)(), number).field("TE: trailers");
                let answer = client.exchange(&ask).await;
                assert_eq!(answer.status(), said.status, "{number}");
                assert!(
                    answer.body == said.body,
                    "{number}: {} bytes",
                    answer.body.len()
                );
                assert!(answer.ended.is_clean(), "{number}: {:?}", answer.ended);
                if let (Framed::Chunked { trailer: true, .. }, Ended::LastChunk(trailers)) =
                    (&said.framed, &answer.ended)
                {
                    assert_eq!(trailers.len(), 1, "{number}: {trailers:?}");
                }
            }
            assert!(client.spare().is_empty());
        });
    });
}

/// One change to an answer's bytes.
#[derive(Debug, Clone)]
enum Change {
    Put(Index, u8),
    Insert(Index, &'static [u8]),
    Remove(Index, usize),
    Twice(Index, usize),
    Cut(Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = |index: &Index| index.index(bytes.len());
        match self {
            Self::Put(index, byte) => {
                let at = at(index);
                bytes[at] = *byte;
            }
            Self::Insert(index, words) => {
                let at = at(index);
                bytes.splice(at..at, words.iter().copied());
            }
            Self::Remove(index, count) => {
                let at = at(index);
                bytes.drain(at..bytes.len().min(at + count));
            }
            Self::Twice(index, count) => {
                let at = at(index);
                let part = bytes[at..bytes.len().min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
            Self::Cut(index) => bytes.truncate(at(index)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let words: Vec<&[u8]> = vec![
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b":",
        b"0",
        b"\r\n\r\n",
        b"\r\nContent-Length: 3\r\n",
        b"\r\nTransfer-Encoding: chunked\r\n",
        b"\r\nConnection: close\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"fffffffffffffffff",
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Put(at, byte)),
        (any::<Index>(), select(words)).prop_map(|(at, words)| Change::Insert(at, words)),
        (any::<Index>(), 1usize..30).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<Index>(), 1usize..30).prop_map(|(at, count)| Change::Twice(at, count)),
        any::<Index>().prop_map(Change::Cut),
    ]
}

#[test]
fn answers_that_are_damaged_never_hang_and_never_touch_the_next() {
    let runtime = Runtime::new().unwrap();
    let script = Script::default();
    let (backend, gateway) = runtime.block_on(async {
        let backend = following(script.clone()).await;
        // Short for what may wait for bytes that never come, and without limit for what is good.
        let clocks = "clocks = { first_byte = \"100ms\", idle = \"60ms\" }";
        let bad =
            format!("heartbeat = \"off\"\n[routes.bad]\npath = \"/bad\"\nto = \"model\"\nretry = false\n{clocks}");
        let source = crate::support::toml(&backend.url(), &bad);
        let gateway = Gateway::start(&source).await;
        (backend, gateway)
    });
    let damaged = (said(), vec(change(), 1..4), 0u8..4);
    let small = damaged.prop_map(|(mut said, changes, open)| {
        // Bytes behind an answer can be seen in time only when they come with it.
        said.body.truncate(300);
        said.filler %= 200;
        let mut bytes = said.bytes();
        for change in changes {
            change.apply(&mut bytes);
        }
        (bytes, open > 0)
    });
    check(200, small, |(bytes, close)| {
        let good = wire::json(200, "{\"good\":1}");
        *script.lock().unwrap() = vec![(vec![bytes], close), (vec![good], false)];
        runtime.block_on(async {
            let bad = gateway.fetch(&numbered(Ask::get("/bad"), 0)).await;
            assert!((200..600).contains(&bad.status()), "{}", bad.status());
            for _ in 0..2 {
                let answer = gateway.fetch(&numbered(Ask::get("/good"), 1)).await;
                let got = (answer.status(), answer.text());
                assert_eq!(got, (200, "{\"good\":1}".to_owned()));
            }
        });
    });
    assert!(backend.connections() > 1);
}

//! Bytes of an event stream in, events out: our two readers beside two crates that are used by clients.
//!
//! The figure is bytes of the stream a second, for a whole recorded answer and a reader made for it. They do not all
//! do the same, and the differences are most of what it shows:
//!
//! * `scanner` tells lines and boundaries, and copies nothing: what relaying a stream costs that speaks no model API;
//! * `splitter` cuts the stream into events and copies the lines of each into a buffer of its own, as they
//!   are: what a stream costs that is shared or kept;
//! * `splitter + parts` also reads the fields of each event, and checks that its data is UTF-8: as much as
//!   the next two do, and what to hold against them;
//! * `eventsource-stream` and `sse-stream` give fields as owned strings, checked to be UTF-8.
//!
//! In one piece `eventsource-stream` copies what is left of the piece for each line; no network brings pieces
//! of that size. Before anything is measured, all are asked whether they find the same events.

use std::convert::Infallible;
use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, measurement::WallTime};
use deltaway::sse::{Block, LineSink, Scanner, Splitter};
use eventsource_stream::Eventsource;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use sse_stream::SseByteStream;

use crate::recorded::{self, Pieces, Recorded};

/// Larger than any event that was recorded.
const MOST: usize = 8 * 1024 * 1024;

const PIECES: [Pieces; 3] = [Pieces::Whole, Pieces::Of(1_400), Pieces::Of(16_384)];

/// A reader by name: it reads a body in pieces and counts its events.
type Reader = (&'static str, fn(&[Bytes]) -> u64);

const READERS: [Reader; 5] = [
    ("scanner", scanner),
    ("splitter", splitter),
    ("splitter + parts", splitter_and_parts),
    ("eventsource-stream", eventsource_stream),
    ("sse-stream", sse_stream),
];

pub fn benches(criterion: &mut Criterion) {
    for recorded in recorded::all() {
        let mut group = criterion.benchmark_group(format!("scanning/{}", recorded.shape));
        group.throughput(Throughput::Bytes(recorded.bytes.len() as u64));
        for pieces in PIECES {
            all_readers(&mut group, &recorded, pieces);
        }
        group.finish();
    }
}

fn all_readers(group: &mut BenchmarkGroup<'_, WallTime>, recorded: &Recorded, pieces: Pieces) {
    let body = pieces.of(recorded);
    let events = scanner(&body);
    assert!(events > 0, "{} has no events", recorded.shape);
    for (name, read) in READERS {
        assert_eq!(read(&body), events, "{name} on {}", recorded.shape);
        let id = BenchmarkId::new(name, pieces.name());
        group.bench_with_input(id, &body, |bencher, body| {
            bencher.iter(|| read(black_box(body)));
        });
    }
}

/// Looks at what it is shown, so that nothing of it can be left out.
struct Seen;

impl LineSink for Seen {
    fn fragment(&mut self, bytes: &[u8], starts: bool, ends: bool) {
        black_box((bytes, starts, ends));
    }

    fn block_end(&mut self) {}
}

fn scanner(body: &[Bytes]) -> u64 {
    let mut scanner = Scanner::new();
    for piece in body {
        scanner.feed(piece, &mut Seen);
    }
    scanner.events()
}

fn splitter(body: &[Bytes]) -> u64 {
    split(body, |block| {
        black_box(&block.frame);
    })
}

fn splitter_and_parts(body: &[Bytes]) -> u64 {
    split(body, |block| {
        black_box(block.frame.as_ref().map(|frame| frame.parts()));
    })
}

fn split(body: &[Bytes], mut take: impl FnMut(&Block)) -> u64 {
    let mut splitter = Splitter::new(MOST);
    let mut events = 0;
    let mut out = |block: Block| {
        take(&block);
        events += u64::from(block.frame.is_some());
    };
    for piece in body {
        splitter
            .feed(piece, &mut out)
            .expect("no event is so large");
    }
    events
}

fn eventsource_stream(body: &[Bytes]) -> u64 {
    count(incoming(body).eventsource().map(|event| {
        black_box(event.expect("an event"));
        1
    }))
}

fn sse_stream(body: &[Bytes]) -> u64 {
    count(SseByteStream::new(incoming(body)).map(|event| {
        let event = event.expect("an event");
        // It also gives blocks that are no events.
        u64::from(black_box(event).data.is_some())
    }))
}

fn incoming(body: &[Bytes]) -> impl Stream<Item = Result<Bytes, Infallible>> + Unpin {
    stream::iter(body.iter().cloned().map(Ok))
}

/// The sum of a stream that never waits.
fn count(events: impl Stream<Item = u64>) -> u64 {
    let sum = events.fold(0, |sum, one| std::future::ready(sum + one));
    sum.now_or_never().expect("all pieces are there")
}

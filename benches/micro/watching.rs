//! A model's answer goes by the watcher, which counts its events and learns how it ends and what it took.
//!
//! The figure is the time for one event, as events a second (the mean over an answer, its watcher made anew). This
//! is most of what the gateway computes for a relayed event beside reading and writing it. An event that a
//! piece's end cuts is copied until it is whole: compare `by event` with `of 1400`.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use deltaway::dialect::{BodyKind, Watcher};

use crate::recorded::{self, Pieces};

const PIECES: [Pieces; 4] = [
    Pieces::Events,
    Pieces::Whole,
    Pieces::Of(1_400),
    Pieces::Of(16_384),
];

pub fn benches(criterion: &mut Criterion) {
    for recorded in recorded::all() {
        let watch = |body: &[bytes::Bytes]| {
            let mut watcher = Watcher::new(recorded.dialect, BodyKind::Sse);
            for piece in body {
                watcher.feed(piece);
            }
            watcher
        };
        let mut group = criterion.benchmark_group(format!("watching/{}", recorded.shape));
        for pieces in PIECES {
            let body = pieces.of(&recorded);
            let watched = watch(&body);
            assert!(watched.has_content(), "{} says nothing", recorded.shape);
            group.throughput(Throughput::Elements(watched.events()));
            let id = BenchmarkId::from_parameter(pieces.name());
            group.bench_with_input(id, &body, |bencher, body| {
                bencher.iter(|| watch(black_box(body)));
            });
        }
        group.finish();
    }
}

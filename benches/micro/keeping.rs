//! Events that are kept: put into a log, read out of it, and brought to the cursors of a stream.
//!
//! * `log push`: an event more in a full log of 1,000, so that the oldest goes: the time for one event.
//! * `log after`: the next 64 KiB behind a cursor at the log's start, in its middle and at its end: the time for
//!   one read, which is what a cursor costs under the stream's lock.
//! * `append`: an event more in a stream with so many cursors, nobody of whom waits: what a publisher pays. It
//!   should not depend on them.
//! * `deliver`: an event appended to a stream on which so many cursors wait: the herald wakes each, it reads the
//!   event and waits again. The figure is cursors a second; there are no sockets behind them, so that what is
//!   missing of a delivery is encoding and writing.
//!
//! All in one thread: what several threads cost one another is not in it.

use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use deltaway::config::{self, History, Ids, Slow, Start};
use deltaway::hub::{From, Hub, Next, Stream, StreamRules, Subscription};
use deltaway::metrics::HubSeries;
use deltaway::sse::Frame;
use deltaway::store::{Limits, Log};

const CURSORS: [usize; 3] = [1, 100, 10_000];
const KEPT: usize = 1_000;
const KEPT_BYTES: usize = 64 * 1024 * 1024;
const AGE: Duration = Duration::from_secs(3_600);
const BATCH: usize = 64 * 1024;

pub fn benches(criterion: &mut Criterion) {
    push(criterion);
    after(criterion);
    append(criterion);
    deliver(criterion);
}

/// As large as an event of a chat is.
fn frame() -> Frame {
    Frame::new(None, &"x".repeat(330), None).expect("a frame without a name")
}

fn full_log() -> Log {
    let mut log = Log::new(Limits {
        events: KEPT,
        bytes: KEPT_BYTES,
        age: AGE,
    });
    for position in 1..=KEPT as u64 {
        log.push(0, position, frame(), None);
    }
    log
}

fn push(criterion: &mut Criterion) {
    let mut log = full_log();
    let frame = frame();
    criterion.bench_function("keeping/log push", |bencher| {
        bencher.iter(|| {
            let position = log.last() + 1;
            log.push(0, position, black_box(frame.clone()), None)
        });
    });
}

fn after(criterion: &mut Criterion) {
    let log = full_log();
    let mut group = criterion.benchmark_group("keeping/log after");
    for (place, cursor) in [
        ("start", 0),
        ("middle", KEPT as u64 / 2),
        ("end", KEPT as u64),
    ] {
        group.bench_function(place, |bencher| {
            bencher.iter(|| log.after(black_box(cursor), BATCH));
        });
    }
    group.finish();
}

/// A hub of one worker, and a stream of it.
fn stream() -> (Arc<Hub>, Arc<Stream>) {
    let bounds = config::Hub {
        path: "/streams".into(),
        streams: 1,
        bytes: 2 * KEPT_BYTES,
        event: 8 * 1024 * 1024,
    };
    let hub = Hub::new(&bounds, Vec::new(), 1, HubSeries::default());
    let rules = StreamRules {
        history: History {
            events: KEPT,
            bytes: KEPT_BYTES,
            age: AGE,
        },
        slow: Slow::Skip,
        start: Start::Live,
        ids: Ids::Gateway,
    };
    let stream = hub.open(rules).expect("room for one stream");
    (hub, stream)
}

fn subscribe(stream: &Arc<Stream>, cursors: usize) -> Vec<Subscription> {
    (0..cursors)
        .map(|_| stream.subscribe(0, &From::Start))
        .collect()
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keeping/append");
    let frame = frame();
    for cursors in CURSORS {
        let (_hub, stream) = stream();
        let _subscriptions = subscribe(&stream, cursors);
        group.bench_function(BenchmarkId::from_parameter(cursors), |bencher| {
            bencher.iter(|| stream.append(black_box(frame.clone()), None));
        });
    }
    group.finish();
}

/// Counts how often readers were woken.
#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn deliver(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keeping/deliver");
    let frame = frame();
    for cursors in CURSORS {
        let (hub, stream) = stream();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut readers = Context::from_waker(&waker);
        let mut subscriptions = subscribe(&stream, cursors);
        for subscription in &mut subscriptions {
            assert!(subscription.poll_next(&mut readers).is_pending());
        }
        let mut herald = pin!(hub.herald(0));
        let mut nobody = Context::from_waker(Waker::noop());
        group.throughput(Throughput::Elements(cursors as u64));
        group.bench_function(BenchmarkId::from_parameter(cursors), |bencher| {
            bencher.iter(|| {
                stream.append(frame.clone(), None).expect("it goes on");
                // It lets others have their turn now and then.
                while woken.0.load(Ordering::Relaxed) < cursors {
                    assert!(herald.as_mut().poll(&mut nobody).is_pending());
                }
                woken.0.store(0, Ordering::Relaxed);
                for subscription in &mut subscriptions {
                    read_one(subscription, &mut readers);
                }
            });
        });
    }
    group.finish();
}

/// Takes the one event that is there, and waits for the next.
fn read_one(subscription: &mut Subscription, cx: &mut Context<'_>) {
    match subscription.poll_next(cx) {
        Poll::Ready(Next::Events(entries)) => assert_eq!(black_box(entries).len(), 1),
        other => panic!("{other:?} where an event is"),
    }
    assert!(subscription.poll_next(cx).is_pending());
}

//! Several threads at once: appenders, and workers with a herald and many readers each.

use std::future::poll_fn;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::stage::{bounds, frame, history, text};
use crate::config::{History, Ids, Slow, Start, Topic, TopicPattern, TopicRules};
use crate::dialect::Ending;
use futures_util::FutureExt;

use crate::hub::{End, From, Hub, Next, StreamRules, Subscription, Unnumbered};
use crate::metrics::HubSeries;
use crate::sse::EventId;

const WORKERS: usize = 2;
const READERS: usize = 20;
const EVENTS: u64 = 2_000;
const LIMIT: Duration = Duration::from_secs(60);

/// Nothing is evicted.
fn roomy() -> History {
    History {
        bytes: 1 << 30,
        ..history(1 << 20)
    }
}

fn hub() -> Arc<Hub> {
    let rules = TopicRules {
        pattern: TopicPattern::new("*").unwrap(),
        history: roomy(),
        slow: Slow::Skip,
        start: Start::Live,
    };
    Hub::new(
        &bounds(100),
        vec![rules.into()],
        WORKERS,
        HubSeries::default(),
    )
}

/// Runs a herald beside `readers` in a thread of their own.
fn worker<R>(hub: Arc<Hub>, worker: usize, readers: Vec<R>) -> thread::JoinHandle<()>
where
    R: Future<Output = ()> + Send + 'static,
{
    thread::spawn(move || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(async {
            let herald = tokio::spawn(hub.herald(worker));
            let readers: Vec<_> = readers.into_iter().map(tokio::spawn).collect();
            for reader in readers {
                let done = tokio::time::timeout(LIMIT, reader).await;
                done.expect("a reader sleeps for ever").unwrap();
            }
            herald.abort();
        });
    })
}

async fn next(subscription: &mut Subscription) -> Next {
    poll_fn(|cx| subscription.poll_next(cx)).await
}

/// Reads a stream to its end. Some come back all the time, and miss nothing by that.
async fn read(
    hub_stream: Arc<crate::hub::Stream>,
    mut subscription: Subscription,
    worker: usize,
    restless: bool,
) {
    let mut seen = 0;
    loop {
        match next(&mut subscription).await {
            Next::Events(entries) => {
                for entry in entries {
                    seen += 1;
                    assert_eq!(
                        (entry.position, text(&entry.frame)),
                        (seen, seen.to_string())
                    );
                }
                if restless {
                    let id = subscription.id().to_string();
                    subscription = hub_stream.subscribe(worker, &From::After(id));
                }
            }
            Next::End(_) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, EVENTS);
}

#[test]
fn every_reader_of_a_stream_gets_all_of_it() {
    let hub = hub();
    let rules = StreamRules {
        history: roomy(),
        slow: Slow::Skip,
        start: Start::Oldest,
        ids: Ids::Gateway,
    };
    let stream = hub.open(rules).unwrap();
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let readers = (0..READERS).map(|which| {
                let subscription = stream.subscribe(number, &From::Start);
                read(stream.clone(), subscription, number, which % 4 == 0)
            });
            worker(hub.clone(), number, readers.collect())
        })
        .collect();
    let appender = thread::spawn(move || {
        for position in 1..=EVENTS {
            stream
                .append(frame(&position.to_string(), 0), None)
                .unwrap();
            if position % 16 == 0 {
                // Lets readers catch up now and then: it is the sleepers that are to be woken.
                thread::yield_now();
            }
        }
        stream.close(End {
            ending: Ending::Complete,
            abort: false,
        });
    });
    appender.join().unwrap();
    for worker in workers {
        worker.join().unwrap();
    }
}

const PUBLISHERS: usize = 4;

/// Reads topics until it has so many events: each publisher's in order.
async fn read_topics(
    hub: Arc<Hub>,
    mut subscription: Subscription,
    (worker, which): (usize, usize),
) {
    let patterns = patterns(which);
    let mut last = EventId {
        position: 0,
        ..subscription.id()
    };
    let mut counts = [0; PUBLISHERS];
    let expected = expected(which);
    while counts.iter().sum::<u64>() < expected {
        match next(&mut subscription).await {
            Next::Events(entries) => {
                for entry in entries {
                    assert!(entry.position > last.position);
                    last.position = entry.position;
                    let text = text(&entry.frame);
                    let (publisher, number) = text.split_once(':').unwrap();
                    let count = &mut counts[publisher.parse::<usize>().unwrap()];
                    *count += 1;
                    // Whoever reads all of a publisher's topics gets all numbers.
                    if which % 3 == 0 {
                        assert_eq!(number, count.to_string());
                    }
                }
                if which % 5 == 0 {
                    let from = From::After(last.to_string());
                    subscription = hub.topics().subscribe(worker, &patterns, &from).unwrap();
                }
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts.iter().sum::<u64>(), expected);
}

/// Every publisher publishes in turn to `p/0`, `p/1` and `q`.
fn patterns(which: usize) -> Vec<TopicPattern> {
    let names: &[&str] = match which % 3 {
        0 => &["*"],
        1 => &["p/*"],
        _ => &["p/1"],
    };
    names
        .iter()
        .map(|name| TopicPattern::new(name).unwrap())
        .collect()
}

fn expected(which: usize) -> u64 {
    let all = PUBLISHERS as u64 * EVENTS / 4 * 3;
    match which % 3 {
        0 => all,
        1 => all / 3 * 2,
        _ => all / 3,
    }
}

#[test]
fn every_reader_of_topics_gets_all_of_them_in_one_order() {
    let hub = hub();
    let workers: Vec<_> = (0..WORKERS)
        .map(|number| {
            let readers = (0..READERS).map(|which| {
                // Some topics are there only after this.
                let begun = hub
                    .topics()
                    .subscribe(number, &patterns(which), &From::Start);
                read_topics(hub.clone(), begun.unwrap(), (number, which))
            });
            worker(hub.clone(), number, readers.collect())
        })
        .collect();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|publisher| {
            let hub = hub.clone();
            thread::spawn(move || {
                let topics = ["p/0", "p/1", "q"].map(|name| Topic::new(name).unwrap());
                for number in 1..=EVENTS / 4 * 3 {
                    let event = Unnumbered {
                        frame: frame(&format!("{publisher}:{number}"), 0),
                        alias: None,
                    };
                    let topic = &topics[usize::try_from(number % 3).unwrap()];
                    let published = hub.topics().publish(topic, vec![event], None);
                    published.now_or_never().unwrap().unwrap();
                    if number % 8 == 0 {
                        thread::yield_now();
                    }
                }
            })
        })
        .collect();
    for publisher in publishers {
        publisher.join().unwrap();
    }
    for worker in workers {
        worker.join().unwrap();
    }
}

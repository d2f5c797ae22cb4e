//! What the hub's tests stand on: a hub whose heralds and clock move when they are told to.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::config::{self, History, Ids, Slow, Start, TopicPattern, TopicRules};
use crate::hub::{Hub, Next, StreamRules, Subscription};
use crate::metrics::HubSeries;
use crate::sse::Frame;

/// How old events get.
pub(super) const AGE: Duration = Duration::from_secs(60);
pub(super) const WORKERS: usize = 2;

/// Counts how often it was woken.
#[derive(Default)]
pub(super) struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Counter {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A herald on its rounds.
type Running = Pin<Box<dyn Future<Output = ()>>>;

/// A hub, a herald for each worker, and a clock that stands.
pub(super) struct Stage {
    runtime: Runtime,
    pub(super) hub: Arc<Hub>,
    pub(super) series: HubSeries,
    heralds: Vec<(Running, Arc<Counter>)>,
}

impl Stage {
    pub(super) fn new(bounds: &config::Hub, rules: Vec<Arc<TopicRules>>) -> Self {
        let clock = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let runtime = clock.unwrap();
        let series = HubSeries::default();
        let hub = runtime.block_on(async { Hub::new(bounds, rules, WORKERS, series.clone()) });
        let herald = |worker| {
            let herald: Running = Box::pin(hub.clone().herald(worker));
            (herald, Arc::new(Counter(AtomicUsize::new(1))))
        };
        Self {
            heralds: (0..WORKERS).map(herald).collect(),
            runtime,
            hub,
            series,
        }
    }

    /// Does something with the stage's clock.
    pub(super) fn on<T>(&self, act: impl FnOnce(&Hub) -> T) -> T {
        let _clock = self.runtime.enter();
        act(&self.hub)
    }

    /// The heralds go their rounds until there is nothing left to do. Only those that were woken are asked.
    pub(super) fn run_heralds(&mut self) {
        let _clock = self.runtime.enter();
        for (herald, woken) in &mut self.heralds {
            while woken.0.swap(0, Ordering::SeqCst) > 0 {
                let waker = Waker::from(woken.clone());
                let polled = herald.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending());
            }
        }
    }

    /// Everything there is gets too old.
    pub(super) fn let_age(&self) {
        self.runtime.block_on(tokio::time::advance(AGE * 2));
    }
}

/// A subscription and the task that reads it.
pub(super) struct Reading {
    pub(super) subscription: Subscription,
    task: Arc<Counter>,
    /// How often it had been woken when it went to sleep, if it sleeps.
    asleep: Option<usize>,
}

impl Reading {
    pub(super) fn new(subscription: Subscription) -> Self {
        Self {
            subscription,
            task: Arc::default(),
            asleep: None,
        }
    }

    pub(super) fn poll(&mut self) -> Option<Next> {
        let waker = Waker::from(self.task.clone());
        match self
            .subscription
            .poll_next(&mut Context::from_waker(&waker))
        {
            Poll::Ready(next) => {
                self.asleep = None;
                Some(next)
            }
            Poll::Pending => {
                self.asleep = Some(self.task.count());
                None
            }
        }
    }

    /// Whether it waits to be woken, and was not.
    pub(super) fn sleeps(&self) -> bool {
        self.asleep.is_some_and(|count| self.task.count() == count)
    }
}

pub(super) fn bounds(streams: usize) -> config::Hub {
    config::Hub {
        path: "/streams".into(),
        streams,
        bytes: 1 << 30,
        event: 1 << 20,
    }
}

pub(super) fn history(events: usize) -> History {
    History {
        events,
        bytes: 1 << 20,
        age: AGE,
    }
}

pub(super) fn stream_rules(events: usize, slow: Slow, start: Start) -> StreamRules {
    StreamRules {
        history: history(events),
        slow,
        start,
        ids: Ids::Gateway,
    }
}

pub(super) fn topic_rules(
    pattern: &str,
    events: usize,
    slow: Slow,
    start: Start,
) -> Arc<TopicRules> {
    Arc::new(TopicRules {
        pattern: TopicPattern::new(pattern).unwrap(),
        history: history(events),
        slow,
        start,
    })
}

/// An event that says `text`, and is about `size` bytes long.
pub(super) fn frame(text: &str, size: usize) -> Frame {
    Frame::new(None, &format!("{text} {}", "x".repeat(size)), None).unwrap()
}

/// What [`frame`] was given.
pub(super) fn text(frame: &Frame) -> String {
    let data = frame.parts().data;
    data.split(' ').next().unwrap().to_owned()
}

//! Readers, heralds and appenders in every order that the memory model allows: nobody sleeps for ever.
//!
//! loom finds a lost wake-up as a deadlock: all threads wait and none is woken.
#![cfg(all(test, loom))]

#[path = "../../src/hub/parking.rs"]
#[allow(dead_code, reason = "the models need no more of it")]
mod parking;

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool as Flag, AtomicU64 as Number, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use loom::future::block_on;
use loom::sync::{Arc, Mutex};
use loom::thread;

use parking::{Bell, Ear, Mark, Seat, Tip};

/// What a herald is told.
#[derive(PartialEq)]
enum Ring {
    News,
    Stop,
}

/// A stream with its readers in one worker, and that worker's bell.
struct Scene {
    tip: Tip,
    ear: Ear,
    bell: Bell<Ring>,
    seat: Seat,
    /// What the reader has. It is no part of the protocol: the models must not get their order from it.
    position: Number,
    /// Only used by the models of topics.
    watermark: Mark,
}

impl Scene {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tip: Tip::new(0),
            ear: Ear::new(),
            bell: Bell::new(),
            seat: Seat::new(),
            position: Number::new(0),
            watermark: Mark::new(0),
        })
    }

    fn append(&self, position: u64) {
        self.tip.last.rise(position);
        self.tell();
    }

    fn publish(&self, position: u64) {
        self.tip.last.rise(position);
        self.watermark.rise(position);
        self.tell();
    }

    fn end(&self) {
        self.tip.end();
        self.tell();
    }

    fn tell(&self) {
        if self.ear.is_to_ring() {
            self.bell.ring(Ring::News);
        }
    }

    /// A round of the herald.
    fn round(&self) {
        self.ear.heed();
        let position = self.position.load(Ordering::Relaxed);
        if (self.tip.last.get() > position || self.tip.has_ended()) && self.seat.is_parked() {
            self.seat.wake();
        }
    }

    /// Reads up to `wanted`.
    fn poll_read(&self, wanted: u64, cx: &mut Context<'_>) -> Poll<()> {
        self.poll(cx, |scene| scene.read() >= wanted)
    }

    fn read(&self) -> u64 {
        let last = self.tip.last.get();
        self.position.store(last, Ordering::Relaxed);
        last
    }

    /// Waits for `done` as a subscription does.
    fn poll(&self, cx: &mut Context<'_>, mut done: impl FnMut(&Self) -> bool) -> Poll<()> {
        self.seat.unpark();
        if done(self) {
            return Poll::Ready(());
        }
        self.seat.park(cx.waker());
        if done(self) {
            self.seat.unpark();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Wakes the thread, and remembers that it was the reader who was woken.
struct ReaderWaker {
    woken: Flag,
    thread: Waker,
}

impl Wake for ReaderWaker {
    fn wake(self: std::sync::Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        self.thread.wake_by_ref();
    }
}

/// A worker: a herald, and a reader that is polled when it was woken itself, and not otherwise.
fn work(scene: &Scene, mut read: impl FnMut(&Scene, &mut Context<'_>) -> Poll<()>) {
    let mut reader = None;
    block_on(poll_fn(|cx| {
        let reader = reader.get_or_insert_with(|| {
            std::sync::Arc::new(ReaderWaker {
                woken: Flag::new(true),
                thread: cx.waker().clone(),
            })
        });
        while scene.bell.poll_next(cx).is_ready() {
            scene.round();
        }
        if reader.woken.swap(false, Ordering::Relaxed) {
            let waker = Waker::from(reader.clone());
            if read(scene, &mut Context::from_waker(&waker)).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }));
}

/// Every order in which a thread is interrupted at most so often, where it could go on.
fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut all = loom::model::Builder::new();
    all.preemption_bound = Some(2);
    all.check(model);
}

/// As it is: a herald and its readers take turns in one thread; others append.
#[test]
fn a_reader_that_waits_is_woken() {
    check(|| {
        let scene = Scene::new();
        scene.ear.enter();
        let appender = {
            let scene = scene.clone();
            thread::spawn(move || (1..=2).for_each(|position| scene.append(position)))
        };
        work(&scene, |scene, cx| scene.poll_read(2, cx));
        appender.join().unwrap();
    });
}

#[test]
fn a_reader_that_enters_while_something_is_appended_gets_it() {
    check(|| {
        let scene = Scene::new();
        let appender = {
            let scene = scene.clone();
            thread::spawn(move || (1..=2).for_each(|position| scene.append(position)))
        };
        scene.ear.enter();
        work(&scene, |scene, cx| scene.poll_read(2, cx));
        scene.ear.leave();
        appender.join().unwrap();
    });
}

/// More than happens: the herald in a thread of its own, at the same time as its reader.
#[test]
fn a_herald_beside_its_reader_forgets_nobody() {
    check(|| {
        let scene = Scene::new();
        scene.ear.enter();
        let herald = {
            let scene = scene.clone();
            thread::spawn(move || {
                while block_on(poll_fn(|cx| scene.bell.poll_next(cx))) == Ring::News {
                    scene.round();
                }
            })
        };
        let appender = {
            let scene = scene.clone();
            thread::spawn(move || (1..=2).for_each(|position| scene.append(position)))
        };
        block_on(poll_fn(|cx| scene.poll_read(2, cx)));
        scene.bell.ring(Ring::Stop);
        appender.join().unwrap();
        herald.join().unwrap();
    });
}

#[test]
fn the_end_of_a_stream_reaches_whoever_waits() {
    check(|| {
        let scene = Scene::new();
        scene.ear.enter();
        let appender = {
            let scene = scene.clone();
            thread::spawn(move || {
                scene.append(1);
                scene.end();
            })
        };
        work(&scene, |scene, cx| {
            scene.poll(cx, |scene| scene.read() == 1 && scene.tip.has_ended())
        });
        appender.join().unwrap();
    });
}

/// Topics are read up to the watermark, which rises after a topic's own end.
#[test]
fn a_reader_of_topics_waits_for_the_watermark() {
    check(|| {
        let scene = Scene::new();
        let publisher = {
            let scene = scene.clone();
            thread::spawn(move || (1..=2).for_each(|position| scene.publish(position)))
        };
        scene.ear.enter();
        work(&scene, |scene, cx| {
            scene.poll(cx, |scene| {
                let watermark = scene.watermark.get();
                assert!(scene.tip.last.get() >= watermark);
                scene.position.store(watermark, Ordering::Relaxed);
                watermark == 2
            })
        });
        publisher.join().unwrap();
    });
}

/// Two who append, one after the other as a log's lock has it: the second may find the herald told already.
#[test]
fn the_herald_sees_what_was_appended_by_one_that_did_not_ring() {
    check(|| {
        let scene = Scene::new();
        scene.ear.enter();
        let log = Arc::new(Mutex::new(0));
        let appenders = [0, 1].map(|_| {
            let (scene, log) = (scene.clone(), log.clone());
            thread::spawn(move || {
                let mut log = log.lock().unwrap();
                *log += 1;
                scene.tip.last.rise(*log);
                drop(log);
                scene.tell();
            })
        });
        work(&scene, |scene, cx| scene.poll_read(2, cx));
        for appender in appenders {
            appender.join().unwrap();
        }
    });
}

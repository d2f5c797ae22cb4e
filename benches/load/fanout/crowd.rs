//! The subscribers of one stream and its publisher: one thread, one readiness queue.
//!
//! Invariant: each event's last arrival and its number of arrivals are known, and every stream is checked
//! from the first event to the last. This thread must be faster than what it measures; what it
//! used itself is measured too.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::thread::{Timespec, nanosleep};

use super::poll::{BATCH, Poll, Ready};
use super::publisher::{Door, Publisher};
use super::reception::{Order, Reception};
use crate::clock::now_ns;
use crate::error::{LoadError, Result, While};
use crate::tally::histogram;

/// The one stream.
const PATH: &str = "/topics/load";

const PUBLISHER: u64 = u64::MAX;
/// Requests without an answer at once while the crowd gathers. Pushpin's proxy refuses those (502) for which its
/// queue of a hundred to zurl has no place.
const OPENING: usize = 50;
const ERRORS_KEPT: usize = 5;
/// Between two looks at what has arrived while a burst lasts. A thread that slept again after every
/// arrival would be woken by nearly every write, at the hub's cost (half as much again, and more where the
/// hub is slow); subscribers on other machines cost no hub that. Latencies are coarser by as much,
/// for every hub.
const REST: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000,
};
const READ_SIZE: usize = 64 * 1024;

/// All subscribers, and what they have seen.
pub struct Crowd {
    poll: Poll,
    ready: Vec<Ready>,
    buffer: Vec<u8>,
    subscribers: Vec<Subscriber>,
    publisher: Publisher,
    /// What was seen.
    pub seen: Sightings,
}

struct Subscriber {
    io: TcpStream,
    reception: Reception,
    has_failed: bool,
}

/// What the subscribers saw, together; times in nanoseconds.
pub struct Sightings {
    /// Arrivals of events of ours.
    pub deliveries: u64,
    /// Subscribers whose stream has begun.
    begun: usize,
    /// Subscribers that have the last event that is planned.
    pub finished: usize,
    /// Connections that failed.
    pub failures: usize,
    /// The first few reasons.
    pub errors: Vec<String>,
    /// From an event's sending to each arrival, from the first measured event on.
    pub latency: Histogram<u64>,
    /// The longest way of each event from its sending to an arrival.
    worst: Vec<u64>,
    /// The first event that is measured.
    measured_from: u64,
}

impl Crowd {
    /// Nobody yet; `planned` events will be published at `door`, those from number `measured_from` on are measured.
    pub fn new(door: Door, planned: u64, measured_from: u64) -> Result<Self> {
        let poll = Poll::new()?;
        let publisher = Publisher::new(door)?;
        poll.add(&publisher.io, PUBLISHER)?;
        let worst = vec![0; usize::try_from(planned).unwrap_or(0)];
        Ok(Self {
            poll,
            ready: Vec::new(),
            buffer: vec![0; READ_SIZE],
            subscribers: Vec::new(),
            publisher,
            seen: Sightings {
                deliveries: 0,
                begun: 0,
                finished: 0,
                failures: 0,
                errors: Vec::new(),
                latency: histogram()?,
                worst,
                measured_from,
            },
        })
    }

    /// Subscribes `count` times and waits until every stream has begun, until `deadline` at the latest.
    pub fn gather(&mut self, address: SocketAddr, count: u64, deadline: u64) -> Result<()> {
        let request =
            format!("GET {PATH} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
        for _ in 0..count {
            let mut io = TcpStream::connect(address).while_doing("connecting a subscriber")?;
            io.set_nonblocking(true).while_doing("O_NONBLOCK")?;
            self.poll.add(&io, self.subscribers.len() as u64)?;
            io.write_all(request.as_bytes())
                .while_doing("subscribing")?;
            self.subscribers.push(Subscriber {
                io,
                reception: Reception::new(),
                has_failed: false,
            });
            self.wait_for_heads(OPENING, deadline)?;
        }
        self.wait_for_heads(0, deadline)
    }

    fn wait_for_heads(&mut self, most: usize, deadline: u64) -> Result<()> {
        while self.subscribers.len() - self.seen.begun - self.seen.failures > most {
            if now_ns() > deadline {
                let (begun, all) = (self.seen.begun, self.subscribers.len());
                return Err(LoadError::Failed(format!(
                    "only {begun} of {all} streams had begun in time"
                )));
            }
            self.turn(deadline)?;
        }
        match self.seen.failures {
            0 => Ok(()),
            count => Err(LoadError::Failed(format!(
                "{count} streams did not begin: {}",
                self.seen.errors.join("; ")
            ))),
        }
    }

    /// Publishes event number `sequence` when it is due, and the event before it is answered.
    pub fn publish(&mut self, sequence: u64, due: u64, deadline: u64) -> Result<()> {
        self.receive_until(due)?;
        while self.publisher.is_waiting() {
            if now_ns() > deadline {
                return Err(LoadError::Failed("an event was not answered".into()));
            }
            self.turn(deadline)?;
        }
        self.publisher.publish(sequence, due)
    }

    /// Receives until the clock shows `until`.
    pub fn receive_until(&mut self, until: u64) -> Result<()> {
        while now_ns() < until {
            self.turn(until)?;
        }
        Ok(())
    }

    /// Receives until everyone has the last event or has failed; at most until `deadline`.
    pub fn finish(&mut self, deadline: u64) -> Result<()> {
        while self.seen.finished + self.seen.failures < self.subscribers.len()
            && now_ns() < deadline
        {
            self.turn(deadline)?;
        }
        Ok(())
    }

    /// Waits for arrivals, at most until the clock shows `until`, and takes them.
    fn turn(&mut self, until: u64) -> Result<()> {
        let limit = Duration::from_nanos(until.saturating_sub(now_ns()));
        self.poll.wait(Some(limit), &mut self.ready)?;
        for ready in &self.ready {
            let place = usize::try_from(ready.token).unwrap_or(usize::MAX);
            match self.subscribers.get_mut(place) {
                Some(subscriber) => {
                    subscriber.receive(ready.closing, &mut self.buffer, &mut self.seen);
                }
                None => {
                    if self.publisher.receive()? {
                        self.poll.add(&self.publisher.io, PUBLISHER)?;
                    }
                }
            }
        }
        if (1..BATCH).contains(&self.ready.len()) {
            // Cut short by a signal, it only costs a turn.
            let _ = nanosleep(&REST);
        }
        Ok(())
    }

    /// Missing, repeated, late and foreign events over all subscribers.
    pub fn wrong_deliveries(&self) -> Order {
        let planned = self.seen.worst.len() as u64;
        let mut sum = Order::default();
        for Subscriber { reception, .. } in &self.subscribers {
            let order = reception.order;
            sum.missing += order.missing + planned.saturating_sub(order.next);
            sum.out_of_turn += order.out_of_turn;
            sum.foreign += order.foreign;
        }
        sum
    }
}

impl Subscriber {
    fn receive(&mut self, is_closing: bool, buffer: &mut [u8], seen: &mut Sightings) {
        if self.has_failed {
            return;
        }
        if let Err(error) = self.read(is_closing, buffer, seen) {
            self.has_failed = true;
            seen.failures += 1;
            // One that had begun would else count twice.
            seen.begun -= usize::from(self.reception.has_begun());
            if seen.errors.len() < ERRORS_KEPT {
                seen.errors.push(error.to_string());
            }
        }
    }

    fn read(&mut self, is_closing: bool, buffer: &mut [u8], seen: &mut Sightings) -> Result<()> {
        loop {
            let length = match self.io.read(buffer) {
                Ok(0) => return Err(LoadError::Wire("a subscriber's connection closed".into())),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).while_doing("reading events"),
            };
            let now = now_ns();
            let had_begun = self.reception.has_begun();
            let fed = self
                .reception
                .feed(&buffer[..length], &mut |sequence, stamp| {
                    seen.arrived(sequence, now.saturating_sub(stamp));
                });
            seen.begun += usize::from(!had_begun && self.reception.has_begun());
            fed?;
            // A short read took everything; a later arrival is reported anew.
            if length < buffer.len() && !is_closing {
                return Ok(());
            }
        }
    }
}

impl Sightings {
    fn arrived(&mut self, sequence: u64, latency: u64) {
        self.deliveries += 1;
        if sequence >= self.measured_from {
            self.latency.saturating_record(latency);
        }
        let place = usize::try_from(sequence).unwrap_or(usize::MAX);
        if let Some(worst) = self.worst.get_mut(place) {
            *worst = latency.max(*worst);
            self.finished += usize::from(place + 1 == self.worst.len());
        }
    }

    /// How long each measured event took to its last subscriber.
    pub fn last_arrivals(&self) -> Result<Histogram<u64>> {
        let mut last = histogram()?;
        let from = usize::try_from(self.measured_from).unwrap_or(usize::MAX);
        for worst in self.worst.iter().skip(from) {
            last.saturating_record(*worst);
        }
        Ok(last)
    }
}

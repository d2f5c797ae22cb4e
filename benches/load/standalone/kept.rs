//! A kept answer, cut by its own client again and again: asked for once, then read on from `Link`.
//!
//! Invariant: the client cuts at places that nobody chose (drawn in bytes, so inside events too) and
//! goes on after the last whole event; at the end the answer must have come once, whole, in order. Where its
//! events bear no numbers, it is read once more without cuts, and compared.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;

use super::account::{Account, Ended};
use super::follower::Follower;
use super::streams::{Ask, exchange, verdict};
use crate::clock::{now_ns, sleep_until_ns};
use crate::event::{EventReader, Lines};
use crate::wire::Body;

/// Where a client cuts its own connections.
pub struct Cuts {
    rng: fastrand::Rng,
    /// The mean number of bytes between two cuts.
    mean: u64,
}

impl Cuts {
    /// Cuts after `mean` bytes in the mean, drawn by `seed`.
    pub fn new(mean: u64, seed: u64) -> Self {
        Self {
            rng: fastrand::Rng::with_seed(seed),
            mean: mean.max(1),
        }
    }

    /// The bytes that the next connection gives before it is cut.
    pub fn next(&mut self) -> u64 {
        self.rng.u64(0..=2 * self.mean)
    }

    /// Whether the next cut is a reset.
    pub fn is_reset(&mut self) -> bool {
        self.rng.bool()
    }
}

/// How often in a row a client comes back to a server that gives it nothing.
const PATIENCE: u32 = 5;
const BREATH_NS: u64 = 100_000_000;

/// What the events of an answer said, for answers whose events bear no numbers of ours.
#[derive(Default)]
struct Said {
    lines: Lines,
    event: Option<DefaultHasher>,
    /// A digest of each whole event's data.
    events: Vec<u64>,
}

impl Said {
    fn feed(&mut self, bytes: &[u8]) {
        let Self {
            lines,
            event,
            events,
        } = self;
        lines.feed(bytes, &mut |line| {
            if let Some(data) = line.strip_prefix(b"data:") {
                event.get_or_insert_default().write(data);
            } else if line.is_empty() {
                events.extend(event.take().map(|event| event.finish()));
            }
        });
    }

    /// The connection is another one: what was not whole comes again.
    fn comes_back(&mut self) {
        self.lines = Lines::default();
        self.event = None;
    }
}

/// Lost, repeated, out of order.
pub type Differences = (u64, u64, u64);

/// How what was read in pieces differs from the answer read at once.
pub fn differences(pieces: &[u64], whole: &[u64]) -> Differences {
    let mut counts: HashMap<u64, i64> = HashMap::new();
    for event in whole {
        *counts.entry(*event).or_default() += 1;
    }
    for event in pieces {
        *counts.entry(*event).or_default() -= 1;
    }
    let sum = |sign: i64| {
        counts
            .values()
            .map(|count| (count * sign).max(0))
            .sum::<i64>()
    };
    let (lost, repeated) = (sum(1).unsigned_abs(), sum(-1).unsigned_abs());
    let is_moved = lost + repeated == 0 && pieces != whole;
    (lost, repeated, u64::from(is_moved))
}

/// One answer that is being read.
struct Reading<'a> {
    ask: &'a Ask,
    account: &'a Account,
    cuts: Cuts,
    follower: Follower,
    /// Where it is kept, once that is known.
    place: Option<String>,
    last_id: Vec<u8>,
    said: Said,
    /// Connections in a row that gave nothing.
    in_vain: u32,
}

/// Follows one answer through its cuts to its end.
pub async fn follow(ask: &Ask, cuts: Cuts, account: &Arc<Account>) -> Ended {
    sleep_until_ns(ask.due).await;
    let mut reading = Reading {
        ask,
        account,
        cuts,
        follower: Follower::of_stream(account, ask.due),
        place: None,
        last_id: Vec::new(),
        said: Said::default(),
        in_vain: 0,
    };
    loop {
        if let Some(ended) = reading.connection().await {
            if ended == Ended::Whole && ask.planned.is_none() {
                reading.compare().await;
            }
            return ended;
        }
    }
}

impl Reading<'_> {
    /// What the next connection asks.
    fn request(&self) -> Vec<u8> {
        let Some(place) = &self.place else {
            return self.ask.request.clone();
        };
        let shown = match self.last_id.as_slice() {
            b"" => String::new(),
            id => format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(id)),
        };
        let further = format!("Accept: text/event-stream\r\n{shown}");
        self.ask.address.get(place, &further)
    }

    /// Reads on over one connection, until it is cut or all has come.
    async fn connection(&mut self) -> Option<Ended> {
        let (mut wire, head) = match exchange(&self.ask.address, &self.request(), None).await {
            Ok(answered) => answered,
            Err(_) if self.place.is_some() && self.in_vain < PATIENCE => {
                self.in_vain += 1;
                sleep_until_ns(now_ns() + BREATH_NS).await;
                return None;
            }
            Err(ended) => return Some(ended),
        };
        if !(200..300).contains(&head.status) {
            return Some(Ended::Refused(head.status));
        }
        if self.place.is_none() {
            self.account.counts().begun += 1;
            self.follower.same_clock = head.boot.as_ref() == Some(&self.ask.address.boot);
            let Some(kept_at) = head.kept_at else {
                let why = "an answer came without Link: <…>; rel=\"self\": it is not kept (Deltaway keeps those of routes with resume)";
                return Some(Ended::Unfit(why.into()));
            };
            self.place = Some(kept_at);
        }
        let (mut body, mut reader) = (Body::new(head.framing), EventReader::default());
        let mut left = self.cuts.next();
        let mut is_over = false;
        while left > 0 && !is_over {
            let mut is_new = true;
            let (follower, said) = (&mut self.follower, &mut self.said);
            let has_numbers = self.ask.planned.is_some();
            let mut sink = |bytes: &[u8]| {
                if std::mem::take(&mut is_new) {
                    follower.arrives();
                }
                let most = usize::try_from(left).unwrap_or(usize::MAX);
                let taken = &bytes[..bytes.len().min(most)];
                left -= taken.len() as u64;
                reader.feed(taken, &mut |seen| follower.saw(seen));
                if !has_numbers {
                    said.feed(taken);
                }
            };
            match wire.body(&mut body, &mut sink).await {
                // What stands behind the cut was not seen, and may be the end.
                Ok(more) => is_over = !more && left > 0,
                Err(error) if self.in_vain >= PATIENCE => {
                    return Some(Ended::Cut(error.to_string()));
                }
                Err(_) => break,
            }
        }
        if is_over || self.follower.is_done {
            return Some(verdict(&self.follower, self.ask.planned));
        }
        self.in_vain = match reader.last_id() {
            b"" => self.in_vain + u32::from(left > 0),
            id => {
                self.last_id = id.to_vec();
                0
            }
        };
        self.account.counts().own_cuts += u64::from(left == 0);
        wire.io.leave(self.cuts.is_reset());
        self.follower.comes_back(now_ns());
        self.said.comes_back();
        None
    }

    /// Reads the answer once more, at once, and counts how what came in pieces differs. An answer that
    /// is no longer kept is not compared.
    async fn compare(&mut self) {
        self.last_id.clear();
        let answered = exchange(&self.ask.address, &self.request(), None).await;
        let Ok((mut wire, head)) = answered else {
            return;
        };
        let (mut body, mut whole) = (Body::new(head.framing), Said::default());
        let is_read = loop {
            match wire.body(&mut body, &mut |bytes| whole.feed(bytes)).await {
                Ok(true) => {}
                Ok(false) => break head.status == 200,
                Err(_) => break false,
            }
        };
        if !is_read {
            return;
        }
        let (lost, repeated, out_of_order) = differences(&self.said.events, &whole.events);
        let mut counts = self.account.counts();
        counts.compared += 1;
        counts.lost += lost;
        counts.repeated += repeated;
        counts.out_of_order += out_of_order;
    }
}

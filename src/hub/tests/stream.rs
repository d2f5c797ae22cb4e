//! Streams of their own.

use std::sync::Arc;
use std::task::{Context, Waker};

use proptest::prelude::*;
use proptest::sample::Index;

use super::stage::{Reading, Stage, WORKERS, bounds, frame, stream_rules, text};
use crate::config::{Slow, Start};
use crate::dialect::Ending;
use crate::hub::{End, From, Gap, GapReason, Next, Stream};
use crate::sse::{Epoch, EventId};

const END: End = End {
    ending: Ending::Complete,
    abort: false,
};

#[derive(Debug, Clone)]
enum Act {
    Append(usize),
    Subscribe(Where),
    Poll(Index),
    /// The connection is cut, and the client comes back with the last id it saw.
    Resume(Index),
    Leave(Index),
    Heralds,
    Age,
    Close,
}

#[derive(Debug, Clone)]
enum Where {
    Start,
    Id(Index),
    Count(Index),
    Alias(Index),
    Ahead,
    OtherEpoch,
    Nonsense,
}

fn places() -> impl Strategy<Value = Where> {
    prop_oneof![
        4 => Just(Where::Start),
        3 => any::<Index>().prop_map(Where::Id),
        1 => any::<Index>().prop_map(Where::Count),
        2 => any::<Index>().prop_map(Where::Alias),
        1 => Just(Where::Ahead),
        1 => Just(Where::OtherEpoch),
        1 => Just(Where::Nonsense),
    ]
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        12 => prop_oneof![Just(0_usize), Just(30_000)].prop_map(Act::Append),
        3 => places().prop_map(Act::Subscribe),
        12 => any::<Index>().prop_map(Act::Poll),
        2 => any::<Index>().prop_map(Act::Resume),
        1 => any::<Index>().prop_map(Act::Leave),
        5 => Just(Act::Heralds),
        1 => Just(Act::Age),
    ];
    // Most of them never end, or close to the end: little can happen afterwards.
    let closed = proptest::option::of(Just(Act::Close));
    (
        proptest::collection::vec(act.clone(), 1..120),
        closed,
        proptest::collection::vec(act, 0..10),
    )
        .prop_map(|(mut acts, closed, rest)| {
            acts.extend(closed);
            acts.extend(rest);
            acts
        })
}

/// A reader, and what it must get next.
struct Client {
    reading: Reading,
    /// The last position it has, or was told of.
    seen: u64,
    /// The gap that it must be told of at once.
    told: Option<GapReason>,
    has_read: bool,
}

/// A stream, and what is known of it.
struct Play {
    stage: Stage,
    stream: Arc<Stream>,
    slow: Slow,
    start: Start,
    keeps: u64,
    last: u64,
    evicted: u64,
    closed: bool,
    clients: Vec<Client>,
    begun: usize,
}

impl Play {
    fn new(keeps: u64, slow: Slow, start: Start) -> Self {
        let stage = Stage::new(&bounds(10), Vec::new());
        let rules = stream_rules(usize::try_from(keeps).unwrap(), slow, start);
        let stream = stage.on(|hub| hub.open(rules)).unwrap();
        Self {
            stage,
            stream,
            slow,
            start,
            keeps,
            last: 0,
            evicted: 0,
            closed: false,
            clients: Vec::new(),
            begun: 0,
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Append(size) => self.append(*size),
            Act::Subscribe(place) => self.subscribe(place),
            Act::Poll(which) => {
                if let Some(client) = self.client(which) {
                    self.poll(client);
                }
            }
            Act::Resume(which) => {
                if let Some(client) = self.client(which) {
                    self.resume(client);
                }
            }
            Act::Leave(which) => {
                if let Some(client) = self.client(which) {
                    self.clients.swap_remove(client);
                }
            }
            Act::Heralds => self.run_heralds(),
            Act::Age => {
                self.stage.let_age();
                self.stage.on(|_| self.stream.evict_old());
                self.evicted = self.last;
            }
            Act::Close => {
                self.stream.close(END);
                self.closed = true;
            }
        }
        assert_eq!(self.stream.readers(), self.clients.len());
        let bytes = self.stage.series.bytes.get();
        assert_eq!(bytes == 0, self.evicted == self.last, "{bytes} bytes");
    }

    fn client(&self, which: &Index) -> Option<usize> {
        (!self.clients.is_empty()).then(|| which.index(self.clients.len()))
    }

    fn append(&mut self, size: usize) {
        let position = self.last + 1;
        let appended = self.stage.on(|_| {
            let alias = format!("alias-{position}").as_str().into();
            self.stream
                .append(frame(&position.to_string(), size), Some(alias))
        });
        assert_eq!(appended.is_err(), self.closed);
        if let Ok(id) = appended {
            assert_eq!(id, self.id(position));
            self.last = position;
            // Those before may have been too old by now, if nobody looked: ages are only let go of in `Act::Age`.
            self.evicted = self.evicted.max(position.saturating_sub(self.keeps));
        }
    }

    fn subscribe(&mut self, place: &Where) {
        let some = |which: &Index| which.index(usize::try_from(self.last).unwrap() + 1) as u64;
        let oldest = self.evicted;
        let other = EventId {
            epoch: Epoch::new(u64::from(self.id(0).epoch == Epoch::new(0))),
            position: 1,
        };
        let (from, seen, told) = match place {
            Where::Start => match self.start {
                Start::Live => (From::Start, self.last, None),
                Start::Latest if self.evicted == self.last => (From::Start, self.last, None),
                Start::Latest => (From::Start, self.last - 1, None),
                Start::Oldest => (From::Start, oldest, None),
            },
            Where::Id(which) => (
                From::After(self.id(some(which)).to_string()),
                some(which),
                None,
            ),
            Where::Count(which) => (From::Count(some(which)), some(which), None),
            Where::Alias(which) => {
                let position = some(which);
                let from = From::After(format!("alias-{position}"));
                if position > self.evicted {
                    (from, position, None)
                } else {
                    (from, oldest, Some(GapReason::Unknown))
                }
            }
            Where::Ahead => {
                let ahead = self.id(self.last + 1).to_string();
                (From::After(ahead), oldest, Some(GapReason::Ahead))
            }
            Where::OtherEpoch => (
                From::After(other.to_string()),
                oldest,
                Some(GapReason::Epoch),
            ),
            Where::Nonsense => (
                From::After("x.y".to_owned()),
                oldest,
                Some(GapReason::Unknown),
            ),
        };
        self.enter(&from, seen, told);
    }

    fn enter(&mut self, from: &From, seen: u64, told: Option<GapReason>) {
        let subscription = self.stream.subscribe(self.begun % WORKERS, from);
        self.begun += 1;
        assert_eq!(subscription.id(), self.id(seen));
        self.clients.push(Client {
            reading: Reading::new(subscription),
            seen,
            told,
            has_read: false,
        });
    }

    fn resume(&mut self, which: usize) {
        let gone = self.clients.swap_remove(which);
        let id = gone.reading.subscription.id();
        drop(gone.reading);
        assert_eq!(id, self.id(gone.seen));
        self.enter(&From::After(id.to_string()), gone.seen, None);
    }

    /// Has a reader read once, and checks what it gets. False when there is nothing more.
    fn poll(&mut self, which: usize) -> bool {
        let mut client = self.clients.swap_remove(which);
        let next = client.reading.poll();
        let mut more = true;
        let mut lagged = false;
        match next {
            None => {
                assert_eq!(
                    client.seen, self.last,
                    "sleeps though there is something to read"
                );
                assert!(!self.closed && client.told.is_none());
                more = false;
            }
            Some(Next::Events(entries)) => {
                assert!(
                    client.told.is_none() && client.seen >= self.evicted && !entries.is_empty()
                );
                for entry in entries {
                    client.seen += 1;
                    assert_eq!(entry.position, client.seen);
                    assert_eq!(text(&entry.frame), client.seen.to_string());
                }
                client.has_read = true;
            }
            Some(Next::Gap(gap)) => self.check_gap(&mut client, &gap),
            Some(Next::Lagged) => {
                assert!(self.slow == Slow::Disconnect && client.has_read);
                assert!(client.told.is_none() && client.seen < self.evicted);
                lagged = true;
            }
            Some(Next::End(end)) => {
                assert!(self.closed && client.told.is_none());
                assert_eq!((client.seen, end), (self.last, END));
                assert!(client.reading.subscription.is_over());
                more = false;
            }
        }
        assert_eq!(client.reading.subscription.id(), self.id(client.seen));
        assert!(client.seen <= self.last);
        self.clients.push(client);
        let last = self.clients.len() - 1;
        self.clients.swap(which, last);
        if lagged {
            self.resume(which);
        }
        more
    }

    fn check_gap(&self, client: &mut Client, gap: &Gap) {
        if let Some(reason) = client.told.take() {
            assert_eq!(gap.reason, reason);
            assert_eq!((gap.after, gap.through, gap.missed), (None, None, None));
            assert_eq!(gap.id, self.id(client.seen));
            return;
        }
        assert_eq!(gap.reason, GapReason::Evicted);
        assert!(self.slow != Slow::Disconnect || !client.has_read);
        let through = match self.slow {
            Slow::Latest => self.evicted.max(self.last - 1),
            Slow::Skip | Slow::Disconnect => self.evicted,
        };
        assert!(client.seen < self.evicted);
        assert_eq!(gap.after, Some(self.id(client.seen)));
        assert_eq!(gap.through, Some(self.id(through)));
        assert_eq!(gap.missed, Some(through - client.seen));
        assert_eq!(gap.id, self.id(through));
        client.seen = through;
        client.has_read = true;
    }

    fn run_heralds(&mut self) {
        self.stage.run_heralds();
        for client in &self.clients {
            let has_news = client.seen < self.last || self.closed;
            assert!(
                !client.reading.sleeps() || !has_news,
                "nobody woke the reader"
            );
        }
    }

    /// Everybody reads what there is.
    fn finish(&mut self) {
        self.run_heralds();
        for _ in 0..self.clients.len() {
            let mut turns = 0;
            while self.poll(0) {
                turns += 1;
                assert!(turns < 1000, "reads for ever");
            }
            self.clients.rotate_left(1);
        }
    }

    fn id(&self, position: u64) -> EventId {
        EventId {
            epoch: self.stream.epoch(),
            position,
        }
    }
}

fn slows() -> impl Strategy<Value = Slow> {
    prop_oneof![Just(Slow::Skip), Just(Slow::Latest), Just(Slow::Disconnect)]
}

fn starts() -> impl Strategy<Value = Start> {
    prop_oneof![Just(Start::Live), Just(Start::Latest), Just(Start::Oldest)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_reader_gets_a_run_or_an_exact_gap(
        keeps in 1_u64..12,
        slow in slows(),
        start in starts(),
        acts in acts(),
    ) {
        let mut play = Play::new(keeps, slow, start);
        for act in &acts {
            play.act(act);
        }
        play.finish();
        play.clients.clear();
        let Play { stage, stream, .. } = play;
        drop(stream);
        let mut stage = stage;
        stage.run_heralds();
        prop_assert_eq!(stage.series.bytes.get(), 0);
        prop_assert_eq!(stage.series.streams.get(), 0);
        prop_assert_eq!(stage.series.subscribers.get(), 0);
    }
}

#[test]
fn a_reader_from_the_oldest_of_nothing_sleeps() {
    let mut play = Play::new(3, Slow::Skip, Start::Oldest);
    play.append(0);
    play.act(&Act::Age);
    play.subscribe(&Where::Start);
    assert!(!play.poll(0));
    play.append(0);
    play.finish();
    assert_eq!(play.clients[0].seen, 2);
}

#[test]
fn what_was_evicted_after_the_beginning_is_told_even_to_one_that_asked_for_what_there_is() {
    let mut play = Play::new(2, Slow::Skip, Start::Oldest);
    play.subscribe(&Where::Start);
    (0..5).for_each(|_| play.append(0));
    assert!(play.poll(0));
    assert_eq!(play.clients[0].seen, 3);
    play.finish();
}

#[test]
fn who_waits_for_readers_hears_of_the_first_and_of_the_last() {
    let stream = Play::new(3, Slow::Skip, Start::Live).stream;
    assert!(asked(stream.deserted())());
    let mut joined = asked(stream.joined());
    assert!(!joined());
    let first = stream.subscribe(0, &From::Start);
    assert!(joined());
    let second = stream.subscribe(1, &From::Start);
    let mut deserted = asked(stream.deserted());
    assert!(!deserted());
    drop(first);
    assert!(!deserted());
    drop(second);
    assert!(deserted());
}

/// Asks a future whether it is done.
fn asked<'f>(future: impl Future<Output = ()> + 'f) -> impl FnMut() -> bool + 'f {
    let mut future = Box::pin(future);
    move || {
        let mut cx = Context::from_waker(Waker::noop());
        future.as_mut().poll(&mut cx).is_ready()
    }
}

//! Topics: any set of them, also those that come and go.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::sample::Index;

use super::stage::{Reading, Stage, WORKERS, bounds, frame, text, topic_rules};
use crate::config::{Slow, Start, Topic, TopicPattern};
use futures_util::FutureExt;

use crate::hub::{From, Full, Gap, GapReason, Next, Producer, PublishFault, Unnumbered};
use crate::sse::{Epoch, EventId};

const NAMES: [&str; 5] = ["a", "b", "x/1", "x/2", "x/3"];
const PATTERNS: [&str; 6] = ["a", "b", "x/1", "x/2", "x/*", "*"];

#[derive(Debug, Clone)]
enum Act {
    /// So many events of so many bytes.
    Publish(usize, usize, usize),
    Subscribe(Vec<usize>, Where),
    Poll(Index),
    Resume(Index),
    Leave(Index),
    Heralds,
    /// What is kept gets too old.
    Age,
}

#[derive(Debug, Clone)]
enum Where {
    Start,
    Id(Index),
    Alias(Index),
    Ahead,
    OtherEpoch,
    Nonsense,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let place = prop_oneof![
        4 => Just(Where::Start),
        4 => any::<Index>().prop_map(Where::Id),
        1 => any::<Index>().prop_map(Where::Alias),
        1 => Just(Where::Ahead),
        1 => Just(Where::OtherEpoch),
        1 => Just(Where::Nonsense),
    ];
    let size = prop_oneof![3 => Just(0_usize), 1 => Just(9_000)];
    let patterns = proptest::collection::vec(0..PATTERNS.len(), 1..4);
    let act = prop_oneof![
        10 => (0..NAMES.len(), 1_usize..5, size).prop_map(|(name, events, size)| Act::Publish(name, events, size)),
        3 => (patterns, place).prop_map(|(patterns, place)| Act::Subscribe(patterns, place)),
        10 => any::<Index>().prop_map(Act::Poll),
        2 => any::<Index>().prop_map(Act::Resume),
        1 => any::<Index>().prop_map(Act::Leave),
        4 => Just(Act::Heralds),
        1 => Just(Act::Age),
    ];
    proptest::collection::vec(act, 1..150)
}

/// An event that was published.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Event {
    topic: &'static str,
    /// Whether its topic still keeps it.
    kept: bool,
}

struct Client {
    reading: Reading,
    patterns: Vec<TopicPattern>,
    /// The id its client would come back with.
    shown: u64,
    got: BTreeSet<u64>,
    /// What it asked for: all of this has to come, or to lie in a gap.
    due: BTreeSet<u64>,
    /// The gaps it was told of: the topic, after, through.
    gaps: Vec<(Option<String>, u64, u64)>,
    told: Option<GapReason>,
    /// It came back. An id does not say what it chose to skip: that it may get after all.
    resumed: bool,
}

impl Client {
    fn wants(&self, topic: &str) -> bool {
        let topic = Topic::new(topic).unwrap();
        self.patterns.iter().any(|pattern| pattern.matches(&topic))
    }

    fn misses(&self, position: u64, topic: &str) -> bool {
        self.gaps.iter().any(|(of, after, through)| {
            of.as_deref().is_none_or(|of| of == topic) && (after + 1..=*through).contains(&position)
        })
    }
}

struct Play {
    stage: Stage,
    slow: Slow,
    start: Start,
    keeps: usize,
    epoch: Epoch,
    /// That of position 1 first.
    events: Vec<Event>,
    clients: Vec<Client>,
    begun: usize,
    /// Whether topics are forgotten when there are too many, so that what is kept is not known here.
    crowded: bool,
}

impl Play {
    fn new(keeps: usize, slow: Slow, start: Start, streams: usize) -> Self {
        let rules = vec![topic_rules("*", keeps, slow, start)];
        let stage = Stage::new(&bounds(streams), rules);
        Self {
            epoch: stage.hub.topics().last_id().epoch,
            stage,
            slow,
            start,
            keeps,
            events: Vec::new(),
            clients: Vec::new(),
            begun: 0,
            crowded: streams < NAMES.len(),
        }
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Publish(name, events, size) => self.publish(NAMES[*name], *events, *size),
            Act::Subscribe(patterns, place) => self.subscribe(patterns, place),
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
                // Also forgets the topics that nobody reads.
                self.stage.let_age();
                self.stage.on(crate::hub::Hub::sweep);
                self.events.iter_mut().for_each(|event| event.kept = false);
                assert_eq!(self.stage.series.bytes.get(), 0);
            }
        }
        let open = i64::try_from(self.clients.len()).unwrap();
        assert_eq!(self.stage.series.subscribers.get(), open);
    }

    fn client(&self, which: &Index) -> Option<usize> {
        (!self.clients.is_empty()).then(|| which.index(self.clients.len()))
    }

    fn publish(&mut self, name: &'static str, events: usize, size: usize) {
        let first = self.last() + 1;
        let new = (first..).take(events).map(|position| Unnumbered {
            frame: frame(&format!("{name}:{position}"), size),
            alias: (position % 2 == 0).then(|| format!("alias-{position}").as_str().into()),
        });
        let new = new.collect();
        let topic = Topic::new(name).unwrap();
        let published = self.stage.on(|hub| {
            let published = hub.topics().publish(&topic, new, None);
            published.now_or_never().unwrap()
        });
        let ids = match published {
            Ok(ids) => ids,
            Err(PublishFault::Full(full)) => {
                assert!(self.crowded && matches!(full, Full::Streams(_)));
                return;
            }
            Err(fault) => panic!("{fault}"),
        };
        assert_eq!(
            ids,
            (first..)
                .take(events)
                .map(|at| self.id(at))
                .collect::<Vec<_>>()
        );
        for position in first..first + events as u64 {
            self.events.push(Event {
                topic: name,
                kept: true,
            });
            for client in self.clients.iter_mut().filter(|client| client.wants(name)) {
                client.due.insert(position);
            }
        }
        let kept = self
            .events
            .iter_mut()
            .rev()
            .filter(|event| event.topic == name);
        kept.skip(self.keeps).for_each(|event| event.kept = false);
        assert_eq!(self.stage.hub.topics().last_id(), self.id(self.last()));
    }

    fn subscribe(&mut self, patterns: &[usize], place: &Where) {
        let patterns: Vec<_> = patterns
            .iter()
            .map(|which| TopicPattern::new(PATTERNS[*which]).unwrap())
            .collect();
        let count = self.events.len() + 1;
        let some = |which: &Index| which.index(count) as u64;
        let other = Epoch::new(u64::from(self.epoch == Epoch::new(0)));
        let (from, told) = match place {
            Where::Start => (From::Start, None),
            Where::Id(which) => (From::After(self.id(some(which)).to_string()), None),
            Where::Alias(which) => (From::After(format!("alias-{}", some(which))), None),
            Where::Ahead => (
                From::After(self.id(self.last() + 1).to_string()),
                Some(GapReason::Ahead),
            ),
            Where::OtherEpoch => {
                let id = EventId {
                    epoch: other,
                    position: 1,
                };
                (From::After(id.to_string()), Some(GapReason::Epoch))
            }
            Where::Nonsense => (From::After("nonsense".to_owned()), Some(GapReason::Unknown)),
        };
        let Some(reading) = self.enter(&patterns, &from) else {
            return;
        };
        let mut client = Client {
            shown: reading.subscription.id().position,
            reading,
            patterns,
            got: BTreeSet::new(),
            due: BTreeSet::new(),
            gaps: Vec::new(),
            told,
            resumed: false,
        };
        let is_meant =
            |(at, event): &(usize, &Event)| client.wants(event.topic).then_some(*at as u64 + 1);
        let meant: Vec<u64> = self
            .events
            .iter()
            .enumerate()
            .filter_map(|both| is_meant(&both))
            .collect();
        let asked = match place {
            Where::Id(which) => {
                assert_eq!(client.shown, some(which));
                Some(some(which))
            }
            Where::Alias(which) => {
                let position = some(which);
                let event = position
                    .checked_sub(1)
                    .map(|at| &self.events[usize::try_from(at).unwrap()]);
                let meant = event.is_some_and(|event| event.kept && client.wants(event.topic));
                let known = meant && position % 2 == 0;
                if self.crowded {
                    client.told = None;
                    None
                } else {
                    client.told = (!known).then_some(GapReason::Unknown);
                    known.then_some(position)
                }
            }
            _ => None,
        };
        client.due = match (asked, place) {
            (Some(asked), _) => meant.into_iter().filter(|at| *at > asked).collect(),
            (None, Where::Start) => self.offered(&client, self.start),
            (None, _) => self.offered(&client, Start::Oldest),
        };
        self.clients.push(client);
    }

    /// What a client has to get that begins with what there is.
    fn offered(&self, client: &Client, start: Start) -> BTreeSet<u64> {
        let of = |name: &'static str| {
            let kept = self
                .events
                .iter()
                .enumerate()
                .filter(move |(_, event)| event.topic == name && event.kept);
            kept.map(|(at, _)| at as u64 + 1)
        };
        let wanted = NAMES.into_iter().filter(|name| client.wants(name));
        match start {
            _ if self.crowded => BTreeSet::new(),
            Start::Live => BTreeSet::new(),
            Start::Latest => wanted.filter_map(|name| of(name).next_back()).collect(),
            Start::Oldest => wanted.flat_map(of).collect(),
        }
    }

    fn enter(&mut self, patterns: &[TopicPattern], from: &From) -> Option<Reading> {
        self.begun += 1;
        let worker = self.begun % WORKERS;
        let begun = self
            .stage
            .on(|hub| hub.topics().subscribe(worker, patterns, from));
        match begun {
            Ok(subscription) => Some(Reading::new(subscription)),
            Err(full) => {
                assert!(self.crowded, "{full}");
                None
            }
        }
    }

    fn resume(&mut self, which: usize) {
        let mut client = self.clients.swap_remove(which);
        let from = From::After(self.id(client.shown).to_string());
        // The old connection goes first: then topics may be forgotten before it is back.
        let patterns = client.patterns.clone();
        client.told = None;
        client.resumed = true;
        drop(client.reading);
        if let Some(reading) = self.enter(&patterns, &from) {
            client.reading = reading;
            self.clients.push(client);
        }
    }

    fn poll(&mut self, which: usize) -> bool {
        let mut client = self.clients.swap_remove(which);
        let mut more = true;
        let mut lagged = false;
        match client.reading.poll() {
            None => {
                self.check_complete(&client);
                more = false;
            }
            Some(Next::Events(entries)) => {
                assert!(client.told.is_none() || self.crowded);
                assert!(!entries.is_empty());
                for entry in entries {
                    let at = entry.position;
                    assert!(
                        at > client.shown,
                        "{at} again or too late, after {}",
                        client.shown
                    );
                    let event = &self.events[usize::try_from(at - 1).unwrap()];
                    assert!(client.wants(event.topic));
                    let of = Some(event.topic);
                    let is_gone = client
                        .gaps
                        .iter()
                        .any(|gap| gap.0.as_deref() == of && gap.2 >= at);
                    let skipped = self.slow == Slow::Latest && client.resumed;
                    assert!(!is_gone || skipped, "{at} was said to be gone");
                    assert_eq!(text(&entry.frame), format!("{}:{at}", event.topic));
                    client.got.insert(at);
                    client.shown = at;
                }
            }
            Some(Next::Gap(gap)) => self.check_gap(&mut client, &gap),
            Some(Next::Lagged) => {
                assert!(self.slow == Slow::Disconnect && !client.got.is_empty());
                lagged = true;
            }
            Some(Next::End(_)) => panic!("topics end never"),
        }
        self.clients.push(client);
        let last = self.clients.len() - 1;
        self.clients.swap(which, last);
        if lagged {
            self.resume(which);
            let last = self.clients.len().saturating_sub(1);
            if which < last {
                self.clients.swap(which, last);
            }
        }
        more
    }

    fn check_gap(&self, client: &mut Client, gap: &Gap) {
        assert!(gap.id.position >= client.shown);
        client.shown = gap.id.position;
        if gap.reason != GapReason::Evicted {
            assert!(self.crowded || client.told == Some(gap.reason));
            client.told = None;
            assert_eq!((gap.after, gap.through), (None, None));
            return;
        }
        assert!(client.told.is_none());
        let (after, through) = (gap.after.unwrap().position, gap.through.unwrap().position);
        let topic = gap.topic.as_ref().map(|topic| topic.to_string());
        let mut missing = 0;
        for (position, event) in (1..).zip(&self.events) {
            let meant = match &topic {
                Some(topic) => topic == event.topic,
                None => client.wants(event.topic),
            };
            if (after + 1..=through).contains(&position) && meant {
                assert!(!client.got.contains(&position), "{position} was had before");
                missing += 1;
            }
        }
        assert!(missing > 0, "a gap without anything missing: {gap:?}");
        client.gaps.push((topic, after, through));
    }

    /// A reader that sleeps has all that it asked for, but what it was told is gone.
    fn check_complete(&self, client: &Client) {
        assert!(client.told.is_none());
        for position in &client.due {
            let event = &self.events[usize::try_from(position - 1).unwrap()];
            let is_fine = client.got.contains(position) || client.misses(*position, event.topic);
            assert!(
                is_fine,
                "{position} of {} is lost: {:?}",
                event.topic, client.gaps
            );
        }
    }

    fn run_heralds(&mut self) {
        self.stage.run_heralds();
        for client in &self.clients {
            let has_all = client.due.iter().all(|position| {
                let event = &self.events[usize::try_from(position - 1).unwrap()];
                client.got.contains(position) || client.misses(*position, event.topic)
            });
            assert!(
                !client.reading.sleeps() || has_all,
                "nobody woke the reader"
            );
        }
    }

    fn finish(&mut self) {
        self.run_heralds();
        for which in (0..self.clients.len()).rev() {
            let mut turns = 0;
            while which < self.clients.len() && self.poll(which) {
                turns += 1;
                assert!(turns < 1000, "reads for ever");
            }
        }
    }

    fn last(&self) -> u64 {
        self.events.len() as u64
    }

    fn id(&self, position: u64) -> EventId {
        EventId {
            epoch: self.epoch,
            position,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn readers_of_topics_get_everything_in_order_or_a_gap_that_covers_it(
        keeps in 1_usize..10,
        slow in prop_oneof![Just(Slow::Skip), Just(Slow::Latest), Just(Slow::Disconnect)],
        start in prop_oneof![Just(Start::Live), Just(Start::Latest), Just(Start::Oldest)],
        streams in prop_oneof![3 => Just(100_usize), 1 => 1_usize..5],
        acts in acts(),
    ) {
        let mut play = Play::new(keeps, slow, start, streams);
        for act in &acts {
            play.act(act);
        }
        play.finish();
        play.clients.clear();
        play.run_heralds();
        play.stage.let_age();
        play.stage.on(crate::hub::Hub::sweep);
        prop_assert_eq!(play.stage.series.bytes.get(), 0);
        prop_assert_eq!(play.stage.series.streams.get(), 0);
        prop_assert_eq!(play.stage.series.subscribers.get(), 0);
    }
}

fn all() -> Vec<usize> {
    vec![PATTERNS.len() - 1]
}

#[test]
fn a_topic_that_went_is_a_gap_for_a_pattern_even_if_it_never_comes_back() {
    let mut play = Play::new(5, Slow::Skip, Start::Live, 100);
    play.subscribe(&[4], &Where::Start);
    play.publish("x/1", 2, 0);
    play.publish("x/2", 1, 0);
    let mut away = play.clients.pop().unwrap();
    let patterns = away.patterns.clone();
    drop(away.reading);
    play.run_heralds();
    play.act(&Act::Age);
    play.publish("x/3", 1, 0);
    away.due.insert(4);
    away.reading = play
        .enter(&patterns, &From::After(play.id(0).to_string()))
        .unwrap();
    play.clients.push(away);
    play.finish();
    assert_eq!(play.clients[0].gaps, [(None, 0, 3)]);
}

#[test]
fn a_topic_that_comes_to_be_is_no_gap_for_a_pattern_that_waited_for_it() {
    let mut play = Play::new(5, Slow::Disconnect, Start::Live, 100);
    play.subscribe(&[4], &Where::Start);
    for _ in 0..3 {
        play.publish("a", 1, 0);
        play.act(&Act::Age);
    }
    play.publish("x/1", 1, 0);
    play.finish();
    assert_eq!(play.clients[0].gaps, []);
    assert_eq!(play.clients[0].got.len(), 1);
}

#[test]
fn topics_of_one_subscription_do_not_push_out_each_other() {
    let mut play = Play::new(5, Slow::Skip, Start::Live, 1);
    play.subscribe(&[0, 1], &Where::Start);
    assert_eq!(play.clients.len(), 0);
    play.subscribe(&[0], &Where::Start);
    play.publish("a", 1, 0);
    play.finish();
    assert_eq!(play.clients[0].got.len(), 1);
}

#[test]
fn an_event_that_a_sleeper_lost_lets_it_sleep_on() {
    let mut play = Play::new(5, Slow::Skip, Start::Live, 100);
    play.subscribe(&all(), &Where::Start);
    play.publish("a", 1, 0);
    play.act(&Act::Age);
    play.finish();
    assert_eq!(play.clients[0].gaps, [(Some("a".to_owned()), 0, 1)]);
}

#[test]
fn a_key_publishes_once_and_gives_the_same_ids() {
    let stage = Stage::new(&bounds(10), Vec::new());
    let publish = |key| {
        let event = Unnumbered {
            frame: frame("once", 0),
            alias: None,
        };
        let topic = Topic::new("a").unwrap();
        let events = vec![event.clone(), event];
        stage
            .on(|hub| {
                let producer = Producer {
                    key: [key; 32],
                    content: [0; 32],
                };
                let published = hub.topics().publish(&topic, events, Some(producer));
                published.now_or_never().unwrap()
            })
            .unwrap()
    };
    let first = publish(1);
    assert_eq!(
        first.iter().map(|id| id.position).collect::<Vec<_>>(),
        [1, 2]
    );
    assert_eq!(publish(1), first);
    assert_eq!(publish(2)[0].position, 3);
    assert_eq!(publish(1), first);
}

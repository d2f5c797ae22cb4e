//! The log against a list that is searched from end to end.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{ALIAS_COST, ENTRY_COST, Entry, Limits, Log, Missed, Read, SMALL};
use crate::sse::Frame;

const NO_LIMITS: Limits = Limits {
    events: usize::MAX,
    bytes: usize::MAX,
    age: Duration::MAX,
};

/// An event of so many bytes.
fn frame(len: usize) -> Frame {
    let frame = Frame::new(None, &"x".repeat(len - 7), None).unwrap();
    assert_eq!(frame.len(), len);
    frame
}

fn positions(read: &Read) -> Vec<u64> {
    read.entries.iter().map(|entry| entry.position).collect()
}

/// A log of these positions, each event of ten bytes.
fn log(limits: Limits, positions: impl IntoIterator<Item = u64>) -> Log {
    let mut log = Log::new(limits);
    for position in positions {
        log.push(0, position, frame(10), None);
    }
    log
}

#[test]
fn a_new_log_has_nothing() {
    let log = Log::new(NO_LIMITS);
    assert!(log.is_empty());
    assert_eq!((log.first(), log.last(), log.evicted()), (None, 0, 0));
    assert_eq!(log.bytes(), 0);
    assert_eq!(log.after(0, usize::MAX), Read::default());
    assert_eq!(log.after(7, usize::MAX), Read::default());
    assert_eq!(log.find("a"), None);
}

#[test]
fn a_reader_gets_what_is_behind_its_cursor() {
    let log = log(NO_LIMITS, [2, 3, 7]);
    for (cursor, expected) in [
        (0, &[2, 3, 7][..]),
        (1, &[2, 3, 7]),
        (2, &[3, 7]),
        (5, &[7]),
        (7, &[]),
        (9, &[]),
    ] {
        let read = log.after(cursor, usize::MAX);
        assert_eq!(positions(&read), expected, "{cursor}");
        assert_eq!(read.missed, None, "{cursor}: gaps in numbers are no loss");
    }
}

#[test]
fn a_read_has_at_least_one_event() {
    let log = log(NO_LIMITS, 1..=5);
    for (most, count) in [(0, 1), (9, 1), (10, 1), (19, 1), (20, 2), (49, 4), (50, 5)] {
        assert_eq!(log.after(0, most).entries.len(), count, "{most}");
    }
}

#[test]
fn what_was_evicted_is_missed() {
    let limits = Limits {
        events: 2,
        ..NO_LIMITS
    };
    let log = log(limits, [2, 4, 6, 8]);
    assert_eq!((log.first(), log.last(), log.evicted()), (Some(6), 8, 4));
    for after in [0, 2, 3] {
        let read = log.after(after, usize::MAX);
        assert_eq!(read.missed, Some(Missed { after, through: 4 }));
        assert_eq!(positions(&read), [6, 8]);
    }
    assert_eq!(log.after(4, usize::MAX).missed, None);
}

#[test]
fn a_log_may_begin_behind_what_is_gone() {
    let mut log = Log::behind(NO_LIMITS, 10);
    assert_eq!((log.first(), log.last(), log.evicted()), (None, 10, 10));
    let missed = Some(Missed {
        after: 9,
        through: 10,
    });
    assert_eq!(log.after(9, 0).missed, missed);
    log.push(0, 11, frame(10), None);
    assert_eq!(log.after(9, 0).missed, missed);
    assert_eq!(positions(&log.after(10, 0)), [11]);
}

#[test]
fn the_newest_event_stays_however_large() {
    let limits = Limits {
        events: 0,
        bytes: 0,
        age: Duration::ZERO,
    };
    let mut log = Log::new(limits);
    assert_eq!(log.push(0, 1, frame(1000), None), 0);
    assert_eq!(log.push(5, 2, frame(2000), None), 1000 + ENTRY_COST);
    assert_eq!((log.first(), log.evicted()), (Some(2), 1));
    assert_eq!(log.drop_oldest(usize::MAX), 0);
    assert_eq!(log.bytes(), 2000 + ENTRY_COST);
}

#[test]
fn age_takes_the_newest_event_too() {
    let limits = Limits {
        age: Duration::from_millis(100),
        ..NO_LIMITS
    };
    let mut log = Log::new(limits);
    log.push(1000, 1, frame(10), None);
    log.push(1001, 2, frame(10), None);
    assert_eq!(log.evict(1100), 0, "not older than the limit");
    assert_eq!(log.evict(1101), 10 + ENTRY_COST);
    assert_eq!(
        log.evict(500),
        0,
        "a clock that went back makes nothing old"
    );
    assert_eq!(log.evict(9999), 10 + ENTRY_COST);
    assert!(log.is_empty());
    assert_eq!((log.first(), log.last(), log.evicted()), (None, 2, 2));
    assert_eq!(log.bytes(), 0);
}

#[test]
fn dropping_frees_at_least_so_many_bytes() {
    let mut log = log(NO_LIMITS, 1..=5);
    assert_eq!(log.drop_oldest(0), 0);
    let each = 10 + ENTRY_COST;
    assert_eq!(log.drop_oldest(1), each);
    assert_eq!(log.drop_oldest(each + 1), 2 * each);
    assert_eq!(log.drop_oldest(usize::MAX), each);
    assert_eq!((log.first(), log.evicted()), (Some(5), 4));
}

#[test]
fn an_alias_means_its_newest_event() {
    let limits = Limits {
        events: 2,
        ..NO_LIMITS
    };
    let mut log = Log::new(limits);
    for (position, alias) in [(1, "a"), (2, "b"), (3, "a")] {
        log.push(0, position, frame(10), Some(alias.into()));
    }
    assert_eq!(
        log.find("a"),
        Some(3),
        "evicting the older one forgets nothing"
    );
    assert_eq!(log.find("b"), Some(2));
    assert_eq!(log.find(""), None);
    log.push(0, 4, frame(10), None);
    assert_eq!(log.find("b"), None);
    assert_eq!(log.bytes(), 2 * (10 + ENTRY_COST) + 1 + ALIAS_COST);
    log.push(0, 5, frame(10), None);
    assert!(log.aliases.is_empty());
}

/// A burst leaves no empty places behind.
#[test]
fn places_are_given_back() {
    let mut log = Log::new(NO_LIMITS);
    for position in 1..=10_000 {
        log.push(0, position, frame(10), Some(position.to_string().into()));
    }
    assert!(log.entries.capacity() >= 10_000);
    log.drop_oldest(usize::MAX);
    assert!(log.entries.capacity() <= SMALL, "{:?}", log.entries.len());
    assert!(log.aliases.capacity() <= SMALL, "{:?}", log.aliases.len());
    assert_eq!(log.find("10000"), Some(10_000));
}

/// What can be done to a log, with times and positions as steps from the last.
#[derive(Debug, Clone)]
enum Deed {
    Push {
        later: u64,
        step: u64,
        len: usize,
        alias: Option<&'static str>,
    },
    Evict {
        later: u64,
    },
    DropOldest {
        bytes: usize,
    },
    After {
        cursor: u64,
        most: usize,
    },
}

const ALIASES: [&str; 4] = ["a", "b", "cc", ""];

fn deed() -> impl Strategy<Value = Deed> {
    let alias = prop::option::of(prop::sample::select(&ALIASES[..]));
    prop_oneof![
        6 => (0..30_u64, 1..4_u64, 7..200_usize, alias)
            .prop_map(|(later, step, len, alias)| Deed::Push { later, step, len, alias }),
        1 => (0..150_u64).prop_map(|later| Deed::Evict { later }),
        1 => (0..1000_usize).prop_map(|bytes| Deed::DropOldest { bytes }),
        4 => (0..80_u64, 0..600_usize).prop_map(|(cursor, most)| Deed::After { cursor, most }),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let any_of = |most: usize| prop_oneof![2 => 0..most, 1 => Just(usize::MAX)];
    (any_of(12), any_of(2000), any_of(200)).prop_map(|(events, bytes, age)| Limits {
        events,
        bytes,
        age: Duration::from_millis(age as u64),
    })
}

/// Everything that ever came, and how many of it are gone.
#[derive(Debug, Default)]
struct Model {
    all: Vec<Entry>,
    gone: usize,
}

impl Model {
    fn kept(&self) -> &[Entry] {
        &self.all[self.gone..]
    }

    fn bytes(&self) -> usize {
        let alias = |entry: &Entry| entry.alias.as_ref().map_or(0, |a| a.len() + ALIAS_COST);
        let one = |entry: &Entry| entry.frame.len() + ENTRY_COST + alias(entry);
        self.kept().iter().map(one).sum()
    }

    /// Evicts while this is so, and gives the bytes that were freed.
    fn evict_while(&mut self, more: impl Fn(&Self) -> bool) -> usize {
        let before = self.bytes();
        while !self.kept().is_empty() && more(self) {
            self.gone += 1;
        }
        before - self.bytes()
    }

    fn is_old(&self, limits: Limits, now: u64) -> bool {
        u128::from(now - self.kept()[0].at_ms) > limits.age.as_millis()
    }

    fn evicted(&self) -> u64 {
        self.all[..self.gone].last().map_or(0, |e| e.position)
    }

    fn after(&self, cursor: u64, most: usize) -> Read {
        let mut entries: Vec<Entry> = Vec::new();
        for entry in self.kept() {
            let taken: usize = entries.iter().map(|e| e.frame.len()).sum();
            if entry.position <= cursor {
                continue;
            }
            if !entries.is_empty() && taken + entry.frame.len() > most {
                break;
            }
            entries.push(entry.clone());
        }
        let is_gone = |entry: &Entry| entry.position > cursor;
        let missed = self.all[..self.gone].iter().any(is_gone).then(|| Missed {
            after: cursor,
            through: self.evicted(),
        });
        Read { missed, entries }
    }

    fn find(&self, alias: &str) -> Option<u64> {
        let newest = self.kept().iter().rev();
        newest
            .filter(|entry| entry.alias.as_deref() == Some(alias))
            .map(|entry| entry.position)
            .next()
    }
}

/// Does it to both, and gives what each said was freed.
fn apply(
    deed: Deed,
    now: &mut u64,
    limits: Limits,
    log: &mut Log,
    model: &mut Model,
) -> [usize; 2] {
    match deed {
        Deed::Push {
            later,
            step,
            len,
            alias,
        } => {
            *now += later;
            let entry = Entry {
                position: log.last() + step,
                at_ms: *now,
                frame: frame(len),
                alias: alias.map(Arc::from),
            };
            model.all.push(entry.clone());
            let freed = log.push(*now, entry.position, entry.frame, entry.alias);
            let is_over = |model: &Model| {
                model.kept().len() > limits.events
                    || model.bytes() > limits.bytes
                    || model.is_old(limits, *now)
            };
            [
                freed,
                model.evict_while(|model| model.kept().len() > 1 && is_over(model)),
            ]
        }
        Deed::Evict { later } => {
            *now += later;
            [
                log.evict(*now),
                model.evict_while(|model| model.is_old(limits, *now)),
            ]
        }
        Deed::DropOldest { bytes } => {
            let before = model.bytes();
            [
                log.drop_oldest(bytes),
                model.evict_while(|model| model.kept().len() > 1 && before - model.bytes() < bytes),
            ]
        }
        Deed::After { cursor, most } => {
            assert_eq!(log.after(cursor, most), model.after(cursor, most));
            [0, 0]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_order_of_deeds_is_as_with_a_list(
        limits in limits(),
        deeds in prop::collection::vec(deed(), 0..60),
    ) {
        let mut log = Log::new(limits);
        let mut model = Model::default();
        let mut now = 1000;
        for deed in deeds {
            let [freed, expected] = apply(deed, &mut now, limits, &mut log, &mut model);
            prop_assert_eq!(freed, expected);
            prop_assert_eq!(log.bytes(), model.bytes());
            prop_assert_eq!(log.is_empty(), model.kept().is_empty());
            prop_assert_eq!(log.first(), model.kept().first().map(|e| e.position));
            prop_assert_eq!(log.last(), model.all.last().map_or(0, |e| e.position));
            prop_assert_eq!(log.evicted(), model.evicted());
            for alias in ALIASES {
                prop_assert_eq!(log.find(alias), model.find(alias));
            }
            prop_assert!(log.aliases.len() <= ALIASES.len());
        }
        let cursors = 0..=log.last() + 1;
        for cursor in cursors {
            prop_assert_eq!(log.after(cursor, 500), model.after(cursor, 500));
        }
    }
}

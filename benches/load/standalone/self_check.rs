//! Proof that the client's own checks can fail: what it says of a stream is what was done to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::test_runner::TestCaseError;
use proptest::{prop_assert, prop_assert_eq, prop_oneof};

use super::account::{Account, Ended};
use super::follower::{Follower, Order, Turn};
use super::kept::{Differences, differences};
use super::streams::verdict;
use super::subscriber::object;
use crate::error::{LoadError, Result};
use crate::event::{Lines, Seen, numbered_data};
use crate::self_check::holds;

/// An error unless every kind of damage is told apart from the others.
pub fn self_check() -> Result<()> {
    order_check()?;
    object_check()?;
    difference_check()?;
    verdict_check()
}

/// Answers that were read in pieces against the whole ones.
fn difference_check() -> Result<()> {
    let cases: [(&[u64], Differences); 5] = [
        (&[1, 2, 2, 3], (0, 0, 0)),
        (&[1, 2, 3], (1, 0, 0)),
        (&[1, 2, 2, 2, 3], (0, 1, 0)),
        (&[2, 1, 2, 3], (0, 0, 1)),
        (&[1, 2, 2, 4], (1, 1, 0)),
    ];
    for (pieces, wanted) in cases {
        let found = differences(pieces, &[1, 2, 2, 3]);
        if found != wanted {
            return Err(LoadError::Failed(format!(
                "the comparison of answers itself is wrong on {pieces:?}: {found:?}"
            )));
        }
    }
    Ok(())
}

/// Numbers in any order against a plain set of those that came.
fn order_check() -> Result<()> {
    let given = (any::<bool>(), vec(0_u64..20, 0..40));
    holds("the order of numbers", &given, |(is_feed, numbers)| {
        let mut order = Order::from((!is_feed).then_some(0));
        let (mut lost, mut late, mut repeated) = (0, 0, 0);
        for number in &numbers {
            match order.saw(*number) {
                Turn::After(passed_over) => lost += passed_over,
                Turn::Late => {
                    lost -= 1;
                    late += 1;
                }
                Turn::Repeated => repeated += 1,
            }
        }
        let first = if is_feed {
            numbers.first().copied()
        } else {
            Some(0)
        };
        let first = first.unwrap_or(0);
        let came: BTreeSet<u64> = numbers.iter().copied().collect();
        let after = came.range(first..);
        let next = came.last().map_or(0, |last| (last + 1).max(first));
        prop_assert_eq!(
            lost,
            next.saturating_sub(first) - after.clone().count() as u64
        );
        // In a feed what lies before its beginning was never missing: it counts as repeated.
        let mut seen = BTreeSet::new();
        let (mut true_late, mut true_repeated) = (0, 0);
        for number in &numbers {
            let is_late = seen.last().is_some_and(|last| number < last);
            if *number < first || !seen.insert(*number) {
                true_repeated += 1;
            } else if is_late {
                true_late += 1;
            }
        }
        prop_assert_eq!((late, repeated), (true_late, true_repeated));
        Ok(())
    })
}

/// Events as JSON objects, one a line, in pieces of any size.
fn object_check() -> Result<()> {
    let event = prop_oneof![
        (any::<u64>(), any::<u64>()).prop_map(|(sequence, stamp)| {
            let data = numbered_data(sequence, stamp);
            let text = String::from_utf8_lossy(&data).into_owned();
            (text, None, Seen::Numbered { sequence, stamp })
        }),
        any::<String>().prop_map(|text| (format!("é {text}"), None, Seen::Foreign)),
        Just(("{}".to_owned(), Some("gap"), Seen::Gap)),
    ];
    let given = (vec(event, 1..6), vec(1_usize..60, 1..30));
    holds("the reader of objects", &given, |(events, pieces)| {
        let mut text = String::new();
        for (place, (data, name, _)) in events.iter().enumerate() {
            let mut line = serde_json::json!({ "id": format!("a.{place}"), "data": data });
            if let Some(name) = name {
                line["event"] = (*name).into();
            }
            text.push_str(&format!("{line}\n"));
        }
        let (mut lines, mut found, mut last_id) = (Lines::default(), Vec::new(), String::new());
        let mut rest = text.as_bytes();
        for length in pieces.iter().cycle() {
            let (piece, after) = rest.split_at(rest.len().min(*length));
            lines.feed(piece, &mut |line| found.push(object(line, &mut last_id)));
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        let sent: Vec<_> = events.iter().map(|(.., seen)| *seen).collect();
        prop_assert_eq!(found, sent);
        prop_assert_eq!(last_id, format!("a.{}", events.len() - 1));
        prop_assert!(object(b"not JSON", &mut String::new()) == Seen::Foreign);
        Ok::<(), TestCaseError>(())
    })
}

/// Streams of three planned events that end cleanly.
fn verdict_check() -> Result<()> {
    let number = |sequence| Seen::Numbered { sequence, stamp: 1 };
    let whole = [number(0), number(1), number(2), Seen::Foreign, Seen::Done];
    let cases: [(&[Seen], &str, u64); 6] = [
        (&whole, "whole", 0),
        (&whole[..4], "disguised", 0),
        (&whole[..2], "disguised", 0),
        (&[whole[0], Seen::Error], "told", 0),
        (&[whole[0], whole[2], Seen::Done], "whole", 1),
        (&[whole[0], whole[1], Seen::Done], "disguised", 0),
    ];
    for (events, wanted, lost) in cases {
        let account = Arc::new(Account::new(0, 0)?);
        let mut follower = Follower::of_stream(&account, 0);
        follower.arrives();
        for seen in events {
            follower.saw(*seen);
        }
        let found = match verdict(&follower, Some(3)) {
            Ended::Whole => "whole",
            Ended::Told => "told",
            Ended::Disguised(_) => "disguised",
            _ => "something else",
        };
        let counted = account.counts().lost;
        account.counts().begun += 1;
        account.ended(verdict(&follower, Some(3)));
        let passes = account.check(true).is_ok();
        if found != wanted || counted != lost || passes != (wanted != "disguised" && lost == 0) {
            return Err(LoadError::Failed(format!(
                "the client's checker itself is wrong on {events:?}: {found}, {counted} lost"
            )));
        }
    }
    Ok(())
}

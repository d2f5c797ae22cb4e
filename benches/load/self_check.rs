//! Proof that the checks can fail: a doctored stream must be found out.
//!
//! Invariant: `smoke` runs this first, so that "nothing lost" is never said by a blind checker. It
//! stands here and not in unit tests because a program without a test harness has none.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::document;
use crate::environment::version_in;
use crate::error::{LoadError, Result};
use crate::event::{CLOSING, EventChunk, EventReader, Seen};
use crate::fanout::Reception;
use crate::faults::{Fault, Faults, parse_duration};
use crate::plot;
use crate::standalone;
use crate::tally::{Follower, Tally};
use crate::wire::{Body, Framing};

/// An error unless framing and events survive every split, and each kind of damage is seen.
pub fn self_check() -> Result<()> {
    let bytes = stream(&[0, 1, 2]);
    for split in 0..=bytes.len() {
        let found = follow(&bytes, split)?;
        expect(
            found == (4, 0, 0),
            &format!("a whole stream split at {split}"),
            found,
        )?;
    }
    for (sequences, missing, out_of_turn) in [
        (&[0, 2][..], 1, 0),
        (&[0, 1], 1, 0),
        (&[0, 1, 1, 2], 0, 1),
        (&[0, 2, 1], 1, 1),
    ] {
        let bytes = stream(sequences);
        let found = follow(&bytes, bytes.len() / 2)?;
        let wanted = (sequences.len() as u64 + 1, missing, out_of_turn);
        expect(found == wanted, &format!("the stream {sequences:?}"), found)?;
    }
    let cut = follow(&bytes[..bytes.len() - 5], 100);
    expect(cut.is_err(), "a stream without its last chunk", (0, 0, 0))?;
    subscriber_check()?;
    reader_check()?;
    fault_check()?;
    environment_check()?;
    plot::check()?;
    document::check()?;
    standalone::self_check()
}

/// Numbered events of any size, with and without ids, read in pieces of any size.
fn reader_check() -> Result<()> {
    let events = vec((any::<u64>(), any::<u64>(), 0_usize..700), 1..8);
    let given = (events, any::<bool>(), vec(1_usize..90, 1..40));
    holds(
        "the reader of events",
        &given,
        |(events, has_id, pieces)| {
            let mut bytes = Vec::new();
            for (sequence, stamp, size) in &events {
                let mut chunk = EventChunk::sized(*size, has_id);
                bytes.extend_from_slice(chunk.numbered(*sequence, *stamp));
            }
            let (mut body, mut reader) = (Body::new(Framing::Chunked), EventReader::default());
            let (mut rest, mut found) = (bytes.as_slice(), Vec::new());
            for length in pieces.iter().cycle() {
                let (piece, after) = rest.split_at(rest.len().min(*length));
                let fed = body.feed(piece, &mut |data| {
                    reader.feed(data, &mut |seen| found.push(seen));
                });
                fed.map_err(|error| TestCaseError::fail(error.to_string()))?;
                rest = after;
                if rest.is_empty() {
                    break;
                }
            }
            let sent = events.iter().map(|(sequence, stamp, _)| Seen::Numbered {
                sequence: *sequence,
                stamp: *stamp,
            });
            let last = events.last().map_or(0, |(sequence, ..)| *sequence);
            let id = if has_id {
                format!("{last:020}")
            } else {
                String::new()
            };
            proptest::prop_assert_eq!(found, sent.collect::<Vec<_>>());
            proptest::prop_assert_eq!(reader.last_id(), id.as_bytes());
            Ok(())
        },
    )
}

/// Lists of faults that make sense are read, others are refused.
fn fault_check() -> Result<()> {
    let read = |text: &str| text.parse::<Faults>();
    for text in [
        "cut",
        "cut=2",
        "cut=-1%",
        "cut=101%",
        "cut=60%,503=50%",
        "cut=1%:2s",
        "200=1%",
        "600=1%",
        "flood=1%",
        "late=1%:2",
        "late=1%:-2s",
        "stall=1%:1h",
        "cut=NaN%",
    ] {
        expect(
            read(text).is_err(),
            &format!("the faults {text:?}"),
            (0, 0, 0),
        )?;
    }
    let all = "cut=20%, reset=20%,close=10%,error=10%,stall=10%:5s,late=10%,503=20%";
    let faults = read(all).map_err(LoadError::Failed)?;
    let mut rng = fastrand::Rng::with_seed(1);
    let drawn: Vec<_> = (0..2_000).filter_map(|_| faults.draw(&mut rng)).collect();
    let count = |fault| drawn.iter().filter(|strike| strike.fault == fault).count() as u64;
    let found = (
        drawn.len() as u64,
        count(Fault::Cut),
        count(Fault::Status(503)),
    );
    let is_fair =
        found.0 == 2_000 && (300..500).contains(&found.1) && (300..500).contains(&found.2);
    expect(is_fair, "the shares of faults", found)?;
    let given = (0_u32..86_400_000, 0.0..100.0_f64);
    holds("the reader of faults", &given, |(millis, percent)| {
        let time = parse_duration(&format!("{millis}ms")).map_err(TestCaseError::fail)?;
        proptest::prop_assert_eq!(time.as_millis(), u128::from(millis));
        let one = read(&format!("late={percent}%:{millis}ms")).map_err(TestCaseError::fail)?;
        let mut rng = fastrand::Rng::with_seed(u64::from(millis));
        let struck = (0..50).filter_map(|_| one.draw(&mut rng));
        proptest::prop_assert!(
            struck
                .into_iter()
                .all(|strike| strike.fault == Fault::Late(time))
        );
        Ok(())
    })
}

/// An error unless `check` holds for what `given` gives.
pub fn holds<S: Strategy>(
    what: &str,
    given: &S,
    check: impl Fn(S::Value) -> std::result::Result<(), TestCaseError>,
) -> Result<()> {
    let config = Config {
        cases: 100,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(given, check)
        .map_err(|error| LoadError::Failed(format!("{what} is wrong: {error}")))
}

/// Versions are found in what programs say of themselves.
fn environment_check() -> Result<()> {
    for (told, wanted) in [
        ("nginx version: nginx/1.22.1\n", Some("1.22.1")),
        (
            "HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://",
            Some("2.6.12-1+deb12u4"),
        ),
        (
            "envoy  version: 8a4d/1.40.0/Clean/RELEASE/BoringSSL",
            Some("1.40.0"),
        ),
        ("1:1.3.6+dfsg-2", Some("1.3.6+dfsg-2")),
        ("LiteLLM: Current Version = 1.106.2", Some("1.106.2")),
        ("no version at all.", None),
    ] {
        let found = version_in(told);
        if found.as_deref() != wanted {
            return Err(LoadError::Failed(format!(
                "in {told:?} the version {found:?} was found"
            )));
        }
    }
    Ok(())
}

/// The same for what a subscriber is sent.
fn subscriber_check() -> Result<()> {
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (sequences, missing, out_of_turn) in [
        (&[0, 1, 2][..], 0, 0),
        (&[0, 2], 1, 0),
        (&[0, 1, 1, 2], 0, 1),
        (&[0, 2, 1], 1, 1),
    ] {
        let mut bytes = head.to_vec();
        for sequence in sequences {
            bytes.extend_from_slice(EventChunk::new().numbered(*sequence, 1));
        }
        for split in 0..=bytes.len() {
            let (mut reception, mut events) = (Reception::new(), 0);
            for piece in [&bytes[..split], &bytes[split..]] {
                reception.feed(piece, &mut |_, _| events += 1)?;
            }
            let order = reception.order;
            let found = (events, order.missing, order.out_of_turn);
            expect(
                found == (sequences.len() as u64, missing, out_of_turn) && order.foreign == 0,
                &format!("the subscription {sequences:?} split at {split}"),
                found,
            )?;
        }
    }
    let mut ended = Reception::new();
    ended.feed(head, &mut |_, _| {})?;
    let is_seen = ended.feed(b"0\r\n\r\n", &mut |_, _| {}).is_err();
    expect(is_seen, "a subscription that ended", (0, 0, 0))
}

/// Events, missing, out of turn.
type Found = (u64, u64, u64);

fn expect(holds: bool, what: &str, found: Found) -> Result<()> {
    if holds {
        return Ok(());
    }
    let (events, missing, turn) = found;
    Err(LoadError::Failed(format!(
        "the checker itself is wrong on {what}: {events} events, {missing} missing, {turn} out of turn"
    )))
}

fn stream(sequences: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for sequence in sequences {
        bytes.extend_from_slice(EventChunk::new().numbered(*sequence, 1));
    }
    bytes.extend_from_slice(format!("{:x}\r\n", CLOSING.len()).as_bytes());
    bytes.extend_from_slice(CLOSING);
    bytes.extend_from_slice(b"\r\n0\r\n\r\n");
    bytes
}

/// Follows a stream of three planned events that arrives in two pieces.
fn follow(bytes: &[u8], split: usize) -> Result<Found> {
    let tally = Tally::new()?;
    let mut follower = Follower::new(&tally, 0, false);
    let mut reader = EventReader::default();
    let mut body = Body::new(Framing::Chunked);
    for piece in [&bytes[..split], &bytes[split..]] {
        body.feed(piece, &mut |data| {
            reader.feed(data, &mut |seen| follower.saw(seen))
        })?;
    }
    if !body.is_done() {
        return Err(LoadError::Wire("cut".into()));
    }
    follower.ended(3);
    let counts = tally.counts();
    Ok((counts.events, counts.missing, counts.out_of_turn))
}

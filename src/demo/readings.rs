//! `GET /events`: a water gauge in a river delta, a reading a second, for a browser's `EventSource`.
//!
//! A reading is a function of its number alone, and the number is the event's id. So a client that
//! comes back with `Last-Event-ID` gets exactly the reading it would have had next, and the server
//! keeps nothing in between (WHATWG HTML, server-sent events, "The `Last-Event-ID` header").

use bytes::Bytes;
use http::{HeaderMap, Uri};
use serde_json::json;

use super::answer::{Answer, Refusal, event_stream};
use super::paced::{Pace, Paced, Step, parameter};

/// Readings in a second, unless the query asks for others.
const PER_SECOND: f64 = 1.0;

/// What a client is told to wait before it comes back, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// Readings from one high water to the next.
const TIDE: u64 = 60;

/// The stream of readings after the one that the client has seen.
///
/// # Errors
///
/// [`Refusal::Parameter`] where `pace` or `count` is no fitting number.
pub(super) fn stream(uri: &Uri, headers: &HeaderMap) -> Result<Answer, Refusal> {
    let pace = Pace::of(uri, PER_SECOND)?;
    let count = count(uri)?;
    let seen = last_seen(headers);
    let opening = Step {
        after: std::time::Duration::ZERO,
        frame: Bytes::from(format!("retry: {RETRY_MS}\n\n")),
    };
    let readings = (1..=count).map(move |turn| Step {
        after: if turn == 1 {
            std::time::Duration::ZERO
        } else {
            pace.even()
        },
        frame: frame(seen.saturating_add(turn)),
    });
    Ok(event_stream(Paced::new(
        std::iter::once(opening).chain(readings),
    )))
}

/// How many readings are asked for; without end unless the query says so.
fn count(uri: &Uri) -> Result<u64, Refusal> {
    parameter(uri, "count").map_or(Ok(u64::MAX), |text| {
        text.parse().map_err(|_| Refusal::Parameter {
            name: "count",
            message: "count is a whole number of readings.".to_owned(),
        })
    })
}

/// The number of the last reading that the client has seen. An id that is not one of ours starts
/// the count again: a stream that begins anew is more use than a refusal, after which an
/// `EventSource` never returns.
fn last_seen(headers: &HeaderMap) -> u64 {
    headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .and_then(|id| id.parse().ok())
        .unwrap_or(0)
}

/// The event with this number: `tide` where the water turns, else `level`.
fn frame(number: u64) -> Bytes {
    let phase = number % TIDE;
    let (kind, data) = match phase {
        0 => (
            "tide",
            json!({ "reading": number, "turn": "high", "metres": metres(number) }),
        ),
        _ if phase == TIDE / 2 => (
            "tide",
            json!({ "reading": number, "turn": "low", "metres": metres(number) }),
        ),
        _ => (
            "level",
            json!({ "reading": number, "metres": metres(number) }),
        ),
    };
    Bytes::from(format!("id: {number}\nevent: {kind}\ndata: {data}\n\n"))
}

/// The water's level, in metres with two places: a tide and a few waves on it.
fn metres(number: u64) -> f64 {
    // The phases repeat, so the numbers stay small and exact however long the stream runs.
    let turn = |period: u64| (number % period) as f64 / period as f64 * std::f64::consts::TAU;
    let level = 2.0 + 0.6 * turn(TIDE).cos() + 0.05 * turn(7).sin() + 0.03 * turn(11).cos();
    (level * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_depends_on_its_number_alone() {
        assert_eq!(frame(61), frame(61));
        assert_ne!(frame(61), frame(62));
    }

    #[test]
    fn the_water_turns_twice_in_a_tide() {
        let kinds: Vec<_> = (1..=TIDE)
            .map(frame)
            .filter(|frame| frame.windows(11).any(|part| part == b"event: tide"))
            .collect();
        assert_eq!(kinds.len(), 2);
    }
}

//! The publisher: one kept connection, a POST for each event.
//!
//! Invariant: the pace is open-loop. Each event bears the time it was due, so that waiting for the
//! answer to the one before counts as latency instead of lowering the load.

use std::ops::Range;
use std::sync::Arc;

use super::account::{Account, Ended};
use super::address::Address;
use super::streams::exchange;
use crate::clock::{now_ns, sleep_until_ns};
use crate::error::{LoadError, Result};
use crate::event::numbered_data;
use crate::wire::Body;

/// What is published, and when.
pub struct Publications {
    /// Where.
    pub address: Arc<Address>,
    /// The events' numbers.
    pub numbers: Range<u64>,
    /// When the first one is due, in nanoseconds.
    pub begin: u64,
    /// From one to the next.
    pub gap_ns: u64,
    /// The length of each event's data, no less than what its numbers take.
    pub event_bytes: usize,
}

/// How late the timer may wake us; within it, an event is sent "now".
const TIMER_TICK_NS: u64 = 2_000_000;

/// Publishes everything; an error when one event is refused.
pub async fn publish(publications: Publications, account: &Account) -> Result<()> {
    let Publications {
        address,
        numbers,
        begin,
        gap_ns,
        event_bytes,
    } = publications;
    let mut kept = None;
    for (place, sequence) in (0..).zip(numbers) {
        let due = begin + place * gap_ns;
        sleep_until_ns(due).await;
        let stamp = now_ns().min(due + TIMER_TICK_NS);
        let data = numbered_data(sequence, stamp);
        let mut data = String::from_utf8_lossy(&data).into_owned();
        data.extend(std::iter::repeat_n(
            '.',
            event_bytes.saturating_sub(data.len()),
        ));
        // Sent again where the kept connection turns out to be closed: by its key it is one event all the same.
        let further = format!("Content-Type: text/plain\r\nIdempotency-Key: load-{sequence}\r\n");
        let request = address.post(&further, &data);
        let (mut wire, head) = exchange(&address, &request, kept.take())
            .await
            .map_err(refused)?;
        let mut body = Body::new(head.framing);
        let (mut is_over, mut answer) = (false, Vec::new());
        while !is_over {
            let mut sink = |bytes: &[u8]| answer.extend_from_slice(bytes);
            is_over = !wire.body(&mut body, &mut sink).await?;
        }
        if !(200..300).contains(&head.status) {
            let answer = String::from_utf8_lossy(&answer);
            return Err(LoadError::Failed(format!(
                "an event was refused: status {}: {answer}",
                head.status
            )));
        }
        kept = head.keep_alive.then_some(wire);
        let waited = now_ns().saturating_sub(stamp);
        account.counts().publication.saturating_record(waited);
    }
    Ok(())
}

fn refused(ended: Ended) -> LoadError {
    LoadError::Failed(format!("an event could not be published: {ended:?}"))
}

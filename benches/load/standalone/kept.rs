//! A kept answer, cut by its own client again and again: asked for once, then read on from `Link`.
//!
//! Invariant: the client cuts at places that nobody chose (drawn in bytes, so inside events too) and
//! goes on after the last whole event; at the end the answer must have come once, whole, in order.

use std::sync::Arc;

use super::account::{Account, Ended};
use super::follower::Follower;
use super::streams::{Ask, exchange, verdict};
use crate::clock::{now_ns, sleep_until_ns};
use crate::event::EventReader;
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

/// Follows one answer through its cuts to its end.
pub async fn follow(ask: &Ask, mut cuts: Cuts, account: &Arc<Account>) -> Ended {
    sleep_until_ns(ask.due).await;
    let mut follower = Follower::of_stream(account, ask.due);
    let mut request = ask.request.clone();
    let mut place: Option<String> = None;
    let mut last_id = Vec::new();
    let mut in_vain = 0;
    loop {
        let (mut wire, head) = match exchange(&ask.address, &request, None).await {
            Ok(answered) => answered,
            Err(_) if place.is_some() && in_vain < PATIENCE => {
                in_vain += 1;
                sleep_until_ns(now_ns() + BREATH_NS).await;
                continue;
            }
            Err(ended) => return ended,
        };
        if !(200..300).contains(&head.status) {
            return Ended::Refused(head.status);
        }
        if place.is_none() {
            account.counts().begun += 1;
            follower.same_clock = head.boot.as_ref() == Some(&ask.address.boot);
            let Some(kept_at) = head.kept_at else {
                let why = "an answer came without Link: <…>; rel=\"self\": it is not kept (Deltaway keeps those of routes with resume)";
                return Ended::Unfit(why.into());
            };
            place = Some(kept_at);
        }
        let (mut body, mut reader) = (Body::new(head.framing), EventReader::default());
        let mut left = cuts.next();
        let mut is_over = false;
        while left > 0 && !is_over {
            let mut is_new = true;
            let mut sink = |bytes: &[u8]| {
                if std::mem::take(&mut is_new) {
                    follower.arrives();
                }
                let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
                left -= taken as u64;
                reader.feed(&bytes[..taken], &mut |seen| follower.saw(seen));
            };
            match wire.body(&mut body, &mut sink).await {
                // What stands behind the cut was not seen, and may be the end.
                Ok(more) => is_over = !more && left > 0,
                Err(error) if in_vain >= PATIENCE => return Ended::Cut(error.to_string()),
                Err(_) => break,
            }
        }
        if is_over || follower.is_done {
            return verdict(&follower, ask.planned);
        }
        in_vain = match reader.last_id() {
            b"" => in_vain + u32::from(left > 0),
            id => {
                last_id = id.to_vec();
                0
            }
        };
        account.counts().own_cuts += u64::from(left == 0);
        wire.io.leave(cuts.is_reset());
        follower.comes_back(now_ns());
        let shown = match last_id.as_slice() {
            b"" => String::new(),
            id => format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(id)),
        };
        let further = format!("Accept: text/event-stream\r\n{shown}");
        let place = place.as_deref().unwrap_or_default();
        request = ask.address.get(place, &further);
    }
}

//! The measured window: what was used and what was counted between its ends.
//!
//! Invariant: memory for each stream is what came on top of the memory at rest while all of them were
//! open; CPU time is divided by what arrived in the same window.

use std::time::Duration;

use tokio::task::JoinSet;

use super::account::{Account, Counts};
use crate::clock::{now_ns, sleep_until_ns};
use crate::error::Result;
use crate::process::{Meter, Reading};

/// How long streams may outlast their plan before they are let go.
pub const GRACE: Duration = Duration::from_secs(20);
const LOOK_AGAIN_NS: u64 = 20_000_000;

/// What was read at both ends of the window.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    rest_bytes: u64,
    /// Streams at once, and the memory with them.
    standing: Option<(u64, u64)>,
    from: Reading,
    to: Reading,
    before: Seen,
    after: Seen,
}

/// What had been counted at some time.
#[derive(Debug, Clone, Copy)]
struct Seen {
    events: u64,
    ended: u64,
}

impl Seen {
    fn of(counts: &Counts) -> Self {
        Self {
            events: counts.events,
            ended: counts.ended(),
        }
    }
}

impl Window {
    /// Not open yet; nothing is loaded.
    pub fn at_rest(meter: &Meter) -> Result<Self> {
        let (now, nothing) = (
            meter.read()?,
            Seen {
                events: 0,
                ended: 0,
            },
        );
        Ok(Self {
            rest_bytes: meter.memory()?,
            standing: None,
            from: now,
            to: now,
            before: nothing,
            after: nothing,
        })
    }

    /// Opens it while so many streams stand.
    pub fn open(&mut self, meter: &Meter, account: &Account, streams: u64) -> Result<()> {
        if streams > 0 {
            self.standing = Some((streams, meter.memory()?));
        }
        self.from = meter.read()?;
        let mut counts = account.counts();
        counts.measuring = true;
        self.before = Seen::of(&counts);
        Ok(())
    }

    /// Closes it.
    pub fn close(&mut self, meter: &Meter, account: &Account) -> Result<()> {
        self.to = meter.read()?;
        let mut counts = account.counts();
        counts.measuring = false;
        self.after = Seen::of(&counts);
        Ok(())
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        (self.to.at_ns - self.from.at_ns) as f64 / 1e9
    }

    /// Events in it.
    pub fn events(&self) -> u64 {
        self.after.events - self.before.events
    }

    /// Streams that ended in it; none where the streams were to stand, and only the first ends fell into it.
    pub fn streams(&self) -> u64 {
        match self.standing {
            Some(_) => 0,
            None => self.after.ended - self.before.ended,
        }
    }

    /// CPU time of the processes that were named, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        (self.to.cpu_ns - self.from.cpu_ns) as f64 / 1e3
    }

    /// How much of one core this tool itself used, in percent.
    pub fn own_percent(&self) -> f64 {
        let used_ns = self.to.load_cpu_ns - self.from.load_cpu_ns;
        used_ns as f64 / (self.to.at_ns - self.from.at_ns).max(1) as f64 * 100.0
    }

    /// Kilobytes of the processes that were named, at rest.
    pub fn rest_kb(&self) -> f64 {
        self.rest_bytes as f64 / 1024.0
    }

    /// Kilobytes on top of that for each standing stream.
    pub fn kb_per_stream(&self) -> Option<f64> {
        let (streams, bytes) = self.standing?;
        Some(bytes.saturating_sub(self.rest_bytes) as f64 / 1024.0 / streams as f64)
    }
}

/// Waits until so many streams have begun or failed, or the clock shows `until`.
pub async fn until_all_have_begun(account: &Account, streams: u64, until: u64) -> bool {
    loop {
        let settled = {
            let counts = account.counts();
            counts.begun + counts.unreached + counts.refused.values().sum::<u64>()
        };
        if settled >= streams || now_ns() >= until {
            return settled >= streams;
        }
        sleep_until_ns(now_ns() + LOOK_AGAIN_NS).await;
    }
}

/// Waits for all clients, for [`GRACE`] at most; those that have not ended then are counted and let go.
pub async fn join(mut clients: JoinSet<()>, account: &Account) {
    let all = async { while clients.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        account.counts().endless += clients.len() as u64;
    }
}

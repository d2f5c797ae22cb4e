//! One clock for backend and clients, also when they are two processes.
//!
//! Invariant: two readings on one machine can be subtracted from each other. The monotonic clock of
//! the kernel is shared by all its processes; the boot id tells whether two processes share a kernel,
//! so a client never computes a latency from another machine's clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of the kernel's monotonic clock.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Waits until the clock shows `due` (in nanoseconds, see [`now_ns`]); tokio rounds up to 1 ms.
pub async fn sleep_until_ns(due: u64) {
    let wait = due.saturating_sub(now_ns());
    if wait > 0 {
        tokio::time::sleep(Duration::from_nanos(wait)).await;
    }
}

/// How late the timer may wake us.
pub const TIMER_TICK_NS: u64 = 2_000_000;

/// Waits until `due`. Gives the time from which waiting counts: now, but no later than the timer alone explains.
pub async fn begin_at(due: u64) -> u64 {
    sleep_until_ns(due).await;
    now_ns().min(due + TIMER_TICK_NS)
}

/// What names this run of this machine's kernel; `unknown` where the system does not tell.
pub fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}

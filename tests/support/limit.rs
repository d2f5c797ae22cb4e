//! Waiting with a limit: a test that hangs says what it was waiting for.

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far above what a loaded machine needs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// Waits for `future`; fails the test naming `what` when it takes longer than [`LIMIT`].
#[track_caller]
pub fn within<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(LIMIT, future).await {
            Ok(value) => value,
            Err(_) => panic!("waited {LIMIT:?} for {what} ({place})"),
        }
    }
}

/// Waits until `condition` gives a value, looking every few milliseconds.
#[track_caller]
pub fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let start = Instant::now();
        let mut look = tokio::time::interval(Duration::from_millis(2));
        loop {
            look.tick().await;
            if let Some(value) = condition() {
                return value;
            }
            assert!(
                start.elapsed() < LIMIT,
                "waited {LIMIT:?} for {what} ({place})"
            );
        }
    }
}

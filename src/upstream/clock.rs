//! A clock for limits that are hardly ever reached.
//!
//! To set a timer for every request and to take it back at every answer costs more than all else that a limit
//! asks for. A clock therefore leaves its timer as it was set for an earlier request, and sets it anew only
//! when it goes off or would go off too late: most requests find a timer that goes off before their limit,
//! and only lend it their waker.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A clock for one request at a time. It belongs to the worker whose thread it was first polled on.
#[derive(Debug, Default)]
pub struct Clock {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Clock {
    /// What `what` comes to; none if that is not known at `due`.
    pub async fn within<T>(&mut self, due: Instant, what: impl Future<Output = T>) -> Option<T> {
        let mut what = pin!(what);
        poll_fn(|cx| match what.as_mut().poll(cx) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => self.poll(cx, due).map(|()| None),
        })
        .await
    }

    /// Ready when `due` is past.
    fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if timer.deadline() > due {
            timer.as_mut().reset(due);
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() == due {
                return Poll::Ready(());
            }
            // It went off for an earlier request.
            timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_request_has_its_own_limit() {
        let mut clock = Clock::default();
        for seconds in [60, 5, 60, 7, 3600] {
            let began = Instant::now();
            let limit = Duration::from_secs(seconds);
            assert_eq!(clock.within(began + limit, ready(1)).await, Some(1));
            let soon = async {
                tokio::time::sleep(limit / 2).await;
                2
            };
            assert_eq!(clock.within(began + limit, soon).await, Some(2));
            let never = clock.within(began + limit, pending::<()>()).await;
            let late = began.elapsed().saturating_sub(limit);
            assert!(never.is_none() && late < Duration::from_millis(10));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_limit_does_not_end_a_later_request() {
        let mut clock = Clock::default();
        let began = Instant::now();
        let soon = tokio::time::sleep(Duration::from_secs(1));
        let first = clock.within(began + Duration::from_secs(2), soon).await;
        let later = tokio::time::sleep(Duration::from_secs(30));
        let second = clock.within(began + Duration::from_secs(60), later).await;
        assert_eq!((first, second), (Some(()), Some(())));
    }
}

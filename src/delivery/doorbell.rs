//! A connection's waker, which can be told not to listen for the length of one call.
//!
//! The HTTP server wakes its own task whenever a piece of a request's body is taken, for then it can read the next
//! one. Behind the last piece there is none, and all of the connection would be polled once more in vain, for
//! every request with a body. So the server is polled with a waker of ours, and who takes a piece ([`unheard`])
//! is handed the wake that came of it, to pass it on or to drop it.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};

thread_local! {
    /// Whether wakes on this thread are kept back. Others' wakes of the same task are heard at all times.
    static DEAF: Cell<bool> = const { Cell::new(false) };
    static KEPT_BACK: Cell<Option<Waker>> = const { Cell::new(None) };
}

/// The waker of a task, with an ear that can be closed.
struct Doorbell(Waker);

/// A waker that wakes whom `task` wakes, unless [`unheard`] keeps that back.
pub fn doorbell(task: Waker) -> Waker {
    Arc::new(Doorbell(task)).into()
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !DEAF.get() {
            self.0.wake_by_ref();
        } else if let Some(other) = KEPT_BACK.replace(Some(self.0.clone())) {
            // There is room for one, and it is not to be lost.
            other.wake();
        }
    }
}

/// Calls `what`. The wake of a [`doorbell`] that it causes on this thread is given back: whoever drops it takes the
/// answer for it that the task has nothing to do.
pub fn unheard<T>(what: impl FnOnce() -> T) -> (T, Option<Waker>) {
    let listening = Listening;
    DEAF.set(true);
    let outcome = what();
    drop(listening);
    (outcome, KEPT_BACK.take())
}

/// Opens the ear again, also behind a panic.
struct Listening;

impl Drop for Listening {
    fn drop(&mut self) {
        DEAF.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn rung() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), doorbell(count.into()))
    }

    #[test]
    fn a_wake_is_given_back_and_nothing_else_changes() {
        let (count, bell) = rung();
        bell.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let (seven, kept_back) = unheard(|| {
            bell.wake_by_ref();
            7
        });
        assert_eq!((seven, count.0.load(Ordering::Relaxed)), (7, 1));
        kept_back.into_iter().for_each(Waker::wake);
        assert_eq!(count.0.load(Ordering::Relaxed), 2);
        bell.wake_by_ref();
        assert_eq!(count.0.load(Ordering::Relaxed), 3);
        assert!(unheard(|| ()).1.is_none());
    }

    #[test]
    fn of_two_tasks_none_is_forgotten() {
        let ((one, first), (other, second)) = (rung(), rung());
        let ((), kept_back) = unheard(|| {
            first.wake_by_ref();
            second.wake_by_ref();
        });
        kept_back.into_iter().for_each(Waker::wake);
        let counts = [one, other].map(|count| count.0.load(Ordering::Relaxed));
        assert_eq!(counts, [1, 1]);
    }

    #[test]
    fn other_threads_are_heard() {
        let (count, bell) = rung();
        let ((), kept_back) = unheard(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| bell.wake_by_ref());
            });
        });
        assert!(kept_back.is_none());
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}

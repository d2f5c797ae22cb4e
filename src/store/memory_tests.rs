//! The contract of a store, and the one in memory.

use std::collections::BTreeSet;
use std::future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use super::{Answer, Memory, Opened, Read, Store, StoreFault, StreamKey, Unnumbered};
use crate::sse::{Epoch, Frame};

/// An answer that is here, or whose future is ready.
fn now<T>(answer: Answer<T>) -> Result<T, StoreFault> {
    match pin!(answer.wait()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the answer is not here"),
    }
}

fn event() -> Unnumbered {
    Unnumbered {
        at_ms: 0,
        frame: Frame::new(None, "a", None).unwrap(),
        alias: None,
    }
}

#[test]
fn all_streams_share_one_numbering() {
    let epoch = Epoch::new(5);
    let store: Box<dyn Store> = Box::new(Memory::new(epoch));
    let [one, other] = ["one", "other"].map(StreamKey::new);
    assert_eq!(now(store.open(&one)), Ok(Opened { epoch, last: 0 }));
    assert_eq!(now(store.append(&one, event())), Ok(1));
    assert_eq!(now(store.append(&other, event())), Ok(2));
    assert_eq!(now(store.append(&one, event())), Ok(3));
    assert_eq!(now(store.open(&other)), Ok(Opened { epoch, last: 3 }));
}

#[test]
fn nothing_is_kept_and_no_number_comes_twice() {
    let store = Memory::new(Epoch::new(5));
    let key = StreamKey::new("one");
    assert_eq!(now(store.append(&key, event())), Ok(1));
    assert_eq!(now(store.read(&key, 0, 1000)), Ok(Read::default()));
    store.forget(&key);
    assert_eq!(now(store.append(&key, event())), Ok(2));
}

#[test]
fn threads_get_numbers_of_their_own() {
    const EACH: usize = 1000;
    let store = Memory::new(Epoch::new(5));
    let key = StreamKey::new("one");
    let numbers = || -> Vec<u64> {
        let one = |_| now(store.append(&key, event())).unwrap();
        (0..EACH).map(one).collect()
    };
    let all: Vec<Vec<u64>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(numbers)).collect();
        threads.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(all.iter().all(|numbers| numbers.is_sorted()));
    let all: BTreeSet<u64> = all.into_iter().flatten().collect();
    assert_eq!(all, (1..=4 * EACH as u64).collect());
}

#[test]
fn an_answer_may_come_later() {
    let fault = StoreFault {
        what: "append to",
        stream: "topic one".into(),
        why: "connection refused".into(),
    };
    let answer: Answer<u64> = Answer::Later(Box::pin(future::ready(Err(fault.clone()))));
    assert_eq!(format!("{answer:?}"), "Later");
    assert_eq!(now(answer), Err(fault.clone()));
    assert_eq!(
        fault.to_string(),
        "the store could not append to the stream topic one: connection refused"
    );
}

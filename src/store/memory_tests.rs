//! The contract of a store, and the one in memory.

use std::future;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use super::{Answer, Memory, Store, StoreFault, StreamKey, Tail, Unnumbered};
use crate::sse::{Epoch, Frame};

/// An answer that is here, or whose future is ready.
fn now<T>(answer: Answer<T>) -> Result<T, StoreFault> {
    match pin!(answer.wait()).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("the answer is not here"),
    }
}

/// What was handed back, in order.
#[derive(Debug, Default)]
struct Handed(Mutex<Vec<(String, u64)>>);

impl Tail for Handed {
    fn push(&self, key: &StreamKey, position: u64, _: Unnumbered) {
        self.0.lock().unwrap().push((key.to_string(), position));
    }
}

fn handed() -> (Arc<Handed>, Arc<dyn Tail>) {
    let handed = Arc::new(Handed::default());
    (handed.clone(), handed)
}

fn events(count: usize) -> Vec<Unnumbered> {
    let event = Unnumbered {
        frame: Frame::new(None, "a", None).unwrap(),
        alias: None,
    };
    vec![event; count]
}

#[test]
fn all_topics_share_one_numbering() {
    let epoch = Epoch::new(5);
    let store: Box<dyn Store> = Box::new(Memory::new(epoch));
    let (seen, tail) = handed();
    let [one, other] = ["one", "other"].map(StreamKey::new);
    assert_eq!(store.epoch(), epoch);
    assert_eq!(now(store.append(&one, events(1), &tail)), Ok(1));
    assert_eq!(now(store.append(&other, events(2), &tail)), Ok(2));
    assert_eq!(now(store.append(&one, events(1), &tail)), Ok(4));
    let seen = seen.0.lock().unwrap();
    let expected = [("one", 1), ("other", 2), ("other", 3), ("one", 4)];
    let expected = expected.map(|(key, position)| (key.to_owned(), position));
    assert_eq!(*seen, expected);
}

#[test]
fn threads_are_handed_on_in_the_order_of_numbers() {
    const EACH: usize = 500;
    let store = Memory::new(Epoch::new(5));
    let (seen, tail) = handed();
    let firsts = |name: &str| -> Vec<u64> {
        let key = StreamKey::new(name);
        let one = |_| now(store.append(&key, events(2), &tail)).unwrap();
        (0..EACH).map(one).collect()
    };
    thread::scope(|scope| {
        let names = ["a", "b", "c", "d"];
        let threads: Vec<_> = names
            .map(|name| scope.spawn(move || firsts(name)))
            .into_iter()
            .collect();
        for thread in threads {
            assert!(thread.join().unwrap().is_sorted());
        }
    });
    let seen = seen.0.lock().unwrap();
    let positions: Vec<u64> = seen.iter().map(|(_, position)| *position).collect();
    assert_eq!(positions, (1..=8 * EACH as u64).collect::<Vec<_>>());
    assert!(
        seen.chunks(2).all(|pair| pair[0].0 == pair[1].0),
        "one append is in one piece"
    );
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

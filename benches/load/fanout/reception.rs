//! What one subscriber receives, checked byte by byte.
//!
//! Invariant: each event must be the next one. One that is missing, repeated, out of turn or not ours is
//! counted; a stream that ends, or breaks HTTP, is an error.

use crate::error::{LoadError, Result};
use crate::event::{EventReader, Seen};
use crate::wire::{Body, parse_answer};

const LONGEST_HEAD: usize = 16 * 1024;

/// The state of one stream.
pub struct Reception {
    /// Bytes of a head that is not whole yet.
    head: Vec<u8>,
    /// Once the head is whole.
    body: Option<Body>,
    reader: EventReader,
    /// The events so far.
    pub order: Order,
}

/// The events of a stream, as they came.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// The number that the next event must have.
    pub next: u64,
    /// Events before that which never came.
    pub missing: u64,
    /// Events that came twice or too late.
    pub out_of_turn: u64,
    /// Events that nobody published.
    pub foreign: u64,
}

impl Reception {
    /// Waiting for the head.
    pub fn new() -> Self {
        Self {
            head: Vec::new(),
            body: None,
            reader: EventReader::default(),
            order: Order::default(),
        }
    }

    /// Whether the stream has begun.
    pub fn has_begun(&self) -> bool {
        self.body.is_some()
    }

    /// Takes the next bytes, and calls `arrived` with number and time of sending of each event of ours.
    pub fn feed(&mut self, bytes: &[u8], arrived: &mut impl FnMut(u64, u64)) -> Result<()> {
        if let Some(body) = &mut self.body {
            let (reader, order) = (&mut self.reader, &mut self.order);
            let mut found = |seen| {
                if let Some((sequence, stamp)) = order.saw(seen) {
                    arrived(sequence, stamp);
                }
            };
            body.feed(bytes, &mut |data| reader.feed(data, &mut found))?;
            return match body.is_done() {
                false => Ok(()),
                true => Err(LoadError::Wire("the stream ended".into())),
            };
        }
        self.head.extend_from_slice(bytes);
        let Some((head, length)) = parse_answer(&self.head)? else {
            return match self.head.len() {
                ..LONGEST_HEAD => Ok(()),
                _ => Err(LoadError::Wire("head too large".into())),
            };
        };
        if head.status != 200 {
            return Err(LoadError::Wire(format!("status {}", head.status)));
        }
        let mut bytes = std::mem::take(&mut self.head);
        bytes.drain(..length);
        self.body = Some(Body::new(head.framing));
        self.feed(&bytes, arrived)
    }
}

impl Order {
    /// Notes one event; its number and time if it is one of ours.
    fn saw(&mut self, seen: Seen) -> Option<(u64, u64)> {
        let Seen::Numbered { sequence, stamp } = seen else {
            self.foreign += 1;
            return None;
        };
        if sequence < self.next {
            self.out_of_turn += 1;
        } else {
            self.missing += sequence - self.next;
            self.next = sequence + 1;
        }
        Some((sequence, stamp))
    }
}

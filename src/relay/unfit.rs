//! An answer that is no event stream where one was promised: what it says, in one line.

use std::future::poll_fn;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::{Instant, timeout_at};

use crate::dialect::error_message;
use crate::upstream::{Answer, Piece};

/// Most bytes of it that are read.
const MOST: usize = 64 * 1024;
/// How long they may take.
const WITHIN: Duration = Duration::from_secs(5);

/// What `answer` is instead of an event stream, with the reason it gives where it is an error.
pub(super) async fn told(answer: &mut Answer) -> String {
    let status = answer.head.status;
    let mut message = format!("the upstream answered {status} instead of an event stream");
    let due = Instant::now() + WITHIN;
    let mut read = BytesMut::new();
    while read.len() < MOST {
        let piece = poll_fn(|cx| answer.body.poll_piece(cx));
        match timeout_at(due, piece).await {
            Ok(Some(Ok(Piece::Data(data)))) => read.extend_from_slice(&data),
            _ => break,
        }
    }
    if let Some(reason) = error_message(&read) {
        message.push_str(": ");
        message.push_str(&reason);
    }
    message
}

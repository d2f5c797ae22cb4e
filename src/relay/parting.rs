//! How a client goes: by itself, which is to be noticed; or with an answer that is broken off, once it has what
//! was handed out before.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Version;

use super::record::Record;
use crate::delivery::Socket;

/// Watches for the client's going, on behalf of one body.
#[derive(Default)]
pub(super) struct Parting {
    /// Wakes the task when the client hangs up; set when it is first waited for.
    hung_up: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whether the server had a turn to write what it was handed.
    turned: bool,
}

impl Parting {
    /// Whether the client has closed. The waiting is set up once; from then on it is a look at a flag,
    /// and the task, which is always the same, is woken when the flag changes.
    pub(super) fn poll_hung_up(&mut self, socket: &Arc<Socket>, cx: &mut Context<'_>) -> Poll<()> {
        if self.hung_up.is_some() {
            let gone = socket.is_hung_up();
            return if gone { Poll::Ready(()) } else { Poll::Pending };
        }
        let waiting = Box::pin(socket.clone().hung_up());
        self.hung_up.insert(waiting).as_mut().poll(cx)
    }

    /// Nothing was handed out that the server would still have to write.
    pub(super) fn at_once(&mut self) {
        self.turned = true;
    }

    /// Ready when the answer may be broken off. An error that follows a frame at once makes the server forget the
    /// frame: it gets one turn to write, and then as long as the client takes.
    pub(super) fn poll_abort(&mut self, record: &Record, cx: &mut Context<'_>) -> Poll<()> {
        if !self.turned {
            self.turned = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let socket = record.socket();
        if socket.is_blocked() && self.poll_hung_up(socket, cx).is_pending() {
            return Poll::Pending;
        }
        if record.version() == Version::HTTP_10 {
            socket.reset_on_close();
        }
        Poll::Ready(())
    }
}

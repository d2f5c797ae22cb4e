//! The kernel's readiness queue (epoll), bare: what the floor waits on, and the subscribers too.
//!
//! Invariant: edges, not levels: a source is reported once for each arrival, and whoever is told
//! reads until a read comes back short. No runtime stands between the kernel and the numbers.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

use crate::error::{Result, While};

/// Sources reported at once. Few enough that a due event does not wait long for its turn.
pub const BATCH: usize = 256;

/// A readiness queue.
pub struct Poll {
    queue: OwnedFd,
    events: Vec<Event>,
}

/// One report.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What the source was added as.
    pub token: u64,
    /// The peer has closed; bytes before that may still be there.
    pub closing: bool,
}

impl Poll {
    /// An empty queue.
    pub fn new() -> Result<Self> {
        Ok(Self {
            queue: epoll::create(CreateFlags::CLOEXEC).while_doing("epoll_create1")?,
            events: Vec::with_capacity(BATCH),
        })
    }

    /// Reports arrivals at `source` as `token` from now on, until it is closed.
    pub fn add(&self, source: impl AsFd, token: u64) -> Result<()> {
        let flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.queue, source, EventData::new_u64(token), flags).while_doing("epoll_ctl")
    }

    /// No more reports of `source`.
    pub fn remove(&self, source: impl AsFd) -> Result<()> {
        epoll::delete(&self.queue, source).while_doing("epoll_ctl")
    }

    /// Waits for arrivals, at most so long (to the millisecond; for ever without a limit), and puts
    /// them in place of what is in `ready`.
    pub fn wait(&mut self, limit: Option<Duration>, ready: &mut Vec<Ready>) -> Result<()> {
        ready.clear();
        let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
        match epoll::wait(
            &self.queue,
            spare_capacity(&mut self.events),
            limit.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error).while_doing("epoll_wait"),
        }
        let closed = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        ready.extend(self.events.drain(..).map(|event| Ready {
            token: event.data.u64(),
            // Braces copy the field: the kernel's record is packed.
            closing: { event.flags }.intersects(closed),
        }));
        Ok(())
    }
}

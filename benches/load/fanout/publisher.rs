//! The publisher: one kept connection, a POST for each event.
//!
//! Invariant: the pace is open-loop. An event that could not be sent when it was due because the hub had not
//! answered the one before bears the time it was due, so that waiting caused by the hub counts as
//! latency; a delay of this tool's own does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::clock::now_ns;
use crate::error::{LoadError, Result, While};
use crate::event::{DATA, numbered_data};
use crate::wire::{Body, Framing, parse_answer};

const NO_CONTENT: u16 = 204;

/// A connection that publishes on one topic.
pub struct Publisher {
    /// To wait on.
    pub io: TcpStream,
    head: Vec<u8>,
    /// What has come of the answer that is awaited.
    answer: Vec<u8>,
    is_waiting: bool,
    answered_ns: u64,
}

impl Publisher {
    /// Connects; the topic is a path.
    pub fn new(address: SocketAddr, path: &str) -> Result<Self> {
        let io = TcpStream::connect(address).while_doing("connecting the publisher")?;
        io.set_nodelay(true).while_doing("TCP_NODELAY")?;
        io.set_nonblocking(true).while_doing("O_NONBLOCK")?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: text/plain\r\n\
             Content-Length: {DATA}\r\n\r\n"
        );
        Ok(Self {
            io,
            head: head.into_bytes(),
            answer: Vec::new(),
            is_waiting: false,
            answered_ns: 0,
        })
    }

    /// Whether the last event is still unanswered.
    pub fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    /// Sends event number `sequence`, which was due at `due` nanoseconds.
    pub fn publish(&mut self, sequence: u64, due: u64) -> Result<()> {
        let stamp = if self.answered_ns > due {
            due
        } else {
            now_ns()
        };
        let mut request = self.head.clone();
        request.extend_from_slice(&numbered_data(sequence, stamp));
        let written = self.io.write(&request).while_doing("publishing")?;
        if written < request.len() {
            return Err(LoadError::Wire("an event could not be sent whole".into()));
        }
        self.is_waiting = true;
        Ok(())
    }

    /// Takes what has arrived of an answer.
    pub fn receive(&mut self) -> Result<()> {
        let mut piece = [0; 4 * 1024];
        loop {
            match self.io.read(&mut piece) {
                Ok(0) => return Err(LoadError::Wire("the publisher's connection closed".into())),
                Ok(read) => self.answer.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).while_doing("reading the publisher's answer"),
            }
        }
        if self.is_waiting && self.is_answered()? {
            self.answer.clear();
            self.is_waiting = false;
            self.answered_ns = now_ns();
        }
        Ok(())
    }

    fn is_answered(&self) -> Result<bool> {
        let Some((head, length)) = parse_answer(&self.answer)? else {
            return Ok(false);
        };
        if !(200..300).contains(&head.status) {
            let answer = String::from_utf8_lossy(&self.answer);
            return Err(LoadError::Wire(format!("an event was refused: {answer}")));
        }
        let framing = match head.status {
            NO_CONTENT => Framing::Length(0),
            _ => head.framing,
        };
        let mut body = Body::new(framing);
        body.feed(&self.answer[length..], &mut |_| {})?;
        Ok(body.is_done())
    }
}

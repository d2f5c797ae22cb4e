//! The publisher: a POST for each event, over one connection while the hub keeps it.
//!
//! Invariant: the pace is open-loop. An event that could not be sent when it was due because the hub had not
//! answered the one before bears the time it was due, so that waiting caused by the hub counts as
//! latency; a delay of this tool's own does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::clock::now_ns;
use crate::error::{LoadError, Result, While};
use crate::event::{DATA, numbered_data};
use crate::wire::{Body, Framing, Head, parse_answer};

const NO_CONTENT: u16 = 204;

/// Where and how a hub takes events.
#[derive(Debug, Clone)]
pub struct Door {
    /// Where to connect.
    pub address: SocketAddr,
    /// Where to send a POST.
    pub path: String,
    /// The type of what is sent.
    pub kind: &'static str,
    /// What stands before and behind an event's data.
    pub around: (String, String),
}

/// A connection that publishes on one topic.
pub struct Publisher {
    /// To wait on.
    pub io: TcpStream,
    door: Door,
    /// What has come of the answer that is awaited.
    answer: Vec<u8>,
    is_waiting: bool,
    answered_ns: u64,
}

impl Publisher {
    /// Connects.
    pub fn new(door: Door) -> Result<Self> {
        Ok(Self {
            io: door.connect()?,
            door,
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
        let request = self.door.request(&numbered_data(sequence, stamp));
        let written = self.io.write(&request).while_doing("publishing")?;
        if written < request.len() {
            return Err(LoadError::Wire("an event could not be sent whole".into()));
        }
        self.is_waiting = true;
        Ok(())
    }

    /// Takes what has arrived of an answer; true when `io` is a new connection from now on.
    pub fn receive(&mut self) -> Result<bool> {
        let mut piece = [0; 4 * 1024];
        let mut is_open = true;
        loop {
            match self.io.read(&mut piece) {
                Ok(0) => {
                    is_open = false;
                    break;
                }
                Ok(read) => self.answer.extend_from_slice(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).while_doing("reading the publisher's answer"),
            }
        }
        let is_kept = match self.answered()? {
            Some(head) => {
                self.answer.clear();
                self.is_waiting = false;
                self.answered_ns = now_ns();
                head.keep_alive
            }
            None if is_open => return Ok(false),
            None => return Err(LoadError::Wire("the publisher's connection closed".into())),
        };
        if !is_kept {
            self.io = self.door.connect()?;
        }
        Ok(!is_kept)
    }

    /// The head of the answer that is awaited, once all of it is there.
    fn answered(&self) -> Result<Option<Head>> {
        if !self.is_waiting {
            return Ok(None);
        }
        let Some((head, length)) = parse_answer(&self.answer)? else {
            return Ok(None);
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
        Ok(body.is_done().then_some(head))
    }
}

impl Door {
    fn connect(&self) -> Result<TcpStream> {
        let io = TcpStream::connect(self.address).while_doing("connecting the publisher")?;
        io.set_nodelay(true).while_doing("TCP_NODELAY")?;
        io.set_nonblocking(true).while_doing("O_NONBLOCK")?;
        Ok(io)
    }

    fn request(&self, data: &[u8; DATA]) -> Vec<u8> {
        let (before, behind) = &self.around;
        let mut request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n{before}",
            self.path,
            self.address,
            self.kind,
            before.len() + DATA + behind.len(),
        )
        .into_bytes();
        request.extend_from_slice(data);
        request.extend_from_slice(behind.as_bytes());
        request
    }
}

//! A bare writer of events: the floor under every hub.
//!
//! Invariant: one thread, and for each event one `write` to each subscriber, of bytes made once; no
//! runtime, no log, no resuming. A subscriber that cannot take an event whole is dropped, which it
//! sees. What a hub costs above this is what its hub costs.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::poll::{Poll, Ready};
use crate::backend::listen;
use crate::error::{LoadError, Result, While};
use crate::wire::{Framing, parse_request};

/// `writer`: pass each POST's body on to everyone who sent a GET, as one event.
#[derive(Debug, clap::Args)]
pub struct WriterArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
const TAKEN: &[u8] = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n";
const LISTENER: u64 = 0;
const PIECE: usize = 4 * 1024;
const LONGEST_REQUEST: usize = 64 * 1024;

/// Serves until it is ended from outside.
pub fn run(args: &WriterArgs) -> Result<()> {
    let listener = listen(args.listen)?.into_std().while_doing("listening")?;
    let mut poll = Poll::new()?;
    poll.add(&listener, LISTENER)?;
    let mut writer = Writer::default();
    let mut ready: Vec<Ready> = Vec::new();
    loop {
        poll.wait(None, &mut ready)?;
        for Ready { token, .. } in &ready {
            match *token {
                LISTENER => writer.accept(&listener, &poll)?,
                token => writer.requests(token, &poll)?,
            }
        }
    }
}

/// A connection that has not subscribed, and what it has sent.
struct Caller {
    io: TcpStream,
    input: Vec<u8>,
}

#[derive(Default)]
struct Writer {
    callers: HashMap<u64, Caller>,
    last_token: u64,
    subscribers: Vec<TcpStream>,
}

impl Writer {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> Result<()> {
        loop {
            let io = match listener.accept() {
                Ok((io, _)) => io,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).while_doing("accepting"),
            };
            io.set_nodelay(true).while_doing("TCP_NODELAY")?;
            io.set_nonblocking(true).while_doing("O_NONBLOCK")?;
            self.last_token += 1;
            poll.add(&io, self.last_token)?;
            let input = Vec::new();
            self.callers.insert(self.last_token, Caller { io, input });
        }
    }

    /// Reads what a caller sent and does what it asks; one that breaks HTTP or leaves is let go.
    fn requests(&mut self, token: u64, poll: &Poll) -> Result<()> {
        let Some(mut caller) = self.callers.remove(&token) else {
            return Ok(());
        };
        let is_open = caller.fill();
        while let Ok(Some((is_get, length, body))) = caller.request() {
            if is_get {
                poll.remove(&caller.io)?;
                if matches!(caller.io.write(HEAD), Ok(HEAD_LENGTH)) {
                    self.subscribers.push(caller.io);
                }
                return Ok(());
            }
            self.publish(&caller.input[length - body..length]);
            caller.input.drain(..length);
            if !matches!(caller.io.write(TAKEN), Ok(TAKEN_LENGTH)) {
                return Ok(());
            }
        }
        if is_open {
            self.callers.insert(token, caller);
        }
        Ok(())
    }

    fn publish(&mut self, data: &[u8]) {
        const AROUND: usize = b"data: \n\n".len();
        let mut chunk = format!("{:x}\r\ndata: ", data.len() + AROUND).into_bytes();
        chunk.extend_from_slice(data);
        chunk.extend_from_slice(b"\n\n\r\n");
        self.subscribers
            .retain_mut(|io| io.write(&chunk).is_ok_and(|written| written == chunk.len()));
    }
}

const HEAD_LENGTH: usize = HEAD.len();
const TAKEN_LENGTH: usize = TAKEN.len();

impl Caller {
    /// Takes in all that has arrived; false when the caller has left.
    fn fill(&mut self) -> bool {
        let mut piece = [0; PIECE];
        loop {
            match self.io.read(&mut piece) {
                Ok(0) => return false,
                Ok(read) => self.input.extend_from_slice(&piece[..read]),
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// The next whole request: whether it is a GET, its length, and that of its body.
    fn request(&self) -> Result<Option<(bool, usize, usize)>> {
        let Some((head, head_length)) = parse_request(&self.input)? else {
            return Ok(None);
        };
        let Framing::Length(body) = head.framing else {
            return Err(LoadError::Wire("only Content-Length is read".into()));
        };
        let body = usize::try_from(body).unwrap_or(usize::MAX);
        if body > LONGEST_REQUEST {
            return Err(LoadError::Wire("request too large".into()));
        }
        let whole = head_length + body;
        Ok((self.input.len() >= whole).then(|| (self.input.starts_with(b"GET "), whole, body)))
    }
}

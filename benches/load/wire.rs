//! HTTP/1.1 as the load tool needs it, for both of its ends.
//!
//! Invariant: a body counts as ended only when its framing says so (RFC 9112 §6.3); a connection that
//! closes earlier is an error. An own small reader rather than an HTTP client, so that the core
//! which carries backend and clients does not become the bottleneck of the proxy on the other core.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use crate::error::{LoadError, Result, While};

const MAX_HEADERS: usize = 64;

/// How the body of a message is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Content-Length, also 0.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// Until the connection closes.
    Close,
}

/// What the tool wants to know of a head.
#[derive(Debug)]
pub struct Head {
    /// The answer's status; 0 in a request.
    pub status: u16,
    /// How the body ends.
    pub framing: Framing,
    /// Whether the connection can carry another message.
    pub keep_alive: bool,
    /// The backend's boot id, if the answer is from this tool's backend.
    pub boot: Option<String>,
    /// The client waits for `100 Continue`.
    pub expects_continue: bool,
    /// A GET that wants events, as an `EventSource` sends it.
    pub is_subscription: bool,
    /// The id after which a subscription goes on.
    pub last_event_id: Option<String>,
    /// Where an answer is kept: the target of its `Link` with `rel="self"`.
    pub kept_at: Option<String>,
}

/// A whole head and its length, or none yet.
pub type Parsed = Result<Option<(Head, usize)>>;

/// A connection with what was read ahead of it.
pub struct Wire<S> {
    /// The connection.
    pub io: S,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// A connection that reads at most `size` bytes at once; heads must fit in it.
    pub fn new(io: S, size: usize) -> Self {
        Self {
            io,
            buffer: vec![0; size],
            start: 0,
            end: 0,
        }
    }

    /// The next request head; `None` when the peer closed between two requests.
    pub async fn request(&mut self) -> Result<Option<Head>> {
        self.head(parse_request).await
    }

    /// The answer's head, after those that only announce it (RFC 9110 §15.2).
    pub async fn answer(&mut self) -> Result<Head> {
        loop {
            match self.head(parse_answer).await? {
                Some(head) if (100..200).contains(&head.status) => {}
                Some(head) => return Ok(head),
                None => return Err(LoadError::Wire("closed before an answer came".into())),
            }
        }
    }

    async fn head(&mut self, parse: fn(&[u8]) -> Parsed) -> Result<Option<Head>> {
        loop {
            if let Some((head, length)) = parse(&self.buffer[self.start..self.end])? {
                self.start += length;
                return Ok(Some(head));
            }
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            if self.end == self.buffer.len() {
                return Err(LoadError::Wire("head too large".into()));
            }
            let read = self
                .io
                .read(&mut self.buffer[self.end..])
                .await
                .while_doing("reading a head")?;
            if read == 0 {
                return match self.end {
                    0 => Ok(None),
                    _ => Err(LoadError::Wire("closed inside a head".into())),
                };
            }
            self.end += read;
        }
    }

    /// Gives the next bytes of the body to `sink`; false once the body has ended.
    pub async fn body(&mut self, body: &mut Body, sink: &mut impl FnMut(&[u8])) -> Result<bool> {
        if body.is_done() {
            return Ok(false);
        }
        if self.start == self.end {
            self.start = 0;
            self.end = self
                .io
                .read(&mut self.buffer)
                .await
                .while_doing("reading a body")?;
            if self.end == 0 {
                body.closed()?;
                return Ok(false);
            }
        }
        self.start += body.feed(&self.buffer[self.start..self.end], sink)?;
        Ok(!body.is_done())
    }

    /// Waits until the peer closes or sends something.
    pub async fn hang_up(&mut self) {
        let _ = self.io.read(&mut self.buffer).await;
    }
}

/// Takes the framing off a body.
pub struct Body {
    state: State,
}

enum State {
    Length(u64),
    Close,
    Size(u64),
    SizeRest(u64),
    Data(u64),
    DataEnd(u8),
    Trailer(usize),
    Done,
}

impl Body {
    /// A body delimited so.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::Size(0),
            Framing::Close => State::Close,
        };
        Self { state }
    }

    /// Whether the framing has ended the body.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The peer closed: an error where the framing had not ended.
    pub fn closed(&mut self) -> Result<()> {
        if !matches!(self.state, State::Close) {
            return Err(LoadError::Wire("cut: closed inside a body".into()));
        }
        self.state = State::Done;
        Ok(())
    }

    /// Consumes bytes up to the end of the body; returns how many were the body's.
    pub fn feed(&mut self, input: &[u8], sink: &mut impl FnMut(&[u8])) -> Result<usize> {
        let mut at = 0;
        while at < input.len() && !self.is_done() {
            let rest = &input[at..];
            at += match self.state {
                State::Close => {
                    sink(rest);
                    rest.len()
                }
                State::Length(left) => {
                    let taken = take(rest, left, sink);
                    let left = left - taken as u64;
                    self.state = if left == 0 {
                        State::Done
                    } else {
                        State::Length(left)
                    };
                    taken
                }
                State::Data(left) => {
                    let taken = take(rest, left, sink);
                    let left = left - taken as u64;
                    self.state = if left == 0 {
                        State::DataEnd(b'\r')
                    } else {
                        State::Data(left)
                    };
                    taken
                }
                _ => {
                    self.framing_byte(rest[0])?;
                    1
                }
            };
        }
        Ok(at)
    }

    fn framing_byte(&mut self, byte: u8) -> Result<()> {
        self.state = match (&self.state, byte) {
            (State::Size(size) | State::SizeRest(size), b'\n') => match *size {
                0 => State::Trailer(0),
                size => State::Data(size),
            },
            (State::Size(size), b'\r' | b';' | b' ') | (State::SizeRest(size), _) => {
                State::SizeRest(*size)
            }
            (State::Size(size), digit) => {
                let digit = char::from(digit).to_digit(16);
                let next =
                    digit.and_then(|digit| size.checked_mul(16)?.checked_add(u64::from(digit)));
                State::Size(next.ok_or_else(|| LoadError::Wire("bad chunk size".into()))?)
            }
            (State::DataEnd(b'\r'), b'\r') => State::DataEnd(b'\n'),
            (State::DataEnd(b'\n'), b'\n') => State::Size(0),
            (State::Trailer(0), b'\n') => State::Done,
            (State::Trailer(length), b'\r') => State::Trailer(*length),
            (State::Trailer(_), b'\n') => State::Trailer(0),
            (State::Trailer(length), _) => State::Trailer(length + 1),
            _ => return Err(LoadError::Wire("bad byte in the chunk framing".into())),
        };
        Ok(())
    }
}

fn take(rest: &[u8], left: u64, sink: &mut impl FnMut(&[u8])) -> usize {
    let taken = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
    sink(&rest[..taken]);
    taken
}

/// A request's head at the start of `bytes`.
pub fn parse_request(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request
        .parse(bytes)
        .map_err(|error| LoadError::Wire(error.to_string()))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let mut head = read_headers(request.headers, request.version);
    head.is_subscription &= request.method == Some("GET");
    if head.framing == Framing::Close {
        head.framing = Framing::Length(0);
    }
    Ok(Some((head, length)))
}

/// An answer's head at the start of `bytes`.
pub fn parse_answer(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut answer = httparse::Response::new(&mut headers);
    let parsed = answer
        .parse(bytes)
        .map_err(|error| LoadError::Wire(error.to_string()))?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let mut head = read_headers(answer.headers, answer.version);
    head.status = answer.code.unwrap_or(0);
    if matches!(head.status, 100..200 | 204 | 304) {
        head.framing = Framing::Length(0);
    }
    Ok(Some((head, length)))
}

fn read_headers(headers: &[httparse::Header<'_>], version: Option<u8>) -> Head {
    let mut head = Head {
        status: 0,
        framing: Framing::Close,
        keep_alive: version == Some(1),
        boot: None,
        expects_continue: false,
        is_subscription: false,
        last_event_id: None,
        kept_at: None,
    };
    for header in headers {
        let value = std::str::from_utf8(header.value).unwrap_or("").trim();
        if header.name.eq_ignore_ascii_case("content-length") && head.framing != Framing::Chunked {
            head.framing = value.parse().map_or(Framing::Close, Framing::Length);
        } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
            head.framing = Framing::Chunked;
        } else if header.name.eq_ignore_ascii_case("connection") {
            head.keep_alive &= !value.eq_ignore_ascii_case("close");
        } else if header.name.eq_ignore_ascii_case("expect") {
            head.expects_continue = true;
        } else if header.name.eq_ignore_ascii_case(BOOT_HEADER) {
            head.boot = Some(value.to_owned());
        } else if header.name.eq_ignore_ascii_case("accept") {
            head.is_subscription = value.contains("text/event-stream");
        } else if header.name.eq_ignore_ascii_case("last-event-id") {
            head.last_event_id = Some(value.to_owned());
        } else if header.name.eq_ignore_ascii_case("link") {
            head.kept_at = head.kept_at.or_else(|| link_to_self(value));
        }
    }
    head
}

/// The target of a `Link: <…>; rel="self"` (RFC 8288).
fn link_to_self(value: &str) -> Option<String> {
    let (target, parameters) = value.strip_prefix('<')?.split_once('>')?;
    let is_self = parameters.contains("rel=\"self\"") || parameters.contains("rel=self");
    is_self.then(|| target.to_owned())
}

/// The header by which a client knows the backend's clock.
pub const BOOT_HEADER: &str = "x-load-boot";

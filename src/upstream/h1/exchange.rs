//! One request and the head of its answer, on one connection.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{Method, StatusCode};

use super::body::Body;
use super::framing::{BadFraming, Decoder, Framing};
use super::head::{self, GATHERED, Head};
use super::send::{Sender, Upload};
use crate::upstream::fault::Reason;
use crate::upstream::transport::Transport;

/// A server that had closed the connection before shows it within a round trip; one that takes longer
/// may have begun to work.
const STALE_WITHIN: Duration = Duration::from_secs(1);

/// A connection to an endpoint between two requests, or in one. It goes through many hands in a box.
#[derive(Debug)]
pub struct Connection {
    pub(super) transport: Transport,
    /// Bytes that were read together with a head and stand behind it.
    pub(super) read_ahead: BytesMut,
    /// Where it leads, where its endpoint's name may come to lead elsewhere.
    pub(in crate::upstream) peer: Option<SocketAddr>,
    /// Whether an answer was already read from it: then the server may close it under a request.
    pub reused: bool,
}

impl Connection {
    /// A connection that nothing was sent on yet.
    pub fn new(transport: Transport) -> Box<Self> {
        Box::new(Self {
            transport,
            read_ahead: BytesMut::new(),
            peer: None,
            reused: false,
        })
    }

    /// Whether it lies still, as it must between two requests: a server that closed it, or that
    /// sent something unasked, makes it useless. Costs no system call while nothing came.
    pub fn is_quiet(&mut self) -> bool {
        if !self.transport.may_be_readable() {
            return self.read_ahead.is_empty();
        }
        let mut cx = Context::from_waker(Waker::noop());
        self.read_ahead.is_empty() && self.transport.poll_read(&mut cx, |_| ()).is_pending()
    }

    /// Transport and unread bytes of a connection that speaks another protocol from now on.
    pub fn into_parts(self) -> (Transport, Bytes) {
        (self.transport, self.read_ahead.freeze())
    }
}

/// A request that failed before the head of its answer was whole.
#[derive(Debug)]
pub struct ExchangeFault {
    /// What happened.
    pub reason: Reason,
    /// Whether the connection was used before and closed at once, without a byte of an answer: then
    /// the server most likely had closed it between two requests (RFC 9112 §9.3.1).
    pub stale: bool,
    /// Whether not one byte of the request was written.
    pub unsent: bool,
}

/// Sends a request and reads up to the end of its answer's head; interim answers are passed over
/// (RFC 9110 §15.2), but for 101.
///
/// # Errors
///
/// [`ExchangeFault`]; the connection is gone then.
pub async fn exchange(
    connection: Box<Connection>,
    method: &Method,
    mut head: Vec<u8>,
    mut upload: Upload,
) -> Result<(Head, Body), ExchangeFault> {
    if let Upload::Kept(body) = &mut upload
        && body.len() <= GATHERED
    {
        head.extend_from_slice(&std::mem::take(body));
    }
    let started = Instant::now();
    let sender = Sender::new(head.into(), upload);
    let mut exchange = Exchange {
        connection,
        sender,
        send_failure: None,
        touched: false,
    };
    let head = match poll_fn(|cx| exchange.poll_head(cx)).await {
        Ok(head) => head,
        Err(reason) => {
            let closed = matches!(reason, Reason::Closed | Reason::Io(_));
            let at_once = started.elapsed() < STALE_WITHIN;
            let stale = closed && exchange.connection.reused && !exchange.touched && at_once;
            let unsent = !exchange.sender.has_written();
            return Err(ExchangeFault {
                reason,
                stale,
                unsent,
            });
        }
    };
    exchange
        .into_answer(method, head)
        .map_err(|reason| ExchangeFault {
            reason,
            stale: false,
            unsent: false,
        })
}

struct Exchange {
    connection: Box<Connection>,
    sender: Sender,
    /// A server may refuse a body by answering and closing: its answer is worth more than the
    /// failure to write, which is kept until it is clear that no answer comes.
    send_failure: Option<Reason>,
    touched: bool,
}

impl Exchange {
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Reason>> {
        loop {
            if !self.sender.is_done() && self.send_failure.is_none() {
                match self.sender.poll(cx, &mut self.connection.transport) {
                    Poll::Ready(Err(reason @ Reason::Upload(_))) => {
                        return Poll::Ready(Err(reason));
                    }
                    Poll::Ready(Err(reason)) => self.send_failure = Some(reason),
                    Poll::Ready(Ok(())) | Poll::Pending => {}
                }
            }
            let read = ready!(self.poll_parse(cx));
            match read {
                Ok(Some(head)) if is_interim(head.status) => {}
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(reason) => {
                    return Poll::Ready(Err(self.send_failure.take().unwrap_or(reason)));
                }
            }
        }
    }

    /// One read, or what was read ahead; the head if it is whole now.
    fn poll_parse(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Reason>> {
        let Connection {
            transport,
            read_ahead,
            ..
        } = &mut *self.connection;
        if !read_ahead.is_empty()
            && let Some((head, length)) = head::parse(read_ahead)?
        {
            let _ = read_ahead.split_to(length);
            return Poll::Ready(Ok(Some(head)));
        }
        let parsed = ready!(transport.poll_read(cx, |bytes| {
            if bytes.is_empty() {
                return Err(Reason::Closed);
            }
            self.touched = true;
            // Nearly every head comes in one read, and then is parsed where it lies.
            if !read_ahead.is_empty() {
                read_ahead.extend_from_slice(bytes);
                return Ok(None);
            }
            let parsed = head::parse(bytes)?;
            let behind = parsed.as_ref().map_or(0, |(_, length)| *length);
            read_ahead.extend_from_slice(&bytes[behind..]);
            Ok(parsed.map(|(head, _)| head))
        }));
        Poll::Ready(parsed.map_err(Reason::Io).and_then(|inner| inner))
    }

    fn into_answer(self, method: &Method, mut head: Head) -> Result<(Head, Body), Reason> {
        let framing = head::framing(method, &head)?;
        let mut decoder = Decoder::new(framing);
        let mut connection = self.connection;
        let keep = head::keeps_alive(&head) && self.send_failure.is_none();
        // Chunks outweigh a length (RFC 9112 §6.3), which must not be passed on to mislead others.
        match framing {
            Framing::Chunked => {
                head.headers.remove(CONTENT_LENGTH);
            }
            // Said several times, it is passed on once.
            Framing::Length(length) if head.headers[CONTENT_LENGTH].as_bytes().contains(&b',') => {
                head.headers.insert(CONTENT_LENGTH, length.into());
            }
            Framing::Length(_) | Framing::Empty | Framing::Close => {}
        }
        let upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let first = if upgrade {
            Bytes::new()
        } else {
            decode_ahead(&mut connection, &mut decoder)?
        };
        let sender = match self.sender.is_done() {
            true => None,
            false => Some(Box::new(self.sender)),
        };
        let body = Body::new(connection, decoder, sender, keep, first);
        let body = if upgrade { body.upgraded() } else { body };
        Ok((head, body))
    }
}

/// The part of the body that came with the head.
fn decode_ahead(connection: &mut Connection, decoder: &mut Decoder) -> Result<Bytes, BadFraming> {
    if connection.read_ahead.is_empty() {
        // Gives the allocation back: an idle stream holds none.
        connection.read_ahead = BytesMut::new();
        return Ok(Bytes::new());
    }
    // A short answer is whole with its head, and not copied a second time.
    if decoder.ends_with(&connection.read_ahead) {
        return Ok(std::mem::take(&mut connection.read_ahead).freeze());
    }
    let decoded = decoder.decode(&connection.read_ahead)?;
    let (data, consumed) = (decoded.data.into_bytes(), decoded.consumed);
    let _ = connection.read_ahead.split_to(consumed);
    if connection.read_ahead.is_empty() {
        connection.read_ahead = BytesMut::new();
    }
    Ok(data)
}

fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

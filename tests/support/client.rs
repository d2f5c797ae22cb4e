//! A client that owns every byte: raw TCP, HTTP/1.1 and HTTP/1.0, one request after the other.
//!
//! It tells how a body ended (the design's promise is about endings).

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::limit::within;
use super::wire::{self, Body, Head};

/// A request to be written.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    target: String,
    version: &'static str,
    fields: Vec<String>,
    body: Vec<u8>,
}

impl Ask {
    /// A request without a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: "HTTP/1.1",
            fields: vec!["Host: gateway.test".to_owned()],
            body: Vec::new(),
        }
    }

    /// A GET.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// A POST of JSON, with its length.
    pub fn post(target: &str, json: impl AsRef<[u8]>) -> Self {
        Self::new("POST", target)
            .field("Content-Type: application/json")
            .body(json)
    }

    /// Adds a field line, `Name: value`.
    pub fn field(mut self, line: &str) -> Self {
        self.fields.push(line.to_owned());
        self
    }

    /// Sets the body, framed by its length.
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let length = format!("Content-Length: {}", self.body.len());
        self.field(&length)
    }

    /// Speaks HTTP/1.0.
    pub fn http10(mut self) -> Self {
        self.version = "HTTP/1.0";
        self
    }

    /// The bytes of it.
    pub fn bytes(&self) -> Vec<u8> {
        let fields: Vec<_> = self.fields.iter().map(String::as_str).collect();
        let first = format!("{} {} {}", self.method, self.target, self.version);
        let mut out = wire::head(&first, &fields);
        out.extend_from_slice(&self.body);
        out
    }
}

/// How an answer's body ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With the last chunk and these trailers.
    LastChunk(Vec<(String, String)>),
    /// Its length was reached (also: it had none by rule).
    Length,
    /// The connection closed, which was its framing.
    Closed,
    /// The connection closed within its framing.
    Cut,
    /// The connection was reset.
    Reset,
}

impl Ended {
    /// Whether a client takes this ending for a whole answer.
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::LastChunk(_) | Self::Length | Self::Closed)
    }
}

/// One read's worth of a body.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The data, without framing.
    pub data: Bytes,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Interim heads (1xx) before it.
    pub interim: Vec<Head>,
    /// Its head.
    pub head: Head,
    /// Its body, without framing.
    pub body: Bytes,
    /// How that ended.
    pub ended: Ended,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.head.status()
    }
}

/// A connection to the gateway.
pub struct Client {
    stream: TcpStream,
    buffer: BytesMut,
    method: String,
    body: Body,
    framed_by_length: bool,
    ended: Option<Ended>,
    unread: BytesMut,
}

impl Client {
    /// Connects.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connecting", TcpStream::connect(address)).await;
        Self::over(stream.unwrap())
    }

    /// Connects with little room for what is not read yet.
    pub async fn connect_with_little_room(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let stream = within("connecting", socket.connect(address)).await;
        Self::over(stream.unwrap())
    }

    /// Makes room again: what has piled up is read at once, not a few bytes at a time.
    pub fn make_room(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_recv_buffer_size(1 << 20).unwrap();
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            buffer: BytesMut::new(),
            method: "GET".to_owned(),
            body: Body::Over(Vec::new()),
            framed_by_length: false,
            ended: None,
            unread: BytesMut::new(),
        }
    }

    /// Connects and asks.
    pub async fn asking(address: SocketAddr, ask: &Ask) -> Self {
        let mut client = Self::connect(address).await;
        client.ask(ask).await;
        client
    }

    /// Connects, asks and reads the whole answer.
    pub async fn fetch(address: SocketAddr, ask: &Ask) -> Answer {
        Self::asking(address, ask).await.answer().await
    }

    /// Writes a request.
    pub async fn ask(&mut self, ask: &Ask) {
        self.method.clone_from(&ask.method);
        self.send(ask.bytes()).await;
    }

    /// Writes bytes as they are. A gateway that left is seen by reading.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within(
            "the gateway to take bytes",
            self.stream.write_all(bytes.as_ref()),
        )
        .await
        .is_ok()
    }

    /// Writes `piece` over and over until nothing was taken for `quiet`, or `most` bytes were.
    pub async fn flood(&mut self, piece: &[u8], quiet: Duration, most: u64) -> u64 {
        let mut sent = 0;
        while sent < most {
            match tokio::time::timeout(quiet, self.stream.write(piece)).await {
                Ok(Ok(count)) => sent += count as u64,
                Ok(Err(_)) | Err(_) => break,
            }
        }
        sent
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }

    /// Reads the next head, interim ones too.
    pub async fn any_head(&mut self) -> Head {
        within("an answer's head", async {
            loop {
                if let Some(head) = Head::take(&mut self.buffer) {
                    return head;
                }
                let count = self.read().await;
                assert!(
                    matches!(count, Ok(1..)),
                    "the gateway left before a head: {count:?}, {:?}",
                    self.buffer
                );
            }
        })
        .await
    }

    /// Reads the final head; its body is read next.
    pub async fn head(&mut self) -> Head {
        loop {
            let head = self.any_head().await;
            if head.status() >= 200 || head.status() == 101 {
                self.body = head.answer_body(&self.method);
                self.framed_by_length = matches!(self.body, Body::Length(_));
                self.ended = None;
                self.unread.clear();
                return head;
            }
        }
    }

    /// Reads what follows a 101 as it comes, until the connection closes.
    pub fn tunnel(&mut self) {
        self.body = Body::UntilClose;
        self.ended = None;
    }

    /// The next piece of the body; none when it has ended, which [`Client::ended`] describes.
    pub async fn piece(&mut self) -> Option<Piece> {
        within("a piece of the body or its end", self.next_piece()).await
    }

    async fn next_piece(&mut self) -> Option<Piece> {
        if !self.unread.is_empty() {
            return Some(Piece {
                data: self.unread.split().freeze(),
            });
        }
        loop {
            let data = self.body.take(&mut self.buffer);
            if let Body::Over(trailers) = &self.body {
                self.ended = Some(if self.framed_by_length {
                    Ended::Length
                } else {
                    Ended::LastChunk(trailers.clone())
                });
            }
            if !data.is_empty() {
                return Some(Piece { data });
            }
            if self.ended.is_some() {
                return None;
            }
            match self.read().await {
                Ok(0) if matches!(self.body, Body::UntilClose) => self.ended = Some(Ended::Closed),
                Ok(0) => self.ended = Some(Ended::Cut),
                Ok(_) => {}
                Err(_) => self.ended = Some(Ended::Reset),
            }
        }
    }

    /// Reads on until exactly `expected` has come as the next of the body; more may not come with it.
    #[track_caller]
    pub fn reads<'a>(
        &'a mut self,
        expected: impl AsRef<[u8]> + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            let expected = expected.as_ref();
            let mut got = BytesMut::new();
            while got.len() < expected.len() {
                let Some(piece) = self.piece().await else {
                    panic!("{place}: ended {:?} after {:?}", self.ended, shown(&got));
                };
                got.extend_from_slice(&piece.data);
                let same = got.len().min(expected.len());
                assert!(
                    got[..same] == expected[..same],
                    "{place}: got {:?}, not {:?}",
                    shown(&got),
                    shown(expected)
                );
            }
            self.unread = got.split_off(expected.len());
        }
    }

    /// Reads the rest of the body, and how it ended.
    pub async fn rest(&mut self) -> (Bytes, Ended) {
        let mut bytes = BytesMut::new();
        while let Some(piece) = self.piece().await {
            bytes.extend_from_slice(&piece.data);
        }
        (bytes.freeze(), self.ended.clone().expect("an ending"))
    }

    /// Reads a whole answer.
    pub async fn answer(&mut self) -> Answer {
        let mut interim = Vec::new();
        loop {
            let head = self.any_head().await;
            if head.status() < 200 && head.status() != 101 {
                interim.push(head);
                continue;
            }
            self.body = head.answer_body(&self.method);
            self.framed_by_length = matches!(self.body, Body::Length(_));
            self.ended = None;
            let (body, ended) = self.rest().await;
            return Answer {
                interim,
                head,
                body,
                ended,
            };
        }
    }

    /// How the body ended, once [`Client::piece`] gave none.
    pub fn ended(&self) -> Ended {
        self.ended.clone().expect("an ending")
    }

    /// Asks and reads the whole answer, on this connection.
    pub async fn exchange(&mut self, ask: &Ask) -> Answer {
        self.ask(ask).await;
        self.answer().await
    }

    /// Reads until the gateway closes (false) or resets (true), dropping what comes.
    pub async fn left(&mut self) -> bool {
        within("the gateway to leave", async {
            loop {
                self.buffer.clear();
                match self.read().await {
                    Ok(0) => return false,
                    Ok(_) => {}
                    Err(_) => return true,
                }
            }
        })
        .await
    }

    /// Bytes read but not yet given out: what came after an answer's end, too.
    pub fn spare(&self) -> &[u8] {
        &self.buffer
    }

    /// Closes the sending side only; answers could still be read.
    pub async fn half_close(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// Leaves with FIN; the time of it.
    pub fn leave(self) -> Instant {
        drop(self.stream);
        Instant::now()
    }

    /// Leaves with a reset; the time of it.
    pub fn reset(self) -> Instant {
        self.stream.set_zero_linger().unwrap();
        self.leave()
    }
}

/// Bytes for people.
pub fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

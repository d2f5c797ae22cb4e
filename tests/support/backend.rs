//! A backend that owns every byte: raw TCP, driven by the test itself or by a play for each connection.
//!
//! A test that accepts by hand is in lock-step with the gateway without any signal between tasks:
//! it sends, looks at the client, and sends on. Every request is also written to a log.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::limit::within;
use super::wire::{Body, Head};

/// One request as the backend saw it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its head.
    pub head: Head,
    /// Its body, without framing.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Vec<(String, String)>,
}

/// How the gateway left a connection.
#[derive(Debug, Clone, Copy)]
pub struct Left {
    /// When the backend saw it.
    pub at: Instant,
    /// Bytes that had come since the last request was read.
    pub bytes: u64,
}

/// A listening backend.
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    listener: Option<TcpListener>,
    seen: Arc<Mutex<Vec<Request>>>,
    accepted: Arc<AtomicUsize>,
    task: Option<JoinHandle<()>>,
}

impl Backend {
    /// Listens; the test accepts each connection with [`Backend::accept`].
    pub async fn listen() -> Self {
        Self::listen_on("127.0.0.1:0").await
    }

    /// The same on an address of the test's choice.
    pub async fn listen_on(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            listener: Some(listener),
            seen: Arc::default(),
            accepted: Arc::default(),
            task: None,
        }
    }

    /// Gives every connection to `play`.
    pub async fn playing<F, P>(play: P) -> Self
    where
        F: Future<Output = ()> + Send,
        P: Fn(Peer) -> F + Send + Sync + 'static,
    {
        let mut backend = Self::listen().await;
        let listener = backend.listener.take().unwrap();
        let (seen, accepted) = (backend.seen.clone(), backend.accepted.clone());
        let play = Arc::new(play);
        backend.task = Some(tokio::spawn(async move {
            // The set lives in this task: when the backend goes, so do its connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = accepted.fetch_add(1, Ordering::SeqCst);
                let peer = Peer::new(stream, number, seen.clone());
                let play = play.clone();
                connections.spawn(async move { play(peer).await });
            }
        }));
        backend
    }

    /// Answers every request with the same bytes, on connections that stay open.
    pub async fn answering(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self::playing(move |mut peer| {
            let bytes = bytes.clone();
            async move {
                while peer.request().await.is_some() {
                    peer.send(&bytes).await;
                }
            }
        })
        .await
    }

    /// The next connection.
    pub async fn accept(&self) -> Peer {
        let listener = self
            .listener
            .as_ref()
            .expect("a backend that a test drives");
        let (stream, _) = within("a connection of the gateway", listener.accept())
            .await
            .unwrap();
        let number = self.accepted.fetch_add(1, Ordering::SeqCst);
        Peer::new(stream, number, self.seen.clone())
    }

    /// The next connection and the whole request on it.
    pub async fn request(&self) -> (Peer, Request) {
        let mut peer = self.accept().await;
        let request = peer.request().await.expect("a request");
        (peer, request)
    }

    /// Whether nobody connects for `time`, to a backend that the test drives.
    pub async fn is_left_alone_for(&self, time: Duration) -> bool {
        let listener = self
            .listener
            .as_ref()
            .expect("a backend that a test drives");
        tokio::time::timeout(time, listener.accept()).await.is_err()
    }

    /// Every whole request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// `http://…` of it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// One connection at the backend.
pub struct Peer {
    /// Which one, from 0.
    pub number: usize,
    stream: TcpStream,
    buffer: BytesMut,
    flooded: usize,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Peer {
    fn new(stream: TcpStream, number: usize, seen: Arc<Mutex<Vec<Request>>>) -> Self {
        stream.set_nodelay(true).unwrap();
        Self {
            number,
            stream,
            buffer: BytesMut::new(),
            flooded: 0,
            seen,
        }
    }

    /// A connection that the test itself accepted.
    pub fn over(stream: TcpStream) -> Self {
        Self::new(stream, 0, Arc::default())
    }

    /// Reads a whole request; none when the gateway closed instead.
    pub async fn request(&mut self) -> Option<Request> {
        let head = self.head().await?;
        let mut body = head.request_body();
        let mut bytes = BytesMut::new();
        loop {
            bytes.extend_from_slice(&body.take(&mut self.buffer));
            if let Body::Over(trailers) = body {
                let request = Request {
                    head,
                    body: bytes.freeze(),
                    trailers,
                };
                self.seen.lock().unwrap().push(request.clone());
                return Some(request);
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// Reads a request's head and leaves its body unread; none when the gateway closed instead.
    pub async fn head(&mut self) -> Option<Head> {
        loop {
            if let Some(head) = Head::take(&mut self.buffer) {
                return Some(head);
            }
            if self.fill().await == 0 {
                assert!(
                    self.buffer.is_empty(),
                    "a head cut short: {:?}",
                    self.buffer
                );
                return None;
            }
        }
    }

    /// Reads on until `count` bytes of a body's data are there, and gives what came.
    pub async fn body(&mut self, body: &mut Body, count: usize) -> Bytes {
        let mut bytes = BytesMut::new();
        loop {
            bytes.extend_from_slice(&body.take(&mut self.buffer));
            if bytes.len() >= count || body.is_over() {
                return bytes.freeze();
            }
            let came = within("bytes of a request body", self.fill()).await;
            assert!(came > 0, "the gateway closed within a request body");
        }
    }

    /// Sends bytes at once. A gateway that left is no fault here: [`Peer::left`] tells.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    /// Sends an event stream's chunk.
    pub async fn chunk(&mut self, data: impl AsRef<[u8]>) -> bool {
        self.send(super::wire::chunk(data)).await
    }

    /// Sends `piece` over and over until the gateway has taken nothing for `quiet`; gives the count
    /// of bytes. A further flood goes on where this one stopped, within the piece.
    pub async fn flood(&mut self, piece: &[u8], quiet: Duration) -> u64 {
        let mut sent = 0;
        loop {
            let rest = &piece[self.flooded % piece.len()..];
            match tokio::time::timeout(quiet, self.stream.write(rest)).await {
                Ok(Ok(count)) => {
                    self.flooded += count;
                    sent += count as u64;
                }
                Ok(Err(_)) | Err(_) => return sent,
            }
        }
    }

    /// Sends `count` times `piece`, for as long as the gateway takes it; the bytes that were sent.
    pub async fn pour(&mut self, piece: &[u8], count: usize) -> usize {
        for sent in 0..count {
            let taken = within(
                "the gateway to take bytes or leave",
                self.stream.write_all(piece),
            );
            if taken.await.is_err() {
                return sent * piece.len();
            }
        }
        count * piece.len()
    }

    /// Closes, with FIN.
    pub fn close(self) {
        drop(self);
    }

    /// Closes with a reset. What was sent may be lost, as it may with a real one.
    pub fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }

    /// Reads until the gateway closes or resets this connection.
    pub async fn left(&mut self) -> Left {
        within("the gateway to leave", self.left_at_last()).await
    }

    async fn left_at_last(&mut self) -> Left {
        let mut bytes = self.buffer.len() as u64;
        loop {
            self.buffer.clear();
            match self.read().await {
                Ok(0) => {
                    return Left {
                        at: Instant::now(),
                        bytes,
                    };
                }
                Ok(count) => bytes += count as u64,
                Err(_) => {
                    return Left {
                        at: Instant::now(),
                        bytes,
                    };
                }
            }
        }
    }

    /// Whether the gateway has kept this connection open and silent for `time`.
    pub async fn is_quiet_for(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.left_at_last())
            .await
            .is_err()
            && self.buffer.is_empty()
    }

    async fn read(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }

    async fn fill(&mut self) -> usize {
        self.read().await.unwrap_or(0)
    }
}

/// An address that refuses connections, for as long as this lives.
pub struct Refusing {
    /// The address.
    pub address: SocketAddr,
    _bound: socket2::Socket,
}

impl Refusing {
    /// Binds a port without listening on it, so that nobody else can get it either.
    pub fn new() -> Self {
        let socket = bound();
        Self {
            address: local(&socket),
            _bound: socket,
        }
    }
}

/// An address where connecting never ends, for as long as this lives.
pub struct Unreachable {
    /// The address.
    pub address: SocketAddr,
    _listening: socket2::Socket,
    _waiting: Vec<TcpStream>,
}

impl Unreachable {
    /// Fills a listener's queue, so that the kernel drops what comes next.
    pub async fn new() -> Self {
        let socket = bound();
        socket.listen(0).unwrap();
        let address = local(&socket);
        let mut waiting = Vec::new();
        loop {
            let attempt = TcpStream::connect(address);
            match tokio::time::timeout(Duration::from_millis(300), attempt).await {
                Ok(stream) => waiting.push(stream.unwrap()),
                Err(_) => break,
            }
            assert!(waiting.len() < 64, "the queue never fills");
        }
        Self {
            address,
            _listening: socket,
            _waiting: waiting,
        }
    }
}

fn bound() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).unwrap();
    socket
}

fn local(socket: &socket2::Socket) -> SocketAddr {
    let address: io::Result<_> = socket.local_addr();
    address.unwrap().as_socket().unwrap()
}

//! Writes past the HTTP server, over real sockets and through hyper: what comes out is what went in.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, yield_now};

use super::{Direct, Framing, chunk};
use crate::delivery::{ClientIo, Socket};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n";

/// What a body gives, and what it was asked.
#[derive(Default)]
struct Feed {
    queue: VecDeque<Bytes>,
    waker: Option<Waker>,
    /// The last answer was that there is nothing.
    waits: bool,
    ended: bool,
    polls: usize,
    dropped: bool,
}

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Feed>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Feed> {
        self.0.lock().unwrap()
    }

    fn wake(&self) {
        if let Some(waker) = self.lock().waker.take() {
            waker.wake();
        }
    }

    fn push(&self, bytes: &Bytes) {
        self.lock().queue.push_back(bytes.clone());
        self.wake();
    }

    fn end(&self) {
        self.lock().ended = true;
        self.wake();
    }

    fn may_write_past(&self) -> bool {
        let feed = self.lock();
        feed.waits && feed.queue.is_empty()
    }
}

struct Body(Shared);

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let mut feed = self.0.lock();
        feed.polls += 1;
        feed.waits = false;
        if let Some(bytes) = feed.queue.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if feed.ended {
            return Poll::Ready(None);
        }
        feed.waits = true;
        feed.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let mut feed = self.0.lock();
        feed.waits = false;
        feed.dropped = true;
    }
}

/// A connection to a server whose every answer is the next of `feeds`.
struct Line {
    socket: Arc<Socket>,
    client: TcpStream,
    server: JoinHandle<hyper::Result<()>>,
}

impl Line {
    /// `room` limits what the kernel keeps for this side, in bytes.
    async fn open(feeds: &[Shared], room: Option<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(connecting, listener.accept());
        let (client, (tcp, peer)) = (client.unwrap(), accepted.unwrap());
        if let Some(room) = room {
            let sent = socket2::SockRef::from(&tcp).set_send_buffer_size(room);
            // Much less, and what is on its way is dropped and sent again after a fifth of a second.
            let received = socket2::SockRef::from(&client).set_recv_buffer_size(128 * 1024);
            sent.and(received).unwrap();
        }
        let socket = Arc::new(Socket::new(tcp, peer).unwrap());
        let feeds = Mutex::new(feeds.iter().cloned().collect::<VecDeque<_>>());
        let answers = service_fn(move |_: Request<hyper::body::Incoming>| {
            let feed = feeds.lock().unwrap().pop_front().unwrap();
            async { Ok::<_, Infallible>(Response::new(Body(feed))) }
        });
        let connection = http1::Builder::new()
            .max_buf_size(16 * 1024)
            .serve_connection(ClientIo::new(socket.clone()), answers);
        Self {
            socket,
            client,
            server: tokio::spawn(connection),
        }
    }

    /// Reads what is there, at most `most` bytes.
    fn read_some(&mut self, most: usize, into: &mut Vec<u8>) {
        let mut space = vec![0; most.min(64 * 1024)];
        match self.client.try_read(&mut space) {
            Ok(taken) => into.extend_from_slice(&space[..taken]),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }

    /// Reads until `done`.
    async fn read_until(&mut self, into: &mut Vec<u8>, done: impl Fn(&[u8]) -> bool) {
        let reading = async {
            while !done(into) {
                let read = self.client.read_buf(into).await.unwrap();
                assert!(read > 0, "ended after {} bytes", into.len());
            }
        };
        within(reading).await;
    }
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(30);
    tokio::time::timeout(limit, what).await.expect("in time")
}

async fn until(what: impl Fn() -> bool) {
    within(async {
        while !what() {
            yield_now().await;
        }
    })
    .await;
}

/// Takes a head off, down to its blank line.
fn after_head(bytes: &[u8]) -> (String, &[u8]) {
    let end = memchr::memmem::find(bytes, b"\r\n\r\n").unwrap() + 4;
    (
        String::from_utf8(bytes[..end].to_vec()).unwrap(),
        &bytes[end..],
    )
}

/// The content of a chunked body, if it is whole, and what follows it.
fn dechunked(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut content = Vec::new();
    loop {
        let line = memchr::memmem::find(rest, b"\r\n")?;
        let digits = std::str::from_utf8(&rest[..line]).unwrap();
        let len = usize::from_str_radix(digits, 16)
            .unwrap_or_else(|_| panic!("no size of a chunk: {digits:?}"));
        rest = &rest[line + 2..];
        if rest.len() < len + 2 {
            return None;
        }
        assert_eq!(&rest[len..len + 2], b"\r\n", "behind a chunk");
        content.extend_from_slice(&rest[..len]);
        rest = &rest[len + 2..];
        if len == 0 {
            return Some((content, rest));
        }
    }
}

fn is_whole(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n0\r\n\r\n") && dechunked(after_head(bytes).1).is_some()
}

fn framed(framing: Framing, bytes: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    framing.put(bytes, &mut out);
    out.freeze()
}

/// How often each way was gone.
#[derive(Debug, Default)]
struct Ways {
    written: usize,
    partly: usize,
    busy: usize,
    server: usize,
}

/// Delivers one piece, past the server if that is asked for and may be.
fn deliver(line: &Line, feed: &Shared, framing: Framing, piece: &Bytes, ways: &mut Ways) {
    if !feed.may_write_past() {
        ways.server += 1;
        return feed.push(piece);
    }
    // Framed here or there, and either is kept where it did not go out whole.
    let written = match piece.len() % 2 {
        0 => line.socket.write_direct(&framed(framing, piece)),
        _ => line.socket.write_framed(framing, piece),
    };
    match written {
        Direct::Written => ways.written += 1,
        Direct::Partly => {
            ways.partly += 1;
            feed.wake();
        }
        Direct::Busy => {
            ways.busy += 1;
            feed.push(piece);
        }
    }
}

fn piece(random: &mut fastrand::Rng) -> Bytes {
    let len = match random.u8(..10) {
        0..6 => random.usize(1..60),
        6..8 => random.usize(60..3000),
        _ => random.usize(3000..150_000),
    };
    let mut bytes = vec![0; len];
    random.fill(&mut bytes);
    bytes.into()
}

/// What became of one connection.
struct Course {
    seed: u64,
    sent: Vec<u8>,
    came: Vec<u8>,
    ways: Ways,
}

/// One connection for each of `seeds`, all at the same time; and how often each way was gone.
async fn courses(seeds: u64, framing: Framing, steps: usize) -> (Vec<Course>, Ways) {
    let courses = (0..seeds).map(|seed| at_random(seed, framing, steps));
    let courses = futures_util::future::join_all(courses).await;
    let mut all = Ways::default();
    for Course { ways, .. } in &courses {
        all.written += ways.written;
        all.partly += ways.partly;
        all.busy += ways.busy;
        all.server += ways.server;
    }
    (courses, all)
}

/// One connection with `steps` random steps: deliveries on either way, idle wake-ups of the server,
/// turns of the runtime, and a client that reads now and then.
async fn at_random(seed: u64, framing: Framing, steps: usize) -> Course {
    let mut ways = Ways::default();
    let mut random = fastrand::Rng::with_seed(seed);
    let feed = Shared::default();
    let room = [None, Some(4096), Some(20_000)][random.usize(..3)];
    let mut line = Line::open(std::slice::from_ref(&feed), room).await;
    let ask: &[u8] = match framing {
        Framing::Chunked => GET,
        Framing::Bare => b"GET / HTTP/1.0\r\n\r\n",
    };
    line.client.write_all(ask).await.unwrap();
    let (mut sent, mut came) = (Vec::new(), Vec::new());
    let greed = random.u8(1..8);
    for _ in 0..steps {
        match random.u8(..16) {
            0..6 => {
                let piece = piece(&mut random);
                sent.extend_from_slice(&piece);
                deliver(&line, &feed, framing, &piece, &mut ways);
            }
            6 => {
                let piece = piece(&mut random);
                sent.extend_from_slice(&piece);
                ways.server += 1;
                feed.push(&piece);
            }
            7 => feed.wake(),
            8..14 => {
                for _ in 0..random.u8(1..4) {
                    yield_now().await;
                }
            }
            _ => line.read_some(random.usize(1..8000) * usize::from(greed), &mut came),
        }
    }
    feed.end();
    match framing {
        Framing::Chunked => line.read_until(&mut came, is_whole).await,
        Framing::Bare => {
            within(line.client.read_to_end(&mut came)).await.unwrap();
            within(line.server).await.unwrap().unwrap();
        }
    }
    Course {
        seed,
        sent,
        came,
        ways,
    }
}

/// Compares without printing megabytes.
fn assert_same(seed: u64, came: &[u8], sent: &[u8]) {
    if came == sent {
        return;
    }
    let apart = came.iter().zip(sent).position(|(came, sent)| came != sent);
    panic!(
        "seed {seed}: {} of {} bytes, apart at {apart:?}",
        came.len(),
        sent.len()
    );
}

#[tokio::test]
async fn chunks_past_the_server_and_its_own_come_out_in_order() {
    let (courses, ways) = courses(60, Framing::Chunked, 300).await;
    for Course {
        seed, sent, came, ..
    } in courses
    {
        let (head, body) = after_head(&came);
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let (content, rest) = dechunked(body).unwrap();
        assert!(rest.is_empty());
        assert_same(seed, &content, &sent);
    }
    let is_thorough = ways.written > 500 && ways.partly > 20 && ways.busy > 20 && ways.server > 500;
    assert!(is_thorough, "not every way was gone: {ways:?}");
}

#[tokio::test]
async fn bytes_past_the_server_reach_clients_of_http_1_0_in_order() {
    let (courses, ways) = courses(20, Framing::Bare, 300).await;
    for Course {
        seed, sent, came, ..
    } in courses
    {
        assert_same(seed, after_head(&came).1, &sent);
    }
    assert!(ways.written > 100 && ways.partly > 5, "{ways:?}");
}

#[tokio::test]
async fn a_delivery_past_the_server_does_not_wake_its_task() {
    let feed = Shared::default();
    let mut line = Line::open(std::slice::from_ref(&feed), None).await;
    line.client.write_all(GET).await.unwrap();
    let mut came = Vec::new();
    line.read_until(&mut came, |bytes| bytes.ends_with(b"\r\n\r\n"))
        .await;
    let polls = feed.lock().polls;
    for number in 0..200 {
        let event = format!("data: {number}\n\n");
        let written = line
            .socket
            .write_direct(&framed(Framing::Chunked, event.as_bytes()));
        assert_eq!(written, Direct::Written);
        line.read_until(&mut came, |bytes| {
            bytes.ends_with(format!("{event}\r\n").as_bytes())
        })
        .await;
    }
    assert_eq!(feed.lock().polls, polls);
    assert!(!line.socket.is_blocked());
}

/// Writes more than the kernel takes; gives the content.
fn fill(line: &Line) -> Vec<u8> {
    let sent: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let written = line.socket.write_direct(&framed(Framing::Chunked, &sent));
    assert_eq!(written, Direct::Partly);
    sent
}

async fn waiting(line: &mut Line, feed: &Shared, ask: &[u8]) {
    line.client.write_all(ask).await.unwrap();
    until(|| feed.may_write_past()).await;
    // The flush comes in the same turn of the connection as the poll.
    yield_now().await;
}

#[tokio::test]
async fn what_follows_on_the_connection_stands_behind_the_rest() {
    let [first, second] = [Shared::default(), Shared::default()];
    let mut line = Line::open(&[first.clone(), second.clone()], Some(8000)).await;
    second.push(&Bytes::from_static(b"the second"));
    second.end();
    // The second request is there already while the first is answered.
    waiting(&mut line, &first, &[GET, GET].concat()).await;
    let sent = fill(&line);
    assert!(line.socket.is_blocked());
    assert_eq!(
        line.socket.write_direct(&Bytes::from_static(b"1\r\nx\r\n")),
        Direct::Busy,
        "a rest waits"
    );
    first.end();
    let mut came = Vec::new();
    line.read_until(&mut came, |bytes| {
        bytes.ends_with(b"the second\r\n0\r\n\r\n")
    })
    .await;
    let (content, rest) = dechunked(after_head(&came).1).unwrap();
    assert_same(0, &content, &sent);
    let (head, rest) = after_head(rest);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(dechunked(rest).unwrap(), (b"the second".to_vec(), &b""[..]));
    assert!(!line.socket.is_blocked());
}

#[tokio::test]
async fn a_request_body_that_waits_for_leave_is_not_answered_in_between() {
    let feed = Shared::default();
    let mut line = Line::open(std::slice::from_ref(&feed), None).await;
    let ask = b"POST / HTTP/1.1\r\nHost: here\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    waiting(&mut line, &feed, ask).await;
    for _ in 0..10 {
        let written = line
            .socket
            .write_direct(&framed(Framing::Chunked, b"data: x\n\n"));
        assert_eq!(written, Direct::Written);
        line.client.write_all(b"h").await.unwrap();
        yield_now().await;
    }
    feed.end();
    let mut came = Vec::new();
    line.read_until(&mut came, is_whole).await;
    let (head, body) = after_head(&came);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let (content, rest) = dechunked(body).unwrap();
    assert_eq!((content, rest), (b"data: x\n\n".repeat(10), &b""[..]));
}

#[tokio::test]
async fn a_rest_goes_out_before_a_connection_is_closed() {
    let feed = Shared::default();
    let mut line = Line::open(std::slice::from_ref(&feed), Some(8000)).await;
    let ask = b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
    waiting(&mut line, &feed, ask).await;
    let sent = fill(&line);
    feed.end();
    let mut came = Vec::new();
    within(line.client.read_to_end(&mut came)).await.unwrap();
    assert_same(0, &dechunked(after_head(&came).1).unwrap().0, &sent);
    within(line.server).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_takes_no_rest_has_stalled() {
    let feed = Shared::default();
    let mut line = Line::open(std::slice::from_ref(&feed), Some(8000)).await;
    line.socket.limit_stall(Some(Duration::from_millis(50)));
    waiting(&mut line, &feed, GET).await;
    fill(&line);
    feed.wake();
    within(line.server).await.unwrap().unwrap_err();
    assert!(line.socket.has_stalled());
    assert!(feed.lock().dropped);
    let none = Bytes::from_static(b"1\r\nx\r\n");
    assert_eq!(line.socket.write_direct(&none), Direct::Busy);
}

#[tokio::test]
async fn a_client_that_left_leaves_no_way_past_the_server() {
    let feed = Shared::default();
    let mut line = Line::open(std::slice::from_ref(&feed), None).await;
    waiting(&mut line, &feed, GET).await;
    line.client.set_zero_linger().unwrap();
    drop(line.client);
    until(|| {
        let event = framed(Framing::Chunked, b"data: x\n\n");
        line.socket.write_direct(&event) == Direct::Busy
    })
    .await;
    feed.wake();
    within(line.server).await.unwrap().unwrap_err();
    assert!(feed.lock().dropped);
}

#[tokio::test]
async fn nothing_goes_past_a_server_that_has_not_flushed() {
    let feed = Shared::default();
    let mut line = Line::open(std::slice::from_ref(&feed), None).await;
    let event = framed(Framing::Chunked, b"data: x\n\n");
    assert_eq!(line.socket.write_direct(&event), Direct::Busy);
    waiting(&mut line, &feed, GET).await;
    assert_eq!(line.socket.write_direct(&event), Direct::Written);
    line.socket.reset_on_close();
    assert_eq!(line.socket.write_direct(&event), Direct::Busy);
}

#[test]
fn framing_follows_the_version() {
    assert_eq!(Framing::of(http::Version::HTTP_10), Framing::Bare);
    assert_eq!(Framing::of(http::Version::HTTP_11), Framing::Chunked);
    assert_eq!(framed(Framing::Chunked, b""), "");
    assert_eq!(framed(Framing::Bare, b"a\n"), "a\n");
}

proptest! {
    #[test]
    fn a_chunk_has_its_length_in_front(bytes in prop::collection::vec(any::<u8>(), 1..5000)) {
        let mut out = BytesMut::from(&b"before"[..]);
        chunk(&bytes, &mut out);
        let mut expected = format!("before{:x}\r\n", bytes.len()).into_bytes();
        expected.extend_from_slice(&bytes);
        expected.extend_from_slice(b"\r\n");
        prop_assert_eq!(&out[..], &expected[..]);
    }
}

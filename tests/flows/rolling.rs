//! Backends that are restarted one after the other, on the same port, under load: no caller notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Duration, sleep};

use crate::support::api::CHAT;
use crate::support::client::Answer;
use crate::support::{Client, Gateway, Peer, until, wire, within};

const CALLERS: usize = 32;
const TOKENS: usize = 20;
/// From one token to the next.
const PACE: Duration = Duration::from_millis(3);

/// How a backend goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Down {
    /// It takes no more connections, ends its streams and closes.
    Gracefully,
    /// Everything it has open breaks at once.
    Hard,
}

/// What a backend has done since the test began.
#[derive(Default)]
struct Counts {
    streaming: AtomicUsize,
    whole: AtomicUsize,
    cut: AtomicUsize,
}

/// A backend that comes back on its port.
struct Server {
    address: SocketAddr,
    /// Keeps the port while nobody listens on it.
    _port: Socket,
    counts: Arc<Counts>,
    running: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

impl Server {
    fn start() -> Self {
        let port = bound(([127, 0, 0, 1], 0).into());
        let mut server = Self {
            address: port.local_addr().unwrap().as_socket().unwrap(),
            _port: port,
            counts: Arc::default(),
            running: None,
        };
        server.come_up();
        server
    }

    fn come_up(&mut self) {
        let socket = bound(self.address);
        socket.listen(1024).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(serve(listener, stopping, self.counts.clone()));
        self.running = Some((stop, serving));
    }

    async fn go_down(&mut self, how: Down) {
        let (stop, serving) = self.running.take().unwrap();
        match how {
            Down::Gracefully => {
                stop.send(true).unwrap();
                within("the streams to end", serving).await.unwrap();
            }
            Down::Hard => {
                let streaming = || (self.counts.streaming.load(Ordering::SeqCst) > 0).then_some(());
                until("a stream to break", streaming).await;
                serving.abort();
                assert!(serving.await.unwrap_err().is_cancelled());
            }
        }
    }
}

async fn serve(listener: TcpListener, mut stopping: watch::Receiver<bool>, counts: Arc<Counts>) {
    // The set lives in this task: when the backend breaks, so do its connections.
    let mut connections = JoinSet::new();
    let told = stopping.clone();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted.unwrap();
                connections.spawn(converse(stream, told.clone(), counts.clone()));
            }
            _ = stopping.wait_for(|stop| *stop) => break,
            Some(ended) = connections.join_next() => ended.unwrap(),
        }
    }
    drop(listener);
    while let Some(ended) = connections.join_next().await {
        ended.unwrap();
    }
}

async fn converse(stream: TcpStream, mut stopping: watch::Receiver<bool>, counts: Arc<Counts>) {
    let mut peer = Peer::over(stream);
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => return,
            request = peer.request() => if request.is_none() { return },
        }
        let mut streaming = Streaming::begin(&counts);
        peer.send(wire::event_stream()).await;
        for index in 0..TOKENS {
            peer.chunk(event(&format!("\"content\":\" t{index}\""), "null"))
                .await;
            sleep(PACE).await;
        }
        let end = event("", "\"stop\"") + "data: [DONE]\n\n";
        peer.send([wire::chunk(end), wire::LAST.to_vec()].concat())
            .await;
        streaming.is_whole = true;
    }
}

/// A stream that runs; what is dropped before its end was cut.
struct Streaming<'c> {
    counts: &'c Counts,
    is_whole: bool,
}

impl<'c> Streaming<'c> {
    fn begin(counts: &'c Counts) -> Self {
        counts.streaming.fetch_add(1, Ordering::SeqCst);
        Self {
            counts,
            is_whole: false,
        }
    }
}

impl Drop for Streaming<'_> {
    fn drop(&mut self) {
        self.counts.streaming.fetch_sub(1, Ordering::SeqCst);
        let ended = match self.is_whole {
            true => &self.counts.whole,
            false => &self.counts.cut,
        };
        ended.fetch_add(1, Ordering::SeqCst);
    }
}

fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// Callers that ask again and again, each on a connection of its own.
struct Load {
    tasks: JoinSet<()>,
    answered: Arc<Vec<AtomicUsize>>,
    enough: Arc<AtomicBool>,
}

impl Load {
    fn start(gateway: SocketAddr) -> Self {
        let mut load = Self {
            tasks: JoinSet::new(),
            answered: Arc::new((0..CALLERS).map(|_| AtomicUsize::default()).collect()),
            enough: Arc::default(),
        };
        for caller in 0..CALLERS {
            let (answered, enough) = (load.answered.clone(), load.enough.clone());
            load.tasks.spawn(async move {
                let mut client = Client::connect(gateway).await;
                while !enough.load(Ordering::SeqCst) {
                    check(&client.exchange(&CHAT.ask()).await);
                    answered[caller].fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        load
    }

    /// Waits until every caller has begun a request after this call, and it was answered.
    async fn comes_round(&mut self) {
        let counts = || {
            self.answered
                .iter()
                .map(|count| count.load(Ordering::SeqCst))
        };
        let before: Vec<_> = counts().collect();
        let round = || {
            counts()
                .zip(&before)
                .all(|(now, before)| now >= before + 2)
                .then_some(())
        };
        tokio::select! {
            () = until("every caller to be answered", round) => {}
            ended = self.tasks.join_next() => panic!("a caller: {ended:?}"),
        }
    }

    async fn end(mut self) {
        self.enough.store(true, Ordering::SeqCst);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

#[track_caller]
fn check(answer: &Answer) {
    let text = answer.text();
    assert_eq!(answer.status(), 200, "{text}");
    let said: Vec<_> = text.split("\"content\":\" ").skip(1).collect();
    let said: Vec<_> = said
        .iter()
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let whole: Vec<_> = (0..TOKENS).map(|index| format!("t{index}")).collect();
    assert_eq!(said, whole, "{text}");
    assert!(
        text.ends_with("\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"),
        "{text}"
    );
    assert!(answer.ended.is_clean(), "{:?}", answer.ended);
}

/// Restarts each of three endpoints, twice, with callers at them.
async fn roll(how: Down, keys: &str) -> Vec<Server> {
    let mut servers: Vec<_> = (0..3).map(|_| Server::start()).collect();
    let urls: Vec<_> = servers
        .iter()
        .map(|server| format!("http://{}", server.address))
        .collect();
    let gateway = Gateway::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[upstreams.model]\nendpoints = {urls:?}\n\
         eject = {{ after = 3, pause = \"50ms\", longest = \"200ms\" }}\n{keys}"
    ))
    .await;
    let mut load = Load::start(gateway.address);
    load.comes_round().await;
    for number in (0..servers.len()).chain(0..servers.len()) {
        let server = &mut servers[number];
        server.go_down(how).await;
        load.comes_round().await;
        let before = server.counts.whole.load(Ordering::SeqCst);
        server.come_up();
        let back = || (server.counts.whole.load(Ordering::SeqCst) > before).then_some(());
        until("a backend to be asked again", back).await;
        load.comes_round().await;
    }
    load.end().await;
    gateway.stop().await;
    servers
}

fn cut(servers: &[Server]) -> usize {
    let cut = servers
        .iter()
        .map(|server| server.counts.cut.load(Ordering::SeqCst));
    cut.sum()
}

#[tokio::test]
async fn a_graceful_restart_of_each_backend_is_seen_by_nobody() {
    let keys = "[routes.all]\npath = \"/*\"\nto = \"model\"\n";
    let servers = roll(Down::Gracefully, keys).await;
    assert_eq!(cut(&servers), 0);
}

#[tokio::test]
async fn a_hard_restart_of_each_backend_is_seen_by_nobody_where_answers_are_rescued() {
    // Whoever was not answered yet is asked again, many at once.
    let keys = "retry_budget = { percent = 100, least = 100 }\n\
                [routes.all]\npath = \"/*\"\nto = \"model\"\nrescue = true\n";
    let servers = roll(Down::Hard, keys).await;
    assert!(cut(&servers) > 0);
}

//! An EventSource from crates.io whose connection is cut again and again misses and repeats nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use eventsource_client::{Client as _, ClientBuilder, Error, ReconnectOptions, SSE};
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::crates::Reqwest;
use super::generations::{generating, place};
use crate::support::api::CHAT;
use crate::support::wire;
use crate::support::{Ask, Backend, Client, Gateway, gateway, within};

const CUTS: usize = 200;

/// How many events the source is ahead of the reader at most: nothing here is a matter of time.
const AHEAD: u64 = 40;

const LAST: &str = "last";

/// A proxy that cuts each connection after a number of bytes drawn by chance, until it did so [`CUTS`] times.
struct Cutter {
    address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    _connections: JoinSet<()>,
}

impl Cutter {
    async fn before(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let cuts = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        let counted = cuts.clone();
        connections.spawn(async move {
            let mut chance = fastrand::Rng::with_seed(7);
            let mut open = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let plan = (counted.load(Ordering::SeqCst) < CUTS)
                    .then(|| (chance.u64(..1500), chance.bool()));
                let counted = counted.clone();
                open.spawn(async move {
                    if pass(client, gateway, plan).await {
                        counted.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
        });
        Self {
            address,
            cuts,
            _connections: connections,
        }
    }
}

/// Lets a connection through up to so many bytes of the answers, and then closes or resets it; whether it came to that.
async fn pass(mut client: TcpStream, gateway: SocketAddr, plan: Option<(u64, bool)>) -> bool {
    let mut server = TcpStream::connect(gateway).await.unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (mut from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let most = plan.map_or(u64::MAX, |(bytes, _)| bytes);
    let mut answers = from_server.take(most);
    let cut = tokio::select! {
        copied = copy(&mut answers, &mut to_client) => copied.is_ok_and(|bytes| bytes == most),
        _ = copy(&mut from_client, &mut to_server) => false,
    };
    match plan {
        Some((_, true)) if cut => client.set_zero_linger().unwrap(),
        _ => drop(to_client.flush().await),
    }
    cut
}

/// Reads numbered events to the last one, and says of each how far it is.
async fn read(url: String, read: watch::Sender<u64>) -> Vec<String> {
    let delay = Duration::from_millis(1);
    let reconnect = ReconnectOptions::reconnect(true)
        .retry_initial(true)
        .delay(delay)
        .delay_max(delay)
        .backoff_factor(1);
    let client = ClientBuilder::for_url(&url)
        .unwrap()
        .reconnect(reconnect.build())
        .build_with_transport(Reqwest::new());
    let mut events = client.stream();
    let mut data = Vec::new();
    while data.last().is_none_or(|data| data != LAST) {
        match events.try_next().await {
            Ok(Some(SSE::Event(event))) => {
                assert_eq!(event.event_type, "message", "{}", event.data);
                data.push(event.data);
                read.send_replace(data.len() as u64);
            }
            Ok(Some(_)) => {}
            Ok(None) => panic!("it gave up after {} events", data.len()),
            Err(error @ (Error::UnexpectedResponse(..) | Error::InvalidLine(_))) => {
                panic!("{error:?}")
            }
            Err(_) => {}
        }
    }
    data
}

/// Waits until the reader is near enough for event `number`.
async fn near(read: &mut watch::Receiver<u64>, number: u64) {
    let near = read.wait_for(|read| number < read + AHEAD);
    within("the reader to catch up", near).await.unwrap();
}

fn whole(read: &[String], total: u64) {
    let sent: Vec<_> = (0..total)
        .map(|number| number.to_string())
        .chain([LAST.to_owned()])
        .collect();
    let part = read.iter().zip(&sent).position(|(read, sent)| read != sent);
    assert_eq!(
        part,
        None,
        "{:?}",
        part.map(|at| &read[at.saturating_sub(2)..at + 2])
    );
    assert_eq!(read.len(), sent.len());
}

#[tokio::test]
async fn an_eventsource_reads_a_topic_whole_however_often_it_is_cut() {
    let gateway = Gateway::start(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
         [routes.topics]\npath = \"/topics/{topic}\"\npublish = \"{topic}\"\nsubscribe = \"{topic}\"\n\
         [topics.\"*\"]\nstart = \"oldest\"\nhistory = { events = 100000 }\n",
    )
    .await;
    let cutter = Cutter::before(gateway.address).await;
    let (progress, mut seen) = watch::channel(0);
    let reading = tokio::spawn(read(
        format!("http://{}/topics/numbers", cutter.address),
        progress,
    ));

    let mut publisher = Client::connect(gateway.address).await;
    let mut total = 0;
    while cutter.cuts.load(Ordering::SeqCst) < CUTS {
        near(&mut seen, total + 10).await;
        let lines: String = (total..total + 10)
            .map(|number| format!("{{\"data\":{number}}}\n"))
            .collect();
        let ask = Ask::new("POST", "/topics/numbers")
            .field("content-type: application/x-ndjson")
            .body(lines);
        assert_eq!(publisher.exchange(&ask).await.status(), 200);
        total += 10;
    }
    let ask = Ask::new("POST", "/topics/numbers").body(LAST);
    assert_eq!(publisher.exchange(&ask).await.status(), 200);
    whole(&within("the last event", reading).await.unwrap(), total);
    gateway.stop().await;
}

#[tokio::test]
async fn an_eventsource_reads_a_feed_whole_however_often_it_and_its_source_are_cut() {
    let (progress, seen) = watch::channel(0);
    let (cuts, done) = watch::channel(Arc::new(AtomicUsize::new(0)));
    let (sent, total) = watch::channel(0);
    let backend = Backend::playing(move |mut peer| {
        let (mut seen, done, sent) = (seen.clone(), done.borrow().clone(), sent.clone());
        async move {
            let request = peer.request().await.expect("a request");
            let mut next = request
                .head
                .get("last-event-id")
                .map_or(0, |id| id[1..].parse().unwrap());
            let first = next;
            peer.send(wire::event_stream()).await;
            // The first two connections drop, in the middle of an event.
            while peer.number >= 2 || next < first + 500 {
                near(&mut seen, next).await;
                if done.load(Ordering::SeqCst) >= CUTS {
                    sent.send_replace(next);
                    peer.chunk(format!("data: {LAST}\n\n")).await;
                    peer.left().await;
                    return;
                }
                next += 1;
                peer.chunk(format!("id: n{next}\ndata: {}\n\n", next - 1))
                    .await;
            }
            peer.chunk(format!("id: n9999999\ndata: {next}")).await;
        }
    })
    .await;
    let source = crate::support::toml(
        &backend.url(),
        "[routes.all.share]\nstart = \"oldest\"\nhistory = { events = 100000 }\n",
    );
    let gateway = Gateway::start(&source).await;
    let cutter = Cutter::before(gateway.address).await;
    cuts.send_replace(cutter.cuts.clone());
    let reading = tokio::spawn(read(format!("http://{}/numbers", cutter.address), progress));
    let read = tokio::time::timeout(Duration::from_secs(60), reading)
        .await
        .unwrap()
        .unwrap();
    whole(&read, *total.borrow());
    assert_eq!(backend.connections(), 3, "one at a time, whoever reads");
    gateway.stop().await;
}

#[tokio::test]
async fn an_eventsource_reads_a_kept_answer_whole_however_often_it_is_cut() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = { on_leave = \"finish\" }").await;
    let (asking, mut peer) = generating(&gateway, &backend, &CHAT.ask()).await;
    let kept = place(&asking);
    asking.leave();
    let cutter = Cutter::before(gateway.address).await;
    let (progress, mut seen) = watch::channel(0);
    let reading = tokio::spawn(read(
        format!("http://{}{kept}?after=0", cutter.address),
        progress,
    ));
    let mut total = 0;
    while cutter.cuts.load(Ordering::SeqCst) < CUTS {
        near(&mut seen, total).await;
        peer.chunk(format!("data: {total}\n\n")).await;
        total += 1;
    }
    peer.chunk(format!("data: {LAST}\n\n")).await;
    whole(&within("the last event", reading).await.unwrap(), total);
    gateway.stop().await;
}

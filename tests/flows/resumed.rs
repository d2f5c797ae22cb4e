//! Readers that are cut again and again, while events come: each gets every event once, in order.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::support::api::CHAT;
use crate::support::{Ask, Backend, Gateway, Peer, Reader, toml, wire};

/// How many events there are.
const EVENTS: usize = 300;
/// How many readers.
const READERS: u64 = 12;

/// Numbers without order, the same in every run.
struct Numbers(u64);

impl Numbers {
    /// One below `most`.
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

/// Reads `target` to the last event, leaving now and then; every event's data, in order.
async fn read_with_cuts(gateway: Arc<Gateway>, ask: Ask, seed: u64) -> Vec<String> {
    let mut numbers = Numbers(seed);
    let mut seen = Vec::new();
    let mut last_id = String::new();
    while seen.len() < EVENTS {
        let ask = match last_id.as_str() {
            "" => ask.clone(),
            id => ask.clone().field(&format!("Last-Event-ID: {id}")),
        };
        let mut reader = Reader::open(&gateway, &ask).await;
        for _ in 0..=numbers.below(40) {
            let event = reader.next().await;
            assert_eq!(event.name, None, "{event:?}");
            seen.push(event.data);
            if seen.len() == EVENTS {
                break;
            }
        }
        last_id.clone_from(&reader.last_id);
        reader.leave();
    }
    seen
}

fn readers(gateway: &Arc<Gateway>, ask: &Ask) -> JoinSet<Vec<String>> {
    let mut set = JoinSet::new();
    for seed in 0..READERS {
        set.spawn(read_with_cuts(gateway.clone(), ask.clone(), seed));
    }
    set
}

/// All readers have read `expected`.
async fn all_read(mut readers: JoinSet<Vec<String>>, expected: &[String]) {
    while let Some(seen) = readers.join_next().await {
        assert_eq!(seen.unwrap(), expected);
    }
}

fn numbered() -> Vec<String> {
    (0..EVENTS).map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_generation_loses_and_repeats_nothing() {
    let backend = Backend::listen().await;
    let config = toml(&backend.url(), "resume = true").replace("[server]", "[server]\nworkers = 2");
    let gateway = Arc::new(Gateway::start(&config).await);
    let client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(CHAT.head("Transfer-Encoding: chunked")).await;
    let first = Reader::answered(client).await;
    let id = first.head.get("deltaway-stream").expect("an id");
    let reading = readers(&gateway, &Ask::get(&format!("/streams/{id}")));
    let mut numbers = Numbers(99);
    let mut stream: Vec<u8> = numbered()
        .iter()
        .flat_map(|data| format!("data: {data}\n\n").into_bytes())
        .collect();
    // In pieces that end anywhere.
    while !stream.is_empty() {
        let count = (numbers.below(60) as usize + 1).min(stream.len());
        let piece: Vec<u8> = stream.drain(..count).collect();
        peer.chunk(piece).await;
        tokio::task::yield_now().await;
    }
    all_read(reading, &numbered()).await;
}

#[tokio::test]
async fn a_feed_whose_upstream_drops_too_loses_and_repeats_nothing() {
    let backend = Backend::playing(send_some).await;
    let share = "share = { start = \"oldest\", on_last_leave = \"off\" }";
    let config = toml(&backend.url(), share).replace("[server]", "[server]\nworkers = 2");
    let gateway = Arc::new(Gateway::start(&config).await);
    all_read(readers(&gateway, &Ask::get("/feed")), &numbered()).await;
    assert!(backend.connections() > 5);
}

/// Sends what comes after the event it is shown, and breaks off within another one.
async fn send_some(mut peer: Peer) {
    let Some(request) = peer.request().await else {
        return;
    };
    let shown = request
        .head
        .get("last-event-id")
        .map(|id| id.parse().expect("a number"));
    let begin: usize = shown.map_or(0, |shown: usize| shown + 1);
    let end = (begin + 40).min(EVENTS);
    peer.send(wire::event_stream()).await;
    for number in begin..end {
        peer.chunk(format!("id: {number}\nretry: 100\ndata: {number}\n\n"))
            .await;
    }
    if end == EVENTS {
        peer.left().await;
    }
    peer.chunk(format!("id: {end}\ndata: ")).await;
    peer.close();
}

#[tokio::test]
async fn topics_lose_and_repeat_nothing_and_are_the_same_for_all() {
    const PUBLISHERS: usize = 5;
    let config = "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 2\n\
                  [routes.topics]\npath = \"/topics/{topic*}\"\npublish = \"{topic}\"\n\
                  [routes.all]\npath = \"/all\"\nsubscribe = [\"a/*\", \"b\"]\n\
                  [topics.\"*\"]\nstart = \"oldest\"\nhistory = { events = 1000 }\n";
    let gateway = Arc::new(Gateway::start(config).await);
    let mut reading = readers(&gateway, &Ask::get("/all"));
    let mut publishing = JoinSet::new();
    for publisher in 0..PUBLISHERS {
        let gateway = gateway.clone();
        publishing.spawn(async move {
            let mut client = crate::support::Client::connect(gateway.address).await;
            for number in 0..EVENTS / PUBLISHERS {
                let topic = ["a/1", "a/2", "b", "a/x/y"][number % 4];
                let ask = Ask::new("POST", &format!("/topics/{topic}"));
                let ask = ask.body(format!("{publisher} {number}"));
                assert_eq!(client.exchange(&ask).await.status(), 200);
            }
        });
    }
    while let Some(done) = publishing.join_next().await {
        done.unwrap();
    }
    let first = reading.join_next().await.unwrap().unwrap();
    for publisher in 0..PUBLISHERS {
        let own = first
            .iter()
            .filter_map(|data| data.strip_prefix(&format!("{publisher} ")));
        let own: Vec<usize> = own.map(|number| number.parse().unwrap()).collect();
        assert_eq!(own, (0..EVENTS / PUBLISHERS).collect::<Vec<_>>());
    }
    all_read(reading, &first).await;
}

#[tokio::test]
async fn of_many_that_ask_the_same_at_once_one_is_asked() {
    let backend = Backend::listen().await;
    let route = "resume = true\ndedupe = true";
    let config = toml(&backend.url(), route).replace("[server]", "[server]\nworkers = 2");
    let gateway = Arc::new(Gateway::start(&config).await);
    let mut asking = JoinSet::new();
    for number in 0..40 {
        let gateway = gateway.clone();
        asking.spawn(async move {
            let ask = CHAT.ask().field("Authorization: Bearer a");
            let ask = match number % 3 {
                0 => ask.field("Idempotency-Key: k"),
                _ => ask.field(&format!("X-Stainless-Retry-Count: {number}")),
            };
            let client = gateway.asking(&ask).await;
            Reader::answered(client).await.rest().await.0.len()
        });
    }
    let (mut peer, _) = backend.request().await;
    peer.send(CHAT.head("Transfer-Encoding: chunked")).await;
    peer.chunk(CHAT.whole()).await;
    // Whoever asks after its end asks anew: it does not end before all have asked.
    assert!(
        backend
            .is_left_alone_for(std::time::Duration::from_millis(500))
            .await
    );
    peer.send(wire::LAST).await;
    while let Some(events) = asking.join_next().await {
        assert_eq!(events.unwrap(), 4);
    }
    assert_eq!(backend.requests().len(), 1);
}

//! Events written past the server, onto real connections: each client gets every byte, in order.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::ready;
use std::time::Duration;

use bytes::BytesMut;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::stage::{Reading, bounds, frame, history, stream_rules, topic_rules};
use crate::config::{History, Ids, Slow, Start, Topic, TopicPattern, TopicRules};
use crate::delivery::{self, ClientIo, Encoding, Framing, Item, Socket};
use crate::dialect::Ending;

use crate::hub::{End, From, Hub, Next, Outlet, Stream, StreamRules, Subscription, Unnumbered};
use crate::metrics::HubSeries;

/// More than the kernel takes for a client that does not read.
const EVENTS: u64 = 1500;
const SIZE: usize = 16 * 1024;
const LIMIT: Duration = Duration::from_secs(60);

/// A connection: its client's side and ours.
async fn connect() -> (TcpStream, Arc<Socket>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (client, accepted) = tokio::join!(connecting, listener.accept());
    let (server, peer) = accepted.unwrap();
    (
        client.unwrap(),
        Arc::new(Socket::new(server, peer).unwrap()),
    )
}

/// Delivers a stream to its end, as a body and its server do. How many events went past it.
async fn deliver(mut subscription: Subscription, outlet: Outlet) -> u64 {
    let mut io = TokioIo::new(ClientIo::new(outlet.socket.clone()));
    subscription.write_to(outlet.clone());
    loop {
        let next = poll_fn(|cx| {
            ready!(Pin::new(&mut io).poll_flush(cx)).unwrap();
            subscription.poll_next(cx)
        });
        match next.await {
            Next::Events(entries) => {
                let mut bytes = BytesMut::new();
                for entry in &entries {
                    let id = subscription.shown(entry);
                    let frame = &entry.frame;
                    delivery::encode(outlet.encoding, Item { id: &id, frame }, &mut bytes);
                }
                let mut framed = BytesMut::new();
                outlet.framing.put(&bytes, &mut framed);
                io.write_all(&framed).await.unwrap();
                io.flush().await.unwrap();
            }
            Next::End(_) => break,
            other => panic!("{other:?}"),
        }
    }
    if outlet.framing == Framing::Chunked {
        io.write_all(b"0\r\n\r\n").await.unwrap();
    }
    io.shutdown().await.unwrap();
    subscription.written().events
}

/// All that a client gets, once it may begin to read.
fn receive(mut client: TcpStream, begin: oneshot::Receiver<()>) -> JoinHandle<Vec<u8>> {
    tokio::spawn(async move {
        begin.await.unwrap();
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        all
    })
}

fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        rest = &rest[end + 2..];
        content.extend_from_slice(&rest[..size]);
        assert_eq!(&rest[size..size + 2], b"\r\n");
        rest = &rest[size + 2..];
        if size == 0 {
            assert_eq!(rest, b"");
            return content;
        }
    }
}

fn expected(stream: &Stream, encoding: Encoding) -> BytesMut {
    let mut all = BytesMut::new();
    for entry in stream.kept().log.after(0, usize::MAX).entries {
        let id = stream.id(entry.position).to_string();
        let frame = &entry.frame;
        delivery::encode(encoding, Item { id: &id, frame }, &mut all);
    }
    all
}

async fn append(stream: &Arc<Stream>) {
    for position in 1..=EVENTS {
        stream
            .append(frame(&position.to_string(), SIZE), None)
            .unwrap();
        tokio::task::yield_now().await;
    }
    stream.close(End {
        ending: Ending::Complete,
        abort: false,
    });
}

#[tokio::test]
async fn every_client_gets_every_byte_in_order() {
    let hub = Hub::new(&bounds(1), Vec::new(), 1, HubSeries::default());
    let herald = tokio::spawn(hub.clone().herald(0));
    let rules = StreamRules {
        history: History {
            bytes: 1 << 30,
            ..history(1 << 20)
        },
        slow: Slow::Skip,
        start: Start::Oldest,
        ids: Ids::Gateway,
    };
    let stream = hub.open(rules).unwrap();
    // The last of them does not read before all is over.
    let kinds = [
        (Encoding::Sse, Framing::Chunked, true),
        (Encoding::Sse, Framing::Chunked, true),
        (Encoding::Ndjson, Framing::Chunked, true),
        (Encoding::Sse, Framing::Bare, true),
        (Encoding::Sse, Framing::Chunked, false),
    ];
    let mut clients = Vec::new();
    for (encoding, framing, eager) in kinds {
        let (client, socket) = connect().await;
        let outlet = Outlet {
            socket,
            framing,
            encoding,
        };
        let (begin, began) = oneshot::channel();
        let received = receive(client, began);
        let delivery = tokio::spawn(deliver(stream.subscribe(0, &From::Start), outlet));
        let begin = if eager {
            begin.send(()).unwrap();
            None
        } else {
            Some(begin)
        };
        clients.push((received, delivery, begin));
    }
    append(&stream).await;
    for ((encoding, framing, eager), (received, delivery, begin)) in kinds.into_iter().zip(clients)
    {
        begin.map(|begin| begin.send(()));
        let done = tokio::time::timeout(LIMIT, async { (received.await, delivery.await) });
        let (received, past) = done.await.unwrap();
        let (received, past) = (received.unwrap(), past.unwrap());
        let content = match framing {
            Framing::Chunked => unchunk(&received),
            Framing::Bare => received,
        };
        assert!(
            content == expected(&stream, encoding),
            "{encoding:?} {framing:?}"
        );
        assert!(
            past > 0 && (eager || past < EVENTS),
            "{past} events past the server"
        );
    }
    herald.abort();
}

const PUBLISHED: usize = 3000;

/// Publishes to two topics, now one event and now a few, and mostly to both before the herald has its turn.
async fn publish(hub: Arc<Hub>) {
    let topics = ["a", "b"].map(|name| Topic::new(name).unwrap());
    let mut published = 0;
    while published < PUBLISHED {
        let count = (published % 3 + 1).min(PUBLISHED - published);
        let events = (published..)
            .take(count)
            .map(|number| event(&number.to_string()));
        let topic = &topics[published / 5 % 2];
        hub.topics()
            .publish(topic, events.collect(), None)
            .await
            .unwrap();
        published += count;
        if published % 4 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn event(text: &str) -> Unnumbered {
    Unnumbered {
        frame: frame(text, 10),
        alias: None,
    }
}

#[tokio::test]
async fn topics_come_in_one_order_whoever_writes_them() {
    let rules = TopicRules {
        pattern: TopicPattern::any(),
        history: history(1 << 20),
        slow: Slow::Skip,
        start: Start::Live,
    };
    let hub = Hub::new(&bounds(9), vec![rules.into()], 1, HubSeries::default());
    let herald = tokio::spawn(hub.clone().herald(0));
    let mut clients = Vec::new();
    for _ in 0..4 {
        let (client, socket) = connect().await;
        let outlet = Outlet {
            socket,
            framing: Framing::Bare,
            encoding: Encoding::Sse,
        };
        let patterns = [TopicPattern::any()];
        let subscription = hub.topics().subscribe(0, &patterns, &From::Start).unwrap();
        let delivery = tokio::spawn(deliver(subscription, outlet));
        clients.push((client, delivery));
    }
    let publishing = tokio::spawn(publish(hub.clone()));
    for (client, delivery) in clients {
        let mut lines = BufReader::new(client).lines();
        let read = async {
            for number in 0..PUBLISHED {
                let id = format!("{}.{}", hub.topics().last_id().epoch, number + 1);
                let data = format!("{number} xxxxxxxxxx");
                for expected in [format!("id: {id}"), format!("data: {data}"), String::new()] {
                    assert_eq!(lines.next_line().await.unwrap(), Some(expected));
                }
            }
        };
        tokio::time::timeout(LIMIT, read).await.unwrap();
        delivery.abort();
    }
    publishing.await.unwrap();
    herald.abort();
}

/// A reader whose connection takes everything, and who sleeps.
async fn sleeper(mut subscription: Subscription) -> (TcpStream, Reading) {
    let (client, socket) = connect().await;
    TokioIo::new(ClientIo::new(socket.clone()))
        .flush()
        .await
        .unwrap();
    subscription.write_to(Outlet {
        socket,
        framing: Framing::Bare,
        encoding: Encoding::Sse,
    });
    while subscription.read().is_some() {}
    let mut reading = Reading::new(subscription);
    assert!(reading.poll().is_none());
    (client, reading)
}

async fn let_herald_run() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_sleeper_that_lost_events_is_woken_and_not_written_to() {
    let hub = Hub::new(&bounds(1), Vec::new(), 1, HubSeries::default());
    let herald = tokio::spawn(hub.clone().herald(0));
    let stream = hub.open(stream_rules(2, Slow::Skip, Start::Live)).unwrap();
    let (_client, mut reading) = sleeper(stream.subscribe(0, &From::Start)).await;
    stream.append(frame("1", 0), None).unwrap();
    let_herald_run().await;
    assert!(reading.sleeps() && reading.subscription.written().events == 1);
    for position in 2..=5 {
        stream
            .append(frame(&position.to_string(), 0), None)
            .unwrap();
    }
    let_herald_run().await;
    assert!(!reading.sleeps() && reading.subscription.written().events == 1);
    let Some(Next::Gap(gap)) = reading.poll() else {
        panic!("no gap");
    };
    assert_eq!(
        (gap.after, gap.through),
        (Some(stream.id(1)), Some(stream.id(3)))
    );
    herald.abort();
}

#[tokio::test]
async fn a_sleeper_is_woken_for_what_was_too_much_to_be_written_at_once() {
    let hub = Hub::new(&bounds(1), Vec::new(), 1, HubSeries::default());
    let herald = tokio::spawn(hub.clone().herald(0));
    let stream = hub
        .open(stream_rules(100, Slow::Skip, Start::Live))
        .unwrap();
    let (_client, mut reading) = sleeper(stream.subscribe(0, &From::Start)).await;
    for position in 1..=10 {
        stream
            .append(frame(&position.to_string(), SIZE), None)
            .unwrap();
    }
    let_herald_run().await;
    let written = reading.subscription.written().events;
    assert!(!reading.sleeps() && written < 10);
    let Some(Next::Events(entries)) = reading.poll() else {
        panic!("nothing to read");
    };
    assert_eq!(entries[0].position, written + 1);
    herald.abort();
}

#[tokio::test]
async fn a_sleeper_is_not_written_what_it_did_not_ask_for() {
    let rules = [("a", Start::Oldest), ("b", Start::Live)];
    let rules = rules.map(|(name, start)| topic_rules(name, 10, Slow::Skip, start));
    let hub = Hub::new(&bounds(9), rules.into(), 1, HubSeries::default());
    let herald = tokio::spawn(hub.clone().herald(0));
    let [a, b] = ["a", "b"].map(|name| Topic::new(name).unwrap());
    let publish = async |topic, text| {
        let published = hub.topics().publish(topic, vec![event(text)], None);
        published.await.unwrap();
    };
    publish(&a, "1").await;
    publish(&b, "2").await;
    let begun = hub
        .topics()
        .subscribe(0, &[TopicPattern::any()], &From::Start);
    let (client, reading) = sleeper(begun.unwrap()).await;
    // Its place is behind what it did not ask for.
    assert_eq!(reading.subscription.id().position, 2);
    publish(&b, "3").await;
    let_herald_run().await;
    assert!(reading.sleeps() && reading.subscription.written().events == 1);
    let mut lines = BufReader::new(client).lines();
    let id = format!("id: {}", hub.topics().last_id());
    assert_eq!(lines.next_line().await.unwrap(), Some(id));
    assert!(reading.sleeps());
    herald.abort();
}

//! Faults of the clocks: those that cut too early, and those that never did.

use std::time::{Duration, Instant};

use crate::support::api::{CHAT, PLAIN};
use crate::support::wire::{self, Framing};
use crate::support::{Ask, Backend, Client, Ended, Gateway, gateway, toml, until, within};

const BEAT: &str = ":\n\n";

/// 9. The idle clock ran while the upstream's head was still awaited behind an early one.
#[tokio::test]
async fn r09_idle_begins_with_the_head_of_the_upstream() {
    let backend = Backend::listen().await;
    let idle = Duration::from_millis(300);
    let keys = "early_head = \"20ms\"\nheartbeat = \"50ms\"\nclocks = { idle = \"300ms\" }";
    let gateway = gateway(&backend, keys).await;
    for begun in [String::new(), CHAT.begun()] {
        let mut client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = backend.request().await;
        assert_eq!(client.head().await.status(), 200);
        // Twice the idle limit and more.
        client.reads(BEAT.repeat(14)).await;
        let head = Instant::now();
        peer.send(wire::event_stream()).await;
        if !begun.is_empty() {
            peer.chunk(&begun).await;
        }
        let (tail, ended) = client.rest().await;
        let tail = String::from_utf8(tail.to_vec()).unwrap();
        let (before, error) = tail.rsplit_once(BEAT).expect("heartbeats between");
        assert_eq!(before.replace(BEAT, ""), begun);
        assert!(CHAT.is_error(error.as_bytes()), "{error}");
        assert!(error.contains("idle_timeout"), "{error}");
        assert_eq!(ended, Ended::LastChunk(vec![]));
        assert!(
            head.elapsed() >= idle,
            "cut {:?} after the head",
            head.elapsed()
        );
        peer.left().await;
    }
}

/// 10. The total was looked at only when the client took bytes, so that a slow one stretched it.
#[tokio::test]
async fn r10_the_total_holds_also_against_a_client_that_takes_little_or_nothing() {
    // At once: each is given the time that answers have to leave in.
    tokio::join!(
        the_total_ends_a_stream_for(true),
        the_total_ends_a_stream_for(false)
    );
}

/// The client takes a little from time to time, or nothing.
async fn the_total_ends_a_stream_for(trickles: bool) {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "clocks = { total = \"1s\", stall = \"off\" }").await;
    let mut client = Client::connect_with_little_room(gateway.address).await;
    client.ask(&PLAIN.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    client.head().await;
    let event = wire::chunk(format!("data: {}\n\n", "x".repeat(16_000)));
    // There is always more to be sent, so that the stream is never silent.
    let telling = within("the backend to be told", async {
        while peer.send(&event).await {}
    });
    let trickling = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        while trickles && client.piece().await.is_some() {
            ticks.tick().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = telling => {}
        () = trickling => {}
    }
    client.make_room();
    let (_, ended) = client.rest().await;
    assert!(!ended.is_clean(), "{ended:?}");
}

/// 12. The limit of rest cut answers whose last bytes a slow client had still to take.
#[tokio::test]
async fn r12_the_limit_of_rest_leaves_the_tail_of_an_answer_alone() {
    const STEP: usize = 32 * 1024;
    const COUNT: usize = 96;
    let backend = Backend::playing(|mut peer| async move {
        let request = peer.request().await.expect("a request");
        let size: usize = request.head.target()[1..].parse().unwrap();
        let body = vec![b'x'; size];
        peer.send(wire::answer(Framing::Length, 200, "text/plain", body))
            .await;
    })
    .await;
    let keys = "keep_alive = \"700ms\"\n[upstreams";
    let source = toml(&backend.url(), "").replacen("[upstreams", keys, 1);
    let gateway = Gateway::start(&source).await;
    // In sizes so near to each other that the kernel holds all of one of them but for what the
    // gateway itself has kept back.
    let mut clients = Vec::new();
    for size in (1..=COUNT).map(|step| step * STEP) {
        let mut client = Client::connect_with_little_room(gateway.address).await;
        client.ask(&Ask::get(&format!("/{size}"))).await;
        clients.push((client, size));
    }
    until("all of them to be asked for", || {
        (backend.requests().len() == COUNT).then_some(())
    })
    .await;
    // The limit is over for whoever rests, twice.
    for _ in 0..2 {
        let mut resting = Client::connect(gateway.address).await;
        resting.left().await;
    }
    for (mut client, size) in clients {
        client.make_room();
        client.head().await;
        let (body, ended) = client.rest().await;
        assert_eq!((body.len(), ended), (size, Ended::Length));
    }
}

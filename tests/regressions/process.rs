//! Faults of the whole process: its signals, the end of its drain, its output.

use crate::support::api::{CHAT, PLAIN};
use crate::support::binary::Served;
use crate::support::wire::Body;
use crate::support::{Ask, Backend, Client, Ended, Peer, toml, until, wire, within};

fn routes(backend: &Backend, route: &str) -> String {
    let source = toml(&backend.url(), route);
    source[source.find("[upstreams").unwrap()..].to_owned()
}

/// A client in the middle of a stream, and the backend's side of it.
async fn streaming(served: &Served, backend: &Backend, ask: &Ask, begun: &str) -> (Client, Peer) {
    let mut client = Client::asking(served.address, ask).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.chunk(begun).await;
    client.head().await;
    client.reads(begun).await;
    (client, peer)
}

/// 17. At the end of the drain streams that still ran were closed as if they had come to their end.
#[tokio::test]
async fn r17_the_end_of_the_drain_is_told_to_every_stream() {
    let backend = Backend::listen().await;
    let rest = routes(&backend, "");
    let mut served = Served::start_with_server("drain = \"200ms\"", &rest, &[]).await;
    let (mut model, mut first) = streaming(&served, &backend, &CHAT.ask(), &CHAT.begun()).await;
    let (mut plain, mut second) = streaming(&served, &backend, &PLAIN.ask(), "data: 1\n\n").await;
    let old = PLAIN.ask().http10();
    let (mut old, mut third) = streaming(&served, &backend, &old, "data: 1\n\n").await;
    served.terminate();

    let (tail, ended) = model.rest().await;
    let said = String::from_utf8_lossy(&tail).into_owned();
    assert!(CHAT.is_error(&tail), "{said:?} {ended:?}");
    assert!(said.contains("gateway_stopping"), "{said}");
    assert_eq!(ended, Ended::LastChunk(vec![]));
    let (tail, ended) = plain.rest().await;
    assert!(tail.is_empty() && !ended.is_clean(), "{tail:?} {ended:?}");
    let (tail, ended) = old.rest().await;
    assert_eq!(
        (&tail[..], ended),
        (&b""[..], Ended::Reset),
        "{:#?}",
        served.lines()
    );
    for peer in [&mut first, &mut second, &mut third] {
        peer.left().await;
    }
    assert_eq!(served.code().await, Some(0));
    for index in 0..3 {
        let line = served.access(index).await;
        assert_eq!(line["ending"], "truncated", "{line}");
    }
}

/// A tunnel through which `ping` and `pong` have passed.
async fn tunnel(served: &Served, backend: &Backend) -> (Client, Peer) {
    let ask = Ask::get("/socket")
        .field("Connection: Upgrade")
        .field("Upgrade: websocket")
        .field("Sec-WebSocket-Version: 13")
        .field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    let mut client = Client::asking(served.address, &ask).await;
    let (mut peer, _) = backend.request().await;
    let fields = ["Connection: Upgrade", "Upgrade: websocket"];
    peer.send(wire::head("HTTP/1.1 101 Switching Protocols", &fields))
        .await;
    assert_eq!(client.any_head().await.status(), 101);
    client.tunnel();
    passes(&mut client, &mut peer).await;
    (client, peer)
}

async fn passes(client: &mut Client, peer: &mut Peer) {
    client.send("ping").await;
    assert_eq!(peer.body(&mut Body::UntilClose, 4).await, "ping");
    peer.send("pong").await;
    client.reads("pong").await;
}

/// Asks for the figures until this line is among them.
async fn shows(served: &Served, line: &str) {
    let looking = async {
        while !served
            .ask_admin("/metrics")
            .await
            .text()
            .lines()
            .any(|found| found == line)
        {}
    };
    within(line, looking).await;
}

/// 18. A tunnel was no connection any more: not counted, not waited for, and never ended.
#[tokio::test]
async fn r18_a_tunnel_is_counted_and_waited_for() {
    let backend = Backend::listen().await;
    let mut served = Served::start(&routes(&backend, ""), &[]).await;
    let (mut client, mut peer) = tunnel(&served, &backend).await;
    shows(&served, "deltaway_connections 1").await;
    served.terminate();
    let address = served.address;
    until("the listener to close", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    })
    .await;
    passes(&mut client, &mut peer).await;
    shows(&served, "deltaway_connections 1").await;
    client.leave();
    peer.left().await;
    peer.close();
    assert_eq!(served.code().await, Some(0));
}

/// 18, its end without bytes, and at the end of the drain.
#[tokio::test]
async fn r18_a_silent_tunnel_ends_and_none_outlives_the_drain() {
    let backend = Backend::listen().await;
    let rest = routes(&backend, "clocks = { idle = \"300ms\" }");
    let served = Served::start(&rest, &[]).await;
    let (mut client, mut peer) = tunnel(&served, &backend).await;
    client.left().await;
    peer.left().await;
    shows(&served, "deltaway_connections 0").await;

    let rest = routes(&backend, "");
    let mut served = Served::start_with_server("drain = \"200ms\"", &rest, &[]).await;
    let (mut client, mut peer) = tunnel(&served, &backend).await;
    served.terminate();
    client.left().await;
    peer.left().await;
    served.code().await;
}

/// 19. Signals that have no meaning here ended the process with everything that ran.
#[tokio::test]
async fn r19_signals_without_a_meaning_are_ignored_and_quit_drains() {
    let backend = Backend::listen().await;
    let mut served = Served::start(&routes(&backend, ""), &[]).await;
    let (mut client, mut peer) = streaming(&served, &backend, &CHAT.ask(), &CHAT.begun()).await;
    for name in ["HUP", "USR1", "USR2", "HUP"] {
        let before = served.lines().len();
        served.signal(name);
        until("a line about the signal", || {
            let lines = served.lines();
            let mut new = lines[before..].iter();
            new.any(|line| line.contains("ignored") && line.contains(name))
                .then_some(())
        })
        .await;
    }
    served.signal("QUIT");
    let address = served.address;
    until("the listener to close", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    })
    .await;
    peer.chunk(CHAT.finish.to_owned() + CHAT.marker).await;
    peer.send(wire::LAST).await;
    assert_eq!(client.rest().await.1, Ended::LastChunk(vec![]));
    assert_eq!(served.code().await, Some(0));
}

/// 25. Whoever held the reading end of the log and stopped reading stopped every stream with it.
#[tokio::test]
async fn r25_a_log_that_nobody_reads_holds_back_neither_streams_nor_the_end() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.head.target() == CHAT.target {
                peer.send(wire::event_stream()).await;
                peer.chunk(CHAT.whole()).await;
                peer.send(wire::LAST).await;
            } else {
                peer.send(wire::json(200, "{}")).await;
            }
        }
    })
    .await;
    let mut served = Served::start(&routes(&backend, ""), &[]).await;
    served.stop_reading();
    // Some 300 bytes each: several times what a pipe holds.
    let mut client = Client::connect(served.address).await;
    for _ in 0..1_500 {
        assert_eq!(client.exchange(&Ask::get("/x")).await.status(), 200);
    }
    assert_eq!(client.exchange(&CHAT.ask()).await.text(), CHAT.whole());
    assert!(served.lines().len() < 1_500, "nobody reads");
    served.terminate();
    served.code().await;
}

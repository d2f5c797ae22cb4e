//! The five clocks and the total: each ends what it is for, and nothing else.
//!
//! A limit here is short and what must not be ended stays well below it; a test waits for what a
//! clock does, never for a time.

use std::time::Duration;

use crate::support::api::{CHAT, PLAIN};
use crate::support::{Ask, Backend, Client, Ended, Gateway, Peer, gateway, toml, wire};

async fn asked(clocks: &str) -> (Backend, Gateway, Client, Peer) {
    let backend = Backend::listen().await;
    let route = format!("heartbeat = \"20ms\"\nclocks = {{ {clocks} }}");
    let gateway = gateway(&backend, &route).await;
    let client = gateway.asking(&CHAT.ask()).await;
    let (peer, _) = backend.request().await;
    (backend, gateway, client, peer)
}

/// Reads until `expected` has come, heartbeats aside.
async fn reads(client: &mut Client, expected: &str) {
    let mut got = String::new();
    while !got.ends_with(expected) {
        let piece = client.piece().await.expect("a stream that goes on");
        got.push_str(std::str::from_utf8(&piece.data).unwrap());
    }
    assert_eq!(got.replace(":\n\n", ""), expected);
}

/// The rest without heartbeats, and how it ended.
async fn rest(client: &mut Client) -> (String, Ended) {
    let (rest, ended) = client.rest().await;
    (
        String::from_utf8(rest.to_vec())
            .unwrap()
            .replace(":\n\n", ""),
        ended,
    )
}

#[tokio::test]
async fn a_head_that_does_not_come_is_504() {
    let (_backend, _gateway, mut client, mut peer) = asked("first_byte = \"200ms\"").await;
    peer.send(b"HTTP/1.1 200 OK\r\nContent-Ty").await;
    assert_eq!(client.answer().await.status(), 504);
    peer.left().await;
}

#[tokio::test]
async fn after_an_early_head_the_first_byte_clock_is_told_in_the_dialect() {
    let backend = Backend::listen().await;
    let route = "heartbeat = \"20ms\"\nearly_head = \"50ms\"\nclocks = { first_byte = \"300ms\" }";
    let gateway = gateway(&backend, route).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    assert_eq!(client.head().await.status(), 200);
    let (tail, ended) = rest(&mut client).await;
    assert!(CHAT.is_error(tail.as_bytes()), "{tail}");
    assert_eq!(ended, Ended::LastChunk(vec![]));
    peer.left().await;
}

#[tokio::test]
async fn a_first_event_that_does_not_come_ends_the_stream_though_comments_do() {
    let (_backend, _gateway, mut client, mut peer) = asked("first_event = \"300ms\"").await;
    peer.send(wire::event_stream()).await;
    peer.chunk(": PROCESSING\n\n").await;
    let head = client.head().await;
    // Where the head waits for the first event it is a 504; else the error comes in the stream.
    if head.status() == 200 {
        let (tail, ended) = rest(&mut client).await;
        let error = tail.strip_prefix(": PROCESSING\n\n").expect("the comment");
        assert!(CHAT.is_error(error.as_bytes()), "{tail}");
        assert_eq!(ended, Ended::LastChunk(vec![]));
    } else {
        assert_eq!(head.status(), 504);
    }
    peer.left().await;
}

#[tokio::test]
async fn a_silent_stream_is_ended_by_the_idle_clock_which_heartbeats_do_not_reset() {
    let (_backend, _gateway, mut client, mut peer) = asked("idle = \"300ms\"").await;
    peer.send(wire::event_stream()).await;
    peer.chunk(CHAT.begun()).await;
    client.head().await;
    reads(&mut client, &CHAT.begun()).await;
    let (tail, ended) = rest(&mut client).await;
    assert!(CHAT.is_error(tail.as_bytes()), "{tail}");
    assert_eq!(ended, Ended::LastChunk(vec![]));
    peer.left().await;
}

#[tokio::test]
async fn a_stream_that_speaks_outlives_the_idle_clock() {
    let (_backend, _gateway, mut client, mut peer) = asked("idle = \"1s\"").await;
    peer.send(wire::event_stream()).await;
    client.head().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..20 {
        ticks.tick().await;
        assert!(peer.chunk(": alive\n\n").await);
    }
    peer.chunk(CHAT.whole()).await;
    peer.send(wire::LAST).await;
    let (got, ended) = client.rest().await;
    let got = String::from_utf8(got.to_vec()).unwrap();
    assert_eq!(got.matches(": alive\n\n").count(), 20);
    assert!(got.contains(CHAT.marker), "{got}");
    assert_eq!(ended, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_and_the_backend_told() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "clocks = { stall = \"300ms\" }").await;
    let client = gateway.asking(&PLAIN.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    let event = wire::chunk(format!("data: {}\n\n", "x".repeat(16_000)));
    // The flood ends when the gateway takes nothing more, by then or soon after by leaving.
    peer.flood(&event, Duration::from_secs(1)).await;
    peer.left().await;
    drop(client);
}

#[tokio::test]
async fn a_client_that_reads_slowly_is_not_given_up() {
    let backend = Backend::playing(|mut peer| async move {
        peer.request().await;
        peer.send(wire::event_stream()).await;
        let event = wire::chunk(format!("data: {}\n\n", "x".repeat(16_000)));
        for _ in 0..600 {
            peer.send(&event).await;
        }
        peer.send(wire::LAST).await;
    })
    .await;
    let gateway = gateway(&backend, "heartbeat = \"off\"\nclocks = { stall = \"1s\" }").await;
    let mut client = gateway.asking(&PLAIN.ask()).await;
    client.head().await;
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    let mut total = 0;
    // A while in sips that the kernel passes on as room, far longer than the limit in all; then the
    // rest at once.
    for sip in 1..=20 {
        ticks.tick().await;
        while total < sip * 300_000 {
            total += client.piece().await.expect("a stream").data.len();
        }
    }
    let (rest, ended) = client.rest().await;
    assert_eq!(total + rest.len(), 600 * 16_008);
    assert_eq!(ended, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn the_idle_clock_stands_still_while_the_client_holds_us_back() {
    let backend = Backend::listen().await;
    let gateway = gateway(
        &backend,
        "heartbeat = \"off\"\nclocks = { idle = \"300ms\", stall = \"off\" }",
    )
    .await;
    let mut client = gateway.asking(&PLAIN.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    let event = wire::chunk(format!("data: {}\n\n", "x".repeat(16_000)));
    // As long as the client reads nothing, the flood is held back far beyond the idle limit.
    let sent = peer.flood(&event, Duration::from_millis(1_200)).await;
    client.head().await;
    let mut got = 0;
    while got < usize::try_from(sent).unwrap() / 2 {
        let piece = client.piece().await;
        got += piece.expect("the stream has not been given up").data.len();
    }
}

#[tokio::test]
async fn the_total_ends_any_stream_however_lively() {
    let (_backend, _gateway, mut client, mut peer) = asked("total = \"500ms\"").await;
    peer.send(wire::event_stream()).await;
    peer.chunk(CHAT.begun()).await;
    client.head().await;
    reads(&mut client, &CHAT.begun()).await;
    let speaking = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        while peer.chunk(CHAT.events[1]).await {
            ticks.tick().await;
        }
    });
    let (tail, ended) = rest(&mut client).await;
    let error = tail.trim_start_matches(CHAT.events[1]);
    assert!(CHAT.is_error(error.as_bytes()), "{error}");
    assert_eq!(ended, Ended::LastChunk(vec![]));
    crate::support::within("the backend to be told", speaking)
        .await
        .unwrap();
}

#[tokio::test]
async fn the_total_before_the_head_is_504() {
    let (_backend, _gateway, mut client, mut peer) = asked("total = \"200ms\"").await;
    assert_eq!(client.answer().await.status(), 504);
    peer.left().await;
}

#[tokio::test]
async fn an_upstreams_clock_holds_where_the_route_names_none() {
    let backend = Backend::listen().await;
    let clocks = "clocks = { first_byte = \"200ms\", idle = \"1h\" }\n[routes.all]";
    let source = toml(&backend.url(), "").replace("[routes.all]", clocks);
    let gateway = Gateway::start(&source).await;
    let mut client = gateway.asking(&Ask::get("/x")).await;
    let (mut peer, _) = backend.request().await;
    assert_eq!(client.answer().await.status(), 504);
    peer.left().await;
}

/// A gateway whose upstream and route have these clocks.
async fn clocked(url: &str, upstream: &str, route: &str) -> Gateway {
    let upstream = format!("clocks = {{ {upstream} }}\n[routes.all]");
    let route = format!("heartbeat = \"50ms\"\nretry = false\nclocks = {{ {route} }}");
    Gateway::start(&toml(url, &route).replace("[routes.all]", &upstream)).await
}

/// Plays a stream that stands still where `clock` looks.
async fn standing_still(gateway: &Gateway, backend: &Backend, clock: &str) -> (Client, Peer) {
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    if clock != "first_byte" {
        peer.send(wire::event_stream()).await;
        peer.chunk(if clock == "first_event" {
            ": wait\n\n"
        } else {
            CHAT.events[0]
        })
        .await;
        client.head().await;
    }
    (client, peer)
}

#[tokio::test]
async fn each_clock_of_a_route_outweighs_that_of_its_upstream() {
    tokio::join!(
        a_routes_outweighs_its_upstreams("first_byte"),
        a_routes_outweighs_its_upstreams("first_event"),
        a_routes_outweighs_its_upstreams("idle"),
        a_routes_outweighs_its_upstreams("total"),
    );
}

async fn a_routes_outweighs_its_upstreams(clock: &str) {
    let backend = Backend::listen().await;
    for (upstream, route) in [
        (format!("{clock} = \"off\""), format!("{clock} = \"200ms\"")),
        (format!("{clock} = \"200ms\""), String::new()),
        (
            format!("{clock} = \"1h\", connect = \"1s\""),
            format!("{clock} = \"200ms\""),
        ),
    ] {
        let gateway = clocked(&backend.url(), &upstream, &route).await;
        let (_client, mut peer) = standing_still(&gateway, &backend, clock).await;
        peer.left().await;
    }
    for route in [format!("{clock} = \"off\""), format!("{clock} = \"1h\"")] {
        let short = format!("{clock} = \"100ms\"");
        let gateway = clocked(&backend.url(), &short, &route).await;
        let (_client, mut peer) = standing_still(&gateway, &backend, clock).await;
        let quiet = peer.is_quiet_for(Duration::from_millis(500)).await;
        assert!(quiet, "{clock}: {route} over {short}");
    }
}

#[tokio::test]
async fn the_clocks_of_connecting_and_of_a_stalled_client_are_outweighed_too() {
    let unreachable = crate::support::backend::Unreachable::new().await;
    let url = format!("http://{}", unreachable.address);
    for (upstream, route) in [
        ("connect = \"off\"", "connect = \"200ms\""),
        ("connect = \"200ms\"", ""),
    ] {
        let gateway = clocked(&url, upstream, route).await;
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 504, "{route}");
    }
    let backend = Backend::listen().await;
    let event = wire::chunk(format!("data: {}\n\n", "x".repeat(16_000)));
    for (upstream, route) in [
        ("stall = \"off\"", "stall = \"300ms\""),
        ("stall = \"300ms\"", ""),
    ] {
        let gateway = clocked(&backend.url(), upstream, route).await;
        let _client = gateway.asking(&PLAIN.ask()).await;
        let (mut peer, _) = backend.request().await;
        peer.send(wire::event_stream()).await;
        peer.flood(&event, Duration::from_secs(1)).await;
        peer.left().await;
    }
}

//! Client connections: how long they rest, how many there are, and upstreams behind TLS.

use crate::support::api::CHAT;
use crate::support::tls::Tls;
use crate::support::{Ask, Backend, Client, Ended, Gateway, gateway, toml, wire};

/// The configuration with further keys of `[server]`.
fn with_server(backend: &Backend, keys: &str) -> String {
    toml(&backend.url(), "").replacen("[upstreams", &format!("{keys}\n[upstreams"), 1)
}

#[tokio::test]
async fn a_connection_that_rests_too_long_is_closed() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&with_server(&backend, "keep_alive = \"200ms\"")).await;
    let mut never_used = Client::connect(gateway.address).await;
    let mut used = Client::connect(gateway.address).await;
    assert_eq!(used.exchange(&Ask::get("/x")).await.status(), 200);
    assert!(!never_used.left().await);
    assert!(!used.left().await);
}

#[tokio::test]
async fn a_stream_outlives_the_limit_of_rest() {
    let backend = Backend::listen().await;
    let keys = "keep_alive = \"100ms\"\nhead_timeout = \"100ms\"";
    let gateway = Gateway::start(&with_server(&backend, keys)).await;
    let mut client = gateway.asking(&Ask::get("/events")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    client.head().await;
    assert!(
        peer.is_quiet_for(std::time::Duration::from_millis(600))
            .await
    );
    peer.chunk("data: 1\n\n").await;
    client.reads("data: 1\n\n").await;
}

#[tokio::test]
async fn beyond_the_limit_connections_wait_until_one_leaves() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&with_server(&backend, "max_connections = 2")).await;
    let mut first = Client::connect(gateway.address).await;
    let mut second = Client::connect(gateway.address).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.exchange(&Ask::get("/x")).await.status(), 200);
    }
    let mut third = gateway.asking(&Ask::get("/third")).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.exchange(&Ask::get("/x")).await.status(), 200);
    }
    assert_eq!(backend.requests().len(), 4, "the third is not served yet");
    first.leave();
    assert_eq!(third.answer().await.status(), 200);
}

#[tokio::test]
async fn a_stream_from_an_upstream_behind_tls_passes_with_its_own_authority() {
    let mut answer = wire::event_stream();
    answer.extend(wire::chunk(CHAT.whole()));
    answer.extend(wire::LAST);
    let Tls { url, authority, .. } = Tls::answering(answer).await;
    let file = crate::support::binary::file(&authority);
    let ca = format!("ca = \"{}\"\n[routes.all]", file.path().display());
    let source = toml(&url, "").replace("[routes.all]", &ca);
    let gateway = Gateway::start(&source).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!((answer.status(), answer.text()), (200, CHAT.whole()));
    assert_eq!(answer.ended, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn an_upstream_with_a_certificate_of_a_stranger_is_502() {
    let url = Tls::answering(wire::json(200, "{}")).await.url;
    let other = Tls::answering(Vec::new()).await.authority;
    let file = crate::support::binary::file(&other);
    let ca = format!("ca = \"{}\"\n[routes.all]", file.path().display());
    for source in [toml(&url, ""), toml(&url, "").replace("[routes.all]", &ca)] {
        let gateway = Gateway::start(&source).await;
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 502);
    }
}

/// A gateway whose upstream has these keys of `pool`.
async fn pooling(backend: &Backend, pool: &str) -> Gateway {
    let pool = format!("pool = {{ {pool} }}\n[routes.all]");
    Gateway::start(&toml(&backend.url(), "").replace("[routes.all]", &pool)).await
}

#[tokio::test]
async fn as_many_connections_are_kept_as_the_pool_has_room_for() {
    for room in [0, 2, 64] {
        let backend = Backend::listen().await;
        let gateway = pooling(&backend, &format!("idle = {room}")).await;
        let mut pairs = Vec::new();
        for _ in 0..6 {
            let client = gateway.asking(&Ask::get("/x")).await;
            pairs.push((client, backend.request().await.0));
        }
        let mut kept = Vec::new();
        for (mut client, mut peer) in pairs {
            peer.send(wire::json(200, "{}")).await;
            assert_eq!(client.answer().await.status(), 200);
            kept.push(peer);
        }
        let mut open = 0;
        for peer in &mut kept {
            if peer
                .is_quiet_for(std::time::Duration::from_millis(50))
                .await
            {
                open += 1;
            }
        }
        assert_eq!(open, room.min(6), "{room}");
        assert_eq!(backend.connections(), 6);
    }
}

#[tokio::test]
async fn a_kept_connection_is_closed_when_its_time_is_over() {
    let backend = Backend::listen().await;
    let gateway = pooling(&backend, "keep = \"300ms\"").await;
    let mut client = gateway.asking(&Ask::get("/x")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::json(200, "{}")).await;
    assert_eq!(client.answer().await.status(), 200);
    let left = peer.left().await;
    assert_eq!(left.bytes, 0, "nobody used it again");
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_counts_as_gone() {
    // Nobody can tell it from one that left, and an answer nobody waits for costs money: it is the
    // rule of most servers, and what `nc -N` meets with them.
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    client.half_close().await;
    peer.left().await;
    client.left().await;

    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.chunk(CHAT.begun()).await;
    client.head().await;
    client.reads(CHAT.begun()).await;
    client.half_close().await;
    peer.left().await;
}

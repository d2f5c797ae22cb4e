//! A client that does not read holds back its own upstream, and nobody else.

use std::time::Duration;

use crate::support::api::CHAT;
use crate::support::{Ask, Backend, Client, Ended, gateway, wire};

/// What may be on the way for one stalled stream: socket buffers on both sides, which the kernel
/// grows to a few megabytes each on loopback, and the gateway's own, which are small against them.
const ON_THE_WAY: u64 = 24_000_000;

#[tokio::test]
async fn what_is_taken_from_the_backend_for_a_client_that_does_not_read_is_bounded() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&Ask::get("/events")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    let event = wire::chunk(format!("data: {}\n\n", "x".repeat(64_000)));
    let flooding = async {
        let mut sent = 0;
        while sent < 4 * ON_THE_WAY {
            match peer.flood(&event, Duration::from_millis(500)).await {
                0 => break,
                more => sent += more,
            }
        }
        sent
    };
    let sent = flooding.await;
    assert!(
        sent < ON_THE_WAY,
        "{sent} bytes were taken for a client that reads nothing"
    );

    client.head().await;
    client.reads("data: xxxx").await;
}

#[tokio::test]
async fn others_are_served_while_one_does_not_read() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.send(wire::event_stream()).await;
            if request.head.target() == "/flood" {
                let event = wire::chunk(format!("data: {}\n\n", "x".repeat(64_000)));
                while peer.send(&event).await {}
                return;
            }
            peer.chunk(CHAT.whole()).await;
            peer.send(wire::LAST).await;
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut stalled = Vec::new();
    for _ in 0..5 {
        stalled.push(gateway.asking(&Ask::get("/flood")).await);
    }
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..50 {
        let answer = client.exchange(&CHAT.ask()).await;
        assert_eq!(
            (answer.text(), answer.ended),
            (CHAT.whole(), Ended::LastChunk(vec![]))
        );
    }
    for client in &mut stalled {
        client.head().await;
        assert!(client.piece().await.is_some());
    }
}

#[tokio::test]
async fn a_backend_that_reads_nothing_holds_back_the_upload() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "max_body = \"1GB\"").await;
    let ask = Ask::new("PUT", "/file").field("Content-Length: 900000000");
    let mut client = gateway.asking(&ask).await;
    let mut peer = backend.accept().await;
    peer.head().await.unwrap();
    let sent = client
        .flood(&[b'a'; 64_000], Duration::from_millis(500), 4 * ON_THE_WAY)
        .await;
    assert!(
        sent < ON_THE_WAY,
        "{sent} bytes were taken for a backend that reads nothing"
    );
}

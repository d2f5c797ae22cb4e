//! WebSocket upgrades, with tungstenite on both ends.

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

use crate::support::{Ask, Backend, Gateway, gateway, toml, wire, within};

#[tokio::test]
async fn a_websocket_passes_both_ways_and_closes_properly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut socket = accept_async(stream).await.unwrap();
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() || message.is_binary() {
                socket.send(message).await.unwrap();
            }
        }
    });
    let gateway = Gateway::start(&toml(&format!("http://{address}"), "")).await;
    let url = format!("ws://{}/socket", gateway.address);
    let (mut socket, answer) = within("the upgrade", connect_async(url)).await.unwrap();
    assert_eq!(answer.status(), 101);
    for message in [
        Message::text("hello"),
        Message::binary(vec![7; 100_000]),
        Message::text("é"),
    ] {
        socket.send(message.clone()).await.unwrap();
        let back = within("an echo", socket.next()).await.unwrap().unwrap();
        assert_eq!(back, message);
    }
    socket.close(None).await.unwrap();
    within("the backend's end", echo).await.unwrap();
}

#[tokio::test]
async fn a_refused_upgrade_passes_as_the_backend_said_it() {
    let backend = Backend::answering(wire::json(426, "{\"no\":1}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/socket")
        .field("Connection: Upgrade")
        .field("Upgrade: websocket")
        .field("Sec-WebSocket-Version: 13")
        .field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    let answer = gateway.fetch(&ask).await;
    assert_eq!(
        (answer.status(), answer.text()),
        (426, "{\"no\":1}".to_owned())
    );
    let head = &backend.requests()[0].head;
    assert!(
        head.lists("connection", "upgrade") && head.lists("upgrade", "websocket"),
        "{head:?}"
    );
}

#[tokio::test]
async fn a_client_that_leaves_a_websocket_is_seen_by_the_backend() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/socket")
        .field("Connection: Upgrade")
        .field("Upgrade: websocket")
        .field("Sec-WebSocket-Version: 13")
        .field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    let mut client = gateway.asking(&ask).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::head(
        "HTTP/1.1 101 Switching Protocols",
        &["Connection: Upgrade", "Upgrade: websocket"],
    ))
    .await;
    assert_eq!(client.any_head().await.status(), 101);
    client.reset();
    peer.left().await;
}

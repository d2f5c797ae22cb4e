//! Faults of attempts: what one caller, or one answer, may bring about for all others.

use crate::support::api::CHAT;
use crate::support::script::chain;
use crate::support::{Backend, Gateway};

/// 63. A server that says goodbye on each connection by HTTP/2 at once, as those that are being stopped do, was
/// connected to without a pause for as long as anybody waited.
#[tokio::test]
async fn r63_a_server_that_takes_no_request_is_not_stormed() {
    let backend = Backend::playing(|mut peer| async move {
        // SETTINGS and GOAWAY, each empty (RFC 9113 §6.5, §6.8).
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        peer.send([&settings[..], &goaway[..]].concat()).await;
        peer.left().await;
    })
    .await;
    let url = [backend.url()];
    let source = chain(&[(&url, "http = \"2\"")], "retry = false\n");
    let gateway = Gateway::start(&source).await;
    let refused = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(refused.status(), 502, "{}", refused.text());
    assert!(backend.connections() <= 3, "{}", backend.connections());
    gateway.stop().await;
}

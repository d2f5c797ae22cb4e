//! One numbered test for each fault that a user could have met, so that it stays mended.
//!
//! Where the subject's own tests hold a fault in all its forms, it is only named here:
//!
//! - 2, `Content-Length` beside chunks: `faults::answers::length_and_chunks_together_are_never_two_framings_downstream`
//! - 3, a 304 with a length was waited for: `flows::ordinary::answers_that_have_no_body_pass_and_the_connection_lives_on`
//! - 4, a 101 nobody asked for was passed on: `faults::answers::an_upgrade_nobody_asked_for_is_502`
//! - 8, a clock that was never set: beside it, in `src/delivery/heartbeat.rs`
//! - 6, answers without a body were logged as left: `flows::binary::ordinary_answers_are_complete_also_where_they_have_no_body`

mod attempts;
mod clocks;
mod failing;
mod hub;
mod process;
mod requests;
mod sharing;
mod upstreams;

use crate::support::api::{CHAT, PLAIN};
use crate::support::{Ask, Backend, Client, Ended, Gateway, gateway, toml, wire};

/// 1. Bytes that had come in one read with the answer's head were lost when the answer was looked
/// through for an error and turned out to be none.
#[tokio::test]
async fn r01_bytes_that_come_with_the_head_are_part_of_the_answer() {
    let body = r#"{"id":"c","choices":[],"usage":{"total_tokens":1}}"#;
    for ask in [CHAT.ask(), PLAIN.ask()] {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, "").await;
        for at in [1, body.len() / 2, body.len() - 1, body.len()] {
            let (with_head, behind) = body.split_at(at);
            let fields = [
                "Content-Type: application/json",
                "Transfer-Encoding: chunked",
            ];
            let mut first = wire::head("HTTP/1.1 200 OK", &fields);
            first.extend(wire::chunk(with_head));
            let mut client = gateway.asking(&ask).await;
            let (mut peer, _) = backend.request().await;
            peer.send(first).await;
            client.head().await;
            client.reads(with_head).await;
            if !behind.is_empty() {
                peer.chunk(behind).await;
            }
            peer.send(wire::LAST).await;
            let rest = client.rest().await;
            assert_eq!(
                rest,
                (behind.to_owned().into(), Ended::LastChunk(vec![])),
                "{at}"
            );
            // A connection is kept for the next round otherwise.
            peer.close();
        }
    }
}

/// 5. A request's head that did not end in time was given up only when the limit of rest was over too.
#[tokio::test]
async fn r05_a_head_that_takes_too_long_is_seen_though_rest_is_without_hurry() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let keys = "head_timeout = \"200ms\"\nkeep_alive = \"1h\"\n[upstreams";
    let source = toml(&backend.url(), "").replacen("[upstreams", keys, 1);
    let gateway = Gateway::start(&source).await;
    let mut fresh = Client::connect(gateway.address).await;
    fresh.send(b"GET /x HTTP/1.1\r\nHo").await;
    fresh.left().await;
    let mut used = Client::connect(gateway.address).await;
    assert_eq!(used.exchange(&Ask::get("/x")).await.status(), 200);
    used.send(b"GET /x HTTP/1.1\r\nHo").await;
    used.left().await;
}

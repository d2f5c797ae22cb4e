//! Heartbeats: a silent event stream is kept alive, and never an event touched.

use std::time::Duration;

use crate::support::api::{CHAT, OLLAMA, PLAIN};
use crate::support::{Ask, Backend, Client, Ended, Gateway, Peer, gateway, wire};

const BEAT: &str = ":\n\n";
const FAST: &str = "heartbeat = \"50ms\"";
/// An early head and what comes of the one attempt behind it.
const EARLY: &str = "heartbeat = \"off\"\nearly_head = \"50ms\"\nretry = false";

/// Long enough for several heartbeats, were there any.
const SEVERAL: Duration = Duration::from_millis(400);

async fn streaming(route: &str, ask: Ask, head: Vec<u8>) -> (Backend, Gateway, Peer, Client) {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, route).await;
    let mut client = gateway.asking(&ask).await;
    let (mut peer, _) = backend.request().await;
    peer.send(head).await;
    assert_eq!(client.head().await.status(), 200);
    (backend, gateway, peer, client)
}

/// Lets time pass at the backend, which stays silent; the client reads nothing meanwhile.
async fn silence(peer: &mut Peer) {
    assert!(peer.is_quiet_for(SEVERAL).await, "the gateway left");
}

#[tokio::test]
async fn a_silent_stream_gets_heartbeats_until_it_speaks() {
    let (_backend, _gateway, mut peer, mut client) =
        streaming(FAST, PLAIN.ask(), wire::event_stream()).await;
    client.reads(BEAT.repeat(3)).await;
    peer.chunk("data: 1\n\n").await;
    let mut got = String::new();
    while !got.ends_with("data: 1\n\n:\n\n:\n\n") {
        let piece = client.piece().await.expect("a stream that goes on");
        got.push_str(std::str::from_utf8(&piece.data).unwrap());
    }
    let events: Vec<_> = got
        .split_inclusive("\n\n")
        .filter(|event| *event != BEAT)
        .collect();
    assert_eq!(events, ["data: 1\n\n"]);
    peer.send(wire::LAST).await;
    assert_eq!(client.rest().await.1, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn no_heartbeat_comes_inside_an_event() {
    for part in [
        "data: a",
        "data: a\n",
        "data: a\r\n",
        "id: 1\ndata: a\n",
        ": comm",
        "d",
        "data: é",
    ] {
        let (_backend, _gateway, mut peer, mut client) =
            streaming(FAST, PLAIN.ask(), wire::event_stream()).await;
        peer.chunk("data: 0\n\n").await;
        peer.chunk(part).await;
        // Beats may come between head and event, and between the two pieces if those are far apart.
        let mut got = Vec::new();
        while !got.ends_with(part.as_bytes()) {
            got.extend_from_slice(&client.piece().await.expect("a stream").data);
        }
        silence(&mut peer).await;
        peer.chunk("\n\nevent: end\n\n").await;
        peer.send(wire::LAST).await;
        let (rest, ended) = client.rest().await;
        let rest = String::from_utf8(rest.to_vec()).unwrap();
        assert!(rest.starts_with("\n\n"), "{part:?}: {rest:?}");
        assert_eq!(
            rest.replace(BEAT, ""),
            "\n\nevent: end\n\n".replace(BEAT, ""),
            "{part:?}"
        );
        assert_eq!(ended, Ended::LastChunk(vec![]));
    }
}

#[tokio::test]
async fn a_line_end_whose_second_half_is_still_to_come_is_not_split() {
    let (_backend, _gateway, mut peer, mut client) =
        streaming(FAST, PLAIN.ask(), wire::event_stream()).await;
    client.reads(BEAT).await;
    peer.chunk("data: a\r\n\r").await;
    let mut got = Vec::new();
    while !got.ends_with(b"a\r\n\r") {
        got.extend_from_slice(&client.piece().await.expect("a stream").data);
    }
    silence(&mut peer).await;
    peer.chunk("\ndata: b\r\n\r\n").await;
    peer.send(wire::LAST).await;
    let (rest, _) = client.rest().await;
    let rest = String::from_utf8(rest.to_vec()).unwrap();
    // A lone CR ends a line too: beats after it are right, as long as events and lines stay whole.
    assert_eq!(rest.replace(BEAT, ""), "\ndata: b\r\n\r\n");
}

#[tokio::test]
async fn a_stream_that_begins_with_a_byte_order_mark_keeps_it_first() {
    let (_backend, _gateway, mut peer, mut client) =
        streaming("heartbeat = \"off\"", PLAIN.ask(), wire::event_stream()).await;
    peer.chunk("\u{feff}data: 1\n\n").await;
    client.reads("\u{feff}data: 1\n\n").await;

    // Once a heartbeat went before it, a mark would be the beginning of a field's name.
    let (_backend, _gateway, mut late, mut client) =
        streaming(FAST, PLAIN.ask(), wire::event_stream()).await;
    client.reads(BEAT).await;
    late.chunk("\u{feff}data: 1\n\n").await;
    late.send(wire::LAST).await;
    let (rest, _) = client.rest().await;
    let rest = String::from_utf8(rest.to_vec()).unwrap();
    assert_eq!(rest.replace(BEAT, ""), "data: 1\n\n");
}

#[tokio::test]
async fn bodies_that_are_no_event_stream_get_no_heartbeat() {
    let text = wire::head(
        "HTTP/1.1 200 OK",
        &["Content-Type: text/plain", "Transfer-Encoding: chunked"],
    );
    let lines = OLLAMA.head("Transfer-Encoding: chunked");
    for (ask, head, body) in [
        (Ask::get("/x"), text, "one"),
        (OLLAMA.ask(), lines, OLLAMA.finish),
    ] {
        let (_backend, _gateway, mut peer, mut client) = streaming(FAST, ask, head).await;
        silence(&mut peer).await;
        peer.chunk(body).await;
        peer.send(wire::LAST).await;
        assert_eq!(client.rest().await.0, body);
    }
}

#[tokio::test]
async fn heartbeats_can_be_switched_off() {
    let (_backend, _gateway, mut peer, mut client) =
        streaming("heartbeat = \"off\"", PLAIN.ask(), wire::event_stream()).await;
    silence(&mut peer).await;
    peer.chunk("data: 1\n\n").await;
    client.reads("data: 1\n\n").await;
}

#[tokio::test]
async fn heartbeats_go_to_http_1_0_clients_too() {
    let (_backend, _gateway, mut peer, mut client) =
        streaming(FAST, PLAIN.ask().http10(), wire::event_stream()).await;
    client.reads(BEAT.repeat(2)).await;
    peer.send(wire::LAST).await;
    assert_eq!(client.rest().await.1, Ended::Closed);
}

#[tokio::test]
async fn an_event_stream_with_a_length_stays_true_to_what_it_says() {
    let body = CHAT.whole();
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, FAST).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(CHAT.head(&format!("Content-Length: {}", body.len())))
        .await;
    client.head().await;
    silence(&mut peer).await;
    peer.send(&body).await;
    let (got, ended) = client.rest().await;
    assert_eq!(
        String::from_utf8(got.to_vec()).unwrap().replace(BEAT, ""),
        body
    );
    assert!(ended.is_clean(), "{ended:?}");
}

#[tokio::test]
async fn the_head_is_answered_early_and_heartbeats_bridge_a_long_thought() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "heartbeat = \"50ms\"\nearly_head = \"50ms\"").await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    let head = client.head().await;
    assert_eq!(
        (head.status(), head.get("content-type")),
        (200, Some("text/event-stream"))
    );
    client.reads(BEAT.repeat(3)).await;
    peer.send(wire::event_stream()).await;
    peer.chunk(CHAT.whole()).await;
    peer.send(wire::LAST).await;
    let (got, ended) = client.rest().await;
    assert_eq!(
        String::from_utf8(got.to_vec()).unwrap().replace(BEAT, ""),
        CHAT.whole()
    );
    assert_eq!(ended, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn a_refusal_after_an_early_head_comes_as_an_error_of_the_dialect() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, EARLY).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    assert_eq!(client.head().await.status(), 200);
    peer.send(wire::json(
        429,
        "{\"error\":{\"message\":\"slow down\",\"type\":\"rate\"}}",
    ))
    .await;
    let (got, ended) = client.rest().await;
    assert!(CHAT.is_error(&got), "{got:?}");
    assert_eq!(ended, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn a_request_for_an_ordinary_answer_gets_no_early_head() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "early_head = \"30ms\"").await;
    let ask = Ask::post(
        CHAT.target,
        "{\"model\":\"m\",\"stream\":false,\"messages\":[]}",
    );
    let mut client = gateway.asking(&ask).await;
    let (mut peer, _) = backend.request().await;
    silence(&mut peer).await;
    peer.send(wire::json(201, "{\"late\":1}")).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status(), answer.text()),
        (201, "{\"late\":1}".to_owned())
    );
}

#[tokio::test]
async fn whatever_cannot_keep_the_promise_of_an_early_head_comes_as_an_error() {
    let gzip = [
        "Content-Type: text/event-stream",
        "Content-Encoding: gzip",
        "Content-Length: 9",
    ];
    let answers = [
        wire::json(200, "{\"id\":1}"),
        [
            wire::head("HTTP/1.1 200 OK", &gzip),
            b"\x1f\x8bsqueeze".to_vec(),
        ]
        .concat(),
        wire::head("HTTP/1.1 204 No Content", &[]),
        b"nonsense\r\n\r\n".to_vec(),
        Vec::new(),
    ];
    for answer in answers {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, EARLY).await;
        let mut client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = backend.request().await;
        let shown = answer.escape_ascii().to_string();
        assert_eq!(client.head().await.status(), 200, "{shown}");
        peer.send(answer).await;
        peer.close();
        let (got, ended) = client.rest().await;
        assert!(CHAT.is_error(&got), "{shown}: {got:?}");
        assert_eq!(ended, Ended::LastChunk(vec![]), "{shown}");
    }
}

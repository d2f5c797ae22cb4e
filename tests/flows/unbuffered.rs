//! Unbuffered: the backend sends the next piece only after the client has seen the last one.
//!
//! This lock-step needs no clock: a gateway that holds anything back makes the test stop.

use crate::support::api::{CHAT, OLLAMA, PLAIN};
use crate::support::{Ask, Backend, Ended, gateway, wire};

/// Sends `pieces` one by one, each after the client has read the last.
async fn in_step(ask: Ask, head: Vec<u8>, pieces: &[&[u8]], chunked: bool) -> Ended {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&ask).await;
    let (mut peer, _) = backend.request().await;
    peer.send(head).await;
    assert_eq!(client.head().await.status(), 200);
    for piece in pieces {
        if chunked {
            peer.chunk(piece).await;
        } else {
            peer.send(piece).await;
        }
        client.reads(piece).await;
    }
    if chunked {
        peer.send(wire::LAST).await;
    } else {
        peer.close();
    }
    let (rest, ended) = client.rest().await;
    assert_eq!(rest, "", "nothing more");
    ended
}

fn chat_pieces() -> Vec<&'static [u8]> {
    let events = CHAT.events.iter().copied();
    events
        .chain([CHAT.finish, CHAT.marker])
        .map(str::as_bytes)
        .collect()
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    for accept in [None, Some("Accept: */*"), Some("Accept: text/event-stream")] {
        let mut ask = CHAT.ask();
        if let Some(accept) = accept {
            ask = ask.field(accept);
        }
        let ended = in_step(ask, wire::event_stream(), &chat_pieces(), true).await;
        assert_eq!(ended, Ended::LastChunk(vec![]), "{accept:?}");
    }
}

#[tokio::test]
async fn each_event_arrives_at_an_http_1_0_client() {
    let ask = CHAT.ask().http10();
    let ended = in_step(ask, wire::event_stream(), &chat_pieces(), true).await;
    assert_eq!(ended, Ended::Closed);
}

#[tokio::test]
async fn each_event_arrives_from_a_backend_that_frames_by_length() {
    let head = CHAT.head(&format!("Content-Length: {}", CHAT.whole().len()));
    let ended = in_step(CHAT.ask(), head, &chat_pieces(), false).await;
    assert!(ended.is_clean(), "{ended:?}");
}

#[tokio::test]
async fn each_event_arrives_from_a_backend_that_frames_by_closing() {
    for version in ["HTTP/1.1", "HTTP/1.0"] {
        let head = wire::head(
            &format!("{version} 200 OK"),
            &["Content-Type: text/event-stream"],
        );
        let ended = in_step(CHAT.ask(), head, &chat_pieces(), false).await;
        assert_eq!(ended, Ended::LastChunk(vec![]), "{version}");
    }
}

#[tokio::test]
async fn parts_of_one_event_arrive_as_they_are_sent() {
    let pieces: [&[u8]; 7] = [
        b"da",
        b"ta: h",
        b"\xc3",
        b"\xa9llo\n",
        b"\n",
        b": note\n\n",
        b"event: x\r\ndata:y\r\n\r\n",
    ];
    in_step(PLAIN.ask(), wire::event_stream(), &pieces, true).await;
}

#[tokio::test]
async fn several_events_in_one_chunk_arrive_together_with_all_their_bytes() {
    let first = CHAT.begun();
    let rest = CHAT.finish.to_owned() + CHAT.marker;
    in_step(
        CHAT.ask(),
        wire::event_stream(),
        &[first.as_bytes(), rest.as_bytes()],
        true,
    )
    .await;
}

#[tokio::test]
async fn comments_before_the_first_event_and_odd_line_ends_are_bytes_to_keep() {
    let pieces: [&[u8]; 5] = [
        b"\xef\xbb\xbf: OPENROUTER PROCESSING\n\n",
        b": OPENROUTER PROCESSING\n\n\n\n",
        b"data:{\"choices\":[{\"delta\":{\"content\":\"a\"},\"index\":0,\"finish_reason\":null}]}\r\r",
        b"retry: 5\r\nid\r\ndata: {\"choices\":[{\"delta\":{},\"index\":0,\"finish_reason\":\"stop\"}]}\r\n\r\n",
        b"data:[DONE]\n\n",
    ];
    let ended = in_step(CHAT.ask(), wire::event_stream(), &pieces, true).await;
    assert_eq!(ended, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn each_line_of_ndjson_arrives_before_the_next_is_sent() {
    let head = OLLAMA.head("Transfer-Encoding: chunked");
    let pieces = [OLLAMA.events[0], OLLAMA.events[1], OLLAMA.finish].map(str::as_bytes);
    in_step(OLLAMA.ask(), head, &pieces, true).await;
}

#[tokio::test]
async fn each_piece_of_any_other_body_arrives_before_the_next_is_sent() {
    let fields = ["Content-Type: text/plain", "Transfer-Encoding: chunked"];
    let head = wire::head("HTTP/1.1 200 OK", &fields);
    in_step(Ask::get("/log"), head, &[b"one", b"two", b"three\n"], true).await;
}

#[tokio::test]
async fn a_compressed_event_stream_passes_flushed_labelled_and_untouched() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "heartbeat = \"20ms\"").await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    let fields = [
        "Content-Type: text/event-stream",
        "Content-Encoding: gzip",
        "Transfer-Encoding: chunked",
    ];
    peer.send(wire::head("HTTP/1.1 200 OK", &fields)).await;
    let head = client.head().await;
    assert_eq!(head.get("content-encoding"), Some("gzip"));
    for piece in [&b"\x1f\x8b\x08\x00"[..], b"\n\n", b"\x00\x01\x02"] {
        peer.chunk(piece).await;
        client.reads(piece).await;
    }
    assert!(
        peer.is_quiet_for(std::time::Duration::from_millis(150))
            .await
    );
    peer.send(wire::LAST).await;
    let (rest, ended) = client.rest().await;
    assert_eq!(
        (&rest[..], ended),
        (&b""[..], Ended::LastChunk(vec![])),
        "no heartbeat put in"
    );
}

#[tokio::test]
async fn the_head_arrives_before_any_event_is_sent() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&PLAIN.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    assert_eq!(
        client.head().await.get("content-type"),
        Some("text/event-stream")
    );
}

#[tokio::test]
async fn interim_answers_of_the_backend_do_not_disturb_the_stream() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        .await;
    peer.send(wire::event_stream()).await;
    peer.chunk(CHAT.whole()).await;
    peer.send(wire::LAST).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.text()), (200, CHAT.whole()));
    assert_eq!(answer.ended, Ended::LastChunk(vec![]));
}

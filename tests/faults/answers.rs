//! Answers that are no proper HTTP: refused before the head is sent, aborted after it, and never
//! taken for anything else.

use std::time::Duration;

use crate::support::wire::{self, LAST};
use crate::support::{Ask, Backend, Client, Ended, gateway};

/// What a client gets when the backend sends `bytes`, then closes if `close`.
async fn got(bytes: Vec<u8>, close: bool) -> (u16, Vec<u8>, Ended) {
    let backend = Backend::playing(move |mut peer| {
        let bytes = bytes.clone();
        async move {
            peer.request().await;
            peer.send(&bytes).await;
            if !close {
                peer.left().await;
            }
        }
    })
    .await;
    let gateway = gateway(&backend, "clocks = { first_byte = \"5s\", idle = \"5s\" }").await;
    let answer = gateway.fetch(&Ask::get("/x")).await;
    (answer.status(), answer.body.to_vec(), answer.ended)
}

#[tokio::test]
async fn a_head_that_is_none_is_502() {
    let heads: [&[u8]; 12] = [
        b"hello\r\n\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99 Low\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad name: 1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    ];
    for head in heads {
        let (status, ..) = got(head.to_vec(), true).await;
        assert_eq!(status, 502, "{}", head.escape_ascii());
    }
}

#[tokio::test]
async fn a_huge_head_is_502_and_not_gathered_for_ever() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "clocks = { first_byte = \"15s\" }").await;
    let mut client = gateway.asking(&Ask::get("/x")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(b"HTTP/1.1 200 OK\r\n").await;
    let line = format!("X-Filler: {}\r\n", "a".repeat(1_000));
    let sent = peer
        .flood(line.as_bytes(), Duration::from_millis(500))
        .await;
    assert_eq!(client.answer().await.status(), 502);
    assert!(sent < 20_000_000, "{sent}");
}

#[tokio::test]
async fn a_head_of_many_fields_that_is_not_huge_passes() {
    let lines: Vec<_> = (0..90).map(|n| format!("X-Field-{n}: {n}")).collect();
    let mut fields: Vec<_> = lines.iter().map(String::as_str).collect();
    fields.push("Content-Length: 2");
    let mut whole = wire::head("HTTP/1.1 200 OK", &fields);
    whole.extend_from_slice(b"ok");
    let (status, body, _) = got(whole, false).await;
    assert_eq!((status, &body[..]), (200, &b"ok"[..]));
}

#[tokio::test]
async fn equal_lengths_said_twice_are_one() {
    let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello";
    let (status, body, ended) = got(whole.to_vec(), false).await;
    // Either is allowed (RFC 9112 section 6.3); two fields downstream are not.
    assert!(
        status == 502 || (status == 200 && body == b"hello" && ended == Ended::Length),
        "{status}"
    );
}

#[tokio::test]
async fn length_and_chunks_together_are_never_two_framings_downstream() {
    let fields = ["Content-Length: 3", "Transfer-Encoding: chunked"];
    let mut whole = wire::head("HTTP/1.1 200 OK", &fields);
    whole.extend(wire::chunk("hello"));
    whole.extend(LAST);
    let (status, body, ended) = got(whole, false).await;
    assert!(
        status == 502 || (status == 200 && body == b"hello" && ended.is_clean()),
        "{status} {body:?}"
    );
}

#[tokio::test]
async fn a_chunk_that_is_none_aborts_the_answer() {
    let bad: [&[u8]; 8] = [
        b"x\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"ffffffffffffffff\r\nhello",
        b"\r\n",
        b"5;ext=\nhello\r\n",
        b"0x5\r\nhello\r\n",
    ];
    for chunk in bad {
        let fields = ["Content-Type: text/plain", "Transfer-Encoding: chunked"];
        let mut whole = wire::head("HTTP/1.1 200 OK", &fields);
        whole.extend(wire::chunk("first"));
        whole.extend_from_slice(chunk);
        let (status, body, ended) = got(whole, true).await;
        if status == 200 {
            assert!(body.starts_with(b"first"), "{}", chunk.escape_ascii());
            assert!(!ended.is_clean(), "{} {ended:?}", chunk.escape_ascii());
        } else {
            assert_eq!(status, 502, "{}", chunk.escape_ascii());
        }
    }
}

#[tokio::test]
async fn chunk_extensions_and_upper_case_sizes_are_understood() {
    let fields = ["Content-Type: text/plain", "Transfer-Encoding: Chunked"];
    let mut whole = wire::head("HTTP/1.1 200 OK", &fields);
    whole.extend_from_slice(b"A;name=\"v;a\"\r\n0123456789\r\n00005\r\nhello\r\n0;last\r\n\r\n");
    let (status, body, ended) = got(whole, false).await;
    assert_eq!((status, &body[..]), (200, &b"0123456789hello"[..]));
    assert!(ended.is_clean(), "{ended:?}");
}

#[tokio::test]
async fn an_endless_size_line_is_not_gathered_for_ever() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&Ask::get("/x")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.send(b"5;").await;
    peer.flood(&[b'a'; 10_000], Duration::from_secs(1)).await;
    peer.left().await;
    let status = client.head().await.status();
    let ended = client.rest().await.1;
    assert!(status == 502 || !ended.is_clean(), "{status} {ended:?}");
}

#[tokio::test]
async fn many_interim_answers_are_skipped_up_to_a_bound() {
    let mut few = Vec::new();
    for _ in 0..3 {
        few.extend_from_slice(b"HTTP/1.1 102 Processing\r\n\r\n");
    }
    few.extend(wire::json(200, "{}"));
    assert_eq!(got(few, false).await.0, 200);

    let backend = Backend::listen().await;
    let route = "retry = false\nclocks = { first_byte = \"1s\" }";
    let gateway = gateway(&backend, route).await;
    let mut client = gateway.asking(&Ask::get("/x")).await;
    let (mut peer, _) = backend.request().await;
    peer.flood(b"HTTP/1.1 102 Processing\r\n\r\n", Duration::from_secs(1))
        .await;
    let status = client.answer().await.status();
    assert!(matches!(status, 502 | 504), "{status}");
}

#[tokio::test]
async fn an_upgrade_nobody_asked_for_is_502() {
    let head = wire::head(
        "HTTP/1.1 101 Switching Protocols",
        &["Connection: Upgrade", "Upgrade: x"],
    );
    assert_eq!(got(head, true).await.0, 502);
}

#[tokio::test]
async fn one_bad_answer_does_not_disturb_another_request_on_the_same_connection() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.head.target() == "/bad" {
                peer.send(b"nonsense\r\n\r\n").await;
                return;
            }
            peer.send(wire::json(200, "{}")).await;
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        assert_eq!(client.exchange(&Ask::get("/bad")).await.status(), 502);
        assert_eq!(client.exchange(&Ask::get("/good")).await.status(), 200);
    }
}

//! Connections that are kept: used again when that is safe, and never answering for somebody else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::api::CHAT;
use crate::support::wire::{self, Framing};
use crate::support::{Ask, Backend, Client, Ended, gateway, until};

const GOOD: &str = "{\"good\":1}";

#[tokio::test]
async fn a_connection_is_used_again_after_any_answer_that_ended_as_framed() {
    let mut stream = wire::event_stream();
    stream.extend(wire::chunk(CHAT.whole()));
    stream.extend(wire::LAST);
    for answer in [
        wire::json(200, GOOD),
        stream,
        wire::head("HTTP/1.1 204 No", &[]),
    ] {
        let backend = Backend::answering(answer).await;
        let gateway = gateway(&backend, "").await;
        for _ in 0..5 {
            assert!(gateway.fetch(&CHAT.ask()).await.ended.is_clean());
        }
        assert_eq!(backend.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_closed_while_it_rested_is_not_used() {
    let backend = Backend::playing(|mut peer| async move {
        peer.request().await;
        peer.send(wire::json(200, GOOD)).await;
    })
    .await;
    let gateway = gateway(&backend, "").await;
    for n in 1..=20 {
        let answer = gateway.fetch(&Ask::post("/x", "{\"order\":1}")).await;
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, GOOD),
            "request {n}"
        );
        until("the request's log", || {
            (backend.requests().len() == n).then_some(())
        })
        .await;
    }
}

/// Answers the first request of a connection; reads the second and leaves without a word.
async fn leaving_under_the_second() -> Backend {
    Backend::playing(|mut peer| async move {
        peer.request().await;
        peer.send(wire::json(200, GOOD)).await;
        peer.request().await;
    })
    .await
}

#[tokio::test]
async fn a_connection_closed_under_the_request_costs_the_client_nothing() {
    let backend = leaving_under_the_second().await;
    let gateway = gateway(&backend, "").await;
    for ask in [Ask::get("/x"), CHAT.ask()] {
        for _ in 0..4 {
            let answer = gateway.fetch(&ask).await;
            assert_eq!((answer.status(), answer.text().as_str()), (200, GOOD));
        }
    }
}

/// A route's own `retry`, and how many requests its default adds to one that fails each time.
const RETRIES: [(&str, usize); 2] = [("retry = false", 0), ("", 2)];

#[tokio::test]
async fn a_request_is_sent_again_only_once_for_a_connection_that_closed_under_it() {
    for (route, retries) in RETRIES {
        let (backend, count) = closing_without_a_word().await;
        let gateway = gateway(&backend, route).await;
        assert_eq!(gateway.fetch(&Ask::get("/x")).await.status(), 200);
        assert_eq!(gateway.fetch(&Ask::get("/x")).await.status(), 502);
        assert_eq!(count.load(Ordering::SeqCst), 2 + retries, "{route}");
    }
}

/// Answers its very first request; each further one is counted, and costs it its connection.
async fn closing_without_a_word() -> (Backend, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    let backend = Backend::playing(move |mut peer| {
        let seen = seen.clone();
        async move {
            if peer.number == 0 {
                peer.request().await;
                peer.send(wire::json(200, GOOD)).await;
            }
            peer.request().await;
            seen.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await;
    (backend, count)
}

#[tokio::test]
async fn a_fresh_connection_that_closes_is_not_tried_again() {
    let backend = Backend::playing(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let gateway = gateway(&backend, "").await;
    assert_eq!(
        gateway
            .fetch(&Ask::post("/orders", "{\"order\":1}"))
            .await
            .status(),
        502
    );
    assert_eq!(
        backend.requests().len(),
        1,
        "an order may not be placed twice"
    );
}

#[tokio::test]
async fn an_answer_that_began_is_asked_for_again_only_as_a_retry() {
    for (route, retries) in RETRIES {
        let backend = Backend::playing(|mut peer| async move {
            if peer.number == 0 {
                peer.request().await;
                peer.send(wire::json(200, GOOD)).await;
            }
            peer.request().await;
            peer.send(b"HTTP/1.1 20").await;
        })
        .await;
        let gateway = gateway(&backend, route).await;
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 502);
        assert_eq!(backend.requests().len(), 2 + retries, "{route}");
    }
}

#[tokio::test]
async fn an_upload_that_passed_through_is_not_sent_a_second_time() {
    let backend = leaving_under_the_second().await;
    let gateway = gateway(&backend, "").await;
    assert_eq!(gateway.fetch(&Ask::get("/x")).await.status(), 200);
    let mut client = Client::connect(gateway.address).await;
    client
        .ask(&Ask::new("POST", "/file").field("Transfer-Encoding: chunked"))
        .await;
    client.send(wire::chunk("order")).await;
    client.send(wire::LAST).await;
    let status = client.answer().await.status();
    let uploads = backend
        .requests()
        .iter()
        .filter(|r| r.head.target() == "/file")
        .count();
    assert!(
        (status == 502 && uploads == 1) || (status == 200 && uploads <= 2),
        "{status} {uploads}"
    );
}

#[tokio::test]
async fn a_backend_that_closes_after_every_few_answers_never_shows() {
    for words in [&["Connection: close"][..], &[]] {
        let backend = Backend::playing(move |mut peer| async move {
            for turn in 1..=3 {
                if peer.request().await.is_none() {
                    return;
                }
                let length = format!("Content-Length: {}", GOOD.len());
                let mut fields = vec![length.as_str()];
                if turn == 3 {
                    fields.extend_from_slice(words);
                }
                let mut answer = wire::head("HTTP/1.1 200 OK", &fields);
                answer.extend_from_slice(GOOD.as_bytes());
                peer.send(answer).await;
            }
        })
        .await;
        let gateway = gateway(&backend, "").await;
        let mut client = Client::connect(gateway.address).await;
        for n in 0..30 {
            let answer = client.exchange(&CHAT.ask()).await;
            assert_eq!(
                (answer.status(), answer.text().as_str()),
                (200, GOOD),
                "{words:?} {n}"
            );
        }
        assert!(backend.connections() >= 10);
    }
}

#[tokio::test]
async fn an_http_1_0_backend_is_asked_on_a_new_connection_each_time() {
    let whole = wire::answer(Framing::Http10, 200, "application/json", GOOD);
    let backend = Backend::playing(move |mut peer| {
        let whole = whole.clone();
        async move {
            peer.request().await;
            peer.send(&whole).await;
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        let answer = client.exchange(&CHAT.ask()).await;
        assert_eq!(
            (answer.text().as_str(), answer.ended),
            (GOOD, Ended::LastChunk(vec![]))
        );
    }
    assert_eq!(backend.connections(), 3);
}

#[tokio::test]
async fn bytes_behind_an_answer_never_answer_the_next_request() {
    let evil = wire::json(200, "{\"evil\":1}");
    for first in [
        wire::json(200, GOOD),
        wire::answer(Framing::Chunked, 200, "application/json", GOOD),
    ] {
        let both = [first, evil.clone()].concat();
        let backend = Backend::playing(move |mut peer| {
            let both = both.clone();
            async move {
                while peer.request().await.is_some() {
                    peer.send(&both).await;
                }
            }
        })
        .await;
        let gateway = gateway(&backend, "").await;
        for _ in 0..5 {
            let answer = gateway.fetch(&Ask::get("/x")).await;
            assert_eq!((answer.status(), answer.text().as_str()), (200, GOOD));
        }
        assert_eq!(
            backend.connections(),
            5,
            "such a connection is not trusted again"
        );
    }
}

#[tokio::test]
async fn bytes_that_come_while_a_connection_rests_never_answer_the_next_request() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&Ask::get("/1")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::json(200, GOOD)).await;
    assert_eq!(client.answer().await.text(), GOOD);
    peer.send(wire::json(200, "{\"evil\":1}")).await;
    let mut client = gateway.asking(&Ask::get("/2")).await;
    let (mut second, _) = backend.request().await;
    second.send(wire::json(200, GOOD)).await;
    assert_eq!(client.answer().await.text(), GOOD);
}

#[tokio::test]
async fn an_answer_to_head_with_a_body_does_not_leak_into_the_next() {
    let backend = Backend::playing(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.send(wire::json(200, GOOD)).await;
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        let answer = client.exchange(&Ask::new("HEAD", "/x")).await;
        assert!(answer.status() == 200 && answer.body.is_empty() && client.spare().is_empty());
        let answer = client.exchange(&Ask::get("/x")).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, GOOD));
    }
}

#[tokio::test]
async fn a_client_that_left_leaves_no_connection_behind_for_others() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut first, _) = backend.request().await;
    first.send(wire::event_stream()).await;
    first.chunk(CHAT.begun()).await;
    client.head().await;
    client.leave();
    first.left().await;
    let mut client = gateway.asking(&Ask::get("/x")).await;
    let (mut second, _) = backend.request().await;
    second.send(wire::json(200, GOOD)).await;
    assert_eq!(client.answer().await.text(), GOOD);
}

#[tokio::test]
async fn a_connection_that_said_more_than_its_answer_is_not_trusted_again() {
    // The head goes first, so that the body's end and what follows it come in one read of the body.
    let bodies: [(&str, &[u8]); 2] = [
        ("Content-Length: 4", b"goodHTTP/1.1 200 OK\r\n"),
        (
            "Transfer-Encoding: chunked",
            b"4\r\ngood\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
        ),
    ];
    for (framing, body) in bodies {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, "").await;
        let mut peers = Vec::new();
        for _ in 0..3 {
            let mut client = gateway.asking(&Ask::get("/x")).await;
            let (mut peer, _) = backend.request().await;
            let fields = ["Content-Type: text/plain", framing];
            peer.send(wire::head("HTTP/1.1 200 OK", &fields)).await;
            client.head().await;
            peer.send(body).await;
            client.reads("good").await;
            assert!(client.rest().await.1.is_clean());
            peer.left().await;
            peers.push(peer);
        }
    }
}

//! What counts as a stream and how it leaves, whatever its content type's parameters, its status or
//! its client's `Accept`; and what follows it on the same connection.

use crate::support::api::{CHAT, MESSAGES, OLLAMA, PLAIN};
use crate::support::client::Answer;
use crate::support::{Ask, Backend, Client, Ended, gateway, wire};

/// The answer to `ask` when the backend sends `fields` and `body` with this first line.
async fn answered(ask: &Ask, first: &str, fields: &[&str], body: &str) -> Answer {
    let mut whole = wire::head(first, &[fields, &["Transfer-Encoding: chunked"]].concat());
    whole.extend(wire::chunk(body));
    whole.extend(wire::LAST);
    let backend = Backend::answering(whole).await;
    gateway(&backend, "").await.fetch(ask).await
}

#[track_caller]
fn is_unbuffered(answer: &Answer) {
    let head = &answer.head;
    assert_eq!(head.get("x-accel-buffering"), Some("no"), "{head:?}");
    let control = head.get("cache-control");
    assert_eq!(control, Some("no-cache, no-transform"), "{head:?}");
}

#[tokio::test]
async fn every_kind_of_stream_tells_proxies_to_leave_it_alone() {
    for kind in [
        "text/event-stream",
        "Text/Event-Stream ; charset=UTF-8",
        "text/event-stream;charset=\"utf-8\"",
        "application/x-ndjson",
        "application/x-ndjson; charset=utf-8",
        "application/jsonl",
        "application/vnd.amazon.eventstream",
    ] {
        let content_type = format!("Content-Type: {kind}");
        let fields = [content_type.as_str(), "Cache-Control: max-age=60"];
        let answer = answered(&PLAIN.ask(), "HTTP/1.1 200 OK", &fields, "x").await;
        is_unbuffered(&answer);
        assert_eq!(answer.head.get("content-type"), Some(kind), "as it came");
    }
    let fields = ["Content-Type: text/plain", "Cache-Control: max-age=60"];
    let answer = answered(&PLAIN.ask(), "HTTP/1.1 200 OK", &fields, "x").await;
    assert_eq!(answer.head.get("x-accel-buffering"), None);
    assert_eq!(answer.head.get("cache-control"), Some("max-age=60"));
}

#[tokio::test]
async fn a_stream_with_another_status_is_one_all_the_same() {
    for status in [201, 202, 206, 400, 429, 500, 503] {
        let first = format!("HTTP/1.1 {status} Said");
        let fields = ["Content-Type: text/event-stream; charset=utf-8"];
        let answer = answered(&CHAT.ask(), &first, &fields, &CHAT.whole()).await;
        assert_eq!((answer.status(), answer.text()), (status, CHAT.whole()));
        assert_eq!(answer.ended, Ended::LastChunk(vec![]), "{status}");
        is_unbuffered(&answer);
    }
}

#[tokio::test]
async fn a_refusal_that_comes_as_a_stream_keeps_its_own_words() {
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let fields = ["Content-Type: text/event-stream"];
    let answer = answered(&MESSAGES.ask(), "HTTP/1.1 529 Overloaded", &fields, error).await;
    assert_eq!((answer.status(), answer.text().as_str()), (529, error));
    assert!(answer.ended.is_clean(), "{:?}", answer.ended);
}

#[tokio::test]
async fn the_stream_comes_whatever_the_client_says_it_accepts() {
    let fields = ["Content-Type: text/event-stream"];
    for accept in [
        None,
        Some("*/*"),
        Some("text/event-stream"),
        Some("application/json"),
    ] {
        let ask = accept.map_or(CHAT.ask(), |value| {
            CHAT.ask().field(&format!("Accept: {value}"))
        });
        let backend = Backend::answering({
            let mut whole = wire::head(
                "HTTP/1.1 200 OK",
                &[fields[0], "Transfer-Encoding: chunked"],
            );
            whole.extend(wire::chunk(CHAT.whole()));
            whole.extend(wire::LAST);
            whole
        })
        .await;
        let gateway = gateway(&backend, "heartbeat = \"1s\"").await;
        let answer = gateway.fetch(&ask).await;
        assert_eq!((answer.status(), answer.text()), (200, CHAT.whole()));
        is_unbuffered(&answer);
        let requests = backend.requests();
        assert_eq!(requests[0].head.get("accept"), accept, "as it came");
        let encoding = requests[0].head.get("accept-encoding");
        assert!(matches!(encoding, None | Some("identity")), "{encoding:?}");
    }
}

#[tokio::test]
async fn further_requests_follow_a_stream_on_the_same_connection() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.head.method() == "POST" {
                peer.send(CHAT.head("Transfer-Encoding: chunked")).await;
                for event in CHAT.events {
                    peer.chunk(event).await;
                }
                peer.chunk(CHAT.finish).await;
                peer.chunk(CHAT.marker).await;
                peer.send(wire::LAST).await;
            } else {
                peer.send(wire::json(200, "{}")).await;
            }
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        let answer = client.exchange(&CHAT.ask()).await;
        assert_eq!(answer.text(), CHAT.whole());
        assert_eq!(answer.ended, Ended::LastChunk(vec![]));
        assert_eq!(client.exchange(&Ask::get("/v1/models")).await.text(), "{}");
    }
    assert_eq!(backend.connections(), 1);

    client
        .send([CHAT.ask().bytes(), Ask::get("/x").bytes()].concat())
        .await;
    assert_eq!(client.answer().await.text(), CHAT.whole());
    assert_eq!(
        client.answer().await.text(),
        "{}",
        "pipelined behind a stream"
    );
}

#[tokio::test]
async fn an_http_1_0_client_keeps_its_connection_where_a_length_allows_it() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            match request.head.target() {
                "/json" => peer.send(wire::json(200, "{}")).await,
                _ => {
                    let mut whole = OLLAMA.head("Transfer-Encoding: chunked");
                    whole.extend(wire::chunk(OLLAMA.whole()));
                    whole.extend(wire::LAST);
                    peer.send(whole).await
                }
            };
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    let kept = Ask::get("/json").http10().field("Connection: keep-alive");
    for _ in 0..3 {
        let answer = client.exchange(&kept).await;
        assert_eq!(
            (answer.text().as_str(), answer.ended),
            ("{}", Ended::Length)
        );
        assert!(answer.head.lists("connection", "keep-alive"));
    }
    let stream = OLLAMA.ask().http10().field("Connection: keep-alive");
    let answer = client.exchange(&stream).await;
    assert_eq!(
        (answer.text(), answer.ended),
        (OLLAMA.whole(), Ended::Closed)
    );
    let closed = gateway.fetch(&Ask::get("/json").http10()).await;
    assert!(!closed.head.lists("connection", "keep-alive"));
}

#[tokio::test]
async fn a_request_that_passed_the_gateway_before_is_served_and_says_so() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let inner = gateway(&backend, "").await;
    let source = crate::support::toml(&format!("http://{}", inner.address), "");
    let outer = crate::support::Gateway::start(&source).await;
    let answer = outer.fetch(&Ask::get("/x").field("Via: 1.0 edge")).await;
    let via = "1.0 edge, 1.1 deltaway, 1.1 deltaway";
    assert_eq!(backend.requests()[0].head.get("via"), Some(via));
    assert_eq!(answer.head.get("via"), Some("1.1 deltaway, 1.1 deltaway"));
}

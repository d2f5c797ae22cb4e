//! What the source of a feed may give: no stream at all, lines, documents, and streams written in every way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::feeds::{another, reading, streaming};
use crate::support::client::Answer;
use crate::support::{Ask, Backend, Client, Gateway, Reader, gateway, toml, until, wire};

/// Answers that are no streams, and one whole answer for each.
fn no_streams() -> [(u16, Vec<u8>); 4] {
    [
        (404, wire::json(404, "{\"no\":1}")),
        (
            500,
            wire::answer(wire::Framing::Chunked, 500, "text/plain", "broken"),
        ),
        (200, wire::json(200, "{\"a\":1}")),
        (
            204,
            wire::head("HTTP/1.1 204 No Content", &["Set-Cookie: a=b"]),
        ),
    ]
}

#[tokio::test]
async fn what_is_no_stream_is_given_to_all_who_wait_and_asked_for_once() {
    for (status, whole) in no_streams() {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, "share = true").await;
        let mut waiting = Vec::new();
        for _ in 0..5 {
            waiting.push(gateway.asking(&Ask::get("/prices")).await);
        }
        let (mut peer, _) = backend.request().await;
        peer.send(&whole).await;
        let mut answers: Vec<Answer> = Vec::new();
        for mut client in waiting {
            answers.push(client.answer().await);
        }
        // One who comes at once gets what there is.
        answers.push(gateway.fetch(&Ask::get("/prices")).await);
        let body = answers[0].body.clone();
        for answer in &answers {
            assert_eq!((answer.status(), &answer.body), (status, &body));
            assert!(answer.ended.is_clean());
            assert_eq!(
                answer.head.get("set-cookie"),
                None,
                "that is somebody's own"
            );
        }
        assert_eq!(backend.requests().len(), 1, "{status}");
        let expected = whole.ends_with(&body) || status == 500 && body == "broken";
        assert!(expected, "{status}: {body:?}");
    }
}

#[tokio::test]
async fn what_is_no_stream_is_asked_for_again_a_moment_later() {
    let backend = Backend::answering(wire::json(404, "{}")).await;
    let gateway = gateway(&backend, "share = { on_last_leave = \"1ms\" }").await;
    let begun = std::time::Instant::now();
    let mut fetched = 0;
    while backend.requests().len() < 3 {
        assert_eq!(gateway.fetch(&Ask::get("/prices")).await.status(), 404);
        fetched += 1;
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    assert!(
        begun.elapsed() >= Duration::from_millis(1900),
        "{:?}",
        begun.elapsed()
    );
    assert!(fetched > 10, "{fetched}");
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_told_to_all_who_wait() {
    let refusing = crate::support::backend::Refusing::new();
    let config = toml(&format!("http://{}", refusing.address), "share = true");
    let gateway = Gateway::start(&config).await;
    for _ in 0..3 {
        let answer = gateway.fetch(&Ask::get("/prices")).await;
        assert_eq!(answer.status(), 502);
        assert_eq!(
            answer.json()["error"]["code"],
            "upstream_unreachable",
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn lines_are_shared_as_events() {
    for kind in [
        "application/x-ndjson",
        "application/jsonl",
        "text/plain",
        "text/plain; charset=utf-8",
    ] {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, "share = true").await;
        let client = gateway.asking(&Ask::get("/prices")).await;
        let (mut peer, _) = backend.request().await;
        let kind = format!("Content-Type: {kind}");
        peer.send(wire::head(
            "HTTP/1.1 200 OK",
            &[&kind, "Transfer-Encoding: chunked"],
        ))
        .await;
        let mut reader = Reader::answered(client).await;
        assert_eq!(reader.head.get("content-type"), Some("text/event-stream"));
        peer.chunk("{\"a\":1}\r\n\n{\"a\":").await;
        peer.chunk("2}\n").await;
        peer.chunk("last").await;
        reader.reads(&["{\"a\":1}", "{\"a\":2}"]).await;
        peer.send(wire::LAST).await;
        reader.reads(&["last"]).await;
    }
}

#[tokio::test]
async fn every_way_to_write_an_event_stream_is_read() {
    let (_gateway, _backend, mut reader, mut peer) = reading("share = true").await;
    let stream = "\u{feff}data: bom\r\rdata:crlf\r\nevent:x\r\n\r\n: comment\n\nid\nid: 4\nretry: abc\n\ndata\n\n\
                  data: two\rdata:  lines\nunknown: y\r\n\ndata: \u{feff}é\n\n";
    // Byte by byte: no chunk's end is a line's end.
    for byte in stream.as_bytes() {
        peer.chunk([*byte]).await;
    }
    let mut events = Vec::new();
    for _ in 0..5 {
        events.push(reader.next().await);
    }
    let data: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
    assert_eq!(data, ["bom", "crlf", "", "two\n lines", "\u{feff}é"]);
    assert_eq!(events[1].name.as_deref(), Some("x"));
    assert!(!String::from_utf8_lossy(&reader.raw).contains('\r'));
}

#[tokio::test]
async fn an_event_too_large_to_be_kept_costs_the_upstream_its_connection_and_no_reader_its_own() {
    let backend = Backend::listen().await;
    let config = toml(&backend.url(), "share = true") + "[hub]\nevent = \"64KiB\"\n";
    let gateway = Gateway::start(&config).await;
    let client = gateway.asking(&Ask::get("/prices")).await;
    let mut peer = streaming(&backend).await;
    let mut reader = Reader::answered(client).await;
    peer.chunk("id: 1\ndata: 1\n\nid: 2\ndata: ").await;
    reader.reads(&["1"]).await;
    let megabyte = wire::chunk(vec![b'a'; 1 << 20]);
    let taken = peer.pour(&megabyte, 64).await;
    assert!(taken < 32 << 20, "{taken} bytes were taken");
    peer.left().await;
    let (mut peer, request) = backend.request().await;
    assert_eq!(request.head.get("last-event-id"), Some("1"));
    peer.send(wire::event_stream()).await;
    peer.chunk("data: 3\n\n").await;
    reader.reads(&["3"]).await;
}

#[tokio::test]
async fn the_backends_own_ids_are_shown_where_the_route_says_so() {
    let share = "share = { ids = \"backend\", on_last_leave = \"off\" }";
    let (gateway, _backend, mut reader, mut peer) = reading(share).await;
    peer.chunk("id: a\ndata: 1\n\ndata: 2\n\nid: b\ndata: 3\n\n")
        .await;
    let ids = [
        reader.next().await.id,
        reader.next().await.id,
        reader.next().await.id,
    ];
    assert_eq!(
        (ids[0].as_deref(), ids[2].as_deref()),
        (Some("a"), Some("b"))
    );
    let ours = ids[1].clone().expect("an event without an id has ours");
    for (id, rest) in [("a", &["2", "3"][..]), (&ours, &["3"])] {
        let field = format!("Last-Event-ID: {id}");
        another(&gateway, &[&field]).await.reads(rest).await;
    }
    let mut lost = another(&gateway, &["Last-Event-ID: c"]).await;
    assert_eq!(lost.next().await.name.as_deref(), Some("gap"));
    lost.reads(&["1", "2", "3"]).await;
}

/// A backend that answers each request with what `document` holds then, and 304 to who has it.
async fn polled(document: Arc<Mutex<(String, String)>>) -> Backend {
    Backend::playing(move |mut peer| {
        let document = document.clone();
        async move {
            while let Some(request) = peer.request().await {
                let (etag, body) = document.lock().unwrap().clone();
                let tag = format!("ETag: {etag}");
                let whole = if request.head.get("if-none-match") == Some(&etag) {
                    wire::head("HTTP/1.1 304 Not Modified", &[&tag])
                } else {
                    let length = format!("Content-Length: {}", body.len());
                    let fields = ["Content-Type: application/json", &tag, &length];
                    [wire::head("HTTP/1.1 200 OK", &fields), body.into_bytes()].concat()
                };
                peer.send(whole).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn an_ordinary_endpoint_is_asked_for_all_and_its_changes_are_events() {
    let first = ("\"1\"".to_owned(), "{\"a\":1}".to_owned());
    let document = Arc::new(Mutex::new(first));
    let backend = polled(document.clone()).await;
    let gateway = gateway(&backend, "poll = \"100ms\"").await;
    let ask = Ask::get("/prices");
    let mut reader = Reader::open(&gateway, &ask).await;
    reader.reads(&["{\"a\":1}"]).await;
    let mut second = Reader::open(&gateway, &ask).await;
    second.reads(&["{\"a\":1}"]).await;
    let asked = || {
        let seen = backend.requests();
        let known = seen
            .iter()
            .filter(|request| request.head.get("if-none-match") == Some("\"1\""));
        (known.count() >= 3).then_some(())
    };
    until("three requests that show the tag", asked).await;
    assert_eq!(backend.requests()[0].head.get("if-none-match"), None);
    *document.lock().unwrap() = ("\"2\"".to_owned(), "{\"a\":\n2}".to_owned());
    // What was the same three times was no event.
    reader.reads(&["{\"a\":\n2}"]).await;
    second.reads(&["{\"a\":\n2}"]).await;
    let mut late = Reader::open(&gateway, &ask).await;
    late.reads(&["{\"a\":\n2}"]).await;
    // Another tag for the same text is no change either.
    *document.lock().unwrap() = ("\"3\"".to_owned(), "{\"a\":\n2}".to_owned());
    until("a request with the third tag", || {
        let seen = backend.requests();
        seen.iter()
            .any(|request| request.head.get("if-none-match") == Some("\"3\""))
            .then_some(())
    })
    .await;
    *document.lock().unwrap() = ("\"4\"".to_owned(), "4".to_owned());
    late.reads(&["4"]).await;
    reader.reads(&["4"]).await;
}

#[tokio::test]
async fn a_polled_endpoint_that_has_nothing_says_so_at_first_and_costs_nothing_later() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "poll = \"100ms\"").await;
    let mut client = gateway.asking(&Ask::get("/prices")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::json(404, "{}")).await;
    assert_eq!(client.answer().await.status(), 404);
    drop(peer);
    let other = Client::asking(gateway.address, &Ask::get("/other")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::json(200, "1")).await;
    let mut reader = Reader::answered(other).await;
    reader.reads(&["1"]).await;
    for whole in [
        wire::json(500, "{}"),
        wire::json(200, "1"),
        wire::json(200, "2"),
    ] {
        peer.request()
            .await
            .expect("a request on the same connection");
        peer.send(whole).await;
    }
    reader.reads(&["2"]).await;
}

//! Upstreams that are asked by HTTP/2: to the client nothing is different.

use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use h2::{Reason, SendStream};
use http::{HeaderMap, HeaderValue, Response};

use crate::support::api::{CHAT, PLAIN};
use crate::support::http2::Http2;
use crate::support::tls::Tls;
use crate::support::{Ask, Client, Ended, Gateway, toml, wire, within};

/// A gateway that asks `backend` by HTTP/2.
async fn gateway(backend: &Http2) -> Gateway {
    let source = toml(&backend.url(), "heartbeat = \"off\"");
    Gateway::start(&source.replace("[routes.all]", "http = \"2\"\n[routes.all]")).await
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let mut arrived = backend.next().await;
    assert_eq!(arrived.request.uri().path(), CHAT.target);
    assert_eq!(arrived.read().await.0, CHAT.request.len());
    let mut stream = arrived.begin(CHAT.content_type);
    let head = client.head().await;
    assert_eq!(
        (head.status(), head.get("via")),
        (200, Some("2.0 deltaway"))
    );
    for event in CHAT.events.iter().chain(&[CHAT.finish, CHAT.marker]) {
        // The next one is not sent before the client has this one.
        stream.send_data((*event).into(), false).unwrap();
        client.reads(event).await;
    }
    stream.send_data(Bytes::new(), true).unwrap();
    let (rest, ended) = client.rest().await;
    assert_eq!((&rest[..], ended), (&b""[..], Ended::LastChunk(vec![])));
}

#[tokio::test]
async fn many_clients_share_few_connections() {
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let ask = PLAIN.ask();
    let clients = join_all((0..250).map(|_| gateway.fetch(&ask)));
    let (answers, held) = tokio::join!(clients, async {
        // All are under way at once before the first is answered.
        let mut held = Vec::new();
        while held.len() < 250 {
            held.push(backend.next().await);
        }
        for arrived in &mut held {
            arrived.answer("done");
        }
        held
    });
    assert!(answers.iter().all(|answer| answer.text() == "done"));
    assert_eq!((backend.connections(), held.len()), (3, 250));
}

#[tokio::test]
async fn a_client_who_leaves_resets_its_stream() {
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let mut stream = backend.next().await.begin(CHAT.content_type);
    stream.send_data(CHAT.begun().into(), false).unwrap();
    client.head().await;
    client.reads(&CHAT.begun()).await;
    client.leave();
    let reset = within("a reset", poll_fn(|cx| stream.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), Reason::CANCEL);
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_client_who_leaves_before_the_answer_resets_its_stream() {
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let client = gateway.asking(&CHAT.ask()).await;
    let mut arrived = backend.next().await;
    client.leave();
    let reset = within("a reset", poll_fn(|cx| arrived.respond.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), Reason::CANCEL);
}

#[tokio::test]
async fn a_reset_in_the_middle_becomes_an_error_of_the_dialect() {
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let mut stream = backend.next().await.begin(CHAT.content_type);
    stream.send_data(CHAT.begun().into(), false).unwrap();
    client.head().await;
    client.reads(&CHAT.begun()).await;
    stream.send_reset(Reason::INTERNAL_ERROR);
    let (rest, ended) = client.rest().await;
    assert!(CHAT.is_error(&rest), "{rest:?}");
    assert_eq!(ended, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn a_backend_that_goes_away_finishes_what_it_has_begun() {
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let mut arrived = backend.next().await;
    let mut stream = arrived.begin(CHAT.content_type);
    client.head().await;
    backend.leave();
    // It was told when a request comes by another connection.
    for _ in 0..1000 {
        let ask = PLAIN.ask();
        let (answer, connection) = tokio::join!(gateway.fetch(&ask), async {
            let mut arrived = backend.next().await;
            arrived.answer("new");
            arrived.connection
        });
        assert_eq!(answer.text(), "new");
        if connection > 1 {
            break;
        }
    }
    assert_eq!(backend.connections(), 2);
    stream.send_data(CHAT.whole().into(), true).unwrap();
    client.reads(&CHAT.whole()).await;
    assert_eq!(client.rest().await.1, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn large_uploads_arrive_whole() {
    const LARGE: usize = 5 << 20;
    let mut backend = Http2::taking(100).await;
    let source = toml(&backend.url(), "max_body = \"10MiB\"");
    let source = source.replace("[routes.all]", "http = \"2\"\n[routes.all]");
    let gateway = Gateway::start(&source).await;
    let body = vec![b'x'; LARGE];
    let whole = Ask::new("PUT", "/file").body(&body);
    let mut chunked = wire::chunk(&body);
    chunked.extend(b"0\r\nChecksum: 1\r\n\r\n");
    let chunked = Ask::new("PUT", "/file")
        .field("Transfer-Encoding: chunked")
        .field("Trailer: Checksum")
        .body(chunked);
    for (ask, checksum) in [
        (whole, None),
        (chunked, Some(HeaderValue::from_static("1"))),
    ] {
        let (answer, read) = tokio::join!(gateway.fetch(&ask), async {
            let mut arrived = backend.next().await;
            let read = arrived.read().await;
            arrived.answer("taken");
            read
        });
        assert_eq!(answer.text(), "taken");
        assert_eq!((read.0, read.1.get("checksum")), (LARGE, checksum.as_ref()));
    }
}

#[tokio::test]
async fn trailers_pass() {
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let ask = Ask::get("/x").field("TE: trailers").field("Connection: TE");
    let (answer, ()) = tokio::join!(gateway.fetch(&ask), async {
        let mut arrived = backend.next().await;
        let head = arrived.request.headers();
        assert_eq!(head.get("te"), Some(&HeaderValue::from_static("trailers")));
        assert!(!head.contains_key("connection") && !head.contains_key("host"));
        // By HTTP/1.1 only those are passed on that are announced.
        let head = Response::builder().header("trailer", "checksum");
        let head = head.body(()).unwrap();
        let mut stream = arrived.respond.send_response(head, false).unwrap();
        stream.send_data("body".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", HeaderValue::from_static("1"));
        stream.send_trailers(trailers).unwrap();
    });
    assert_eq!(answer.text(), "body");
    let Ended::LastChunk(trailers) = &answer.ended else {
        panic!("{:?}", answer.ended)
    };
    assert!(
        trailers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("checksum") && value == "1")
    );
}

#[tokio::test]
async fn a_client_who_does_not_read_holds_its_backend_back() {
    const ALL: usize = 64 << 20;
    let mut backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let mut client = Client::connect_with_little_room(gateway.address).await;
    client.ask(&Ask::get("/large")).await;
    let mut stream = backend.next().await.begin("application/octet-stream");
    // Until nothing was taken for a while; it does not matter whether the while was long enough.
    let mut sent = 0;
    while let Ok(length) = tokio::time::timeout(Duration::from_millis(500), some(&mut stream)).await
    {
        sent += length;
        assert!(sent < ALL / 4, "{sent} bytes, and no end");
    }
    let (received, _) = tokio::join!(client.answer(), async {
        while sent < ALL {
            sent += some(&mut stream).await;
        }
        stream.send_data(Bytes::new(), true).unwrap();
    });
    assert_eq!(received.body.len(), sent);
}

/// Sends what is taken now, and waits for room where there is none.
async fn some(stream: &mut SendStream<Bytes>) -> usize {
    const PIECE: usize = 16 * 1024;
    stream.reserve_capacity(PIECE);
    while stream.capacity() == 0 {
        poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
    }
    let length = stream.capacity().min(PIECE);
    stream.send_data(vec![b'x'; length].into(), false).unwrap();
    length
}

#[tokio::test]
async fn auto_takes_http_1_where_that_is_all_there_is() {
    let mut answer = wire::event_stream();
    answer.extend(wire::chunk(CHAT.whole()));
    answer.extend(wire::LAST);
    let backend = Tls::answering(answer).await;
    let file = crate::support::binary::file(&backend.authority);
    for (http, status) in [("auto", 200), ("2", 502)] {
        let keys = format!(
            "ca = \"{}\"\nhttp = \"{http}\"\n[routes.all]",
            file.path().display()
        );
        let gateway = Gateway::start(&toml(&backend.url, "").replace("[routes.all]", &keys)).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(answer.status(), status, "{http}");
        assert_eq!(answer.text() == CHAT.whole(), status == 200);
    }
}

#[tokio::test]
async fn a_websocket_is_refused_where_only_http_2_is_spoken() {
    let backend = Http2::taking(100).await;
    let gateway = gateway(&backend).await;
    let ask = Ask::get("/socket")
        .field("Connection: Upgrade")
        .field("Upgrade: websocket")
        .field("Sec-WebSocket-Version: 13")
        .field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==");
    let answer = gateway.fetch(&ask).await;
    assert_eq!(answer.status(), 502);
    assert!(answer.text().contains("no_upgrade"), "{}", answer.text());
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn who_asks_for_another_protocol_does_no_harm_to_others() {
    let mut backend = Http2::taking(100).await;
    let other = Http2::taking(100).await;
    let source = toml(&backend.url(), "")
        .replace("to = \"model\"", "to = [\"model\", \"other\"]")
        .replace("[routes.all]", "http = \"2\"\n[routes.all]");
    let second = format!(
        "[upstreams.other]\nurl = \"{}\"\nhttp = \"2\"\n",
        other.url()
    );
    let gateway = Gateway::start(&(source + &second)).await;
    let upgrade = Ask::get("/socket")
        .field("Connection: Upgrade")
        .field("Upgrade: websocket");
    for _ in 0..20 {
        assert_eq!(gateway.fetch(&upgrade).await.status(), 502);
    }
    // The first upstream is none the less trusted for it.
    let ask = PLAIN.ask();
    let (answer, ()) = tokio::join!(gateway.fetch(&ask), async {
        backend.next().await.answer("here")
    });
    assert_eq!(answer.text(), "here");
    assert_eq!(other.connections(), 0);
}

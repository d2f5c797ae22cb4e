//! Ordinary requests: what any good reverse proxy passes on.

use crate::support::wire::{self, Framing};
use crate::support::{Ask, Backend, Client, Ended, Gateway, gateway, toml};

#[tokio::test]
async fn an_ordinary_answer_passes_with_status_fields_and_body() {
    let backend = Backend::answering(wire::head(
        "HTTP/1.1 418 I'm a teapot",
        &[
            "Content-Length: 0",
            "X-One: 1",
            "Set-Cookie: a=1",
            "Set-Cookie: b=2",
        ],
    ))
    .await;
    let gateway = gateway(&backend, "").await;
    let answer = gateway.fetch(&Ask::get("/tea")).await;
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.head.get("x-one"), Some("1"));
    assert_eq!(answer.head.all("set-cookie"), ["a=1", "b=2"]);
    assert_eq!(answer.head.get("content-length"), Some("0"));
    assert_eq!(answer.ended, Ended::Length);
}

#[tokio::test]
async fn the_path_and_query_pass_as_they_were_written() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    for target in [
        "/a%2Fb/%7Euser",
        "/x?q=a%20b&empty=&&r=%C3%A9",
        "/deep//er/?",
        "/dots/.hidden",
    ] {
        assert_eq!(gateway.fetch(&Ask::get(target)).await.status(), 200);
        assert_eq!(backend.requests().last().unwrap().head.target(), target);
    }
}

#[tokio::test]
async fn the_path_of_an_upstreams_url_goes_before_the_requests() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&toml(&format!("{}/base/v2", backend.url()), "")).await;
    gateway.fetch(&Ask::get("/x?y=1")).await;
    assert_eq!(backend.requests()[0].head.target(), "/base/v2/x?y=1");
}

#[tokio::test]
async fn every_method_passes_as_itself() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    for method in [
        "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        let answer = gateway.fetch(&Ask::new(method, "/x")).await;
        assert_eq!(answer.status(), 200, "{method}");
        assert_eq!(backend.requests().last().unwrap().head.method(), method);
    }
}

#[tokio::test]
async fn head_gets_the_length_without_a_body_and_the_connection_lives_on() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let length = "Content-Length: 12";
            peer.send(wire::head(
                "HTTP/1.1 200 OK",
                &["Content-Type: text/plain", length],
            ))
            .await;
            if request.head.method() == "GET" {
                peer.send(b"hello, world").await;
            }
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        let answer = client.exchange(&Ask::new("HEAD", "/x")).await;
        assert_eq!(
            (answer.status(), answer.head.get("content-length")),
            (200, Some("12"))
        );
        assert!(answer.body.is_empty() && client.spare().is_empty());
        let answer = client.exchange(&Ask::get("/x")).await;
        assert_eq!(
            (answer.status(), &answer.body[..]),
            (200, &b"hello, world"[..])
        );
    }
    assert_eq!(backend.connections(), 1, "both sides keep their connection");
}

#[tokio::test]
async fn head_of_an_event_stream_ends_at_once() {
    let backend = Backend::answering(wire::event_stream()).await;
    let gateway = gateway(&backend, "heartbeat = \"20ms\"").await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..2 {
        let answer = client.exchange(&Ask::new("HEAD", "/events")).await;
        assert_eq!(answer.head.get("content-type"), Some("text/event-stream"));
        assert!(answer.body.is_empty() && client.spare().is_empty());
    }
}

#[tokio::test]
async fn answers_that_have_no_body_pass_and_the_connection_lives_on() {
    for (status, field) in [
        (204, "X-A: b"),
        (304, "ETag: \"v1\""),
        (304, "Content-Length: 99"),
    ] {
        let first = format!("HTTP/1.1 {status} Short");
        let backend = Backend::answering(wire::head(&first, &[field])).await;
        let gateway = gateway(&backend, "").await;
        let mut client = Client::connect(gateway.address).await;
        for _ in 0..2 {
            let answer = client.exchange(&Ask::get("/x")).await;
            assert_eq!(answer.status(), status);
            assert!(answer.body.is_empty() && client.spare().is_empty());
        }
        assert_eq!(backend.connections(), 1, "{status}");
    }
}

#[tokio::test]
async fn a_large_answer_passes_in_every_framing_to_every_client() {
    let body: Vec<u8> = (0..5_000_000_u32).map(|n| (n % 251) as u8).collect();
    for framing in [
        Framing::Length,
        Framing::Chunked,
        Framing::Close,
        Framing::Http10,
    ] {
        let whole = wire::answer(framing, 200, "application/octet-stream", &body);
        let backend = Backend::playing(move |mut peer| {
            let whole = whole.clone();
            async move {
                peer.request().await;
                peer.send(&whole).await;
            }
        })
        .await;
        let gateway = gateway(&backend, "").await;
        let answer = gateway.fetch(&Ask::get("/file")).await;
        assert!(
            answer.body == body && answer.ended.is_clean(),
            "{framing:?} {:?}",
            answer.ended
        );
        let answer = gateway.fetch(&Ask::get("/file").http10()).await;
        assert!(answer.body == body, "{framing:?} {}", answer.body.len());
        assert!(
            matches!(answer.ended, Ended::Length | Ended::Closed),
            "{:?}",
            answer.ended
        );
        assert!(
            !answer.head.lists("transfer-encoding", "chunked"),
            "HTTP/1.0 knows no chunks"
        );
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.send(wire::json(200, &format!("{:?}", request.head.target())))
                .await;
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    let asks: Vec<u8> = (1..=5)
        .flat_map(|n| Ask::get(&format!("/{n}")).bytes())
        .collect();
    client.send(&asks).await;
    for n in 1..=5 {
        assert_eq!(client.answer().await.text(), format!("\"/{n}\""));
    }
}

#[tokio::test]
async fn a_json_error_with_status_200_becomes_an_error_by_its_status_too() {
    let body = r#"{"error":{"message":"out of memory","type":"server_error","code":500}}"#;
    let backend = Backend::answering(wire::json(200, body)).await;
    let gateway = gateway(&backend, "").await;
    let answer = gateway.fetch(&crate::support::api::CHAT.ask()).await;
    assert_eq!(
        (answer.status(), answer.text()),
        (502, body.to_owned()),
        "an SDK that waits for events would take it for an answer without any"
    );
    assert_eq!(answer.ended, Ended::Length);
}

#[tokio::test]
async fn an_error_of_the_backend_passes_with_its_status_and_retry_after() {
    let body = r#"{"error":{"message":"slow down","type":"rate_limit_error"}}"#;
    let length = format!("Content-Length: {}", body.len());
    let fields = [
        "Content-Type: application/json",
        "Retry-After: 2",
        length.as_str(),
    ];
    let mut whole = wire::head("HTTP/1.1 429 Too Many Requests", &fields);
    whole.extend_from_slice(body.as_bytes());
    // Either nothing is sent again, or not before a time that is too long to wait for.
    for route in ["retry = false", "retry = { longest = \"1s\" }"] {
        let backend = Backend::answering(whole.clone()).await;
        let gateway = gateway(&backend, route).await;
        let answer = gateway.fetch(&crate::support::api::CHAT.ask()).await;
        assert_eq!((answer.status(), answer.text()), (429, body.to_owned()));
        assert_eq!(answer.head.get("retry-after"), Some("2"));
        assert_eq!(backend.requests().len(), 1, "sent once");
    }
}

#[tokio::test]
async fn several_endpoints_are_used_in_turn() {
    let one = Backend::answering(wire::json(200, "1")).await;
    let two = Backend::answering(wire::json(200, "2")).await;
    let source = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[upstreams.model]\nendpoints = [\"{}\", \"{}\"]\n\
         [routes.all]\npath = \"/*\"\nto = \"model\"\n",
        one.url(),
        two.url()
    );
    let gateway = Gateway::start(&source).await;
    let mut seen = Vec::new();
    for _ in 0..6 {
        seen.push(gateway.fetch(&Ask::get("/x")).await.text());
    }
    assert_eq!(one.requests().len(), 3, "{seen:?}");
    assert_eq!(two.requests().len(), 3, "{seen:?}");
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
}

#[tokio::test]
async fn stopping_lets_a_running_stream_finish_and_takes_no_new_connection() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let address = gateway.address;
    let mut client = gateway.asking(&Ask::get("/events")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.chunk("data: 1\n\n").await;
    client.head().await;
    client.reads("data: 1\n\n").await;
    let stopping = tokio::spawn(gateway.stop());
    crate::support::until("the listener to close", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    })
    .await;
    peer.chunk("data: 2\n\n").await;
    client.reads("data: 2\n\n").await;
    peer.send(wire::LAST).await;
    assert_eq!(client.rest().await.1, Ended::LastChunk(vec![]));
    crate::support::within("the end of stop", stopping)
        .await
        .unwrap();
}

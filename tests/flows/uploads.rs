//! Request bodies: large, chunked, with trailers, announced by `Expect`, and unbuffered as answers are.

use crate::support::wire::{self, LAST};
use crate::support::{Ask, Backend, Client, Ended, gateway};

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 253) as u8).collect()
}

#[tokio::test]
async fn a_large_upload_arrives_whole() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let body = bytes(20_000_000);
    let ask = Ask::new("PUT", "/file")
        .field("Content-Type: application/octet-stream")
        .body(&body);
    assert_eq!(gateway.fetch(&ask).await.status(), 200);
    assert!(backend.requests()[0].body == body);
}

#[tokio::test]
async fn a_chunked_upload_arrives_whole_with_its_trailers() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let body = bytes(300_000);
    let mut client = Client::connect(gateway.address).await;
    let ask = Ask::new("POST", "/file")
        .field("Transfer-Encoding: chunked")
        .field("Trailer: X-Sum")
        .field("TE: trailers");
    client.ask(&ask).await;
    client.send(wire::chunks(body.chunks(7_001))).await;
    client.send(b"0\r\nX-Sum: 1\r\n\r\n").await;
    assert_eq!(client.answer().await.status(), 200);
    let request = &backend.requests()[0];
    assert!(request.body == body, "{}", request.body.len());
    assert_eq!(request.trailers.len(), 1, "{:?}", request.trailers);
}

#[tokio::test]
async fn a_chunked_json_body_reaches_a_model_route_whole() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "model = \"m\"").await;
    let mut client = Client::connect(gateway.address).await;
    let ask = Ask::new("POST", "/v1/chat/completions")
        .field("Content-Type: application/json")
        .field("Transfer-Encoding: chunked");
    client.ask(&ask).await;
    for piece in [
        &b"{\"messages\":[],\"mo"[..],
        b"del\":\"",
        b"m\"",
        b",\"x\":1}",
    ] {
        client.send(wire::chunk(piece)).await;
    }
    client.send(LAST).await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(
        backend.requests()[0].body,
        &b"{\"messages\":[],\"model\":\"m\",\"x\":1}"[..]
    );
}

#[tokio::test]
async fn each_piece_of_an_upload_leaves_before_the_next_is_sent() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::new("POST", "/file").field("Transfer-Encoding: chunked");
    let mut client = gateway.asking(&ask).await;
    let mut peer = backend.accept().await;
    let head = peer.head().await.unwrap();
    let mut body = head.request_body();
    for piece in [&b"one"[..], b"two", b"three"] {
        client.send(wire::chunk(piece)).await;
        assert_eq!(peer.body(&mut body, piece.len()).await, piece);
    }
    client.send(LAST).await;
    assert_eq!(peer.body(&mut body, 1).await, "");
    assert!(body.is_over());
    peer.send(wire::json(200, "{}")).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn an_expectation_is_answered_here_and_the_body_follows() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    let ask = Ask::new("POST", "/file")
        .field("Expect: 100-continue")
        .field("Content-Length: 5");
    client.ask(&ask).await;
    assert_eq!(client.any_head().await.status(), 100);
    client.send(b"hello").await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.interim.len()), (200, 0));
    assert_eq!(backend.requests()[0].body, "hello");
    assert_eq!(backend.requests()[0].head.get("expect"), None);
}

#[tokio::test]
async fn a_refusal_comes_instead_of_100_and_no_body_is_asked_for() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "max_body = \"10B\"").await;
    let mut client = Client::connect(gateway.address).await;
    let ask = Ask::new("POST", "/file")
        .field("Expect: 100-continue")
        .field("Content-Length: 11");
    client.ask(&ask).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.interim.len()), (413, 0));
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_upload_ends_reaches_the_client() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::new("POST", "/file").field("Content-Length: 1000000");
    let mut client = gateway.asking(&ask).await;
    client.send(bytes(1_000)).await;
    let mut peer = backend.accept().await;
    peer.head().await.unwrap();
    peer.send(wire::json(403, "{\"no\":1}")).await;
    let head = client.head().await;
    assert_eq!(head.status(), 403);
    client.reads("{\"no\":1}").await;
}

#[tokio::test]
async fn a_body_whose_framing_is_doubted_is_refused_and_not_passed_on() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let doubtful: [&[&str]; 4] = [
        &["Content-Length: 5", "Content-Length: 6"],
        &["Content-Length: +5"],
        &["Transfer-Encoding: chunked, identity"],
        &["Transfer-Encoding: xchunked"],
    ];
    for fields in doubtful {
        let mut ask = Ask::new("POST", "/x");
        for field in fields {
            ask = ask.field(field);
        }
        let mut client = gateway.asking(&ask).await;
        client.send(b"5\r\nhello\r\n0\r\n\r\n").await;
        let status = client.any_head().await.status();
        assert!((400..600).contains(&status), "{fields:?}: {status}");
    }
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn length_and_chunks_together_never_reach_the_backend_as_two_framings() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::new("POST", "/x")
        .field("Content-Length: 4")
        .field("Transfer-Encoding: chunked");
    let mut client = gateway.asking(&ask).await;
    client
        .send(b"5\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    client.any_head().await;
    drop(client);
    for request in backend.requests() {
        assert_ne!(request.head.target(), "/smuggled");
        assert_eq!(request.body, "hello");
    }
}

#[tokio::test]
async fn a_chunked_upload_beyond_the_limit_is_cut_off_and_never_looks_whole() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "max_body = \"10KB\"").await;
    let mut client = Client::connect(gateway.address).await;
    client
        .ask(&Ask::new("POST", "/file").field("Transfer-Encoding: chunked"))
        .await;
    client.send(wire::chunk(bytes(9_000))).await;
    let mut peer = backend.accept().await;
    let mut body = peer.head().await.unwrap().request_body();
    assert_eq!(peer.body(&mut body, 9_000).await.len(), 9_000);
    client.send(wire::chunk(bytes(2_000))).await;
    assert_eq!(client.answer().await.status(), 413);
    peer.left().await;
    assert!(!body.is_over() && backend.requests().is_empty());
}

#[tokio::test]
async fn a_body_of_exactly_the_limit_passes_in_both_framings() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "max_body = \"10KB\"").await;
    let ask = Ask::new("POST", "/file");
    let whole = ask.clone().body(bytes(10_000));
    assert_eq!(gateway.fetch(&whole).await.status(), 200);
    let mut client = Client::connect(gateway.address).await;
    client.ask(&ask.field("Transfer-Encoding: chunked")).await;
    client.send(wire::chunk(bytes(10_000))).await;
    client.send(LAST).await;
    assert_eq!(client.answer().await.status(), 200);
    assert!(backend.requests().iter().all(|r| r.body == bytes(10_000)));
}

#[tokio::test]
async fn both_ways_stream_at_once() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "").await;
    let mut client = Client::connect(gateway.address).await;
    client
        .ask(&Ask::new("POST", "/echo").field("Transfer-Encoding: chunked"))
        .await;
    let mut peer = backend.accept().await;
    let mut body = peer.head().await.unwrap().request_body();
    let head = ["Content-Type: text/plain", "Transfer-Encoding: chunked"];
    peer.send(wire::head("HTTP/1.1 200 OK", &head)).await;
    assert_eq!(client.head().await.status(), 200);
    for piece in ["one", "two", "three"] {
        client.send(wire::chunk(piece)).await;
        let came = peer.body(&mut body, piece.len()).await;
        assert_eq!(came, piece);
        peer.chunk(came).await;
        client.reads(piece).await;
    }
    client.send(LAST).await;
    assert_eq!(peer.body(&mut body, 1).await, "");
    peer.send(LAST).await;
    assert_eq!(client.rest().await.1, Ended::LastChunk(vec![]));
}

#[tokio::test]
async fn a_backend_that_refuses_an_upload_half_way_is_heard() {
    for close in [false, true] {
        let backend = Backend::playing(move |mut peer| async move {
            peer.head().await;
            peer.send(wire::json(413, "{\"too\":\"large\"}")).await;
            if !close {
                peer.left().await;
            }
        })
        .await;
        let gateway = gateway(&backend, "").await;
        let mut client = Client::connect(gateway.address).await;
        client
            .ask(&Ask::new("POST", "/file").field("Content-Length: 30000000"))
            .await;
        let quiet = std::time::Duration::from_millis(300);
        client.flood(&bytes(100_000), quiet, 20_000_000).await;
        let head = client.head().await;
        assert_eq!(head.status(), 413, "closing: {close}");
        client.reads("{\"too\":\"large\"}").await;
    }
}

#[tokio::test]
async fn te_and_trailer_reach_the_backend_and_nothing_else_of_te() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/x").field("TE: gzip, trailers;q=0.5");
    gateway.fetch(&ask.field("Connection: TE")).await;
    gateway.fetch(&Ask::get("/y").field("TE: gzip")).await;
    let requests = backend.requests();
    assert_eq!(requests[0].head.get("te"), Some("trailers"));
    assert!(requests[0].head.lists("connection", "te"));
    assert_eq!(requests[1].head.get("te"), None);
}

#[tokio::test]
async fn a_model_in_a_multipart_form_is_not_read() {
    let form =
        "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--b--\r\n";
    let ask = Ask::new("POST", "/v1/audio/transcriptions")
        .field("Content-Type: multipart/form-data; boundary=b")
        .body(form);
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let only = gateway(&backend, "model = \"whisper-1\"").await;
    assert_eq!(only.fetch(&ask).await.status(), 400, "no JSON, no model");
    assert_eq!(backend.connections(), 0);
    let open = gateway(&backend, "").await;
    assert_eq!(open.fetch(&ask).await.status(), 200);
    assert_eq!(backend.requests()[0].body, form);
}

#[tokio::test]
async fn the_limit_of_a_body_holds_where_its_model_is_looked_for_as_well() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    for route in [
        "model = \"m\"\nmax_body = \"1KB\"",
        "max_body = \"1KB\"\nearly_head = \"10s\"",
    ] {
        let gateway = gateway(&backend, route).await;
        let filler = "x".repeat(5_000);
        let large = format!("{{\"model\":\"m\",\"filler\":\"{filler}\"}}");
        let whole = Ask::post("/v1/chat/completions", &large);
        assert_eq!(gateway.fetch(&whole).await.status(), 413, "{route}");
        let mut client = Client::connect(gateway.address).await;
        client
            .ask(&Ask::new("POST", "/v1/chat/completions").field("Transfer-Encoding: chunked"))
            .await;
        client
            .send(wire::chunks(large.as_bytes().chunks(700)))
            .await;
        client.send(LAST).await;
        assert_eq!(client.answer().await.status(), 413, "{route}");
    }
    assert_eq!(backend.connections(), 0);
}

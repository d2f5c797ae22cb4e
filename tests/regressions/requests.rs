//! Faults on the client's side: requests that are refused, and uploads that end oddly.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::support::api::{CHAT, MESSAGES};
use crate::support::backend::Refusing;
use crate::support::binary::Served;
use crate::support::client::Answer;
use crate::support::{Ask, Backend, Client, Gateway, Peer, gateway, toml, wire};

/// What `bytes` are answered with.
async fn said(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(gateway.address).await;
    client.send(bytes).await;
    client.answer().await
}

/// 11. The connection was reset under a client that went on sending what had been refused, which took
/// the answer from it.
#[tokio::test]
async fn r11_a_client_that_goes_on_sending_can_read_why_it_was_refused() {
    let backend = Backend::listen().await;
    let refusing = Refusing::new();
    let unreachable = format!("http://{}", refusing.address);
    for (url, status) in [(backend.url(), 413), (unreachable, 502)] {
        let gateway = Gateway::start(&toml(&url, "max_body = \"10KB\"")).await;
        let ask = Ask::new("POST", "/file").field("Transfer-Encoding: chunked");
        let mut client = gateway.asking(&ask).await;
        client.send(wire::chunk(vec![b'a'; 20_000])).await;
        assert_eq!(client.head().await.status(), status);
        for piece in 0..40 {
            let taken = client.send(wire::chunk(vec![b'a'; 10_000])).await;
            assert!(taken, "reset at piece {piece} behind the {status}");
        }
        let (body, ended) = client.rest().await;
        assert!(ended.is_clean() && !body.is_empty(), "{ended:?} {body:?}");
        assert!(!client.left().await, "a reset behind the {status}");

        // One that looks for the answer only when all was sent finds it too.
        let mut client = gateway.asking(&ask).await;
        for _ in 0..40 {
            client.send(wire::chunk(vec![b'a'; 10_000])).await;
        }
        client.send(wire::LAST).await;
        let answer = client.answer().await;
        assert!(answer.status() == status && answer.ended.is_clean());
    }
}

/// 13. Where the model decides, a body was read before its sender had shown any key.
#[tokio::test]
async fn r13_without_a_key_no_body_is_read_to_find_its_model() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let source = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[keys.web]\nvalue = \"caller-8c2f\"\n\
         [upstreams.model]\nurl = \"{}\"\n\
         [routes.a]\npath = \"/v1/*\"\nmodel = \"a-*\"\nto = \"model\"\nallow = [\"web\"]\n\
         [routes.b]\npath = \"/v1/*\"\nmodel = \"b-*\"\nto = \"model\"\nallow = [\"web\"]\n",
        backend.url()
    );
    let gateway = Gateway::start(&source).await;
    let body = "{\"model\":\"a-1\"}";
    let announced =
        |length: usize| Ask::new("POST", CHAT.target).field(&format!("Content-Length: {length}"));
    for wrong in ["X-Nothing: 1", "Authorization: Bearer caller-0000"] {
        for ask in [
            announced(1_000_000).field("Expect: 100-continue"),
            announced(1_000_000),
        ] {
            let mut client = gateway.asking(&ask.field(wrong)).await;
            let answer = client.answer().await;
            assert_eq!((answer.status(), answer.interim.len()), (401, 0), "{wrong}");
        }
    }
    let right = announced(body.len())
        .field("Expect: 100-continue")
        .field("Authorization: Bearer caller-8c2f");
    let mut client = gateway.asking(&right).await;
    assert_eq!(client.any_head().await.status(), 100);
    client.send(body).await;
    assert_eq!(client.answer().await.status(), 200);
    assert_eq!(backend.requests().len(), 1);
}

/// Has sent a part of an upload, framed so, and read the head of its answer.
async fn uploading(address: SocketAddr, backend: &Backend, framing: &str) -> (Client, Peer) {
    let ask = Ask::new("POST", "/file").field(framing);
    let mut client = Client::asking(address, &ask).await;
    client.send(wire::chunk(vec![b'a'; 5_000])).await;
    let mut peer = backend.accept().await;
    let mut body = peer.head().await.unwrap().request_body();
    peer.body(&mut body, 5_000).await;
    let fields = ["Content-Type: text/plain", "Content-Length: 1000"];
    peer.send(wire::head("HTTP/1.1 200 OK", &fields)).await;
    assert_eq!(client.head().await.status(), 200);
    (client, peer)
}

/// 14. An upload that broke off behind the answer's head was waited for, and its connection kept open.
#[tokio::test]
async fn r14_an_upload_that_breaks_off_ends_at_the_upstream_too() {
    const CHUNKED: &str = "Transfer-Encoding: chunked";
    let backend = Backend::listen().await;
    let source = toml(&backend.url(), "");
    let rest = &source[source.find("[upstreams").unwrap()..];
    let served = Served::start_with_server("upload_timeout = \"1s\"", rest, &[]).await;
    let mut ended = 0;
    let mut ends = async |mut peer: Peer, ending: &str| {
        peer.left().await;
        let line = served.access(ended).await;
        assert_eq!(line["ending"], ending, "{line}");
        ended += 1;
    };
    for framing in ["Content-Length: 1000000", CHUNKED] {
        let (client, peer) = uploading(served.address, &backend, framing).await;
        client.leave();
        ends(peer, "left").await;
        let (client, peer) = uploading(served.address, &backend, framing).await;
        client.reset();
        ends(peer, "left").await;
    }
    // Still there, but nothing more can be understood.
    let (mut client, peer) = uploading(served.address, &backend, CHUNKED).await;
    client.send("no size\r\n").await;
    ends(peer, "left").await;
    assert!(!client.rest().await.1.is_clean());
    // Still there, but silent: both sides are told.
    let (mut client, peer) = uploading(served.address, &backend, CHUNKED).await;
    assert!(!client.rest().await.1.is_clean());
    ends(peer, "truncated").await;
}

/// 15. Fields that decide about framing, routing or trust reached the backend as trailers.
#[tokio::test]
async fn r15_what_a_head_decides_is_not_decided_by_trailers() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::new("POST", "/file")
        .field("Transfer-Encoding: chunked")
        .field("TE: trailers");
    let mut client = gateway.asking(&ask).await;
    client.send(wire::chunk("hello")).await;
    client
        .send(
            "0\r\nAuthorization: Bearer x\r\nContent-Length: 3\r\nHost: other\r\n\
             X-Forwarded-For: 10.0.0.1\r\nX-Sum: 1\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\nCookie: a=b\r\n\r\n",
        )
        .await;
    assert_eq!(client.answer().await.status(), 200);
    let trailers = &backend.requests()[0].trailers;
    let names: Vec<_> = trailers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    for unfit in [
        "authorization",
        "content-length",
        "host",
        "x-forwarded-for",
        "transfer-encoding",
        "connection",
    ] {
        assert!(!names.iter().any(|name| name == unfit), "{names:?}");
    }
    assert!(names.iter().any(|name| name == "x-sum"), "{names:?}");
}

/// 20. Requests that two readers take for two different ones were passed on.
#[tokio::test]
async fn r20_requests_that_are_no_business_of_a_gateway_are_refused() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    for (bytes, status) in [
        (
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n",
            405,
        ),
        ("TRACE /x HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\n\r\n", 400),
        ("GET http://a/x HTTP/1.1\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET /x HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        (
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
    ] {
        assert_eq!(said(&gateway, bytes).await.status(), status, "{bytes}");
    }
    assert_eq!(backend.connections(), 0);
    let old = said(&gateway, "GET /x HTTP/1.0\r\n\r\n").await;
    assert_eq!(old.status(), 200, "HTTP/1.0 has no duty to name a host");
}

/// 20, the host: that of the target where it names one.
#[tokio::test]
async fn r20_the_host_of_the_target_outweighs_the_field() {
    let (one, two) = (
        Backend::answering(wire::json(200, "1")).await,
        Backend::answering(wire::json(200, "2")).await,
    );
    let source = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
         [upstreams.one]\nurl = \"{}\"\n[upstreams.two]\nurl = \"{}\"\n\
         [routes.one]\npath = \"/*\"\nhost = \"one.test\"\nto = \"one\"\n\
         [routes.two]\npath = \"/*\"\nhost = \"two.test\"\nto = \"two\"\n",
        one.url(),
        two.url()
    );
    let gateway = Gateway::start(&source).await;
    let answer = said(
        &gateway,
        "GET http://two.test/x?y=1 HTTP/1.1\r\nHost: one.test\r\n\r\n",
    )
    .await;
    assert_eq!((answer.status(), answer.text().as_str()), (200, "2"));
    let head = &two.requests()[0].head;
    assert_eq!(head.get("x-forwarded-host"), Some("two.test"));
    assert_eq!(head.target(), "/x?y=1");
    assert_eq!(one.connections(), 0);
}

/// 21. A path that a backend reads as another one got past the key of that other one.
#[tokio::test]
async fn r21_a_path_with_two_readings_does_not_get_around_a_key() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let private = "[keys.web]\nvalue = \"caller-8c2f\"\n\
                   [routes.private]\npath = \"/v1/private/*\"\nto = \"model\"\nallow = [\"web\"]\n";
    let gateway_keyed = Gateway::start(&(toml(&backend.url(), "") + private)).await;
    for path in [
        "/v1/private%2Fx",
        "/v1/private%2fx",
        "/v1//private/x",
        "//v1/private/x",
        "/v1/private;a/x",
        "/v1/private%3Ba/x",
        "/v1/private\\x",
        "/v1/private%5Cx",
    ] {
        let answer = gateway_keyed.fetch(&Ask::get(path)).await;
        assert_eq!(answer.status(), 400, "{path}");
    }
    let closed = gateway_keyed.fetch(&Ask::get("/v1/private/x")).await;
    assert_eq!(closed.status(), 401);
    assert_eq!(backend.connections(), 0);
    let open = gateway_keyed.fetch(&Ask::get("/v1/other/x?a=%2F;//")).await;
    assert_eq!(open.status(), 200, "a query may hold anything");

    let open = gateway(&backend, "").await;
    for path in ["/v1/private%2Fx", "/v1//private;a/x"] {
        assert_eq!(open.fetch(&Ask::get(path)).await.status(), 200);
        assert_eq!(backend.requests().last().unwrap().head.target(), path);
    }
}

/// 22. Names and paths of any length were told back and logged.
#[tokio::test]
async fn r22_long_names_are_refused_and_long_paths_shortened() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let source = toml(&backend.url(), "model = \"m*\"").replace("/*", "/v1/*");
    let gateway = Gateway::start(&source).await;
    for (length, status) in [(256, 200), (257, 400), (100_000, 400)] {
        let body = format!("{{\"model\":\"{}\"}}", "m".repeat(length));
        let answer = gateway.fetch(&Ask::post(MESSAGES.target, &body)).await;
        assert_eq!(answer.status(), status, "{length}");
        assert!(answer.body.len() < 1_000);
    }
    let path = format!("/{}", "p".repeat(5_000));
    let answer = gateway.fetch(&Ask::get(&path)).await;
    assert_eq!(answer.status(), 404);
    assert!(answer.text().contains("/pppp") && answer.body.len() < 1_000);
    assert_eq!(backend.requests().len(), 1);
}

/// 73. A client that hung up on the last word, before the body's end was there, counted as one that had left.
#[tokio::test]
async fn r73_who_hangs_up_on_the_last_word_has_all_of_it() {
    let last_words = [
        (CHAT, "data: [DONE]\n\n", "complete"),
        (CHAT, "data: {\"choices\":[]}\n\n", "left"),
    ];
    let backend = Backend::listen().await;
    let source = toml(&backend.url(), "");
    let rest = &source[source.find("[upstreams").unwrap()..];
    let served = Served::start_with_server("", rest, &[]).await;
    for (number, (api, word, ending)) in last_words.into_iter().enumerate() {
        let mut client = Client::asking(served.address, &api.ask()).await;
        let (mut peer, _) = backend.request().await;
        let fields = [
            "Content-Type: text/event-stream",
            "Transfer-Encoding: chunked",
        ];
        peer.send(wire::head("HTTP/1.1 200 OK", &fields)).await;
        peer.send(wire::chunk(word)).await;
        assert_eq!(client.head().await.status(), 200);
        client.piece().await;
        client.leave();
        peer.left().await;
        let line = served.access(number).await;
        assert_eq!(line["ending"], ending, "{line}");
    }
}

/// 74. While events flowed without a pause, the server was not asked, and did not read on in an upload that had come
/// in one piece.
#[tokio::test]
async fn r74_an_upload_goes_on_while_events_flow() {
    const MOST: usize = 200_000;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let gateway = Gateway::start(&toml(&url, "")).await;
    let backend = tokio::spawn(async move {
        let (tcp, _) = listener.accept().await.unwrap();
        let (mut upload, mut answer) = tcp.into_split();
        let fields = [
            "Content-Type: text/event-stream",
            "Transfer-Encoding: chunked",
        ];
        let head = wire::head("HTTP/1.1 200 OK", &fields);
        answer.write_all(&head).await.unwrap();
        let whole = Arc::new(AtomicBool::new(false));
        let told = whole.clone();
        let reading = tokio::spawn(async move {
            let mut taken = Vec::new();
            while !taken.ends_with(b"0\r\n\r\n") {
                upload.read_buf(&mut taken).await.unwrap();
            }
            told.store(true, Ordering::SeqCst);
        });
        let mut events = 0;
        while events < MOST && !whole.load(Ordering::SeqCst) {
            let event = wire::chunk("data: x\n\n");
            answer.write_all(&event).await.unwrap();
            events += 1;
        }
        let is_whole = whole.load(Ordering::SeqCst);
        answer.write_all(b"0\r\n\r\n").await.unwrap();
        reading.abort();
        (is_whole, events)
    });
    let ask = Ask::new("POST", "/file").field("Transfer-Encoding: chunked");
    let mut client = gateway.asking(&ask).await;
    assert_eq!(client.head().await.status(), 200);
    client.piece().await;
    let upload = [wire::chunk("a").repeat(2_000), b"0\r\n\r\n".to_vec()].concat();
    client.send(upload).await;
    let (_, ended) = client.rest().await;
    let (is_whole, events) = backend.await.unwrap();
    assert!(is_whole, "not after {events} events; {ended:?}");
}

//! Header fields: what belongs to one connection goes, what a backend and an operator expect comes.

use crate::support::api::CHAT;
use crate::support::wire;
use crate::support::{Ask, Backend, Ended, Gateway, gateway, toml};

async fn seen(gateway: &Gateway, backend: &Backend, ask: &Ask) -> wire::Head {
    assert_eq!(gateway.fetch(ask).await.status(), 200);
    backend.requests().last().unwrap().head.clone()
}

#[tokio::test]
async fn fields_of_one_connection_do_not_reach_the_backend() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/x")
        .field("Connection: keep-alive, X-Private")
        .field("X-Private: 1")
        .field("Keep-Alive: timeout=5")
        .field("Proxy-Connection: keep-alive")
        .field("TE: gzip")
        .field("X-Kept: 1");
    let head = seen(&gateway, &backend, &ask).await;
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert_eq!(head.get(name), None, "{name}");
    }
    assert_eq!(head.get("x-kept"), Some("1"));
}

#[tokio::test]
async fn fields_of_one_connection_do_not_reach_the_client() {
    let backend = Backend::answering(wire::head(
        "HTTP/1.1 200 OK",
        &[
            "Connection: X-Private",
            "X-Private: 1",
            "Keep-Alive: timeout=5",
            "X-Kept: 1",
            "Content-Length: 0",
        ],
    ))
    .await;
    let gateway = gateway(&backend, "").await;
    let head = gateway.fetch(&Ask::get("/x")).await.head;
    assert_eq!(
        (head.get("x-private"), head.get("keep-alive")),
        (None, None)
    );
    assert_eq!(head.get("x-kept"), Some("1"));
}

#[tokio::test]
async fn a_connection_field_cannot_take_away_what_the_gateway_puts_in() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/x").field("Connection: close, X-Forwarded-For, Via, Host");
    let head = seen(&gateway, &backend, &ask).await;
    assert_eq!(head.get("x-forwarded-for"), Some("127.0.0.1"));
    assert!(head.get("via").is_some() && head.get("host").is_some());
}

#[tokio::test]
async fn trailers_pass_to_a_client_that_takes_them() {
    let backend = Backend::playing(|mut peer| async move {
        while peer.request().await.is_some() {
            let chunked = "Transfer-Encoding: chunked";
            peer.send(wire::head("HTTP/1.1 200 OK", &["Trailer: X-Sum", chunked]))
                .await;
            peer.chunk("hello").await;
            peer.send(b"0\r\nX-Sum: 5d41\r\n\r\n").await;
        }
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/x").field("TE: trailers").field("Connection: TE");
    let answer = gateway.fetch(&ask).await;
    assert_eq!(answer.head.get("trailer"), Some("X-Sum"));
    let Ended::LastChunk(trailers) = answer.ended else {
        panic!("{:?}", answer.ended);
    };
    let (name, value) = &trailers[0];
    assert!(
        name.eq_ignore_ascii_case("x-sum") && value == "5d41",
        "{trailers:?}"
    );
    assert_eq!(backend.requests()[0].head.get("te"), Some("trailers"));

    let plain = gateway.fetch(&Ask::get("/x")).await;
    assert_eq!(plain.text(), "hello");
    assert!(plain.ended.is_clean(), "{:?}", plain.ended);
}

#[tokio::test]
async fn the_backend_learns_who_asked_and_how() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/x")
        .field("X-Forwarded-For: 6.6.6.6")
        .field("X-Forwarded-Proto: https")
        .field("Forwarded: for=6.6.6.6");
    let head = seen(&gateway, &backend, &ask).await;
    assert_eq!(
        head.get("x-forwarded-for"),
        Some("127.0.0.1"),
        "a stranger is not believed"
    );
    assert_eq!(head.get("x-forwarded-proto"), Some("http"));
    assert_eq!(head.get("x-forwarded-host"), Some("gateway.test"));
    if let Some(forwarded) = head.get("forwarded") {
        assert!(
            forwarded.contains("127.0.0.1") && !forwarded.contains("6.6.6.6"),
            "{forwarded}"
        );
    }
    assert!(head.get("via").unwrap().starts_with("1.1 "), "{head:?}");
    assert_eq!(head.get("host"), Some(backend.address.to_string().as_str()));
}

#[tokio::test]
async fn a_trusted_proxy_is_believed_and_extended() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let source = toml(&backend.url(), "").replace(
        "[upstreams",
        "trusted_proxies = [\"127.0.0.0/8\"]\n[upstreams",
    );
    let gateway = Gateway::start(&source).await;
    let ask = Ask::get("/x")
        .field("X-Forwarded-For: 203.0.113.7")
        .field("X-Forwarded-Proto: https")
        .field("X-Forwarded-Host: public.example")
        .field("X-Request-Id: from-the-edge-1")
        .field("Via: 1.1 edge");
    let head = seen(&gateway, &backend, &ask).await;
    assert_eq!(
        head.all("x-forwarded-for").join(", "),
        "203.0.113.7, 127.0.0.1"
    );
    assert_eq!(head.get("x-forwarded-proto"), Some("https"));
    assert_eq!(head.get("x-forwarded-host"), Some("public.example"));
    assert_eq!(head.get("x-request-id"), Some("from-the-edge-1"));
    let via = head.all("via").join(", ");
    assert!(via.starts_with("1.1 edge, 1.1 "), "{via}");
}

#[tokio::test]
async fn each_request_has_an_id_of_its_own_on_both_sides() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = gateway
            .fetch(&Ask::get("/x").field("X-Request-Id: forged"))
            .await;
        let id = answer.head.get("x-request-id").expect("an id").to_owned();
        let requests = backend.requests();
        assert_eq!(
            requests.last().unwrap().head.get("x-request-id"),
            Some(id.as_str())
        );
        assert!(id.len() >= 16 && id != "forged", "{id}");
        ids.push(id);
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn a_trace_goes_on_through_the_gateway_and_begins_here_otherwise() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let ask = Ask::get("/x")
        .field(&format!("traceparent: 00-{trace}-b7ad6b7169203331-01"))
        .field("tracestate: vendor=1");
    let head = seen(&gateway, &backend, &ask).await;
    let parent = head.get("traceparent").unwrap();
    let parts: Vec<_> = parent.split('-').collect();
    assert_eq!(
        (parts[0], parts[1], parts[3]),
        ("00", trace, "01"),
        "{parent}"
    );
    assert_eq!(head.get("tracestate"), Some("vendor=1"));

    let head = seen(&gateway, &backend, &Ask::get("/x")).await;
    let parent = head.get("traceparent").expect("a trace");
    let parts: Vec<_> = parent.split('-').map(str::len).collect();
    assert_eq!(parts, [2, 32, 16, 2], "{parent}");

    let bad = Ask::get("/x").field("traceparent: 00-00000000000000000000000000000000-0-1");
    let head = seen(&gateway, &backend, &bad).await;
    assert_eq!(
        head.get("traceparent").unwrap().len(),
        55,
        "an invalid one is replaced"
    );
}

#[tokio::test]
async fn an_event_stream_tells_proxies_and_caches_to_leave_it_alone() {
    let fields = [
        "Content-Type: text/event-stream",
        "Cache-Control: max-age=9",
        "Transfer-Encoding: chunked",
    ];
    let mut whole = wire::head("HTTP/1.1 200 OK", &fields);
    whole.extend(wire::chunk(CHAT.whole()));
    whole.extend(wire::LAST);
    let backend = Backend::answering(whole).await;
    let gateway = gateway(&backend, "").await;
    let ask = CHAT.ask().field("Accept-Encoding: gzip, br");
    let answer = gateway.fetch(&ask).await;
    assert_eq!(answer.head.get("x-accel-buffering"), Some("no"));
    assert_eq!(
        answer.head.get("cache-control"),
        Some("no-cache, no-transform")
    );
    assert_eq!(answer.head.get("content-encoding"), None);
    assert_eq!(answer.text(), CHAT.whole());
    let requests = backend.requests();
    let asked = requests[0].head.get("accept-encoding");
    assert!(matches!(asked, None | Some("identity")), "{asked:?}");
}

#[tokio::test]
async fn an_ordinary_answer_may_be_compressed_by_the_backend() {
    let fields = [
        "Content-Encoding: gzip",
        "Content-Type: text/css",
        "Content-Length: 3",
    ];
    let mut whole = wire::head("HTTP/1.1 200 OK", &fields);
    whole.extend(b"\x1f\x8b\x08");
    let backend = Backend::answering(whole).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/style.css")
        .field("Accept: text/css")
        .field("Accept-Encoding: gzip, br");
    let answer = gateway.fetch(&ask).await;
    assert_eq!(answer.head.get("content-encoding"), Some("gzip"));
    assert_eq!(answer.head.get("x-accel-buffering"), None);
    assert_eq!(&answer.body[..], b"\x1f\x8b\x08");
    assert_eq!(
        backend.requests()[0].head.get("accept-encoding"),
        Some("gzip, br")
    );
}

#[tokio::test]
async fn a_route_sets_and_removes_fields_both_ways() {
    let mut whole = wire::head(
        "HTTP/1.1 200 OK",
        &["Server: secret/1.0", "X-A: 1", "Content-Length: 2"],
    );
    whole.extend(b"ok");
    let backend = Backend::answering(whole).await;
    let gateway = gateway(
        &backend,
        "request_headers = { set = { x-tenant = \"eu\", host = \"inner.test\" }, remove = [\"cookie\"] }\n\
         response_headers = { set = { x-a = \"2\", x-b = \"3\" }, remove = [\"server\"] }",
    )
    .await;
    let ask = Ask::get("/x")
        .field("Cookie: a=1")
        .field("X-Tenant: us")
        .field("X-Tenant: uk");
    let answer = gateway.fetch(&ask).await;
    let requests = backend.requests();
    let head = &requests[0].head;
    assert_eq!(
        (head.get("cookie"), head.get("x-tenant")),
        (None, Some("eu"))
    );
    assert_eq!(head.get("host"), Some("inner.test"));
    assert_eq!(answer.head.get("server"), None);
    assert_eq!(
        (answer.head.get("x-a"), answer.head.get("x-b")),
        (Some("2"), Some("3"))
    );
}

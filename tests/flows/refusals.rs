//! What the gateway itself answers: with a status, and a body that says what and why in the route's
//! dialect, with the request's id.

use crate::support::api::{CHAT, GEMINI, MESSAGES, OLLAMA};
use crate::support::backend::{Refusing, Unreachable};
use crate::support::client::Answer;
use crate::support::{Ask, Backend, Client, Gateway, gateway, toml, wire};

/// The message of a refusal, after a look at what each has to have.
#[track_caller]
fn message(answer: &Answer) -> String {
    let json = answer.json();
    let kind = answer.head.get("content-type").unwrap();
    assert!(kind.starts_with("application/json"), "{kind}");
    let id = answer.head.get("x-request-id").expect("a request id");
    assert!(answer.text().contains(id), "{id} is not in {json}");
    let error = &json["error"];
    let message = error["message"].as_str().or_else(|| error.as_str());
    message
        .unwrap_or_else(|| panic!("no message in {json}"))
        .to_owned()
}

#[tokio::test]
async fn an_unknown_path_is_answered_404() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let source = toml(&backend.url(), "").replace("\"/*\"", "\"/v1/*\"");
    let gateway = Gateway::start(&source).await;
    let answer = gateway.fetch(&Ask::get("/other")).await;
    assert_eq!(answer.status(), 404);
    message(&answer);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_known_path_with_another_method_is_answered_405_and_what_is_allowed() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "method = [\"POST\", \"PUT\"]").await;
    let answer = gateway.fetch(&Ask::get("/x")).await;
    assert_eq!(answer.status(), 405);
    message(&answer);
    assert!(answer.head.lists("allow", "POST") && answer.head.lists("allow", "PUT"));
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413_and_the_client_sees_it() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "max_body = \"1KB\"").await;
    let body = vec![b'a'; 200_000];
    let answer = gateway.fetch(&Ask::new("POST", "/x").body(&body)).await;
    assert_eq!(answer.status(), 413);
    assert!(message(&answer).contains("1"), "{}", answer.text());

    let mut client = Client::connect(gateway.address).await;
    client
        .ask(&Ask::new("POST", "/x").field("Transfer-Encoding: chunked"))
        .await;
    for piece in body.chunks(10_000) {
        client.send(wire::chunk(piece)).await;
    }
    client.send(wire::LAST).await;
    assert_eq!(client.answer().await.status(), 413);
    assert!(backend.requests().is_empty());
}

#[tokio::test]
async fn a_refused_connection_is_answered_502() {
    let refusing = Refusing::new();
    let gateway = Gateway::start(&toml(&format!("http://{}", refusing.address), "")).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.status(), 502);
    message(&answer);
}

#[tokio::test]
async fn a_backend_that_leaves_without_an_answer_is_502() {
    let backend = Backend::playing(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let gateway = gateway(&backend, "").await;
    let answer = gateway.fetch(&Ask::post("/x", "{}")).await;
    assert_eq!(answer.status(), 502);
    message(&answer);
}

#[tokio::test]
async fn a_connection_that_is_never_made_is_504() {
    let unreachable = Unreachable::new().await;
    let url = format!("http://{}", unreachable.address);
    let gateway = Gateway::start(&toml(&url, "clocks = { connect = \"200ms\" }")).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.status(), 504);
    message(&answer);
}

#[tokio::test]
async fn an_answer_that_never_comes_is_504_and_the_backend_is_told() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "clocks = { first_byte = \"200ms\" }").await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 504);
    message(&answer);
    peer.left().await;
}

#[tokio::test]
async fn a_missing_secret_is_answered_503_and_names_the_variable() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let credentials = "credentials = { bearer = \"${SOME_API_KEY:-}\" }\n[routes.all]";
    let source = toml(&backend.url(), "").replace("[routes.all]", credentials);
    let gateway = Gateway::start(&source).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.status(), 503);
    assert!(
        message(&answer).contains("SOME_API_KEY"),
        "{}",
        answer.text()
    );
    assert_eq!(backend.connections(), 0);

    let gateway = Gateway::start_with(&source, &[("SOME_API_KEY", "sk-1")]).await;
    assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
    let requests = backend.requests();
    assert_eq!(requests[0].head.get("authorization"), Some("Bearer sk-1"));
}

#[tokio::test]
async fn a_refusal_speaks_the_dialect_of_its_route() {
    let refusing = Refusing::new();
    let gateway = Gateway::start(&toml(&format!("http://{}", refusing.address), "")).await;
    let of = async |ask: Ask| {
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), 502);
        message(&answer);
        answer.json()
    };
    let chat = of(CHAT.ask()).await;
    assert!(
        chat["error"]["message"].is_string() && chat["error"]["type"].is_string(),
        "{chat}"
    );
    let messages = of(MESSAGES.ask()).await;
    assert_eq!(messages["type"], "error");
    assert!(messages["error"]["type"].is_string(), "{messages}");
    let gemini = of(GEMINI.ask()).await;
    assert_eq!(gemini["error"]["code"], 502);
    assert!(gemini["error"]["status"].is_string(), "{gemini}");
    let ollama = of(OLLAMA.ask()).await;
    assert!(ollama["error"].is_string(), "{ollama}");
    let plain = of(Ask::get("/events")).await;
    assert!(plain["error"].is_object(), "{plain}");
}

#[tokio::test]
async fn a_connection_lives_on_after_a_refusal() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let source = toml(&backend.url(), "").replace("\"/*\"", "\"/v1/*\"");
    let gateway = Gateway::start(&source).await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        assert_eq!(
            client
                .exchange(&Ask::post("/other", "{\"a\":1}"))
                .await
                .status(),
            404
        );
        assert_eq!(client.exchange(&Ask::get("/v1/x")).await.status(), 200);
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let gateway = gateway(&backend, "").await;
    let ask = Ask::get("/x").field(&format!("X-Large: {}", "a".repeat(40_000)));
    let mut client = gateway.asking(&ask).await;
    assert_eq!(client.any_head().await.status(), 431);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn a_head_that_never_ends_is_given_up() {
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let source =
        toml(&backend.url(), "").replace("[upstreams", "head_timeout = \"200ms\"\n[upstreams");
    let gateway = Gateway::start(&source).await;
    let mut client = Client::connect(gateway.address).await;
    client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n").await;
    client.left().await;
}

#[tokio::test]
async fn an_upload_that_stops_is_answered_408() {
    let backend = Backend::listen().await;
    let source = toml(&backend.url(), "model = \"m\"")
        .replace("[upstreams", "upload_timeout = \"200ms\"\n[upstreams");
    let gateway = Gateway::start(&source).await;
    let mut client = Client::connect(gateway.address).await;
    client
        .ask(&Ask::new("POST", "/v1/chat/completions").field("Content-Length: 100"))
        .await;
    client.send(b"{\"mo").await;
    assert_eq!(client.answer().await.status(), 408);
}

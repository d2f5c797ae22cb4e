//! Answers that others go on with: what their endpoints are then thought of, and what the caller reads.

use serde_json::Value;

use crate::support::api::CHAT;
use crate::support::{Backend, Gateway, Peer, wire};

const TOKENS: [&str; 4] = ["one", " two", " three", " four"];
const DONE: &str = "data: [DONE]\n\n";

fn event(delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
         \"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\n\n"
    )
}

/// The first `count` tokens, and the role before them.
fn begun(count: usize) -> String {
    let tokens = TOKENS[..count].iter();
    let said = tokens.map(|token| event(&format!("\"content\":\"{token}\""), "null"));
    event("\"role\":\"assistant\"", "null") + &said.collect::<String>()
}

fn whole() -> String {
    begun(TOKENS.len()) + &event("", "\"stop\"") + DONE
}

/// What a caller reads of an answer: its text, and whether it holds an error.
fn told(answer: &str) -> (String, bool) {
    let data = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let chunks = data.filter(|data| *data != "[DONE]");
    let chunks: Vec<Value> = chunks
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let text = |chunk: &Value| {
        chunk["choices"][0]["delta"]["content"]
            .as_str()
            .map(str::to_owned)
    };
    let is_error = chunks.iter().any(|chunk| chunk["error"].is_object());
    (chunks.iter().filter_map(text).collect(), is_error)
}

/// Asks each of `backends` in turn, and puts one out that fails once.
fn toml(backends: &[&Backend]) -> String {
    let mut toml =
        "[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for (number, backend) in backends.iter().enumerate() {
        toml += &format!(
            "[upstreams.u{number}]\nurl = \"{}\"\nclocks = {{ idle = \"300ms\" }}\neject = {{ after = 1, pause = \"20s\" }}\n",
            backend.url()
        );
    }
    let names: Vec<_> = (0..backends.len())
        .map(|number| format!("u{number}"))
        .collect();
    let rules = "dialect = \"openai-chat\"\nrescue = true\nretry = false\n";
    format!("{toml}[routes.all]\npath = \"/*\"\nto = {names:?}\n{rules}")
}

/// A gateway with this configuration.
async fn chain(backends: &[&Backend]) -> Gateway {
    Gateway::start(&toml(backends)).await
}

/// What is thought of the endpoint of upstream `number`.
async fn standing(gateway: &Gateway, number: usize) -> Value {
    let report = gateway.ask_admin("/upstreams").await.json();
    let upstreams = report["upstreams"].as_array().unwrap();
    let name = format!("u{number}");
    let found = upstreams.iter().find(|upstream| upstream["name"] == *name);
    found.unwrap()["endpoints"][0].clone()
}

/// Answers once with these bytes, and closes.
async fn saying(bytes: Vec<u8>) -> Backend {
    Backend::playing(move |mut peer: Peer| {
        let bytes = bytes.clone();
        async move {
            peer.request().await;
            peer.send(bytes).await;
        }
    })
    .await
}

fn chunked(body: &str) -> Vec<u8> {
    [wire::event_stream(), wire::chunk(body)].concat()
}

#[tokio::test]
async fn an_error_that_the_second_backend_reports_is_rescued_too() {
    let error = "data: {\"error\":{\"message\":\"broken\",\"code\":500}}\n\n";
    let first = saying(chunked(&begun(1))).await;
    let second = saying(chunked(&(begun(2) + error))).await;
    let third = saying([chunked(&whole()), wire::LAST.to_vec()].concat()).await;
    let gateway = chain(&[&first, &second, &third]).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(told(&answer.text()), (TOKENS.concat(), false));
    assert!(answer.ended.is_clean() && answer.text().ends_with(DONE));
    assert_eq!(standing(&gateway, 1).await["standing"], "out");
}

#[tokio::test]
async fn who_is_busy_is_not_asked_for_the_whole_too() {
    for status in [429, 503, 529] {
        let first = saying(chunked(&begun(1))).await;
        let busy =
            Backend::answering(wire::json(status, "{\"error\":{\"message\":\"busy\"}}")).await;
        let third = saying([chunked(&whole()), wire::LAST.to_vec()].concat()).await;
        let toml = toml(&[&first, &busy, &third])
            .replace("[upstreams.u1]", "[upstreams.u1]\nprefill = \"assistant\"");
        let gateway = Gateway::start(&toml).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(told(&answer.text()), (TOKENS.concat(), false));
        assert_eq!(busy.requests().len(), 1, "{status}");
    }
}

#[tokio::test]
async fn half_an_event_at_the_end_of_an_answer_is_none() {
    let half = event("\"content\":\" never\"", "null");
    let body = begun(2) + &half[..half.len() / 2];
    let unframed = wire::head("HTTP/1.0 200 OK", &["Content-Type: text/event-stream"]);
    for bytes in [
        [chunked(&body), wire::LAST.to_vec()].concat(),
        [unframed, body.clone().into_bytes()].concat(),
    ] {
        let first = saying(bytes).await;
        let second = saying([chunked(&whole()), wire::LAST.to_vec()].concat()).await;
        let gateway = chain(&[&first, &second]).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(told(&answer.text()), (TOKENS.concat(), false));
    }
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_is_one() {
    let body = whole();
    let first = saying([chunked(body.trim_end()), wire::LAST.to_vec()].concat()).await;
    let gateway = chain(&[&first, &first]).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.text(), whole());
    assert_eq!(first.connections(), 1);
}

#[tokio::test]
async fn who_stays_open_behind_its_last_word_is_well() {
    let first = Backend::playing(|mut peer| async move {
        peer.request().await;
        peer.send(chunked(&whole())).await;
        peer.left().await;
    })
    .await;
    let gateway = chain(&[&first, &first]).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.text(), whole());
    assert!(answer.ended.is_clean());
    let seen = standing(&gateway, 0).await;
    assert_eq!(
        (&seen["standing"], &seen["failures_in_row"]),
        (&"in".into(), &0.into())
    );
}

#[tokio::test]
async fn who_says_something_else_is_well() {
    let first = saying(chunked(&begun(2))).await;
    let other = whole().replace(" two", " other");
    let second = saying([chunked(&other), wire::LAST.to_vec()].concat()).await;
    let gateway = chain(&[&first, &second]).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(told(&answer.text()), (TOKENS[..2].concat(), true));
    assert_eq!(standing(&gateway, 0).await["standing"], "out");
    assert_eq!(standing(&gateway, 1).await["standing"], "in");
}

#[tokio::test]
async fn the_first_event_is_seen_while_the_answer_runs() {
    let first = Backend::listen().await;
    let gateway = chain(&[&first, &first]).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = first.request().await;
    peer.send(chunked(&begun(1))).await;
    client.head().await;
    client.reads(begun(1)).await;
    assert!(standing(&gateway, 0).await["first_event_ms"].is_number());
    peer.chunk(&whole()[begun(1).len()..]).await;
    peer.send(wire::LAST).await;
    client.rest().await;
}

//! What happens to a request between two attempts: its caller leaves, its time is over, its head was promised; and
//! what is left of it afterwards in trailers and metrics.

use std::time::Duration;

use serde_json::Value;

use crate::support::api::{Api, CHAT, MESSAGES, TEXT};
use crate::support::script::{Line, begun, chain, chat_of, error, role_of, stream, text_of, told};
use crate::support::{Ask, Backend, Client, Ended, Gateway, Reader, Script, wire};

/// Two entries, with this on the route.
async fn pair(first: String, second: &Script, route: &str) -> Gateway {
    Gateway::start(&chain(
        &[(&[first], ""), (&[second.backend.url()], "")],
        route,
    ))
    .await
}

#[tokio::test]
async fn nobody_is_asked_for_a_caller_who_has_left() {
    for route in ["", "resume = { on_leave = \"cancel\" }", "rescue = true"] {
        let backend = Backend::listen().await;
        let keys = "retry = { times = 5, pause = \"200ms\", longest = \"200ms\" }";
        let route = format!("{keys}\n{route}");
        let gateway = Gateway::start(&chain(&[(&[backend.url()], "")], &route)).await;
        let client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = backend.request().await;
        peer.send(error(503, "busy", &["Connection: close"])).await;
        peer.left().await;
        client.leave();
        assert!(
            backend.is_left_alone_for(Duration::from_millis(500)).await,
            "{route}"
        );
    }
}

#[tokio::test]
async fn a_pause_ends_with_the_time_for_the_whole() {
    let script = Script::failing(503).await;
    let route =
        "retry = { times = 5, pause = \"60s\", longest = \"60s\" }\nclocks = { total = \"200ms\" }";
    let gateway = Gateway::start(&chain(&[(&[script.backend.url()], "")], route)).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.status(), 504);
    assert!(answer.text().contains("total_timeout"), "{}", answer.text());
    assert_eq!(script.count(), 1);
}

#[tokio::test]
async fn a_head_that_was_promised_is_kept_by_whoever_answers() {
    let first = Script::of([Line::Hold(Vec::new())]).await;
    let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    let gateway = Gateway::start(&chain(
        &[
            (
                &[first.backend.url()],
                "clocks = { first_byte = \"200ms\" }",
            ),
            (&[second.backend.url()], ""),
        ],
        "early_head = \"20ms\"\nheartbeat = \"20ms\"",
    ))
    .await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    assert_eq!(client.head().await.status(), 200);
    let (body, ended) = client.rest().await;
    assert_eq!(ended, Ended::LastChunk(vec![]));
    assert_eq!(told(&body), ("Hello".to_owned(), true));
    first.is_left(1).await;
    assert_eq!((first.count(), second.count()), (1, 1));
}

#[tokio::test]
async fn a_head_that_was_promised_ends_in_an_error_when_all_fail() {
    let first = Script::of([Line::Hold(Vec::new())]).await;
    let second = Script::failing(500).await;
    let gateway = Gateway::start(&chain(
        &[
            (
                &[first.backend.url()],
                "clocks = { first_byte = \"200ms\" }",
            ),
            (&[second.backend.url()], ""),
        ],
        "early_head = \"20ms\"\nretry = false",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.status(), 200);
    assert!(CHAT.is_error(&answer.body), "{}", answer.text());
    assert!(
        answer.text().contains("it does not go"),
        "its reason: {}",
        answer.text()
    );
}

#[tokio::test]
async fn who_asked_to_be_left_alone_is_left_alone_by_all() {
    let busy = Script::saying(error(429, "busy", &["Retry-After: 30"])).await;
    let other = Script::saying(wire::json(200, "{}")).await;
    let both = [busy.backend.url(), other.backend.url()];
    // With a key of ours the limit is everybody's.
    let key = "credentials = { bearer = \"sk-ours\" }";
    let endpoints = Gateway::start(&chain(&[(&both, key)], "")).await;
    for _ in 0..10 {
        assert_eq!(endpoints.fetch(&CHAT.ask()).await.status(), 200);
    }
    assert_eq!((busy.count(), other.count()), (1, 10));
    let entries = Gateway::start(&chain(&[(&both[..1], key), (&both[1..], "")], "")).await;
    for _ in 0..10 {
        assert_eq!(entries.fetch(&CHAT.ask()).await.status(), 200);
    }
    assert_eq!((busy.count(), other.count()), (2, 20));
    // Nowhere else to go: asked all the same, and the caller is told to wait.
    let alone = Gateway::start(&chain(&[(&both[..1], "")], "")).await;
    for _ in 0..3 {
        let answer = alone.fetch(&CHAT.ask()).await;
        assert_eq!(
            (answer.status(), answer.head.get("retry-after")),
            (429, Some("30"))
        );
    }
    assert_eq!(busy.count(), 5);
}

#[tokio::test]
async fn a_feed_comes_from_whoever_has_it() {
    let first = Script::failing(503).await;
    let second = Script::of([Line::Hold(begun("data: one\n\n"))]).await;
    let gateway = pair(
        first.backend.url(),
        &second,
        "share = { start = \"oldest\" }",
    )
    .await;
    let ask = Ask::get("/events").field("Accept: text/event-stream");
    let mut readers = Vec::new();
    for _ in 0..3 {
        let mut reader = Reader::open(&gateway, &ask).await;
        reader.reads(&["one"]).await;
        readers.push(reader);
    }
    assert_eq!((first.count(), second.count()), (1, 1), "for all of them");
}

#[tokio::test]
async fn the_winner_of_a_hedge_is_continued_when_it_is_cut() {
    let (first, second) = (Backend::listen().await, Backend::listen().await);
    let third = Script::saying(stream(&chat_of("c", &["Hello", "!"]))).await;
    let gateway = Gateway::start(&chain(
        &[
            (&[first.url()], ""),
            (&[second.url()], ""),
            (&[third.backend.url()], ""),
        ],
        "rescue = true\nhedge = \"20ms\"\nhedge_percent = 100\nretry = false",
    ))
    .await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut slow, _) = first.request().await;
    let (mut peer, _) = second.request().await;
    let said = role_of("b", "m") + &text_of("b", "m", "Hel");
    peer.send(begun(&said)).await;
    client.head().await;
    client.reads(&said).await;
    slow.left().await;
    peer.reset();
    let (rest, ended) = client.rest().await;
    assert_eq!(ended, Ended::LastChunk(vec![]));
    assert_eq!(told(&rest), ("lo!".to_owned(), true));
    assert_eq!(third.count(), 1);
}

/// A completion that says this, of OpenAI's older API.
fn completion(text: &str) -> String {
    format!(
        "data: {{\"id\":\"t\",\"object\":\"text_completion\",\"choices\":[{{\"index\":0,\"text\":\"{text}\",\"finish_reason\":null}}]}}\n\n"
    )
}

/// Anthropic's events up to this text.
fn message(id: &str, text: &str) -> String {
    format!(
        "event: message_start\ndata: {{\"type\":\"message_start\",\"message\":{{\"id\":\"{id}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"stop_reason\":null,\"usage\":{{\"input_tokens\":1,\"output_tokens\":1}}}}}}\n\n\
         event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{{\"type\":\"text\",\"text\":\"\"}}}}\n\n\
         event: content_block_delta\ndata: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\"text_delta\",\"text\":\"{text}\"}}}}\n\n"
    )
}

const MESSAGE_END: &str = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n\
     event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\n\
     event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

/// The text that the events of `body` say, in whichever dialect.
fn said(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let events = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let documents = events.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    documents
        .filter_map(|event| {
            let text = [&event["choices"][0]["text"], &event["delta"]["text"]];
            text.into_iter()
                .find_map(|text| text.as_str().map(str::to_owned))
        })
        .collect()
}

#[tokio::test]
async fn other_dialects_are_continued_too() {
    let text_end = "data: {\"id\":\"t\",\"object\":\"text_completion\",\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let rows: [(Api, String, String, &str); 2] = [
        (
            TEXT,
            completion("Hel"),
            completion("Hello") + &completion("!") + text_end,
            "data: [DONE]",
        ),
        (
            MESSAGES,
            message("a", "Hel"),
            message("b", "Hello!") + MESSAGE_END,
            "event: message_stop",
        ),
    ];
    for (api, beginning, again, marker) in rows {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&again)).await;
        let gateway = pair(first.url(), &second, "rescue = true").await;
        let mut client = gateway.asking(&api.ask()).await;
        let (mut peer, _) = first.request().await;
        peer.send(begun(&beginning)).await;
        client.head().await;
        client.reads(&beginning).await;
        peer.reset();
        let (rest, ended) = client.rest().await;
        assert_eq!(ended, Ended::LastChunk(vec![]), "{}", api.name);
        let whole = [beginning.as_bytes(), &rest].concat();
        assert_eq!(said(&whole), "Hello!", "{}", api.name);
        let text = String::from_utf8(whole).unwrap();
        assert_eq!(text.matches(marker).count(), 1, "{text}");
        assert_eq!(
            text.matches("event: message_start").count(),
            usize::from(api.name == MESSAGES.name)
        );
        assert_eq!(
            text.matches("event: content_block_start").count(),
            usize::from(api.name == MESSAGES.name)
        );
    }
}

#[tokio::test]
async fn the_callers_are_told_who_answered_and_what_was_tried() {
    let first = Script::failing(503).await;
    let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    let gateway = pair(
        first.backend.url(),
        &second,
        "usage = \"trailers\"\nretry = { times = 1, pause = \"1ms\" }",
    )
    .await;
    let ask = CHAT.ask().field("TE: trailers").field("Connection: TE");
    let answer = gateway.fetch(&ask).await;
    assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
    let Ended::LastChunk(trailers) = &answer.ended else {
        panic!("{:?}", answer.ended);
    };
    let trailer = |name: &str| {
        let named = trailers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let values: Vec<_> = named.map(|(_, value)| value.as_str()).collect();
        values.join("|")
    };
    assert_eq!(trailer("deltaway-upstream"), "second", "{trailers:?}");
    assert_eq!(
        trailer("deltaway-attempts"),
        "first:overloaded,first:overloaded,second:answered"
    );
    let silent = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(
        silent.ended,
        Ended::LastChunk(vec![]),
        "nobody asked for trailers"
    );
}

#[tokio::test]
async fn what_was_tried_is_counted() {
    let first = Script::failing(503).await;
    let cut = begun(&(role_of("b", "m") + &text_of("b", "m", "Hel")));
    let second = Script::of([
        Line::Close(cut),
        Line::Say(stream(&chat_of("c", &["Hello"]))),
    ])
    .await;
    let gateway = pair(
        first.backend.url(),
        &second,
        "rescue = true\nretry = { times = 1, pause = \"1ms\" }",
    )
    .await;
    let answer = Client::fetch(gateway.address, &CHAT.ask()).await;
    assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
    for (series, count) in [
        (
            "attempts_total{upstream=\"first\",outcome=\"overloaded\"}",
            2.0,
        ),
        (
            "attempts_total{upstream=\"first\",outcome=\"answered\"}",
            0.0,
        ),
        (
            "attempts_total{upstream=\"second\",outcome=\"answered\"}",
            2.0,
        ),
        ("retries_total{upstream=\"first\"}", 1.0),
        ("retries_refused_total{upstream=\"first\"}", 0.0),
        ("rescues_total{route=\"all\",outcome=\"whole\"}", 1.0),
        ("rescues_total{route=\"all\",outcome=\"failed\"}", 0.0),
    ] {
        assert_eq!(gateway.metric(series).await, count, "{series}");
    }
}

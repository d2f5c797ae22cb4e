//! Answers that are cut and continued by somebody else: the caller reads one answer, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Notify;

use super::generations::place;
use crate::support::api::CHAT;
use crate::support::script::{
    Line, begun, chain, chat_of, error, errors, role_of, stop_of, stream, text_of, told,
};
use crate::support::{Ask, Backend, Client, Ended, Gateway, Peer, Reader, Script, wire};

/// The ways in which an answer is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Reset,
    Close,
    CleanEnd,
    Silence,
    Error,
}

const WAYS: [Way; 5] = [
    Way::Reset,
    Way::Close,
    Way::CleanEnd,
    Way::Silence,
    Way::Error,
];

/// The first upstream's clock: short where it is to run out.
fn idle(way: Way) -> &'static str {
    match way {
        Way::Silence => "clocks = { idle = \"150ms\" }",
        _ => "",
    }
}

/// Ends the answer of `peer` in this way; what is left of it.
async fn cut(mut peer: Peer, way: Way) -> Option<Peer> {
    match way {
        Way::Reset => peer.reset(),
        Way::Close => peer.close(),
        Way::CleanEnd => {
            peer.send(wire::LAST).await;
            peer.close();
        }
        Way::Silence => return Some(peer),
        Way::Error => {
            peer.chunk("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n")
                .await;
            peer.send(wire::LAST).await;
        }
    }
    None
}

/// A gateway before `first`, which the test drives, and `second`.
async fn before(first: &Backend, second: &Script, keys: (Way, &str), route: &str) -> Gateway {
    Gateway::start(&chain(
        &[
            (&[first.url()], idle(keys.0)),
            (&[second.backend.url()], keys.1),
        ],
        &format!("rescue = true\nretry = false\n{route}"),
    ))
    .await
}

/// Asks, and reads the answer that `first` begins up to its last text.
async fn begin(gateway: &Gateway, first: &Backend, texts: &[&str]) -> (Client, Peer, Vec<u8>) {
    let said: String = texts.iter().map(|text| text_of("a", "m", text)).collect();
    begin_with(gateway, first, role_of("a", "m") + &said).await
}

/// Asks, and reads the beginning that `first` sends at once.
async fn begin_with(gateway: &Gateway, first: &Backend, said: String) -> (Client, Peer, Vec<u8>) {
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = first.request().await;
    peer.send(begun(&said)).await;
    assert_eq!(client.head().await.status(), 200);
    client.reads(&said).await;
    (client, peer, said.into_bytes())
}

/// The whole body, whose beginning was read, and that it ended well.
async fn rest_of(client: &mut Client, mut read: Vec<u8>) -> Vec<u8> {
    let (rest, ended) = client.rest().await;
    assert_eq!(ended, Ended::LastChunk(vec![]));
    read.extend_from_slice(&rest);
    read
}

/// Each event but the marker has this id.
fn has_one_id(body: &[u8], id: &str) {
    for line in String::from_utf8_lossy(body).lines() {
        let Some(data) = line.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            continue;
        };
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["id"], id, "{data}");
    }
}

#[tokio::test]
async fn an_answer_begun_anew_is_told_once_however_it_was_cut() {
    for way in WAYS {
        let first = Backend::listen().await;
        let again = chat_of("b", &["He", "llo w", "orld", "!"]);
        let second = Script::saying(stream(&again)).await;
        let gateway = before(&first, &second, (way, ""), "").await;
        let (mut client, peer, read) = begin(&gateway, &first, &["Hel", "lo wo"]).await;
        let silent = cut(peer, way).await;
        let body = rest_of(&mut client, read).await;
        assert_eq!(told(&body), ("Hello world!".to_owned(), true), "{way:?}");
        assert!(errors(&body).is_empty(), "{way:?}");
        has_one_id(&body, "a");
        assert_eq!(second.bodies(), [CHAT.request], "{way:?}");
        if let Some(mut peer) = silent {
            peer.left().await;
        }
    }
}

#[tokio::test]
async fn a_beginning_is_continued_however_it_was_cut() {
    for way in WAYS {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&chat_of("b", &["rl", "d!"]))).await;
        let gateway = before(&first, &second, (way, "prefill = \"assistant\""), "").await;
        let (mut client, peer, read) = begin(&gateway, &first, &["Hel", "lo wo"]).await;
        let _silent = cut(peer, way).await;
        let body = rest_of(&mut client, read).await;
        assert_eq!(told(&body), ("Hello world!".to_owned(), true), "{way:?}");
        assert!(errors(&body).is_empty(), "{way:?}");
        has_one_id(&body, "a");
        assert_eq!(second.count(), 1);
        let asked: Value = serde_json::from_str(&second.bodies()[0]).unwrap();
        let messages = asked["messages"].as_array().unwrap();
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[1]["role"], "assistant");
        assert_eq!(messages[1]["content"], "Hello wo");
        assert_eq!(asked["stream"], true);
    }
}

#[tokio::test]
async fn white_space_at_the_cut_comes_once() {
    for again in [&["world"][..], &[" world"], &[" ", "world"]] {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&chat_of("b", again))).await;
        let gateway = before(&first, &second, (Way::Reset, "prefill = \"assistant\""), "").await;
        let (mut client, peer, read) = begin(&gateway, &first, &["Hello", " "]).await;
        peer.reset();
        let body = rest_of(&mut client, read).await;
        assert_eq!(told(&body), ("Hello world".to_owned(), true), "{again:?}");
        let asked: Value = serde_json::from_str(&second.bodies()[0]).unwrap();
        assert_eq!(asked["messages"][1]["content"], "Hello");
    }
}

#[tokio::test]
async fn who_refuses_a_beginning_is_asked_from_the_start() {
    let first = Backend::listen().await;
    let second = Script::of([
        Line::Say(error(400, "the last message must be the user's", &[])),
        Line::Say(stream(&chat_of("b", &["Hello world"]))),
    ])
    .await;
    let gateway = before(&first, &second, (Way::Reset, "prefill = \"assistant\""), "").await;
    let (mut client, peer, read) = begin(&gateway, &first, &["Hel"]).await;
    peer.reset();
    let body = rest_of(&mut client, read).await;
    assert_eq!(told(&body), ("Hello world".to_owned(), true));
    assert!(errors(&body).is_empty());
    let bodies = second.bodies();
    assert_eq!(bodies.len(), 2);
    assert!(
        bodies[0].contains("assistant") && bodies[1] == CHAT.request,
        "{bodies:?}"
    );
}

#[tokio::test]
async fn another_answer_is_not_sewn_to_the_first() {
    for (again, keeps) in [
        (chat_of("b", &["Good", "bye"]), "Hel"),
        (chat_of("b", &["He"]), "Hel"),
        (chat_of("b", &[]), "Hel"),
    ] {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&again)).await;
        let gateway = before(&first, &second, (Way::Reset, ""), "").await;
        let (mut client, peer, read) = begin(&gateway, &first, &["Hel"]).await;
        peer.reset();
        let body = rest_of(&mut client, read).await;
        assert_eq!(told(&body), (keeps.to_owned(), false), "{again}");
        assert_eq!(errors(&body).len(), 1, "{}", String::from_utf8_lossy(&body));
        assert_eq!(second.count(), 1, "not a third time");
    }
}

#[tokio::test]
async fn nothing_is_rescued_within_a_tool_call() {
    let call = "data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"t\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\"}}]},\"finish_reason\":null}]}\n\n";
    for way in WAYS {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&CHAT.whole())).await;
        let gateway = before(&first, &second, (way, ""), "").await;
        let said = role_of("a", "m") + &text_of("a", "m", "Hel") + call;
        let (mut client, peer, read) = begin_with(&gateway, &first, said).await;
        let _silent = cut(peer, way).await;
        let body = rest_of(&mut client, read).await;
        assert_eq!(told(&body), ("Hel".to_owned(), false), "{way:?}");
        assert_eq!(
            errors(&body).len(),
            1,
            "{way:?}: {}",
            String::from_utf8_lossy(&body)
        );
        assert_eq!(second.count(), 0, "{way:?}");
    }
}

#[tokio::test]
async fn nothing_is_rescued_that_has_a_promised_form() {
    let first = Backend::listen().await;
    let second = Script::saying(stream(&CHAT.whole())).await;
    let gateway = before(&first, &second, (Way::Reset, ""), "").await;
    for more in [
        "\"response_format\":{\"type\":\"json_object\"}",
        "\"n\":2",
        "\"logprobs\":true",
        "\"tool_choice\":\"required\"",
    ] {
        let request = CHAT.request.replacen('{', &format!("{{{more},"), 1);
        let mut client = gateway.asking(&Ask::post(CHAT.target, &request)).await;
        let (mut peer, _) = first.request().await;
        let said = text_of("a", "m", "{\\\"a");
        peer.send(begun(&said)).await;
        client.head().await;
        client.reads(&said).await;
        peer.reset();
        let (rest, ended) = client.rest().await;
        assert_eq!(ended, Ended::LastChunk(vec![]), "{more}");
        assert!(
            CHAT.is_error(&rest),
            "{more}: {}",
            String::from_utf8_lossy(&rest)
        );
        assert_eq!(second.count(), 0, "{more}");
    }
}

#[tokio::test]
async fn without_the_key_a_cut_is_a_cut() {
    let first = Backend::listen().await;
    let second = Script::saying(stream(&CHAT.whole())).await;
    let gateway = before(&first, &second, (Way::Reset, ""), "").await;
    let plain = Gateway::start(&chain(
        &[(&[first.url()], ""), (&[second.backend.url()], "")],
        "",
    ))
    .await;
    let (mut client, peer, _) = begin(&plain, &first, &["Hel"]).await;
    peer.reset();
    assert!(CHAT.is_error(&client.rest().await.0));
    assert_eq!(second.count(), 0);
    drop(gateway);
}

/// A backend that begins with `events` and then resets each connection, once told to.
async fn cutting(events: String, go: Arc<Notify>) -> Backend {
    Backend::playing(move |mut peer| {
        let (events, go) = (events.clone(), go.clone());
        async move {
            peer.request().await;
            peer.send(begun(&events)).await;
            go.notified().await;
            peer.reset();
        }
    })
    .await
}

#[tokio::test]
async fn a_second_cut_goes_on_to_a_third_backend() {
    let go = Arc::new(Notify::new());
    let first = Backend::listen().await;
    let second = cutting(
        role_of("b", "m") + &text_of("b", "m", "Hello w"),
        go.clone(),
    )
    .await;
    let third = Script::saying(stream(&chat_of("c", &["Hello", " world", "!"]))).await;
    let gateway = Gateway::start(&chain(
        &[
            (&[first.url()], ""),
            (&[second.url()], ""),
            (&[third.backend.url()], ""),
        ],
        "rescue = true\nretry = false",
    ))
    .await;
    let (mut client, peer, mut read) = begin(&gateway, &first, &["Hel"]).await;
    peer.reset();
    while told(&read).0 != "Hello w" {
        let piece = client.piece().await.expect("the rest of the text");
        read.extend_from_slice(&piece.data);
    }
    go.notify_one();
    let body = rest_of(&mut client, read).await;
    assert_eq!(told(&body), ("Hello world!".to_owned(), true));
    assert!(errors(&body).is_empty());
    has_one_id(&body, "a");
    assert_eq!((second.requests().len(), third.count()), (1, 1));
}

#[tokio::test]
async fn an_answer_that_is_cut_for_ever_ends_with_an_error() {
    let first = Backend::listen().await;
    let second = Script::of([Line::Close(begun(
        &(role_of("b", "m") + &text_of("b", "m", "Hello")),
    ))])
    .await;
    let gateway = before(&first, &second, (Way::Reset, ""), "").await;
    let (mut client, peer, read) = begin(&gateway, &first, &["Hel"]).await;
    peer.reset();
    let body = rest_of(&mut client, read).await;
    assert_eq!(told(&body), ("Hello".to_owned(), false));
    assert_eq!(errors(&body).len(), 1);
    assert!(second.count() <= 3, "{} further questions", second.count());
}

#[tokio::test]
async fn an_event_that_was_cut_is_not_part_of_the_answer() {
    let half = "data: {\"id\":\"a\",\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"lo wor";
    for framing in ["Transfer-Encoding: chunked", "X-Framing: none"] {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&chat_of("b", &["Hello", " world"]))).await;
        let gateway = before(&first, &second, (Way::Reset, ""), "").await;
        let mut client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = first.request().await;
        let said = role_of("a", "m") + &text_of("a", "m", "Hel");
        let chunked = framing.starts_with("Transfer");
        peer.send(CHAT.head(&format!("{framing}\r\nConnection: close")))
            .await;
        for part in [said.as_str(), half] {
            match chunked {
                true => peer.chunk(part).await,
                false => peer.send(part).await,
            };
        }
        client.head().await;
        client.reads(&said).await;
        if chunked {
            peer.send(wire::LAST).await;
        }
        peer.close();
        let body = rest_of(&mut client, said.into_bytes()).await;
        assert_eq!(told(&body), ("Hello world".to_owned(), true), "{framing}");
        assert!(errors(&body).is_empty());
        assert_eq!(second.count(), 1);
    }
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_counts() {
    let first = Backend::listen().await;
    let second = Script::saying(stream(&CHAT.whole())).await;
    let gateway = before(&first, &second, (Way::Reset, ""), "").await;
    let (mut client, mut peer, read) = begin(&gateway, &first, &["Hello"]).await;
    peer.chunk(stop_of("a", "m").trim_end()).await;
    peer.send(wire::LAST).await;
    let body = rest_of(&mut client, read).await;
    assert_eq!(told(&body), ("Hello".to_owned(), true));
    assert_eq!(second.count(), 0);
}

#[tokio::test]
async fn a_kept_answer_has_the_whole_text_once_for_all_who_read_it() {
    for way in WAYS {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&chat_of("b", &["Hello", " world"]))).await;
        let gateway = before(&first, &second, (way, ""), "resume = true").await;
        let client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = first.request().await;
        peer.send(begun(&(role_of("a", "m") + &text_of("a", "m", "Hel"))))
            .await;
        let mut reader = Reader::answered(client).await;
        let kept = place(&reader);
        reader.next().await;
        let last = reader.next().await.id.expect("an id");
        let _silent = cut(peer, way).await;
        let (_, ended) = reader.rest().await;
        assert_eq!(ended, Ended::LastChunk(vec![]), "{way:?}");
        assert_eq!(
            told(&reader.raw),
            ("Hello world".to_owned(), true),
            "{way:?}"
        );
        let mut again = Reader::open(&gateway, &Ask::get(&kept)).await;
        let (events, _) = again.rest().await;
        assert_eq!(
            told(&again.raw),
            ("Hello world".to_owned(), true),
            "{way:?}"
        );
        assert!(errors(&again.raw).is_empty());
        let ids: Vec<_> = events
            .iter()
            .map(|event| event.id.clone().unwrap())
            .collect();
        let each: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(each.len(), ids.len(), "each id once: {ids:?}");
        let ask = Ask::get(&kept).field(&format!("Last-Event-ID: {last}"));
        let mut on = Reader::open(&gateway, &ask).await;
        on.rest().await;
        assert_eq!(told(&on.raw), ("lo world".to_owned(), true), "{way:?}");
    }
}

#[tokio::test]
async fn whoever_leaves_while_somebody_is_asked_ends_that() {
    for route in ["", "resume = { on_leave = \"cancel\" }"] {
        let (first, second) = (Backend::listen().await, Backend::listen().await);
        let gateway = Gateway::start(&chain(
            &[(&[first.url()], ""), (&[second.url()], "")],
            &format!("rescue = true\n{route}"),
        ))
        .await;
        let client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = first.request().await;
        peer.send(begun(&(role_of("a", "m") + &text_of("a", "m", "Hel"))))
            .await;
        let mut reader = Reader::answered(client).await;
        reader.next().await;
        reader.next().await;
        peer.reset();
        let (mut peer, _) = second.request().await;
        reader.leave();
        peer.left().await;
    }
}

#[tokio::test]
async fn heartbeats_fill_the_time_until_somebody_goes_on() {
    let (first, second) = (Backend::listen().await, Backend::listen().await);
    let gateway = Gateway::start(&chain(
        &[(&[first.url()], ""), (&[second.url()], "")],
        "rescue = true\nheartbeat = \"20ms\"",
    ))
    .await;
    let (mut client, mut peer, mut read) = begin(&gateway, &first, &["Hel"]).await;
    peer.chunk("data: {\"id\":\"a\",\"obj").await;
    peer.reset();
    let (mut peer, _) = second.request().await;
    while !read.ends_with(b":\n\n:\n\n") {
        let piece = client.piece().await.expect("heartbeats");
        read.extend_from_slice(&piece.data);
    }
    peer.send(stream(&chat_of("b", &["Hello"]))).await;
    let body = rest_of(&mut client, read).await;
    assert_eq!(told(&body), ("Hello".to_owned(), true));
    has_one_id(&body, "a");
}

#[tokio::test]
async fn an_upstream_of_two_endpoints_goes_on_at_the_other_one() {
    for balance in ["round-robin", "least-in-flight", "first-event", "hash"] {
        for _ in 0..6 {
            let (count, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
            let endpoint = || {
                let (count, go) = (count.clone(), go.clone());
                Backend::playing(move |mut peer| {
                    let (count, go) = (count.clone(), go.clone());
                    async move {
                        peer.request().await;
                        if count.fetch_add(1, Ordering::SeqCst) > 0 {
                            peer.send(stream(&chat_of("b", &["Hello", " world"]))).await;
                            return;
                        }
                        let said = role_of("a", "m") + &text_of("a", "m", "Hel");
                        peer.send(begun(&said)).await;
                        go.notified().await;
                        peer.reset();
                    }
                })
            };
            let (one, two) = (endpoint().await, endpoint().await);
            let keys = format!("balance = \"{balance}\"");
            let gateway = Gateway::start(&chain(
                &[(&[one.url(), two.url()], &keys)],
                "rescue = true\nretry = false",
            ))
            .await;
            let mut client = gateway.asking(&CHAT.ask()).await;
            client.head().await;
            let mut read = Vec::new();
            while told(&read).0 != "Hel" {
                read.extend_from_slice(&client.piece().await.expect("text").data);
            }
            go.notify_one();
            let body = rest_of(&mut client, read).await;
            assert_eq!(told(&body), ("Hello world".to_owned(), true), "{balance}");
            let asked = (one.requests().len(), two.requests().len());
            assert_eq!(asked, (1, 1), "{balance}: not the one that has just failed");
        }
    }
}

#[tokio::test]
async fn an_upstream_of_one_endpoint_is_asked_again_itself() {
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&chain(&[(&[backend.url()], "")], "rescue = true")).await;
    let (mut client, peer, read) = begin(&gateway, &backend, &["Hel"]).await;
    peer.reset();
    let (mut peer, _) = backend.request().await;
    peer.send(stream(&chat_of("b", &["Hello"]))).await;
    let body = rest_of(&mut client, read).await;
    assert_eq!(told(&body), ("Hello".to_owned(), true));
    assert!(backend.is_left_alone_for(Duration::from_millis(50)).await);
}

//! Faults around backends that fail: who is asked again, who is blamed, and what is counted.

use serde_json::Value;

use crate::support::api::CHAT;
use crate::support::script::{
    Line, begun, chain, chat_of, error, errors, role_of, stream, text_of, told,
};
use crate::support::{Ask, Backend, Client, Gateway, Peer, Script, wire, within};

/// An error in a stream that is the caller's own doing.
const FILTERED: &str =
    "data: {\"error\":{\"message\":\"not this\",\"code\":\"content_filter\"}}\n\n";
/// One failure leaves an endpoint out for long.
const TOUCHY: &str = "eject = { after = 1, pause = \"20s\" }";

async fn before(upstreams: &[(&Backend, &str)], route: &str) -> Gateway {
    let urls: Vec<_> = upstreams
        .iter()
        .map(|(backend, keys)| ([backend.url()], *keys))
        .collect();
    let upstreams: Vec<_> = urls.iter().map(|(url, keys)| (&url[..], *keys)).collect();
    Gateway::start(&chain(&upstreams, route)).await
}

/// Asks, and reads the answer that `first` begins up to its text.
async fn begin(gateway: &Gateway, first: &Backend, ask: &Ask) -> (Client, Peer) {
    let said = role_of("a", "m") + &text_of("a", "m", "Hel");
    let mut client = gateway.asking(ask).await;
    let (mut peer, _) = first.request().await;
    peer.send(begun(&said)).await;
    assert_eq!(client.head().await.status(), 200);
    client.reads(&said).await;
    (client, peer)
}

/// What is thought of the first upstream's only endpoint.
async fn standing(gateway: &Gateway) -> Value {
    let report = gateway.ask_admin("/upstreams").await.json();
    let upstreams = report["upstreams"].as_array().unwrap();
    let first = upstreams.iter().find(|one| one["name"] == "first");
    first.unwrap()["endpoints"][0].clone()
}

/// 49. An error in a stream that nobody else would answer otherwise had the answer rescued: the backend was asked
/// twice more for what it had refused, and its own words were lost.
#[tokio::test]
async fn r49_what_the_caller_did_wrong_is_not_rescued() {
    let first = Script::saying(stream(FILTERED)).await;
    let gateway = before(&[(&first.backend, "")], "rescue = true").await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert!(answer.text().contains("not this"), "{}", answer.text());
    assert_eq!(first.count(), 1);

    let first = Backend::listen().await;
    let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    let gateway = before(&[(&first, ""), (&second.backend, "")], "rescue = true").await;
    let (mut client, mut peer) = begin(&gateway, &first, &CHAT.ask()).await;
    peer.chunk(FILTERED).await;
    peer.send(wire::LAST).await;
    let (rest, _) = client.rest().await;
    assert_eq!(errors(&rest).len(), 1);
    assert!(String::from_utf8_lossy(&rest).contains("not this"));
    assert_eq!(second.count(), 0);
}

/// 50. An endpoint was left out for errors in streams that were their callers' own doing.
#[tokio::test]
async fn r50_what_the_caller_did_wrong_leaves_no_endpoint_out() {
    for route in ["", "rescue = true", "resume = true"] {
        let first = Script::saying(stream(&(role_of("a", "m") + FILTERED))).await;
        let gateway = before(&[(&first.backend, TOUCHY)], route).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert!(answer.text().contains("not this"), "{}", answer.text());
        let standing = until_idle(&gateway).await;
        assert_eq!(standing["standing"], "in", "{route}: {standing}");
    }
}

/// What is thought of the first upstream's endpoint once it has nothing to do.
async fn until_idle(gateway: &Gateway) -> Value {
    let idle = async {
        loop {
            let standing = standing(gateway).await;
            if standing["in_flight"] == 0 {
                return standing;
            }
        }
    };
    within("the endpoint to be idle", idle).await
}

/// 51. Answers that were cut asked the same upstream again beside its budget for that: one whose every answer broke off
/// had three times its load.
#[tokio::test]
async fn r51_the_same_upstream_goes_on_only_within_its_budget() {
    let first = Script::of([Line::Close(begun(&(role_of("a", "m") + "data: ")))]).await;
    let keys = "retry_budget = { percent = 0, least = 0 }";
    let gateway = before(&[(&first.backend, keys)], "rescue = true\nretry = false").await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(errors(&answer.body).len(), 1);
    assert_eq!(first.count(), 1);
    assert_eq!(
        gateway
            .metric("retries_refused_total{upstream=\"first\"}")
            .await,
        1.0
    );
}

/// 52. Tokens of a kept answer that somebody else went on with were counted for both.
#[tokio::test]
async fn r52_tokens_of_a_kept_answer_are_counted_once() {
    let mut counted = Vec::new();
    for route in ["rescue = true", "rescue = true\nresume = true"] {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&chat_of("b", &["Hel", "lo wor", "ld"]))).await;
        let gateway = before(&[(&first, ""), (&second.backend, "")], route).await;
        let said = role_of("a", "m") + &text_of("a", "m", "Hel");
        let mut client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = first.request().await;
        peer.send(begun(&said)).await;
        client.head().await;
        let mut read = Vec::new();
        while told(&read).0 != "Hel" {
            read.extend_from_slice(&client.piece().await.expect("text").data);
        }
        peer.reset();
        let (rest, _) = client.rest().await;
        read.extend_from_slice(&rest);
        assert_eq!(told(&read), ("Hello world".to_owned(), true));
        let sum = within("the tokens to be counted", async {
            loop {
                let text = gateway.ask_admin("/metrics").await.text();
                let tokens = |name: &str| -> f64 {
                    text.lines()
                        .filter(|line| line.starts_with("deltaway_tokens_total"))
                        .filter(|line| line.contains("\"completion\"") && line.contains(name))
                        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                        .sum()
                };
                if tokens("upstream=\"second\"") > 0.0 {
                    return (tokens("upstream=\"first\""), tokens("upstream=\"second\""));
                }
            }
        })
        .await;
        counted.push(sum);
    }
    assert_eq!(counted[0], counted[1], "whether it is kept or not");
}

/// 53. An endpoint that told one caller to wait, for what that caller's own key had used up, was left alone by all.
#[tokio::test]
async fn r53_what_one_callers_key_has_used_up_is_not_used_up_for_others() {
    let first = Script::of([
        Line::Say(error(429, "later", &["Retry-After: 30"])),
        Line::Say(stream(&chat_of("a", &["first"]))),
    ])
    .await;
    let second = Script::saying(stream(&chat_of("b", &["second"]))).await;
    let gateway = before(&[(&first.backend, ""), (&second.backend, "")], "").await;
    for (key, text) in [("one", "second"), ("other", "first")] {
        let ask = CHAT.ask().field(&format!("Authorization: Bearer {key}"));
        let answer = gateway.fetch(&ask).await;
        assert_eq!(told(&answer.body), (text.to_owned(), true));
    }
}

/// 54. The answer to a HEAD for an event stream, which has no body, was taken for one without events: the endpoint was
/// left out for it, and the next entry asked.
#[tokio::test]
async fn r54_the_answer_to_a_head_is_whole_without_events() {
    for route in ["", "hedge = \"10s\""] {
        let head = wire::head("HTTP/1.1 200 OK", &["Content-Type: text/event-stream"]);
        let (first, second) = (
            Script::saying(head.clone()).await,
            Script::saying(head).await,
        );
        let gateway = before(
            &[(&first.backend, TOUCHY), (&second.backend, TOUCHY)],
            &format!("dialect = \"openai-chat\"\n{route}"),
        )
        .await;
        let answer = gateway.fetch(&Ask::new("HEAD", CHAT.target)).await;
        assert_eq!(answer.status(), 200);
        assert_eq!((first.count(), second.count()), (1, 0));
        assert_eq!(standing(&gateway).await["standing"], "in");
    }
}

/// 55. A beginning that was to be continued went out under the caller's `Idempotency-Key`, which stands for another
/// body.
#[tokio::test]
async fn r55_another_body_does_not_go_under_the_same_key() {
    for (keys, expected) in [("", Some("k")), ("prefill = \"assistant\"", None)] {
        let first = Backend::listen().await;
        let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
        let upstreams = [(&first, ""), (&second.backend, keys)];
        let gateway = before(&upstreams, "rescue = true").await;
        let ask = CHAT.ask().field("Idempotency-Key: k");
        let (mut client, peer) = begin(&gateway, &first, &ask).await;
        peer.reset();
        client.rest().await;
        let head = &second.requests()[0].head;
        assert_eq!(head.get("idempotency-key"), expected, "{keys}");
    }
}

/// 56. What a slow entry had tried in vain before it failed was not told, where the one beside it answered.
#[tokio::test]
async fn r56_a_slow_entry_that_fails_is_told_of() {
    let first = Backend::listen().await;
    let second = Backend::listen().await;
    let route = "hedge = \"40ms\"\nhedge_percent = 100\nretry = false\nusage = \"comment\"";
    let gateway = before(&[(&first, ""), (&second, "")], route).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut slow, _) = first.request().await;
    let (mut beside, _) = second.request().await;
    slow.send(error(503, "busy", &["Connection: close"])).await;
    slow.left().await;
    beside.send(stream(&chat_of("b", &["Hello"]))).await;
    let text = client.answer().await.text();
    let tried = "attempts=first:overloaded,second:answered";
    assert!(text.contains(tried), "{text}");
}

/// 57. An endpoint on trial took no other request while a long stream without events was open there.
#[tokio::test]
async fn r57_a_long_stream_does_not_hold_up_a_trial() {
    let first = Script::of([
        Line::Say(wire::json(503, "{}")),
        Line::Hold(begun("")),
        Line::Say(wire::json(200, "{\"by\":1}")),
    ])
    .await;
    let second = Script::saying(wire::json(200, "{\"by\":2}")).await;
    let keys = "eject = { after = 1, pause = \"100ms\", probes = 1 }";
    let gateway = before(&[(&first.backend, keys), (&second.backend, "")], "").await;
    let ask = Ask::get("/events");
    assert_eq!(gateway.fetch(&ask).await.text(), "{\"by\":2}");
    let mut held = Vec::new();
    within("the trial", async {
        while first.count() == 1 {
            let mut client = gateway.asking(&ask).await;
            client.head().await;
            held.push(client);
        }
    })
    .await;
    assert_eq!(gateway.fetch(&ask).await.text(), "{\"by\":1}");
}

/// 58. An event stream that ended without an event was passed on where its end came with its last bytes, though
/// another entry could have answered.
#[tokio::test]
async fn r58_an_answer_without_events_is_none_however_its_end_comes() {
    let first = Script::saying(stream(": hello\n\n")).await;
    let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    let gateway = before(
        &[(&first.backend, ""), (&second.backend, "")],
        "retry = false",
    )
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
}

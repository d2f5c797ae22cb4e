//! Faults around streams that are kept, shared and published to.

use futures_util::StreamExt;
use serde_json::Value;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Ask, Backend, Client, Ended, Gateway, Reader, toml, wire, within};

/// Topics for everybody, and little room.
const TOPICS: &str = r#"
[server]
listen = "127.0.0.1:0"
drain = "200ms"
[admin]
listen = "127.0.0.1:0"
[hub]
streams = 3
[topics."short/*"]
history = { events = 2 }
[routes.topics]
path = "/topics/{topic*}"
publish = "{topic}"
subscribe = "{topic}"
"#;

fn post(topic: &str, kind: &str, body: &str) -> Ask {
    Ask::new("POST", &format!("/topics/{topic}"))
        .field(&format!("Content-Type: {kind}"))
        .body(body)
}

/// The poll document behind `cursor`, or behind no event.
async fn poll(gateway: &Gateway, topic: &str, more: &str) -> Value {
    let ask = Ask::get(&format!("/topics/{topic}?transport=poll{more}"));
    let answer = gateway.fetch(&ask).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()
}

/// 40. A poller that had missed events of a topic was told of the gap, with the cursor it had shown: for ever.
#[tokio::test]
async fn r40_a_poller_gets_beyond_a_gap() {
    let gateway = Gateway::start(TOPICS).await;
    for data in ["1", "2", "3", "4"] {
        gateway.fetch(&post("short/a", "text/plain", data)).await;
    }
    for transport in ["poll", "long-poll"] {
        let more = format!("&transport={transport}&after=0");
        let target = format!("/topics/short/a?{}", &more[1..]);
        let document = gateway.fetch(&Ask::get(&target)).await.json();
        let events = document["events"].as_array().expect("events");
        assert_eq!(events[0]["event"], "gap", "{document}");
        let data: Vec<_> = events[1..].iter().map(|event| &event["data"]).collect();
        assert_eq!(data, ["3", "4"], "{document}");
        let cursor = document["cursor"].as_str().expect("a cursor");
        let next = poll(&gateway, "short/a", &format!("&cursor={cursor}")).await;
        assert_eq!(next["events"], serde_json::json!([]), "{next}");
    }
}

/// 41. A publication with a key that had been used for another one was answered with the ids of that one, and lost.
#[tokio::test]
async fn r41_a_key_stands_for_one_publication() {
    let gateway = Gateway::start(TOPICS).await;
    let with_key = |data| post("a", "text/plain", data).field("Idempotency-Key: once");
    let first = gateway.fetch(&with_key("1")).await;
    assert_eq!(gateway.fetch(&with_key("1")).await.json(), first.json());
    let other = gateway.fetch(&with_key("2")).await;
    assert_eq!(other.status(), 422, "{}", other.text());
    assert_eq!(other.json()["error"]["code"], "idempotency_key_reused");
    let named = with_key("1").field("Deltaway-Event: named");
    assert_eq!(gateway.fetch(&named).await.status(), 422);
    let document = poll(&gateway, "a", "&after=0").await;
    assert_eq!(document["events"].as_array().map(Vec::len), Some(1));
}

/// 42. JSON data of an NDJSON publication was written anew, which cost numbers their digits.
#[tokio::test]
async fn r42_json_data_is_published_as_it_was_written() {
    let gateway = Gateway::start(TOPICS).await;
    let data = [
        r#"{"n":12345678901234567890123,"f":1.0e2, "a":0.10}"#,
        "12345678901234567890123",
        "null",
    ];
    let body: String = data
        .iter()
        .map(|data| format!("{{\"data\":{data}}}\n"))
        .collect();
    let ask = post("a", "application/x-ndjson", &body);
    assert_eq!(gateway.fetch(&ask).await.status(), 200);
    let document = poll(&gateway, "a", "&after=0").await;
    let events = document["events"].as_array().expect("events");
    let seen: Vec<_> = events.iter().map(|event| &event["data"]).collect();
    assert_eq!(seen, data);
}

/// 43. A 101 that nobody asked for was passed on where answers are shared or kept.
#[tokio::test]
async fn r43_an_upgrade_nobody_asked_for_is_502_where_answers_are_shared_or_kept() {
    let switched = wire::head(
        "HTTP/1.1 101 Switching Protocols",
        &["Connection: Upgrade", "Upgrade: websocket"],
    );
    let backend = Backend::answering(switched).await;
    let asks = [
        (
            "share = true",
            Ask::get("/x").field("Accept: application/json"),
        ),
        (
            "poll = \"1s\"",
            Ask::get("/x").field("Accept: application/json"),
        ),
        ("resume = true", Ask::post("/x", "{\"stream\":true}")),
    ];
    for (route, ask) in asks {
        let gateway = Gateway::start(&toml(&backend.url(), route)).await;
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), 502, "{route}: {}", answer.text());
        assert_eq!(answer.json()["error"]["code"], "upstream_malformed");
    }
}

/// 44. Names that somebody had once subscribed to, and that held nothing, kept their places: whoever asked for
/// many of them took those of feeds, of kept answers, and of topics that held something.
#[tokio::test]
async fn r44_topics_that_hold_nothing_give_their_places_back() {
    let backend = Backend::answering(wire::answer(
        wire::Framing::Length,
        200,
        "text/event-stream",
        "data: 1\n\n",
    ))
    .await;
    let routes = format!(
        "{TOPICS}[upstreams.model]\nurl = \"{}\"\n[routes.kept]\npath = \"/kept\"\nto = \"model\"\nresume = true\n",
        backend.url()
    );
    let gateway = Gateway::start(&routes).await;
    gateway.fetch(&post("held", "text/plain", "1")).await;
    for name in 0..6 {
        poll(&gateway, &format!("empty/{name}"), "").await;
    }
    let held = poll(&gateway, "held", "&after=0").await;
    assert_eq!(held["events"][0]["data"], "1", "{held}");
    for name in 6..8 {
        poll(&gateway, &format!("empty/{name}"), "").await;
    }
    let ask = Ask::post("/kept", "{}").field("Accept: text/event-stream");
    let kept = gateway.fetch(&ask).await;
    assert!(
        kept.head.get("deltaway-stream").is_some(),
        "{}",
        kept.text()
    );
    let held = poll(&gateway, "held", "&after=0").await;
    assert_eq!(held["events"][0]["data"], "1", "{held}");
}

/// 45. Subscribers over WebSocket were sent away within five seconds, however short the drain was: some were cut.
#[tokio::test]
async fn r45_a_short_drain_is_enough_for_every_websocket() {
    let gateway = Gateway::start(TOPICS).await;
    let url = format!("ws://{}/topics/a", gateway.address);
    let mut sockets = Vec::new();
    for _ in 0..12 {
        sockets.push(within("an upgrade", connect_async(&url)).await.unwrap().0);
    }
    let farewells = futures_util::future::join_all(sockets.into_iter().map(async |mut socket| {
        let farewell = within("a farewell", socket.next()).await;
        // The handshake is answered while the end is read.
        while socket.next().await.is_some() {}
        farewell
    }));
    let ((), farewells) = tokio::join!(gateway.stop(), farewells);
    for farewell in farewells {
        let Some(Ok(Message::Close(Some(close)))) = farewell else {
            panic!("{farewell:?}");
        };
        assert_eq!(u16::from(close.code), 1001);
    }
}

/// 46. All events of a publication were held before there turned out to be too many: some hundred megabytes of them.
#[tokio::test]
async fn r46_too_many_events_are_refused_before_all_are_held() {
    let gateway = Gateway::start(TOPICS).await;
    for (kind, event) in [
        ("text/event-stream", "data\n\n"),
        ("text/event-stream", "id: 1\n\n"),
        ("application/x-ndjson", "{\"data\":1}\n"),
    ] {
        let most = gateway.fetch(&post("a", kind, &event.repeat(10_000))).await;
        let expected = if event.starts_with("id") { 400 } else { 200 };
        assert_eq!(most.status(), expected, "{kind}: {}", most.text());
        // Wrong in its last event, which is not reached.
        let body = event.repeat(30_000) + "data: \u{0}\nid: x\nevent: \n{\n\n";
        let answer = gateway.fetch(&post("a", kind, &body)).await;
        assert_eq!(answer.status(), 400);
        assert!(
            answer.text().contains("more than 10000"),
            "{}",
            answer.text()
        );
    }
}

/// 47. Readers of the same path on two hosts shared a feed, and callers a kept answer, though the upstream is told the
/// host and may answer for each on its own.
#[tokio::test]
async fn r47_the_same_path_on_another_host_is_another_url() {
    let backend = Backend::listen().await;
    let feeds = Gateway::start(&toml(&backend.url(), "share = true")).await;
    let kept = Gateway::start(&toml(&backend.url(), "resume = true\ndedupe = true")).await;
    let key = "Authorization: Bearer key\r\nAccept: text/event-stream\r\n";
    for (gateway, method) in [(&feeds, "GET"), (&kept, "POST")] {
        let ask = |host| {
            format!("{method} /x HTTP/1.1\r\nHost: {host}\r\n{key}Content-Length: 2\r\n\r\n{{}}")
        };
        let mut clients = Vec::new();
        for host in ["a.example", "b.example", "a.example"] {
            let mut client = Client::connect(gateway.address).await;
            client.send(ask(host)).await;
            clients.push(client);
        }
        let mut peers = Vec::new();
        for _ in 0..2 {
            let (mut peer, request) = backend.request().await;
            let host = request.head.get("x-forwarded-host").expect("a host");
            peer.send(wire::event_stream()).await;
            peers.push((peer, format!("data: of {host}\n\n")));
        }
        // Who came to a feed after its event would never see one.
        for client in &mut clients {
            assert_eq!(client.head().await.status(), 200);
        }
        for (peer, event) in &mut peers {
            peer.chunk(event).await;
        }
        for (client, host) in clients.iter_mut().zip(["a", "b", "a"]) {
            let expected = format!("data: of {host}.example\n\n");
            let mut seen = Vec::new();
            while wire::find(&seen, b"data").is_none() {
                let piece = client.piece().await.expect("an event");
                seen.extend_from_slice(&piece.data);
            }
            let seen = String::from_utf8_lossy(&seen);
            assert!(seen.ends_with(&expected), "{seen}");
        }
    }
}

/// 48. A drain waited for the 25 seconds of a long poll.
#[tokio::test]
async fn r48_no_subscriber_uses_up_a_long_drain() {
    let gateway = Gateway::start(&TOPICS.replace("200ms", "60s")).await;
    let mut polls = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..6 {
        let poll = Ask::get("/topics/a?transport=long-poll");
        polls.push(gateway.asking(&poll).await);
        readers.push(Reader::open(&gateway, &Ask::get("/topics/a")).await);
    }
    let mut there = 0.0;
    while there < 12.0 {
        there = within("all to subscribe", gateway.metric("subscribers")).await;
    }
    let told = async {
        for poll in &mut polls {
            let answer = poll.answer().await.json();
            assert_eq!(answer["events"].as_array().map(Vec::len), Some(0));
        }
        for reader in &mut readers {
            assert_eq!(reader.rest().await, (vec![], Ended::LastChunk(vec![])));
            let said = String::from_utf8_lossy(&reader.raw);
            assert!(
                said.contains("\nretry: "),
                "it says when to come back: {said:?}"
            );
        }
    };
    tokio::join!(gateway.stop(), told);
}

//! Topics: who posts, who reads, and who may.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::client::Answer;
use crate::support::{Ask, Client, Ended, Gateway, Reader};

/// Routes that publish and subscribe, for everybody.
const OPEN: &str = r#"
[server]
listen = "127.0.0.1:0"
workers = 2
[routes.topics]
path = "/topics/{topic*}"
publish = "{topic}"
subscribe = "{topic}"
[routes.any]
path = "/any"
subscribe = "{query.topic*}"
patterns = true
[routes.notify]
path = "/notify"
subscribe = ["user/{query.user}", "all"]
greeting = "welcome"
[topics."old/*"]
start = "oldest"
[topics."last/*"]
start = "latest"
[topics."short/*"]
history = { events = 2 }
"#;

/// A publication of one event.
fn post(topic: &str, data: &str) -> Ask {
    Ask::new("POST", &format!("/topics/{topic}"))
        .field("Content-Type: text/plain")
        .body(data)
}

/// Publishes; the ids.
async fn publish(gateway: &Gateway, ask: &Ask) -> Vec<String> {
    let answer = gateway.fetch(ask).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    assert_eq!(answer.head.get("content-type"), Some("application/json"));
    let ids = answer.json()["ids"].as_array().expect("ids").clone();
    ids.iter()
        .map(|id| id.as_str().expect("an id").to_owned())
        .collect()
}

async fn subscribe(gateway: &Gateway, target: &str) -> Reader {
    Reader::open(gateway, &Ask::get(target)).await
}

/// Subscribes after the event `id`.
async fn resume(gateway: &Gateway, target: &str, id: &str) -> Reader {
    let ask = Ask::get(target).field(&format!("Last-Event-ID: {id}"));
    Reader::open(gateway, &ask).await
}

fn code(answer: &Answer) -> (u16, Value) {
    (answer.status(), answer.json()["error"]["code"].clone())
}

#[tokio::test]
async fn what_is_posted_reaches_every_tab_of_every_reader() {
    let gateway = Gateway::start(OPEN).await;
    let mut tabs = Vec::new();
    for _ in 0..4 {
        tabs.push(subscribe(&gateway, "/topics/news").await);
    }
    let mut other = subscribe(&gateway, "/topics/other").await;
    let ids = publish(&gateway, &post("news", "one\ntwo")).await;
    publish(&gateway, &post("other", "three")).await;
    for tab in &mut tabs {
        let event = tab.next().await;
        assert_eq!((event.data.as_str(), &event.name), ("one\ntwo", &None));
        assert_eq!(event.id.as_ref(), ids.first());
    }
    other.reads(&["three"]).await;
}

#[tokio::test]
async fn an_event_has_the_name_the_id_and_the_pause_its_publisher_gives_it() {
    let gateway = Gateway::start(OPEN).await;
    let mut reader = subscribe(&gateway, "/topics/a").await;
    let fields = post("a", "1")
        .field("Deltaway-Event: price")
        .field("Deltaway-Id: own-1")
        .field("Deltaway-Retry: 1500");
    publish(&gateway, &fields).await;
    let query = post("a?event=price&id=own%2F2&retry=2500", "2");
    publish(&gateway, &query).await;
    for (id, retry) in [("own-1", 1500), ("own/2", 2500)] {
        let event = reader.next().await;
        assert_eq!(
            (event.name.as_deref(), event.retry),
            (Some("price"), Some(retry))
        );
        assert_eq!(event.id.as_deref(), Some(id));
    }
    resume(&gateway, "/topics/a", "own-1")
        .await
        .reads(&["2"])
        .await;
}

#[tokio::test]
async fn many_events_can_be_posted_at_once() {
    let gateway = Gateway::start(OPEN).await;
    let mut reader = subscribe(&gateway, "/topics/a").await;
    let stream =
        "event: x\nid: i\ndata: 1\ndata: 2\n\n: comment\n\ndata:3\r\n\r\nretry: 7\ndata: 4";
    let ask = Ask::new("POST", "/topics/a").field("Content-Type: text/event-stream; charset=utf-8");
    assert_eq!(publish(&gateway, &ask.body(stream)).await.len(), 3);
    let first = reader.next().await;
    assert_eq!(
        (first.name.as_deref(), first.id.as_deref()),
        (Some("x"), Some("i"))
    );
    assert_eq!(first.data, "1\n2");
    reader.reads(&["3", "4"]).await;

    let lines = "{\"data\":\"1\\n2\",\"event\":\"y\"}\n\n{\"data\":{\"a\":[1]},\"id\":\"j\"}\r\n{\"data\":5,\"retry\":9}";
    let ask = Ask::new("POST", "/topics/a").field("Content-Type: application/x-ndjson");
    assert_eq!(publish(&gateway, &ask.body(lines)).await.len(), 3);
    let first = reader.next().await;
    assert_eq!(
        (first.name.as_deref(), first.data.as_str()),
        (Some("y"), "1\n2")
    );
    let second = reader.next().await;
    assert_eq!(
        (second.id.as_deref(), second.data.as_str()),
        (Some("j"), "{\"a\":[1]}")
    );
    assert_eq!(reader.next().await.retry, Some(9));
}

#[tokio::test]
async fn a_publication_that_is_sent_again_is_published_once() {
    let gateway = Gateway::start(OPEN).await;
    let mut reader = subscribe(&gateway, "/any?topic=a&topic=b").await;
    let ask = post("a", "1").field("Idempotency-Key: k");
    let ids = publish(&gateway, &ask).await;
    assert_eq!(publish(&gateway, &ask).await, ids);
    let other = post("b", "2").field("Idempotency-Key: k");
    assert_ne!(
        publish(&gateway, &other).await,
        ids,
        "a key is for one topic"
    );
    publish(&gateway, &post("a", "1")).await;
    reader.reads(&["1", "2", "1"]).await;
}

#[tokio::test]
async fn one_id_resumes_any_set_of_topics_and_patterns() {
    let gateway = Gateway::start(OPEN).await;
    let sets = ["topic=a&topic=b/c", "topic=a&topic=b/*", "topic=*"];
    let mut readers = Vec::new();
    for set in sets {
        readers.push(subscribe(&gateway, &format!("/any?{set}")).await);
    }
    let topics = ["a", "b/c", "a", "b/c", "b/c", "a"];
    let mut ids = Vec::new();
    for (number, topic) in topics.iter().enumerate() {
        ids.extend(publish(&gateway, &post(topic, &number.to_string())).await);
    }
    for (set, mut reader) in sets.into_iter().zip(readers) {
        reader.reads(&["0", "1", "2", "3", "4", "5"]).await;
        for (seen, id) in ids.iter().enumerate() {
            publish(&gateway, &post("a", "more")).await;
            let mut back = resume(&gateway, &format!("/any?{set}"), id).await;
            for number in seen + 1..topics.len() {
                back.reads(&[&number.to_string()]).await;
            }
            back.reads(&["more"]).await;
        }
    }
}

#[tokio::test]
async fn a_pattern_means_topics_that_come_to_be_later_too() {
    let gateway = Gateway::start(OPEN).await;
    let mut below = subscribe(&gateway, "/any?topic=room/*").await;
    let mut middle = subscribe(&gateway, "/any?topic=room/*/typing").await;
    for (topic, data) in [
        ("room/1", "a"),
        ("rooms/1", "b"),
        ("room/1/typing", "c"),
        ("room", "d"),
        ("room/2/x/y", "e"),
    ] {
        publish(&gateway, &post(topic, data)).await;
    }
    below.reads(&["a", "c", "e"]).await;
    publish(&gateway, &post("room/9/typing", "f")).await;
    middle.reads(&["c", "f"]).await;
    below.reads(&["f"]).await;
    // Once for a reader, however many of its patterns mean the topic.
    let mut twice = subscribe(&gateway, "/any?topic=room/*&topic=room/1&topic=room/1").await;
    publish(&gateway, &post("room/1", "g")).await;
    publish(&gateway, &post("room/1", "h")).await;
    twice.reads(&["g", "h"]).await;
}

#[tokio::test]
async fn a_new_reader_begins_where_the_topic_says() {
    let gateway = Gateway::start(OPEN).await;
    for (topic, expected) in [
        ("live/x", &["3"][..]),
        ("last/x", &["2", "3"]),
        ("old/x", &["1", "2", "3"]),
    ] {
        for data in ["1", "2"] {
            publish(&gateway, &post(topic, data)).await;
        }
        let mut reader = subscribe(&gateway, &format!("/topics/{topic}")).await;
        publish(&gateway, &post(topic, "3")).await;
        reader.reads(expected).await;
    }
}

#[tokio::test]
async fn who_was_away_too_long_is_told_of_the_gap() {
    let gateway = Gateway::start(OPEN).await;
    let mut ids = Vec::new();
    for data in ["1", "2", "3", "4"] {
        ids.extend(publish(&gateway, &post("short/x", data)).await);
    }
    let mut back = resume(&gateway, "/topics/short/x", &ids[0]).await;
    let gap = back.next().await;
    assert_eq!(gap.name.as_deref(), Some("gap"));
    let told: Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!(
        (&told["reason"], &told["topic"]),
        (&json!("evicted"), &json!("short/x"))
    );
    assert_eq!(
        (&told["after"], &told["through"]),
        (&json!(ids[0]), &json!(ids[1]))
    );
    back.reads(&["3", "4"]).await;
    resume(&gateway, "/topics/short/x", &ids[1])
        .await
        .reads(&["3", "4"])
        .await;
}

#[tokio::test]
async fn a_subscription_begins_with_its_place_and_the_greeting_of_its_route() {
    let gateway = Gateway::start(OPEN).await;
    let mut reader = subscribe(&gateway, "/notify?user=7").await;
    let greeting = reader.next().await;
    assert_eq!((greeting.id, greeting.data.as_str()), (None, "welcome"));
    assert!(
        !reader.last_id.is_empty(),
        "cut now, it would know where to go on"
    );
    let missed = publish(&gateway, &post("user/7", "1")).await;
    publish(&gateway, &post("user/8", "2")).await;
    publish(&gateway, &post("all", "3")).await;
    let begin = reader.last_id.clone();
    assert_eq!(reader.next().await.id.as_ref(), missed.first());
    reader.reads(&["3"]).await;
    let mut back = resume(&gateway, "/notify?user=7", &begin).await;
    back.reads(&["welcome", "1", "3"]).await;
    assert_eq!(
        code(&gateway.fetch(&Ask::get("/notify")).await),
        (400, json!("bad_topic"))
    );
}

#[tokio::test]
async fn a_connection_ends_in_time_and_its_reader_goes_on() {
    let config = OPEN.replace("greeting = \"welcome\"", "max_age = \"300ms\"");
    let gateway = Gateway::start(&config).await;
    let mut reader = subscribe(&gateway, "/notify?user=7").await;
    publish(&gateway, &post("all", "1")).await;
    let (events, ended) = reader.rest().await;
    assert_eq!((events.len(), ended), (1, Ended::LastChunk(vec![])));
    publish(&gateway, &post("all", "2")).await;
    let mut back = resume(&gateway, "/notify?user=7", &reader.last_id).await;
    back.reads(&["2"]).await;
}

#[tokio::test]
async fn keys_publish_and_subscribe_where_they_may() {
    let config = OPEN
        .replace(
            "patterns = true",
            "patterns = true\nallow = [\"app\", \"user\", \"none\"]",
        )
        .replace(
            "subscribe = \"{topic}\"",
            "subscribe = \"{topic}\"\nallow = [\"app\", \"user\", \"none\"]",
        )
        + "[keys.app]\nvalue = \"app-key\"\n\
           [keys.user]\nvalue = \"user-key\"\npublish = [\"chat/*\"]\nsubscribe = [\"user/*\", \"all\"]\n\
           [keys.none]\nvalue = \"none-key\"\npublish = []\nsubscribe = []\n\
           [keys.stranger]\nvalue = \"stranger-key\"\n";
    let gateway = Gateway::start(&config).await;
    let by = |key: &str, ask: Ask| ask.field(&format!("X-Api-Key: {key}-key"));
    for (key, topic, status) in [
        ("app", "anything/at/all", 200),
        ("user", "chat/1", 200),
        ("user", "user/1", 403),
        ("user", "chat", 403),
        ("none", "chat/1", 403),
        ("stranger", "chat/1", 401),
        ("wrong", "chat/1", 401),
    ] {
        let answer = gateway.fetch(&by(key, post(topic, "x"))).await;
        assert_eq!(answer.status(), status, "{key} {topic}: {}", answer.text());
        if status == 403 {
            assert!(answer.text().contains(topic), "{}", answer.text());
            assert!(answer.head.get("www-authenticate").is_some());
        }
    }
    for (key, query, status) in [
        ("app", "topic=*", 200),
        ("user", "topic=user/1&topic=all", 200),
        ("user", "topic=user/*", 200),
        ("user", "topic=*", 403),
        ("user", "topic=user/1&topic=chat/1", 403),
        ("none", "topic=all", 403),
        ("stranger", "topic=all", 401),
    ] {
        let mut client = gateway
            .asking(&by(key, Ask::get(&format!("/any?{query}"))))
            .await;
        assert_eq!(client.head().await.status(), status, "{key} {query}");
    }
    assert_eq!(gateway.fetch(&post("chat/1", "x")).await.status(), 401);
}

#[tokio::test]
async fn other_methods_are_told_which_are_served() {
    let gateway = Gateway::start(OPEN).await;
    for method in ["PUT", "DELETE", "PATCH"] {
        let answer = gateway.fetch(&Ask::new(method, "/topics/a")).await;
        assert_eq!(
            code(&answer),
            (405, json!("method_not_allowed")),
            "{method}"
        );
        assert_eq!(answer.head.get("allow"), Some("GET, HEAD, POST"));
    }
    let answer = gateway.fetch(&Ask::post("/any?topic=a", "{}")).await;
    assert_eq!(
        (answer.status(), answer.head.get("allow")),
        (405, Some("GET, HEAD"))
    );
    let mut client = Client::connect(gateway.address).await;
    let head = client.exchange(&Ask::new("HEAD", "/topics/a")).await;
    assert_eq!(
        (head.status(), head.head.get("content-type")),
        (200, Some("text/event-stream"))
    );
    // And the connection is free for the next request.
    let ids = client.exchange(&post("a", "1")).await;
    assert_eq!(ids.status(), 200);
}

#[tokio::test]
async fn lines_of_json_are_another_way_to_read() {
    let gateway = Gateway::start(OPEN).await;
    for ask in [
        Ask::get("/topics/n?transport=ndjson"),
        Ask::get("/topics/n").field("Accept: application/x-ndjson"),
    ] {
        let mut client = gateway.asking(&ask).await;
        let head = client.head().await;
        assert_eq!(head.get("content-type"), Some("application/x-ndjson"));
        let ask = post("n", "1\n2").field("Deltaway-Event: x");
        let ids = publish(&gateway, &ask).await;
        let line = json!({ "id": ids[0], "event": "x", "data": "1\n2" });
        let mut text = Vec::new();
        while !text.ends_with(b"\n") {
            text.extend_from_slice(&client.piece().await.expect("a line").data);
        }
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), line);
    }
}

#[tokio::test]
async fn a_poll_gives_what_there_is_and_where_to_go_on() {
    let gateway = Gateway::start(OPEN).await;
    let empty = gateway
        .fetch(&Ask::get("/topics/a?transport=poll"))
        .await
        .json();
    assert_eq!(
        (&empty["events"], &empty["closed"]),
        (&json!([]), &json!(false))
    );
    let mut cursor = empty["cursor"].as_str().expect("a cursor").to_owned();
    let mut ids = Vec::new();
    for data in ["1", "2"] {
        ids.extend(publish(&gateway, &post("a", data)).await);
    }
    for expected in [&["1", "2"][..], &[]] {
        let target = format!("/topics/a?transport=poll&cursor={cursor}");
        let answer = gateway.fetch(&Ask::get(&target)).await;
        assert_eq!(answer.head.get("cache-control"), Some("no-store"));
        let answer = answer.json();
        let data: Vec<_> = answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| &event["data"])
            .collect();
        assert_eq!(data, expected);
        cursor = answer["cursor"].as_str().expect("a cursor").to_owned();
        assert_eq!(cursor, ids[1]);
    }
    // The cursor goes on over another transport, and the other way round.
    publish(&gateway, &post("a", "3")).await;
    resume(&gateway, "/topics/a", &cursor)
        .await
        .reads(&["3"])
        .await;
    let target = format!("/topics/a?transport=poll&last_event_id={}", ids[0]);
    let answer = gateway.fetch(&Ask::get(&target)).await.json();
    assert_eq!(answer["events"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_long_poll_waits_for_the_next_event() {
    let gateway = Gateway::start(OPEN).await;
    let cursor = publish(&gateway, &post("a", "1")).await.remove(0);
    for ask in [
        Ask::get(&format!("/topics/a?transport=long-poll&cursor={cursor}")),
        Ask::get("/topics/a")
            .field("Accept: application/json")
            .field(&format!("Last-Event-ID: {cursor}")),
    ] {
        let mut clients = vec![gateway.asking(&ask).await, gateway.asking(&ask).await];
        let ids = publish(&gateway, &post("a", "2")).await;
        for client in &mut clients {
            let answer = client.answer().await.json();
            let first = &answer["events"][0];
            assert_eq!(first["data"], "2");
            assert!(
                answer["cursor"].as_str() >= first["id"].as_str(),
                "{answer} {ids:?}"
            );
        }
    }
}

/// The one test that has to wait as long as a client would.
#[tokio::test]
async fn a_long_poll_of_nothing_is_an_empty_list_and_a_cursor_to_go_on_from() {
    let gateway = Gateway::start(OPEN).await;
    let began = Instant::now();
    // By hand: the clients of these tests wait less.
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let ask = "GET /topics/a?transport=long-poll HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    client.write_all(ask.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let answered = timeout(Duration::from_secs(90), client.read_to_string(&mut answer)).await;
    answered.expect("an answer").unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    let empty: Value = serde_json::from_str(body).unwrap();
    assert!(began.elapsed() >= Duration::from_secs(25));
    assert_eq!(
        (&empty["events"], &empty["closed"]),
        (&json!([]), &json!(false))
    );
    publish(&gateway, &post("a", "1")).await;
    let cursor = empty["cursor"].as_str().expect("a cursor");
    let target = format!("/topics/a?transport=long-poll&cursor={cursor}");
    let answer = gateway.fetch(&Ask::get(&target)).await.json();
    assert_eq!(answer["events"][0]["data"], "1", "{answer}");
}

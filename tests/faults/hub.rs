//! What goes wrong around streams that are kept: ids that say nothing, events and names that are none, readers
//! who do not read, and bounds that are reached.

use serde_json::Value;

use crate::support::api::CHAT;
use crate::support::client::Answer;
use crate::support::{Ask, Backend, Client, Ended, Gateway, Reader, toml, wire, within};

/// Topics for everybody.
const OPEN: &str = r#"
[server]
listen = "127.0.0.1:0"
[admin]
listen = "127.0.0.1:0"
[routes.topics]
path = "/topics/{topic*}"
publish = "{topic}"
subscribe = "{topic}"
[routes.any]
path = "/any"
subscribe = "{query.topic*}"
patterns = true
[routes.one]
path = "/one"
publish = "one/{query.topic}"
subscribe = "one/{query.topic}"
"#;

fn post(topic: &str, data: impl AsRef<[u8]>) -> Ask {
    Ask::new("POST", &format!("/topics/{topic}"))
        .field("Content-Type: text/plain")
        .body(data)
}

/// Publishes; the id.
async fn publish(gateway: &Gateway, topic: &str, data: &str) -> String {
    let answer = gateway.fetch(&post(topic, data)).await;
    assert_eq!(answer.status(), 200, "{}", answer.text());
    answer.json()["ids"][0].as_str().expect("an id").to_owned()
}

fn code(answer: &Answer) -> (u16, String) {
    let code = answer.json()["error"]["code"].as_str().map(str::to_owned);
    (answer.status(), code.unwrap_or_default())
}

#[tokio::test]
async fn an_id_that_says_nothing_here_is_told_as_a_gap_and_costs_nothing() {
    let long = "x".repeat(4000);
    for (end, reason) in [
        (".", "unknown"),
        (".-1", "unknown"),
        (".01", "unknown"),
        (".1.1", "unknown"),
        (".18446744073709551616", "unknown"),
        (".18446744073709551615", "ahead"),
        (".3", "ahead"),
        ("garbage", "unknown"),
        (&long, "unknown"),
        ("000000000000.1", "epoch"),
    ] {
        let gateway = Gateway::start(OPEN).await;
        let first = publish(&gateway, "a", "1").await;
        publish(&gateway, "a", "2").await;
        let (epoch, _) = first.split_once('.').expect("an id of ours");
        let epoch = if end.starts_with('.') { epoch } else { "" };
        let ask = Ask::get("/topics/a").field(&format!("Last-Event-ID: {epoch}{end}"));
        let mut reader = Reader::open(&gateway, &ask).await;
        let gap = reader.next().await;
        assert_eq!(gap.name.as_deref(), Some("gap"), "{end}");
        let told: Value = serde_json::from_str(&gap.data).unwrap();
        assert_eq!(told["reason"], reason, "{end}");
        reader.reads(&["1", "2"]).await;
        // What it was told is where it goes on.
        let ask = Ask::get("/topics/a").field(&format!("Last-Event-ID: {}", reader.last_id));
        let mut again = Reader::open(&gateway, &ask).await;
        publish(&gateway, "a", "3").await;
        again.reads(&["3"]).await;
        reader.reads(&["3"]).await;
    }
}

#[tokio::test]
async fn line_breaks_in_an_id_are_nobodys_lines() {
    let gateway = Gateway::start(OPEN).await;
    publish(&gateway, "a", "1").await;
    let target = "/topics/a?last_event_id=x%0d%0adata:%20evil%0a%0aevent:%20evil%00";
    let mut reader = Reader::open(&gateway, &Ask::get(target)).await;
    assert_eq!(reader.next().await.name.as_deref(), Some("gap"));
    reader.reads(&["1"]).await;
    let raw = String::from_utf8(reader.raw).unwrap();
    assert!(!raw.contains("evil"), "{raw}");
}

#[tokio::test]
async fn an_event_that_no_stream_can_hold_is_refused_whole() {
    let gateway = Gateway::start(OPEN).await;
    let mut reader = Reader::open(&gateway, &Ask::get("/topics/a")).await;
    let good = "{\"data\":\"never\"}\n";
    let own = publish(&gateway, "b", "x").await;
    for line in [
        r#"{"data":"x","event":"a\nb"}"#,
        r#"{"data":"x","event":"a\rb"}"#,
        r#"{"data":"x","event":"a\u0000b"}"#,
        r#"{"data":"x","id":"a\nb"}"#,
        r#"{"data":"x","id":"a\u0000b"}"#,
        r#"{"data":"x","id":""}"#,
        r#"{"data":"x","retry":-1}"#,
        r#"{"data":"x","retry":"1"}"#,
        r#"{"data":"x","name":"y"}"#,
        r#"{"event":"x"}"#,
        r#"["data"]"#,
        r#"{"data":"x""#,
        &format!(r#"{{"data":"x","id":"{}"}}"#, "i".repeat(257)),
        &format!(r#"{{"data":"x","id":"{own}"}}"#),
    ] {
        let ask = Ask::new("POST", "/topics/a").field("Content-Type: application/x-ndjson");
        let answer = gateway.fetch(&ask.body(format!("{good}{line}"))).await;
        assert_eq!(code(&answer), (400, "bad_event".to_owned()), "{line}");
        assert!(
            answer.text().contains('2'),
            "it says which: {}",
            answer.text()
        );
    }
    for target in [
        "/topics/a?event=a%0Ab",
        "/topics/a?event=a%00",
        "/topics/a?id=%0D",
        "/topics/a?retry=soon",
    ] {
        let answer = gateway.fetch(&Ask::new("POST", target).body("never")).await;
        assert_eq!(code(&answer), (400, "bad_event".to_owned()), "{target}");
    }
    let bytes = gateway.fetch(&post("a", [0xff, 0xfe])).await;
    assert_eq!(code(&bytes), (400, "bad_event".to_owned()));
    let none = Ask::new("POST", "/topics/a").field("Content-Type: text/event-stream");
    let none = gateway.fetch(&none.body(": nothing\n\nid: 1\n\n")).await;
    assert_eq!(code(&none), (400, "bad_event".to_owned()));
    publish(&gateway, "a", "good").await;
    reader.reads(&["good"]).await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_reader_sees_nothing_of_it() {
    let config = OPEN.replace(
        "[routes.topics]",
        "[hub]\nevent = \"2KiB\"\n[routes.topics]\nmax_body = \"10KB\"",
    );
    let gateway = Gateway::start(&config).await;
    let mut reader = Reader::open(&gateway, &Ask::get("/topics/a")).await;
    let large = "x".repeat(3000);
    let stream = format!("data: 1\n\ndata: {large}\n\n");
    let lines = format!("{{\"data\":1}}\n{{\"data\":\"{large}\"}}\n");
    for (kind, body) in [
        ("text/plain", &large),
        ("text/event-stream", &stream),
        ("application/x-ndjson", &lines),
    ] {
        let kind = format!("Content-Type: {kind}");
        let answer = gateway
            .fetch(&Ask::new("POST", "/topics/a").field(&kind).body(body))
            .await;
        assert_eq!(code(&answer), (413, "event_too_large".to_owned()), "{kind}");
        assert!(answer.text().contains("hub.event"));
    }
    let answer = gateway.fetch(&post("a", "x".repeat(11_000))).await;
    assert_eq!(code(&answer), (413, "body_too_large".to_owned()));
    // Announced by nothing, it is counted as it comes.
    let mut client = Client::connect(gateway.address).await;
    client
        .send("POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..11 {
        client.send(wire::chunk("x".repeat(1000))).await;
    }
    client.send(wire::LAST).await;
    assert_eq!(client.answer().await.status(), 413);
    publish(&gateway, "a", "good").await;
    reader.reads(&["good"]).await;
}

#[tokio::test]
async fn what_is_no_name_of_a_topic_is_neither_published_to_nor_subscribed_to() {
    let gateway = Gateway::start(OPEN).await;
    let long = format!("/topics/{}", "x".repeat(256));
    for target in [
        "/topics/a%00b",
        "/topics/a%0Ab",
        "/topics/a%0d",
        "/topics/%7F",
        "/topics/%1f",
        "/topics/a/../b",
        "/topics/..",
        "/topics/%2e%2e/b",
        "/topics/.%2E",
        "/topics/./a",
        "/topics/a%2Fb",
        "/topics/a%2fb",
        "/topics/a%5Cb%2F..",
        "/topics/*",
        "/topics/a/*",
        "/topics/a*",
        "/topics/%2A",
        "/topics/a//b",
        "/topics/a/",
        "/topics/%7Ba%7D",
        "/topics/%ff",
        "/topics/%zz",
        &long,
        "/one?topic=a/b",
        "/one?topic=a%2Fb",
        "/one?topic=..",
        "/one?topic=*",
        "/one?topic=",
        "/one?topic=a%00",
        "/one",
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = gateway
                .fetch(&Ask::new(method, target).field("Content-Length: 0"))
                .await;
            assert_eq!(answer.status(), 400, "{method} {target}: {}", answer.text());
        }
    }
    for query in [
        "topic=a&topic=..",
        "topic=a*",
        "topic=a/**",
        "topic=a%0A",
        "topic=",
        "x=1",
    ] {
        let answer = gateway.fetch(&Ask::get(&format!("/any?{query}"))).await;
        assert_eq!(code(&answer), (400, "bad_topic".to_owned()), "{query}");
        assert!(!answer.text().contains('\n'), "{}", answer.text());
    }
    let many: Vec<_> = (0..65).map(|number| format!("topic={number}")).collect();
    let answer = gateway
        .fetch(&Ask::get(&format!("/any?{}", many.join("&"))))
        .await;
    assert_eq!(code(&answer), (400, "bad_topic".to_owned()));
    assert_eq!(gateway.metric("streams").await, 0.0);
    assert_eq!(gateway.metric("subscribers").await, 0.0);
}

/// What a topic of `slow` does to a reader who stops reading, while another reads on.
async fn stalled(slow: &str) -> (Gateway, Reader, String) {
    let rules = format!("[topics.\"a\"]\nslow = \"{slow}\"\nhistory = {{ bytes = \"512KiB\" }}\n");
    let gateway = Gateway::start(&(OPEN.to_owned() + &rules)).await;
    let mut client = Client::connect_with_little_room(gateway.address).await;
    client.ask(&Ask::get("/topics/a")).await;
    let mut stalled = Reader::answered(client).await;
    publish(&gateway, "a", "first").await;
    stalled.reads(&["first"]).await;
    let mut other = Reader::open(&gateway, &Ask::get("/topics/a")).await;
    let filler = "x".repeat(60_000);
    for number in 0..300 {
        let data = format!("{number} {filler}");
        publish(&gateway, "a", &data).await;
        assert_eq!(
            other.next().await.data,
            data,
            "nobody waits for the one who does not read"
        );
        assert!(gateway.metric("stream_bytes").await <= 600_000.0);
    }
    let last = publish(&gateway, "a", "last").await;
    assert_eq!(other.next().await.data, "last");
    (gateway, stalled, last)
}

#[tokio::test]
async fn a_reader_who_does_not_read_skips_what_is_gone() {
    for slow in ["skip", "latest"] {
        let (gateway, mut reader, last) = stalled(slow).await;
        let mut gaps = Vec::new();
        let mut next = 0;
        loop {
            let event = reader.next().await;
            if event.name.as_deref() == Some("gap") {
                let told: Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(told["reason"], "evicted");
                gaps.push(told);
                continue;
            }
            if event.data == "last" {
                assert_eq!(event.id, Some(last));
                break;
            }
            let number: i32 = event.data.split(' ').next().unwrap().parse().unwrap();
            assert!(
                number == next || !gaps.is_empty() && number > next,
                "{number}, {next}"
            );
            next = number + 1;
        }
        assert!(!gaps.is_empty(), "{slow}: the kernel holds it all?");
        assert!(gateway.metric("gaps_total").await >= 1.0);
        assert_eq!(gateway.metric("lagged_total").await, 0.0);
    }
}

#[tokio::test]
async fn a_reader_who_does_not_read_is_sent_away_where_the_topic_says_so() {
    let (gateway, mut reader, last) = stalled("disconnect").await;
    let (events, _) = reader.rest().await;
    assert!(events.len() < 300 && events.iter().all(|event| event.name.is_none()));
    assert_eq!(gateway.metric("lagged_total").await, 1.0);
    let ask = Ask::get("/topics/a").field(&format!("Last-Event-ID: {}", reader.last_id));
    let mut back = Reader::open(&gateway, &ask).await;
    assert_eq!(back.next().await.name.as_deref(), Some("gap"));
    while back.next().await.id.as_ref() != Some(&last) {}
}

#[tokio::test]
async fn beyond_the_bound_of_streams_nothing_more_is_opened() {
    let backend = Backend::listen().await;
    let feed = "[upstreams.model]\nurl = \"URL\"\n[routes.feed]\npath = \"/feed/*\"\nto = \"model\"\nshare = true\n";
    let config = OPEN.to_owned() + &feed.replace("URL", &backend.url()) + "[hub]\nstreams = 2\n";
    let gateway = Gateway::start(&config).await;
    let first = Reader::open(&gateway, &Ask::get("/topics/a")).await;
    let client = gateway.asking(&Ask::get("/feed/x")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    let mut second = Reader::answered(client).await;
    for ask in [
        Ask::get("/topics/b"),
        post("b", "x"),
        Ask::get("/feed/y"),
        Ask::get("/any?topic=a&topic=b"),
    ] {
        let answer = gateway.fetch(&ask).await;
        assert_eq!(code(&answer), (503, "hub_full".to_owned()));
        assert_eq!(answer.head.get("retry-after"), Some("5"));
        assert!(answer.text().contains("hub.streams"));
    }
    let refused = gateway.metric("streams_refused_total").await;
    assert!(refused >= 4.0, "{refused}");
    assert_eq!(
        (
            gateway.metric("streams").await,
            gateway.metric("subscribers").await
        ),
        (2.0, 2.0)
    );
    // Who is there is served, and shares with others.
    publish(&gateway, "a", "1").await;
    peer.chunk("data: 2\n\n").await;
    second.reads(&["2"]).await;
    Reader::open(&gateway, &Ask::get("/feed/x")).await;
    // A topic that nobody reads gives way.
    first.leave();
    let begun = std::time::Instant::now();
    while gateway.fetch(&post("b", "x")).await.status() != 200 {
        assert!(begun.elapsed().as_secs() < 20, "no room for ever");
    }
}

#[tokio::test]
async fn the_bytes_of_all_streams_together_are_bounded() {
    let rules = "[hub]\nbytes = \"1MiB\"\nevent = \"100KiB\"\n\
                 [topics.\"a\"]\nstart = \"oldest\"\nhistory = { bytes = \"1GiB\", events = 100000 }\n";
    let gateway = Gateway::start(&(OPEN.to_owned() + rules)).await;
    let filler = "x".repeat(90_000);
    for number in 0..100 {
        publish(&gateway, "a", &format!("{number} {filler}")).await;
        assert!(gateway.metric("stream_bytes").await <= f64::from(1 << 20));
    }
    let mut reader = Reader::open(&gateway, &Ask::get("/topics/a")).await;
    let first = reader.next().await.data;
    let first: usize = first.split(' ').next().unwrap().parse().unwrap();
    assert!((85..95).contains(&first), "{first}");
    for number in first + 1..100 {
        let data = reader.next().await.data;
        assert!(data.starts_with(&format!("{number} ")));
    }
}

#[tokio::test]
async fn readers_that_leave_in_any_way_leave_nothing_behind() {
    let backend = Backend::listen().await;
    let route = "resume = true\n[routes.feed]\npath = \"/feed/*\"\nto = \"model\"\nshare = { on_last_leave = \"1ms\" }\n";
    let config = toml(&backend.url(), route) + "[admin]\nlisten = \"127.0.0.1:0\"\n";
    let gateway = Gateway::start(&config).await;
    // Before the upstream has answered, and after.
    let waiting = gateway.asking(&Ask::get("/feed/x")).await;
    let (mut peer, _) = backend.request().await;
    waiting.reset();
    peer.left().await;
    let client = gateway.asking(&Ask::get("/feed/x")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    Reader::answered(client).await.leave();
    peer.left().await;
    let begun = std::time::Instant::now();
    while gateway.metric("streams").await != 0.0 || gateway.metric("subscribers").await != 0.0 {
        assert!(begun.elapsed().as_secs() < 20, "something is kept");
    }
    // An answer is there until it is kept no longer, its reader is not.
    let client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(CHAT.head("Transfer-Encoding: chunked")).await;
    Reader::answered(client).await.leave();
    while gateway.metric("subscribers").await != 0.0 {
        assert!(begun.elapsed().as_secs() < 20, "a reader is kept");
    }
    assert_eq!(gateway.metric("streams").await, 1.0);
}

#[tokio::test]
async fn a_publication_that_is_cut_short_is_not_published() {
    let gateway = Gateway::start(OPEN).await;
    let mut reader = Reader::open(&gateway, &Ask::get("/topics/a")).await;
    let mut client = Client::connect(gateway.address).await;
    let head = "POST /topics/a HTTP/1.1\r\nHost: x\r\nContent-Type: text/event-stream\r\nContent-Length: 100\r\n\r\n";
    client.send(format!("{head}data: never\n\ndata: ne")).await;
    client.reset();
    let mut client = Client::connect(gateway.address).await;
    client.send("POST /topics/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nnever\r\n").await;
    client.leave();
    publish(&gateway, "a", "good").await;
    reader.reads(&["good"]).await;
    let stopped = tokio::spawn(gateway.stop());
    assert_eq!(
        within("the end", reader.rest()).await,
        (vec![], Ended::LastChunk(vec![]))
    );
    stopped.await.unwrap();
}

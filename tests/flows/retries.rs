//! The same upstream asked again: when, how often, with what, and when not.

use std::time::{Duration, SystemTime};

use crate::support::api::CHAT;
use crate::support::backend::Refusing;
use crate::support::script::{Line, chain, error};
use crate::support::{Ask, Backend, Gateway, Script, wire};

/// A gateway with one route to `script`, whose upstream and route have these keys too.
async fn before(script: &Script, upstream: &str, route: &str) -> Gateway {
    Gateway::start(&chain(&[(&[script.backend.url()], upstream)], route)).await
}

/// First this error, then an answer.
async fn at_first(error: Vec<u8>) -> Script {
    Script::of([Line::Say(error), Line::Say(wire::json(200, "{\"ok\":1}"))]).await
}

#[tokio::test]
async fn a_busy_backend_is_asked_again_for_the_same_thing() {
    for status in [500, 502, 503, 504, 529, 408, 409, 429] {
        let script = at_first(error(status, "busy", &[])).await;
        let gateway = before(&script, "", "retry = { pause = \"40ms\" }").await;
        let ask = Ask::post("/v1/chat/completions?a=%20b", CHAT.request).field("X-Own: 1");
        let answer = gateway.fetch(&ask).await;
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "{\"ok\":1}"),
            "{status}"
        );
        let requests = script.requests();
        assert_eq!(requests.len(), 2, "{status}");
        assert_eq!(script.bodies(), [CHAT.request; 2]);
        assert_eq!(requests[0].head.first, requests[1].head.first);
        assert_eq!(requests[0].head.fields, requests[1].head.fields);
        let least = Duration::from_millis(20);
        assert!(
            script.gap(0) >= least,
            "half the pause at least: {:?}",
            script.gap(0)
        );
    }
}

#[tokio::test]
async fn pauses_double() {
    let script = Script::failing(503).await;
    let gateway = before(&script, "", "retry = { times = 3, pause = \"50ms\" }").await;
    assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 503);
    assert_eq!(script.count(), 4);
    for (index, least) in [25, 50, 100].into_iter().enumerate() {
        let gap = script.gap(index);
        assert!(gap >= Duration::from_millis(least), "{index}: {gap:?}");
    }
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_kept() {
    for (field, least) in [
        ("Retry-After: 1", 1000),
        ("Retry-After: 0.3", 300),
        ("retry-after-ms: 250", 250),
    ] {
        for status in [429, 503] {
            let script = at_first(error(status, "later", &[field])).await;
            let gateway = before(&script, "", "retry = { pause = \"1ms\" }").await;
            assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200, "{field}");
            assert_eq!(script.count(), 2);
            let gap = script.gap(0);
            assert!(gap >= Duration::from_millis(least), "{field}: {gap:?}");
        }
    }
}

#[tokio::test]
async fn a_date_that_is_asked_for_is_waited_for() {
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&chain(
        &[(&[backend.url()], "")],
        "retry = { pause = \"1ms\" }",
    ))
    .await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(2));
    let field = format!("Retry-After: {date}");
    peer.send(error(503, "later", &["Connection: close", &field]))
        .await;
    let (mut peer, _) = backend.request().await;
    let due = httpdate::parse_http_date(&date).unwrap();
    assert!(SystemTime::now() >= due, "{date}");
    peer.send(wire::json(200, "{}")).await;
    assert_eq!(client.answer().await.status(), 200);
}

#[tokio::test]
async fn who_asks_for_too_long_a_pause_is_not_asked_again() {
    for field in ["Retry-After: 60", "retry-after-ms: 1500"] {
        let script = at_first(error(429, "come back", &[field])).await;
        let route = "retry = { pause = \"1ms\", longest = \"1s\" }";
        let gateway = before(&script, "", route).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(answer.status(), 429, "{field}");
        assert!(answer.text().contains("come back"), "{}", answer.text());
        let (name, value) = field.split_once(": ").unwrap();
        assert_eq!(answer.head.get(name), Some(value), "the caller can keep it");
        assert_eq!(script.count(), 1);
    }
}

#[tokio::test]
async fn who_asks_for_a_pause_loses_the_request_to_the_next_entry() {
    for field in ["Retry-After: 60", "Retry-After: 3"] {
        let first = Script::saying(error(429, "come back", &[field])).await;
        let second = Script::saying(wire::json(200, "{\"by\":2}")).await;
        let gateway = Gateway::start(&chain(
            &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
            "",
        ))
        .await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(
            (answer.status(), answer.text().as_str()),
            (200, "{\"by\":2}")
        );
        assert_eq!((first.count(), second.count()), (1, 1), "{field}");
    }
}

#[tokio::test]
async fn nobody_is_asked_more_often_than_the_route_says() {
    for times in [0, 1, 4] {
        let lines: Vec<_> = (0..8)
            .map(|number| Line::Say(error(500, &format!("failure {number}"), &[])))
            .collect();
        let script = Script::of(lines).await;
        let keys = "retry_budget = { percent = 100, least = 100 }\neject = false";
        let route = format!("retry = {{ times = {times}, pause = \"1ms\" }}");
        let gateway = before(&script, keys, &route).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(answer.status(), 500);
        let last = format!("failure {times}");
        assert!(
            answer.text().contains(&last),
            "its last answer: {}",
            answer.text()
        );
        assert_eq!(script.count(), times + 1);
    }
}

#[tokio::test]
async fn without_retries_each_entry_is_asked_once() {
    let first = Script::failing(503).await;
    let gateway = before(&first, "", "retry = false").await;
    assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 503);
    assert_eq!(first.count(), 1);

    let second = Script::failing(500).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
        "retry = false",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.status(), 500, "the last one's");
    assert_eq!((first.count(), second.count()), (2, 1));
}

#[tokio::test]
async fn a_budget_that_is_used_up_means_the_next_entry_or_the_end() {
    let none = "retry_budget = { percent = 0, least = 0 }";
    let first = Script::failing(503).await;
    let gateway = before(&first, none, "retry = { times = 5, pause = \"1ms\" }").await;
    for asked in 1..=4 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 503);
        assert_eq!(first.count(), asked);
    }
    let second = Script::saying(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&chain(
        &[
            (&[first.backend.url()], none),
            (&[second.backend.url()], ""),
        ],
        "retry = { times = 5, pause = \"1ms\" }",
    ))
    .await;
    assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
    assert_eq!((first.count(), second.count()), (5, 1));
}

#[tokio::test]
async fn a_budget_bounds_what_is_sent_again_under_load() {
    let script = Script::failing(503).await;
    let keys = "eject = false\nretry_budget = { percent = 10, least = 0 }";
    let gateway = before(&script, keys, "retry = { times = 3, pause = \"1ms\" }").await;
    for _ in 0..100 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 503);
    }
    let again = script.count() - 100;
    assert!(again <= 10, "{again} were sent again");
    assert!(again >= 1, "none was sent again");
}

#[tokio::test]
async fn an_order_is_never_sent_twice() {
    for line in [
        Line::Say(error(503, "busy", &[])),
        Line::Say(error(429, "busy", &["Retry-After: 0"])),
        Line::Close(Vec::new()),
        Line::Close(b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()),
    ] {
        let script = Script::of([line.clone(), Line::Say(wire::json(200, "{}"))]).await;
        let second = Script::saying(wire::json(200, "{}")).await;
        let gateway = Gateway::start(&chain(
            &[(&[script.backend.url()], ""), (&[second.backend.url()], "")],
            "retry = { pause = \"1ms\" }",
        ))
        .await;
        let answer = gateway.fetch(&Ask::post("/orders", "{\"n\":1}")).await;
        let expected: &[u16] = &[502, 503, 429];
        assert!(
            expected.contains(&answer.status()),
            "{line:?}: {}",
            answer.status()
        );
        assert_eq!((script.count(), second.count()), (1, 0), "{line:?}");
    }
}

#[tokio::test]
async fn what_may_be_repeated_is_when_a_connection_closes() {
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let script = Script::of([
            Line::Close(Vec::new()),
            Line::Say(wire::head("HTTP/1.1 204 Done", &[])),
        ])
        .await;
        let gateway = before(&script, "", "retry = { pause = \"1ms\" }").await;
        let answer = gateway
            .fetch(&Ask::new(method, "/item/1").body("data"))
            .await;
        assert_eq!(answer.status(), 204, "{method}");
        assert_eq!(script.count(), 2, "{method}");
        assert_eq!(script.bodies(), ["data"; 2]);
    }
}

#[tokio::test]
async fn an_ordinary_answer_is_what_its_endpoint_says() {
    let bad = at_first(error(503, "busy", &[])).await;
    let gateway = before(&bad, "", "retry = { pause = \"1ms\" }").await;
    assert_eq!(gateway.fetch(&Ask::get("/item/1")).await.status(), 503);
    assert_eq!(bad.count(), 1, "nobody knows that it passes");

    let bad = Script::failing(503).await;
    let good = Script::saying(wire::json(200, "{}")).await;
    let urls = [bad.backend.url(), good.backend.url()];
    let gateway = Gateway::start(&chain(&[(&urls, "")], "")).await;
    for asked in 1..=4 {
        assert_eq!(gateway.fetch(&Ask::get("/item/1")).await.status(), 200);
        assert_eq!(good.count(), asked, "another endpoint may know better");
    }
    assert_eq!(bad.count(), 2);
}

/// A chat whose body has this many bytes of text in it.
fn long_chat(bytes: usize) -> String {
    let text = "x".repeat(bytes);
    format!(
        "{{\"model\":\"m\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"{text}\"}}]}}"
    )
}

#[tokio::test]
async fn what_streams_through_is_not_sent_again_once_it_went_out() {
    let body = long_chat(200 * 1024);
    for line in [Line::Say(error(503, "busy", &[])), Line::Close(Vec::new())] {
        let script = Script::of([line, Line::Say(wire::json(200, "{}"))]).await;
        let second = Script::saying(wire::json(200, "{}")).await;
        let gateway = Gateway::start(&chain(
            &[(&[script.backend.url()], ""), (&[second.backend.url()], "")],
            "retry = { pause = \"1ms\", body = \"1KiB\" }",
        ))
        .await;
        let answer = gateway.fetch(&Ask::post(CHAT.target, &body)).await;
        assert!([502, 503].contains(&answer.status()), "{}", answer.status());
        assert_eq!((script.count(), second.count()), (1, 0));
        assert_eq!(script.bodies(), [body.as_str()]);
    }
}

#[tokio::test]
async fn what_streams_through_goes_on_from_an_endpoint_that_refuses() {
    let body = long_chat(200 * 1024);
    let refusing = Refusing::new();
    let second = Script::saying(wire::json(200, "{}")).await;
    let refused = format!("http://{}", refusing.address);
    let gateway = Gateway::start(&chain(
        &[(&[refused], ""), (&[second.backend.url()], "")],
        "retry = { body = \"1KiB\", pause = \"1ms\" }",
    ))
    .await;
    let answer = gateway.fetch(&Ask::post(CHAT.target, &body)).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(second.bodies(), [body]);
}

#[tokio::test]
async fn a_long_request_that_is_kept_arrives_whole_each_time() {
    let body = long_chat(700 * 1024);
    let script = Script::of([
        Line::Say(error(503, "busy", &[])),
        Line::Close(Vec::new()),
        Line::Say(wire::json(200, "{}")),
    ])
    .await;
    let gateway = before(&script, "", "retry = { pause = \"1ms\" }").await;
    let answer = gateway.fetch(&Ask::post(CHAT.target, &body)).await;
    assert_eq!(answer.status(), 200);
    let bodies = script.bodies();
    assert_eq!(bodies.len(), 3);
    assert!(bodies.iter().all(|sent| *sent == body), "another body");
}

#[tokio::test]
async fn another_endpoint_is_asked_rather_than_the_one_that_failed() {
    let bad = Script::failing(503).await;
    let good = Script::saying(wire::json(200, "{}")).await;
    let keys = "eject = false\nretry_budget = { percent = 100, least = 100 }";
    let gateway = Gateway::start(&chain(
        &[(&[bad.backend.url(), good.backend.url()], keys)],
        "retry = { times = 1, pause = \"4s\" }",
    ))
    .await;
    for _ in 0..10 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
    }
    assert_eq!(good.count(), 10);
    assert!(bad.count() >= 3, "its turns: {}", bad.count());
}

#[tokio::test]
async fn nobody_sees_the_credentials_of_another_entry() {
    let first = Script::failing(503).await;
    let second = Script::failing(500).await;
    let third = Script::saying(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&chain(
        &[
            (
                &[first.backend.url()],
                "credentials = { bearer = \"sk-first\" }",
            ),
            (
                &[second.backend.url()],
                "credentials = { header = \"api-key\", value = \"sk-second\" }",
            ),
            (
                &[third.backend.url()],
                "credentials = { query = \"key\", value = \"sk-third\" }",
            ),
        ],
        "retry = { times = 1, pause = \"1ms\" }",
    ))
    .await;
    let ask = CHAT.ask().field("Authorization: Bearer of-the-caller");
    assert_eq!(gateway.fetch(&ask).await.status(), 200);
    let secrets = ["sk-first", "sk-second", "sk-third", "of-the-caller"];
    for (script, own, count) in [
        (&first, "sk-first", 2),
        (&second, "sk-second", 2),
        (&third, "sk-third", 1),
    ] {
        assert_eq!(script.count(), count, "{own}");
        for request in script.requests() {
            let seen = format!("{request:?}");
            for secret in secrets {
                // A caller's own key stays where the entry's does not stand in its place.
                let may = secret == own || (secret == "of-the-caller" && own != "sk-first");
                assert!(
                    may || !seen.contains(secret),
                    "{secret} at the place of {own}: {seen}"
                );
            }
            assert!(seen.contains(own), "{seen}");
        }
    }
    let second = &second.requests()[1].head;
    assert_eq!(second.all("api-key"), ["sk-second"]);
}

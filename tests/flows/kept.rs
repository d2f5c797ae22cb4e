//! How long an answer is kept, for whom, and what there is room for.

use std::time::Duration;

use super::generations::{chat, complete, generating, place, whole};
use crate::support::api::{CHAT, MESSAGES, OLLAMA};
use crate::support::client::Answer;
use crate::support::{Ask, Backend, Ended, Gateway, Reader, gateway, toml, until, wire};

/// An answer that never was.
const NEVER: &str = "/streams/00000000000000000000000000000000";

/// Two callers, `a` and `b`, and one who watches.
fn callers(backend: &Backend, resume: &str) -> String {
    let route = format!("allow = [\"a\", \"b\"]\nresume = {resume}");
    toml(&backend.url(), &route)
        + "[keys.a]\nvalue = \"key-a\"\n[keys.b]\nvalue = \"key-b\"\n[keys.c]\nvalue = \"key-c\"\n"
}

fn by(caller: &str, ask: Ask) -> Ask {
    ask.field(&format!("Authorization: Bearer key-{caller}"))
}

/// What an answer says, without the number of its request.
fn said(answer: &Answer) -> (u16, serde_json::Value) {
    let mut json = answer.json();
    json["error"]
        .as_object_mut()
        .expect("an error")
        .remove("request_id");
    (answer.status(), json)
}

#[tokio::test]
async fn an_answer_is_its_callers_alone() {
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&callers(&backend, "true")).await;
    let (mut reader, mut peer) = generating(&gateway, &backend, &by("a", CHAT.ask())).await;
    let there = place(&reader);
    let never = gateway.fetch(&by("b", Ask::get(NEVER))).await;
    assert_eq!(
        (never.status(), &never.json()["error"]["code"]),
        (404, &"no_stream".into())
    );
    for method in ["GET", "DELETE"] {
        let other = gateway.fetch(&by("b", Ask::new(method, &there))).await;
        assert_eq!(said(&other), said(&never), "nobody learns that it is there");
    }
    let nobody = gateway.fetch(&Ask::get(&there)).await;
    assert_eq!(
        said(&nobody),
        said(&never),
        "and least of all who shows no key"
    );
    complete(&mut peer, 0).await;
    let own = Reader::open(&gateway, &by("a", Ask::get(&there)))
        .await
        .rest()
        .await
        .0;
    assert_eq!(own.len(), chat().len());
    assert_eq!(
        reader.rest().await.0.len(),
        chat().len(),
        "and nobody stopped it"
    );
}

#[tokio::test]
async fn who_may_watch_reads_the_answers_of_others_but_does_not_stop_them() {
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&callers(&backend, "{ watch = [\"b\"] }")).await;
    let (_reader, mut peer) = generating(&gateway, &backend, &by("a", CHAT.ask())).await;
    let there = place(&_reader);
    let mut watcher = Reader::open(&gateway, &by("b", Ask::get(&there))).await;
    let refused = gateway.fetch(&by("b", Ask::new("DELETE", &there))).await;
    assert_eq!(refused.status(), 404);
    complete(&mut peer, 0).await;
    let events = watcher.rest().await.0;
    assert_eq!(events.len(), chat().len());
}

#[tokio::test]
async fn an_answer_is_kept_for_as_long_as_the_route_says() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = { keep = \"300ms\" }").await;
    let ask = CHAT.ask().field("Idempotency-Key: k");
    let (mut reader, mut peer) = generating(&gateway, &backend, &ask).await;
    let there = place(&reader);
    complete(&mut peer, 0).await;
    reader.rest().await;
    assert_eq!(whole(&gateway, &there).await, chat());
    let begun = std::time::Instant::now();
    loop {
        let answer = gateway.fetch(&Ask::get(&there)).await;
        if answer.status() == 404 {
            assert_eq!(answer.json()["error"]["code"], "no_stream");
            break;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "it is kept for ever"
        );
    }
    assert!(begun.elapsed() > Duration::from_millis(200));
    generating(&gateway, &backend, &ask).await;
}

#[tokio::test]
async fn scripts_of_other_origins_learn_where_an_answer_is_kept_and_read_it_there() {
    let backend = Backend::listen().await;
    let cors = "resume = true\ncors = { origins = [\"https://app.test\"], expose = [\"x-own\"] }";
    let gateway = gateway(&backend, cors).await;
    let ask = CHAT.ask().field("Origin: https://app.test");
    let (reader, _peer) = generating(&gateway, &backend, &ask).await;
    let id = reader
        .head
        .get("deltaway-stream")
        .expect("an id")
        .to_owned();
    for name in ["deltaway-stream", "link", "x-own"] {
        assert!(
            reader.head.lists("access-control-expose-headers", name),
            "{:?}",
            reader.head
        );
    }
    let there = format!("/streams/{id}");
    let preflight = Ask::new("OPTIONS", &there)
        .field("Origin: https://app.test")
        .field("Access-Control-Request-Method: GET")
        .field("Access-Control-Request-Headers: last-event-id");
    let allowed = gateway.fetch(&preflight).await;
    assert_eq!(allowed.status(), 200);
    let origin = |head: &wire::Head| head.get("access-control-allow-origin").map(str::to_owned);
    assert_eq!(origin(&allowed.head).as_deref(), Some("https://app.test"));
    assert!(
        allowed
            .head
            .lists("access-control-allow-headers", "last-event-id"),
        "{:?}",
        allowed.head
    );
    let read = Ask::get(&there).field("Origin: https://app.test");
    let read = Reader::open(&gateway, &read).await;
    assert_eq!(origin(&read.head).as_deref(), Some("https://app.test"));
    let stop = Ask::new("OPTIONS", &there)
        .field("Origin: https://app.test")
        .field("Access-Control-Request-Method: DELETE");
    let stop = gateway.fetch(&stop).await;
    assert!(
        stop.head.lists("access-control-allow-methods", "DELETE"),
        "{:?}",
        stop.head
    );
    let other = Ask::get(&there).field("Origin: https://evil.test");
    assert_eq!(origin(&Reader::open(&gateway, &other).await.head), None);
}

#[tokio::test]
async fn beyond_the_bound_of_streams_an_answer_is_relayed_and_not_kept() {
    let backend = Backend::listen().await;
    let config = toml(&backend.url(), "resume = true") + "[hub]\nstreams = 1\n";
    let gateway = Gateway::start(&config).await;
    let (mut kept, mut first) = generating(&gateway, &backend, &CHAT.ask()).await;
    let there = place(&kept);
    let (mut unkept, mut second) =
        generating(&gateway, &backend, &CHAT.ask().field("Idempotency-Key: k")).await;
    assert_eq!(unkept.head.get("deltaway-stream"), None);
    let upstream = &backend.requests()[1];
    assert_eq!(
        upstream.head.get("idempotency-key"),
        Some("k"),
        "the upstream's now"
    );
    complete(&mut second, 0).await;
    assert_eq!(
        unkept.rest().await,
        (unkept_events(), Ended::LastChunk(vec![]))
    );
    complete(&mut first, 0).await;
    assert_eq!(kept.rest().await.0.len(), chat().len());
    assert_eq!(whole(&gateway, &there).await, chat());
    // One that is over, and that nobody reads, gives way, with its name.
    for number in 0..40 {
        let ask = CHAT.ask().field(&format!("Idempotency-Key: {number}"));
        let (mut reader, mut peer) = generating(&gateway, &backend, &ask).await;
        let now = place(&reader);
        assert_eq!(gateway.fetch(&Ask::get(&there)).await.status(), 404);
        complete(&mut peer, 0).await;
        assert_eq!(reader.rest().await.0.len(), chat().len());
        drop(reader);
        assert_eq!(whole(&gateway, &now).await, chat());
    }
}

/// A chat's events without ids.
fn unkept_events() -> Vec<crate::support::Event> {
    let event = |data| crate::support::Event {
        data,
        ..Default::default()
    };
    chat().into_iter().map(event).collect()
}

#[tokio::test]
async fn a_last_event_without_its_blank_line_is_part_of_the_answer() {
    for ending in ["\n", ""] {
        let text = format!("{}{}", CHAT.whole().trim_end(), ending);
        let whole = [
            CHAT.head("Transfer-Encoding: chunked"),
            wire::chunk(text),
            wire::LAST.to_vec(),
        ];
        let backend = Backend::answering(whole.concat()).await;
        let gateway = gateway(&backend, "resume = true").await;
        let (events, ended) = Reader::open(&gateway, &CHAT.ask()).await.rest().await;
        assert_eq!(ended, Ended::LastChunk(vec![]));
        let data: Vec<_> = events.into_iter().map(|event| event.data).collect();
        assert_eq!(data, chat());
    }
    let text = OLLAMA.whole().trim_end().to_owned();
    let whole = [
        OLLAMA.head("Transfer-Encoding: chunked"),
        wire::chunk(text),
        wire::LAST.to_vec(),
    ];
    let backend = Backend::answering(whole.concat()).await;
    let gateway = gateway(&backend, "resume = true").await;
    assert_eq!(gateway.fetch(&OLLAMA.ask()).await.text(), OLLAMA.whole());
}

#[tokio::test]
async fn an_answer_that_ends_without_its_marker_is_no_whole_answer() {
    for api in [CHAT, MESSAGES] {
        // Half an event stands at its end: it is nobody's.
        let text = api.begun() + "data: {\"ha";
        let answer = [
            api.head("Transfer-Encoding: chunked"),
            wire::chunk(text),
            wire::LAST.to_vec(),
        ];
        let backend = Backend::answering(answer.concat()).await;
        let gateway = gateway(&backend, "resume = true").await;
        let (events, ended) = Reader::open(&gateway, &api.ask()).await.rest().await;
        assert_eq!(
            (events.len(), ended),
            (3, Ended::LastChunk(vec![])),
            "{events:?}"
        );
        assert!(
            events[2].data.contains("ended before it was complete"),
            "{events:?}"
        );
    }
}

#[tokio::test]
async fn an_event_too_large_to_be_kept_ends_the_answer_as_broken() {
    let backend = Backend::listen().await;
    let config = toml(&backend.url(), "resume = true") + "[hub]\nevent = \"64KiB\"\n";
    let gateway = Gateway::start(&config).await;
    let (mut reader, mut peer) = generating(&gateway, &backend, &CHAT.ask()).await;
    peer.chunk(CHAT.events[0]).await;
    peer.chunk("data: ").await;
    let taken = peer.pour(&wire::chunk(vec![b'a'; 1 << 20]), 64).await;
    assert!(taken < 32 << 20, "{taken} bytes were taken");
    peer.left().await;
    let (events, ended) = reader.rest().await;
    assert_eq!((events.len(), ended), (2, Ended::LastChunk(vec![])));
    assert!(events[1].data.contains("hub.event"), "{events:?}");
}

#[tokio::test]
async fn who_comes_too_late_for_what_is_kept_is_told_how_much_is_missing() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = { history = { events = 2 } }").await;
    let (mut reader, mut peer) = generating(&gateway, &backend, &CHAT.ask()).await;
    for (event, data) in CHAT.events.iter().zip(chat()) {
        peer.chunk(event).await;
        reader.reads(&[&data]).await;
    }
    complete(&mut peer, 2).await;
    reader.reads(&[&chat()[2], &chat()[3]]).await;
    let ask = Ask::get(&format!("{}?after=1", place(&reader)));
    let mut late = Reader::open(&gateway, &ask).await;
    let gap = late.next().await;
    let told: serde_json::Value = serde_json::from_str(&gap.data).unwrap();
    assert_eq!(
        (&told["reason"], &told["missed"]),
        (&"evicted".into(), &1.into())
    );
    late.reads(&[&chat()[2], &chat()[3]]).await;
}

#[tokio::test]
async fn a_gateway_that_ends_breaks_its_answers_off_in_the_words_of_the_api() {
    for api in [CHAT, MESSAGES] {
        let backend = Backend::listen().await;
        let config = toml(&backend.url(), "resume = true");
        let gateway =
            Gateway::start(&config.replace("[server]", "[server]\ndrain = \"200ms\"")).await;
        let client = gateway.asking(&api.ask()).await;
        let (mut peer, _) = backend.request().await;
        peer.send(api.head("Transfer-Encoding: chunked")).await;
        let mut first = Reader::answered(client).await;
        let mut second = Reader::open(&gateway, &Ask::get(&place(&first))).await;
        peer.chunk(api.events[0]).await;
        first.next().await;
        second.next().await;
        let stopping = tokio::spawn(gateway.stop());
        for reader in [&mut first, &mut second] {
            let (events, ended) = reader.rest().await;
            assert_eq!(
                (events.len(), ended),
                (1, Ended::LastChunk(vec![])),
                "{events:?}"
            );
            assert!(
                events[0].data.contains("time for running answers is over"),
                "{events:?}"
            );
        }
        stopping.await.unwrap();
    }
}

#[tokio::test]
async fn a_lingering_answer_whose_caller_never_read_the_head_is_found_by_its_key() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true").await;
    let ask = CHAT.ask().field("Idempotency-Key: k");
    let client = gateway.asking(&ask).await;
    let (mut peer, _) = backend.request().await;
    client.reset();
    peer.send(CHAT.head("Transfer-Encoding: chunked")).await;
    complete(&mut peer, 0).await;
    let mut again = Reader::open(&gateway, &ask).await;
    assert_eq!(again.rest().await.0.len(), chat().len());
    let one = || (backend.requests().len() == 1).then_some(());
    until("one request in all", one).await;
}

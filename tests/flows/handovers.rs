//! What the backend that goes on with a cut answer is asked, and what of the first one's stays.

use serde_json::Value;

use crate::support::api::CHAT;
use crate::support::client::Answer;
use crate::support::script::{
    Line, begun, chain, chat_of, error, role_of, stop_of, stream, text_of, told,
};
use crate::support::{Ask, Backend, Client, Ended, Gateway, Reader, Script, wire};

/// A backend that begins its answer so and closes.
async fn closing(events: &str) -> Script {
    Script::of([Line::Close(begun(events))]).await
}

/// The whole answer where the first entry closes behind `events`.
async fn continued(events: &str, second: &Script, route: &str) -> Answer {
    let first = closing(events).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
        &format!("rescue = true\nretry = false\n{route}"),
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.ended, Ended::LastChunk(vec![]), "{}", answer.text());
    answer
}

#[tokio::test]
async fn the_role_is_told_once_also_where_nothing_was_said_yet() {
    let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    for events in [role_of("a", "m"), role_of("a", "m") + ": ping\n\n"] {
        let answer = continued(&events, &second, "").await;
        assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
        assert_eq!(
            answer.text().matches("\"role\"").count(),
            1,
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_before_its_first_event_is_the_next_ones() {
    // One entry: its head is passed on at once.
    let script = Script::of([
        Line::Close(begun("")),
        Line::Say(stream(&chat_of("b", &["Hello"]))),
    ])
    .await;
    let gateway = Gateway::start(&chain(&[(&[script.backend.url()], "")], "rescue = true")).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.text(), chat_of("b", &["Hello"]));
    assert_eq!(script.count(), 2);
}

#[tokio::test]
async fn who_goes_on_is_asked_for_its_model_with_its_credentials() {
    let first = closing(&(role_of("a", "one") + &text_of("a", "one", "Hel"))).await;
    let second = Script::saying(stream(&(text_of("b", "two", "lo") + &stop_of("b", "two")))).await;
    let gateway = Gateway::start(&chain(
        &[
            (&[first.backend.url()], "credentials = { bearer = \"sk-first\" }"),
            (
                &[second.backend.url()],
                "prefill = \"continue\"\ncredentials = { header = \"api-key\", value = \"sk-second\" }",
            ),
        ],
        "to = [{ upstream = \"first\", model = \"one\" }, { upstream = \"second\", model = \"two\" }]\n\
         rescue = true\nretry = false",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask().field("X-Own: 1")).await;
    assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
    let request = &second.requests()[0];
    assert!(!format!("{request:?}").contains("sk-first"), "{request:?}");
    assert_eq!(request.head.get("api-key"), Some("sk-second"));
    assert_eq!(request.head.get("x-own"), Some("1"));
    let asked: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(asked["model"], "two");
    assert_eq!(asked["messages"][1]["content"], "Hel");
    assert_eq!(asked["continue_final_message"], true);
    assert_eq!(asked["add_generation_prompt"], false);
    assert!(
        answer.text().contains("\"model\":\"two\""),
        "who really said it"
    );
}

#[tokio::test]
async fn a_beginning_is_marked_as_the_upstream_wants_it() {
    for (prefill, member) in [("assistant", None), ("prefix", Some("prefix"))] {
        let first = closing(&(role_of("a", "m") + &text_of("a", "m", "Hel \\\"lo"))).await;
        let second = Script::saying(stream(&chat_of("b", &["!"]))).await;
        let gateway = Gateway::start(&chain(
            &[
                (&[first.backend.url()], ""),
                (&[second.backend.url()], &format!("prefill = \"{prefill}\"")),
            ],
            "rescue = true\nretry = false",
        ))
        .await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(told(&answer.body), ("Hel \\\"lo!".to_owned(), true));
        let asked: Value = serde_json::from_str(&second.bodies()[0]).unwrap();
        let last = &asked["messages"][1];
        assert_eq!(last["content"], "Hel \\\"lo");
        assert_eq!(last.get("prefix"), member.map(|_| &Value::Bool(true)));
    }
}

#[tokio::test]
async fn a_length_that_was_announced_does_not_bind_who_goes_on() {
    let second = Script::saying(stream(&chat_of("b", &["Hello", " world"]))).await;
    let begun = role_of("a", "m") + &text_of("a", "m", "Hel");
    let mut bytes = wire::head(
        "HTTP/1.1 200 OK",
        &["Content-Type: text/event-stream", "Content-Length: 100000"],
    );
    bytes.extend_from_slice(begun.as_bytes());
    let first = Script::of([Line::Close(bytes)]).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
        "rescue = true",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.head.get("content-length"), None);
    assert!(answer.ended.is_clean(), "{:?}", answer.ended);
    assert_eq!(told(&answer.body), ("Hello world".to_owned(), true));
}

#[tokio::test]
async fn line_ends_and_marks_of_either_backend_make_no_difference() {
    let windows = |events: String| events.replace('\n', "\r\n");
    let second = Script::saying(stream(&windows(chat_of("b", &["Hello", " world"])))).await;
    let events = windows(role_of("a", "m") + &text_of("a", "m", "Hel"));
    let answer = continued(&format!("\u{feff}{events}"), &second, "").await;
    assert_eq!(told(&answer.body), ("Hello world".to_owned(), true));
}

#[tokio::test]
async fn letters_are_whole_wherever_the_cut_was() {
    // The chunk ends within a letter of the second event, which so never came.
    let events = role_of("a", "m") + &text_of("a", "m", "Grü");
    let half = text_of("a", "m", "ße 🦀");
    let half = &half.as_bytes()[..half.find('ß').unwrap() + 1];
    let mut bytes = begun(&events);
    bytes.extend_from_slice(&wire::chunk(half));
    let first = Script::of([Line::Close(bytes)]).await;
    let second = Script::saying(stream(&chat_of("b", &["G", "rüße", " 🦀"]))).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
        "rescue = true",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(told(&answer.body), ("Grüße 🦀".to_owned(), true));
}

#[tokio::test]
async fn whoever_is_asked_for_the_rest_may_fail_as_any_other() {
    for (failure, count) in [
        (error(503, "busy", &[]), 2),
        (
            stream("data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n"),
            2,
        ),
    ] {
        let second = Script::of([
            Line::Say(failure),
            Line::Say(stream(&chat_of("b", &["Hello"]))),
        ])
        .await;
        let events = role_of("a", "m") + &text_of("a", "m", "Hel");
        let first = closing(&events).await;
        let gateway = Gateway::start(&chain(
            &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
            "rescue = true\nretry = { times = 1, pause = \"1ms\" }",
        ))
        .await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
        assert_eq!(second.count(), count);
    }
}

#[tokio::test]
async fn an_entry_that_cannot_go_on_leaves_it_to_the_one_behind() {
    let first = closing(&(role_of("a", "m") + &text_of("a", "m", "Hel"))).await;
    let second = Script::failing(500).await;
    let json = wire::json(200, "{\"choices\":[]}");
    let third = Script::saying(json).await;
    let fourth = Script::saying(stream(&chat_of("d", &["Hello"]))).await;
    let urls = [&first, &second, &third, &fourth].map(|script| [script.backend.url()]);
    let upstreams = urls.each_ref().map(|url| (url.as_slice(), ""));
    let gateway = Gateway::start(&chain(&upstreams, "rescue = true\nretry = false")).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
    let counts = [&first, &second, &third, &fourth].map(Script::count);
    assert_eq!(counts, [1, 1, 1, 1]);
}

#[tokio::test]
async fn a_larger_entry_is_not_asked_for_the_rest() {
    let script = closing(&(role_of("a", "m") + &text_of("a", "m", "Hel"))).await;
    let larger = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    let gateway = Gateway::start(&chain(
        &[(&[script.backend.url()], ""), (&[larger.backend.url()], "")],
        "to = [\"first\", { upstream = \"second\", larger = true }]\nrescue = true\nretry = false",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert!(!told(&answer.body).1, "{}", answer.text());
    assert_eq!(larger.count(), 0);
}

#[tokio::test]
async fn what_is_whole_costs_no_further_question() {
    let whole = CHAT.whole();
    let second = Script::saying(stream(&chat_of("b", &["no"]))).await;
    for bytes in [
        stream(&whole),
        wire::answer(wire::Framing::Length, 200, "text/event-stream", &whole),
    ] {
        let first = Script::saying(bytes).await;
        let gateway = Gateway::start(&chain(
            &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
            "rescue = true",
        ))
        .await;
        let mut client = Client::connect(gateway.address).await;
        for _ in 0..3 {
            let answer = client.exchange(&CHAT.ask()).await;
            assert_eq!(
                (answer.text(), answer.ended.is_clean()),
                (whole.clone(), true)
            );
        }
        assert_eq!(first.count(), 3);
    }
    // Nor does what closes behind its marker, however it does.
    let first = Script::of([Line::Close(begun(&whole))]).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
        "rescue = true",
    ))
    .await;
    assert_eq!(gateway.fetch(&CHAT.ask()).await.text(), whole);
    assert_eq!(second.count(), 0);
}

#[tokio::test]
async fn many_answers_are_continued_at_once() {
    let first = Backend::playing(|mut peer| async move {
        if let Some(request) = peer.request().await {
            let events = role_of("a", "m") + &text_of("a", "m", request.head.target());
            peer.send(begun(&events)).await;
        }
    })
    .await;
    let second = Backend::playing(|mut peer| async move {
        if let Some(request) = peer.request().await {
            let target = request.head.target();
            let (one, two) = target.split_at(5);
            peer.send(stream(&chat_of("b", &[one, two, " and on"])))
                .await;
        }
    })
    .await;
    let gateway = Gateway::start_changed(
        &chain(
            &[(&[first.url()], "eject = false"), (&[second.url()], "")],
            "rescue = true\nretry = false",
        ),
        &[],
        |config| config.server.workers = Some(2),
    )
    .await;
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..100 {
        let address = gateway.address;
        asking.spawn(async move {
            let target = format!("{}?number={number}", CHAT.target);
            let answer = Client::fetch(address, &Ask::post(&target, CHAT.request)).await;
            assert_eq!(told(&answer.body), (format!("{target} and on"), true));
        });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    assert_eq!(
        (first.requests().len(), second.requests().len()),
        (100, 100)
    );
}

#[tokio::test]
async fn an_answer_that_is_held_back_is_not_asked_of_another() {
    let held = "data: {\"error\":{\"message\":\"held back\",\"code\":\"content_filter\"}}\n\n";
    let events = role_of("a", "m") + &text_of("a", "m", "Hel") + held;
    let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    let eject = "eject = { after = 2, percent = 0, pause = \"60s\", longest = \"60s\" }";
    let first = Script::saying(stream(&events)).await;
    let gateway = Gateway::start(&chain(
        &[
            (&[first.backend.url()], eject),
            (&[second.backend.url()], ""),
        ],
        "rescue = true",
    ))
    .await;
    for asked in 1..=4 {
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(
            (answer.text(), answer.ended.is_clean()),
            (events.clone(), true)
        );
        assert_eq!(
            (first.count(), second.count()),
            (asked, 0),
            "nor is it left out"
        );
    }
    let wanted = continued(&events, &second, "failures = { content_filter = \"next\" }").await;
    assert_eq!(told(&wanted.body), ("Hello".to_owned(), true));
}

#[tokio::test]
async fn a_kept_answer_goes_on_without_its_reader() {
    let first = Backend::listen().await;
    let second = Backend::listen().await;
    let gateway = Gateway::start(&chain(
        &[(&[first.url()], ""), (&[second.url()], "")],
        "rescue = true\nretry = false\nresume = { on_leave = \"finish\" }",
    ))
    .await;
    let client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = first.request().await;
    peer.send(begun(&(role_of("a", "m") + &text_of("a", "m", "Hel"))))
        .await;
    let mut reader = Reader::answered(client).await;
    let kept = super::generations::place(&reader);
    reader.next().await;
    reader.leave();
    peer.reset();
    let (mut peer, _) = second.request().await;
    peer.send(stream(&chat_of("b", &["Hello"]))).await;
    let whole = gateway.fetch(&Ask::get(&kept)).await;
    assert_eq!(told(&whole.body), ("Hello".to_owned(), true));
}

#[tokio::test]
async fn behind_an_early_head_answers_are_continued_too() {
    let first = Backend::listen().await;
    let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.url()], ""), (&[second.backend.url()], "")],
        "rescue = true\nearly_head = \"10ms\"",
    ))
    .await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = first.request().await;
    assert_eq!(
        client.head().await.status(),
        200,
        "before the backend's own"
    );
    let said = role_of("a", "m") + &text_of("a", "m", "Hel");
    peer.send(begun(&said)).await;
    client.reads(&said).await;
    peer.reset();
    let (rest, ended) = client.rest().await;
    assert_eq!(ended, Ended::LastChunk(vec![]));
    assert_eq!(told(&rest), ("lo".to_owned(), true));
}

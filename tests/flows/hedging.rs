//! A second entry asked beside a slow one: who is heard, who is let go, and how often it happens.

use std::time::{Duration, Instant};

use crate::support::api::CHAT;
use crate::support::backend::Refusing;
use crate::support::script::{Line, begun, chain, chat_of, error, role_of, stream, text_of, told};
use crate::support::{Ask, Backend, Client, Gateway, Script, until, wire};

/// Every slow request is asked twice.
const ALL: &str = "hedge = \"40ms\"\nhedge_percent = 100\nretry = false";

async fn before(first: String, second: String, route: &str) -> Gateway {
    Gateway::start(&chain(&[(&[first], ""), (&[second], "")], route)).await
}

fn second_chat() -> Vec<u8> {
    stream(&chat_of("b", &["Hel", "lo"]))
}

/// Long enough for a request to be seen that should not be there.
const A_MOMENT: Duration = Duration::from_millis(250);

#[tokio::test]
async fn a_slow_entry_loses_to_the_next_and_is_let_go() {
    let ping = ": ping\n\n";
    for line in [
        Line::Hold(Vec::new()),
        Line::Hold(begun("")),
        Line::Hold(begun(ping)),
        Line::Hold(begun(&role_of("a", "m"))),
        Line::Hold(begun(&(role_of("a", "m") + "data: {\"choices\":[{\"del"))),
    ] {
        let first = Script::of([line.clone()]).await;
        let second = Script::saying(second_chat()).await;
        let gateway = before(first.backend.url(), second.backend.url(), ALL).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(
            answer.text(),
            chat_of("b", &["Hel", "lo"]),
            "{line:?}: none of the first"
        );
        first.is_left(1).await;
        assert_eq!((first.count(), second.count()), (1, 1));
        assert_eq!(first.bodies(), second.bodies());
    }
}

#[tokio::test]
async fn a_slow_answer_that_is_no_stream_loses_too() {
    let first = Script::of([Line::Hold(Vec::new())]).await;
    let second = Script::saying(wire::json(200, "{\"by\":2}")).await;
    let gateway = before(first.backend.url(), second.backend.url(), ALL).await;
    let answer = gateway
        .fetch(&Ask::post(CHAT.target, "{\"model\":\"m\"}"))
        .await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (200, "{\"by\":2}")
    );
    first.is_left(1).await;
}

#[tokio::test]
async fn who_is_fast_enough_is_asked_alone() {
    let first = Script::saying(stream(&CHAT.whole())).await;
    let second = Script::saying(second_chat()).await;
    let route = "hedge = \"20s\"\nhedge_percent = 100";
    let gateway = before(first.backend.url(), second.backend.url(), route).await;
    for _ in 0..10 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.text(), CHAT.whole());
    }
    assert_eq!((first.count(), second.count()), (10, 0));
}

#[tokio::test]
async fn the_first_content_wins_and_not_the_first_role() {
    let (first, second) = (Backend::listen().await, Backend::listen().await);
    let gateway = before(first.url(), second.url(), ALL).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut slow, _) = first.request().await;
    let (mut eager, _) = second.request().await;
    eager.send(begun(&role_of("b", "m"))).await;
    assert!(slow.is_quiet_for(A_MOMENT).await, "a role is no content");
    slow.send(stream(&chat_of("a", &["first"]))).await;
    assert_eq!(client.answer().await.text(), chat_of("a", &["first"]));
    eager.left().await;
}

#[tokio::test]
async fn an_error_of_the_hedge_never_wins() {
    let failed = "data: {\"error\":{\"message\":\"busy\"}}\n\n";
    for line in [
        Line::Say(error(500, "no", &[])),
        Line::Say(error(401, "no", &[])),
        Line::Say(error(400, "no", &[])),
        Line::Say(stream(failed)),
        Line::Say(stream(&(role_of("b", "m") + failed))),
        Line::Close(Vec::new()),
        Line::Close(begun("")),
    ] {
        let first = Backend::listen().await;
        let second = Script::of([line.clone()]).await;
        let gateway = before(first.url(), second.backend.url(), ALL).await;
        let mut client = gateway.asking(&CHAT.ask()).await;
        let (mut slow, _) = first.request().await;
        until("the second to be asked", || {
            (second.count() == 1).then_some(())
        })
        .await;
        assert!(
            slow.is_quiet_for(Duration::from_millis(30)).await,
            "{line:?}"
        );
        slow.send(stream(&chat_of("a", &["first"]))).await;
        assert_eq!(
            client.answer().await.text(),
            chat_of("a", &["first"]),
            "{line:?}"
        );
    }
}

#[tokio::test]
async fn an_error_of_the_slow_one_waits_for_the_hedge() {
    let (first, second) = (Backend::listen().await, Backend::listen().await);
    let gateway = before(first.url(), second.url(), ALL).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut slow, _) = first.request().await;
    let (mut other, _) = second.request().await;
    slow.send(error(503, "busy", &["Connection: close"])).await;
    slow.close();
    assert!(other.is_quiet_for(Duration::from_millis(30)).await);
    other.send(second_chat()).await;
    assert_eq!(client.answer().await.text(), chat_of("b", &["Hel", "lo"]));
}

#[tokio::test]
async fn when_both_fail_a_backends_own_words_are_better_than_ours() {
    let refusing = Refusing::new();
    let refused = format!("http://{}", refusing.address);
    let first = Backend::listen().await;
    let gateway = before(first.url(), refused, ALL).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut slow, _) = first.request().await;
    assert!(slow.is_quiet_for(A_MOMENT).await);
    slow.send(error(503, "in my own words", &[])).await;
    let answer = client.answer().await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
    assert_eq!(answer.json()["error"]["message"], "in my own words");

    let second = Backend::listen().await;
    let gateway = before(first.url(), second.url(), ALL).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut slow, _) = first.request().await;
    let (other, _) = second.request().await;
    slow.send(error(503, "in my own words", &[])).await;
    assert!(slow.is_quiet_for(Duration::from_millis(30)).await);
    other.close();
    let answer = client.answer().await;
    assert_eq!(answer.status(), 503, "{}", answer.text());
}

#[tokio::test]
async fn an_entry_that_is_asked_already_is_not_asked_beside_itself() {
    let first = Script::failing(503).await;
    let second = Backend::listen().await;
    let gateway = before(first.backend.url(), second.url(), ALL).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = second.request().await;
    assert!(second.is_left_alone_for(A_MOMENT).await, "asked twice");
    peer.send(second_chat()).await;
    assert_eq!(client.answer().await.text(), chat_of("b", &["Hel", "lo"]));
    assert_eq!(first.count(), 1);
}

#[tokio::test]
async fn the_entry_beside_the_one_that_is_asked_is_the_next_behind_it() {
    let first = Script::failing(503).await;
    let second = Script::of([Line::Hold(begun(&role_of("b", "m")))]).await;
    let third = Script::saying(stream(&chat_of("c", &["third"]))).await;
    let gateway = Gateway::start(&chain(
        &[
            (&[first.backend.url()], ""),
            (&[second.backend.url()], ""),
            (&[third.backend.url()], ""),
        ],
        // So late that the first has failed long before.
        "hedge = \"1s\"\nhedge_percent = 100\nretry = false",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(told(&answer.body), ("third".to_owned(), true));
    second.is_left(1).await;
    assert_eq!((first.count(), second.count(), third.count()), (1, 1, 1));
}

#[tokio::test]
async fn no_more_are_asked_twice_than_the_route_says() {
    // Slow by its nature: content comes only after the gateway could have asked another.
    let first = Backend::playing(|mut peer| async move {
        while peer.request().await.is_some() {
            if !peer.is_quiet_for(Duration::from_millis(25)).await {
                return;
            }
            peer.send(stream(&chat_of("a", &["first"]))).await;
        }
    })
    .await;
    let second = Script::saying(second_chat()).await;
    let route = "hedge = \"1ms\"\nhedge_percent = 10";
    let gateway = before(first.url(), second.backend.url(), route).await;
    let began = Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    let address = gateway.address;
    for _ in 0..8 {
        asking.spawn(async move {
            for _ in 0..25 {
                let answer = Client::fetch(address, &CHAT.ask()).await;
                assert_eq!(answer.status(), 200);
                assert!(told(&answer.body).1, "{}", answer.text());
            }
        });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    assert_eq!(first.requests().len(), 200);
    // A tenth of the first requests of any ten seconds.
    let windows = began.elapsed().as_secs() as usize / 10 + 1;
    let asked = second.count();
    assert!(
        asked >= 1 && asked <= 20 * windows,
        "{asked} of 200 were asked twice"
    );
}

#[tokio::test]
async fn what_cannot_be_sent_twice_is_not() {
    let (first, second) = (Backend::listen().await, Script::saying(second_chat()).await);
    let route = format!(
        "{}\n",
        ALL.replace("retry = false", "retry = { body = \"1KiB\" }")
    );
    let gateway = before(first.url(), second.backend.url(), &route).await;
    let long = format!(
        "{{\"model\":\"m\",\"messages\":[\"{}\"]}}",
        "x".repeat(100 * 1024)
    );
    for ask in [
        Ask::post("/orders", "{\"n\":1}"),
        Ask::get("/plain"),
        Ask::post(CHAT.target, &long),
    ] {
        let mut client = gateway.asking(&ask).await;
        let (mut peer, _) = first.request().await;
        assert!(peer.is_quiet_for(A_MOMENT).await);
        peer.send(error(200, "well", &["Connection: close"])).await;
        client.head().await;
        assert_eq!(second.count(), 0);
    }
}

#[tokio::test]
async fn whoever_leaves_ends_both() {
    let (first, second) = (Backend::listen().await, Backend::listen().await);
    let gateway = before(first.url(), second.url(), ALL).await;
    let client = gateway.asking(&CHAT.ask()).await;
    let (mut one, _) = first.request().await;
    let (mut two, _) = second.request().await;
    two.send(begun(&role_of("b", "m"))).await;
    client.leave();
    one.left().await;
    two.left().await;
}

#[tokio::test]
async fn what_the_winner_says_goes_on_as_it_comes() {
    let first = Script::of([Line::Hold(begun(""))]).await;
    let second = Backend::listen().await;
    let gateway = before(first.backend.url(), second.url(), ALL).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = second.request().await;
    let said = role_of("b", "m") + &text_of("b", "m", "Hel");
    peer.send(begun(&said)).await;
    assert_eq!(client.head().await.status(), 200);
    client.reads(&said).await;
    let more = text_of("b", "m", "lo");
    peer.chunk(&more).await;
    client.reads(&more).await;
}

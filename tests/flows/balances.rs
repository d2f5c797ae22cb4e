//! How requests fall on the endpoints of an upstream, counted at the endpoints.
//!
//! Where chance decides, the margins are those of the binomial distribution, six standard deviations wide: a right
//! gateway fails once in five hundred million runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::support::api::CHAT;
use crate::support::script::{Line, begun, chain, error, role_of, stop_of, stream, text_of};
use crate::support::{Ask, Backend, Client, Gateway, Script, until, wire};

/// An upstream's keys: three endpoints with the weights 1, 2, 1, and how one is chosen.
fn weighted(urls: &[String], policy: &str) -> String {
    let [one, two, three] = urls else {
        panic!("three endpoints");
    };
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[upstreams.model]\n\
         endpoints = [\"{one}\", {{ url = \"{two}\", weight = 2 }}, \"{three}\"]\n{policy}\n\
         [routes.all]\npath = \"/*\"\nto = \"model\"\n"
    )
}

async fn three() -> [Script; 3] {
    [
        Script::saying(wire::json(200, "{}")).await,
        Script::saying(wire::json(200, "{}")).await,
        Script::saying(wire::json(200, "{}")).await,
    ]
}

fn urls(scripts: &[Script; 3]) -> Vec<String> {
    scripts.iter().map(|script| script.backend.url()).collect()
}

/// Whether `count` of `total` with probability `share` each is no surprise.
fn is_likely(count: usize, total: usize, share: f64) -> bool {
    let mean = total as f64 * share;
    let deviation = (mean * (1.0 - share)).sqrt();
    (count as f64 - mean).abs() <= 6.0 * deviation
}

#[test]
fn the_margins_are_neither_none_nor_all() {
    assert!(is_likely(100, 400, 0.25) && is_likely(130, 400, 0.25));
    assert!(!is_likely(160, 400, 0.25) && !is_likely(40, 400, 0.25));
}

#[tokio::test]
async fn each_in_turn_is_exactly_by_weight() {
    let scripts = three().await;
    let gateway = Gateway::start(&weighted(&urls(&scripts), "balance = \"round-robin\"")).await;
    let mut client = Client::connect(gateway.address).await;
    for round in 1..=100 {
        for _ in 0..4 {
            assert_eq!(client.exchange(&CHAT.ask()).await.status(), 200);
        }
        let counts = scripts.each_ref().map(Script::count);
        assert_eq!(counts, [round, 2 * round, round], "after each full turn");
    }
}

#[tokio::test]
async fn each_in_turn_is_by_weight_for_many_at_once() {
    let scripts = three().await;
    let source = weighted(&urls(&scripts), "");
    let gateway =
        Gateway::start_changed(&source, &[], |config| config.server.workers = Some(3)).await;
    let mut asking = JoinSet::new();
    for _ in 0..8 {
        let address = gateway.address;
        asking.spawn(async move {
            let mut client = Client::connect(address).await;
            for _ in 0..50 {
                assert_eq!(client.exchange(&CHAT.ask()).await.status(), 200);
            }
        });
    }
    while let Some(done) = asking.join_next().await {
        done.unwrap();
    }
    assert_eq!(scripts.each_ref().map(Script::count), [100, 200, 100]);
}

/// A backend that answers each request for one permit.
async fn gated(gate: Arc<Semaphore>) -> Backend {
    Backend::playing(move |mut peer| {
        let gate = gate.clone();
        async move {
            while peer.request().await.is_some() {
                gate.acquire().await.unwrap().forget();
                peer.send(wire::json(200, "{}")).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_free_are_asked_while_the_busy_are_busy() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = gated(gate.clone()).await;
    let quick = [
        Script::saying(wire::json(200, "{}")).await,
        Script::saying(wire::json(200, "{}")).await,
    ];
    let urls = [quick[0].backend.url(), slow.url(), quick[1].backend.url()];
    let gateway = Gateway::start(&weighted(&urls, "balance = \"least-in-flight\"")).await;
    let mut waiting = JoinSet::new();
    // One after the other: whoever does not answer at once is with the slow one.
    for asked in 1..=200_usize {
        let address = gateway.address;
        waiting.spawn(async move { Client::fetch(address, &CHAT.ask()).await.status() });
        let (slow, quick) = (&slow, &quick);
        until("the request to arrive", || {
            let counts = quick[0].count() + quick[1].count() + slow.requests().len();
            (counts == asked).then_some(())
        })
        .await;
        let answered = asked - slow.requests().len();
        while waiting.len() > asked - answered {
            assert_eq!(waiting.join_next().await.unwrap().unwrap(), 200);
        }
    }
    let held = slow.requests().len();
    // Twice the weight of the others: of two in flight there the second is as dear as the first here.
    assert!((1..=3).contains(&held), "{held} with the slow one");
    gate.add_permits(1000);
    while let Some(answered) = waiting.join_next().await {
        assert_eq!(answered.unwrap(), 200);
    }
}

#[tokio::test]
async fn what_is_in_flight_is_spread_by_weight() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = [
        gated(gate.clone()).await,
        gated(gate.clone()).await,
        gated(gate.clone()).await,
    ];
    let urls = slow.each_ref().map(Backend::url);
    let gateway = Gateway::start(&weighted(&urls, "balance = \"least-in-flight\"")).await;
    let mut waiting = JoinSet::new();
    for asked in 1..=40_usize {
        let address = gateway.address;
        waiting.spawn(async move { Client::fetch(address, &CHAT.ask()).await.status() });
        until("the request to arrive", || {
            let count: usize = slow.iter().map(|slow| slow.requests().len()).sum();
            (count == asked).then_some(())
        })
        .await;
    }
    let counts = slow.each_ref().map(|slow| slow.requests().len());
    for (count, share) in counts.into_iter().zip([10_usize, 20, 10]) {
        assert!(count.abs_diff(share) <= 1, "{counts:?}");
    }
    gate.add_permits(1000);
    while let Some(answered) = waiting.join_next().await {
        assert_eq!(answered.unwrap(), 200);
    }
}

/// A backend of streams whose first event comes after a while.
async fn after(pause: Duration) -> Backend {
    Backend::playing(move |mut peer| async move {
        if peer.request().await.is_some() {
            peer.send(begun("")).await;
            if !pause.is_zero() && !peer.is_quiet_for(pause).await {
                return;
            }
            let rest = role_of("a", "m") + &text_of("a", "m", "Hi") + &stop_of("a", "m");
            peer.chunk(&rest).await;
            peer.send(wire::LAST).await;
        }
    })
    .await
}

#[tokio::test]
async fn whose_first_events_come_late_is_hardly_asked() {
    for route in ["", "rescue = true", "resume = true"] {
        let slow = after(Duration::from_millis(600)).await;
        let quick = [after(Duration::ZERO).await, after(Duration::ZERO).await];
        let urls = [quick[0].url(), slow.url(), quick[1].url()];
        let gateway = Gateway::start(&(weighted(&urls, "balance = \"first-event\"") + route)).await;
        for _ in 0..100 {
            let answer = gateway.fetch(&CHAT.ask()).await;
            assert_eq!(answer.status(), 200);
        }
        let counts = [&quick[0], &slow, &quick[1]].map(|backend| backend.requests().len());
        assert_eq!(counts.iter().sum::<usize>(), 100);
        // By weight alone it would get fifty.
        assert!(
            !is_likely(counts[1], 100, 0.5) && counts[1] < 20,
            "{route}: {counts:?}"
        );
        assert!(
            counts[0] > counts[1] && counts[2] > counts[1],
            "{route}: {counts:?}"
        );
    }
}

/// Which of `scripts` is asked for each of these keys, by the number at the end of its `url`.
async fn homes(gateway: &Gateway, backends: &[Backend], keys: usize) -> BTreeMap<usize, usize> {
    let mut homes = BTreeMap::new();
    let mut client = Client::connect(gateway.address).await;
    for key in 0..keys {
        let before: Vec<_> = backends.iter().map(|one| one.requests().len()).collect();
        let ask = CHAT.ask().field(&format!("X-Session: session-{key}"));
        assert_eq!(client.exchange(&ask).await.status(), 200);
        let home = backends
            .iter()
            .zip(before)
            .position(|(one, before)| one.requests().len() > before);
        homes.insert(key, home.expect("somebody was asked"));
    }
    homes
}

#[tokio::test]
async fn who_is_alike_goes_to_the_same_endpoint() {
    let scripts = three().await;
    let all = urls(&scripts);
    let backends = scripts.map(|script| script.backend);
    let policy = "balance = \"hash\"\nhash_by = \"x-session\"";
    let gateway = Gateway::start(&weighted(&all, policy)).await;
    let first = homes(&gateway, &backends, 400).await;
    assert_eq!(homes(&gateway, &backends, 400).await, first, "and again");
    for (index, share) in [0.25, 0.5, 0.25].into_iter().enumerate() {
        let count = first.values().filter(|home| **home == index).count();
        assert!(is_likely(count, 400, share), "{index}: {count}");
    }
    let other = Gateway::start(&weighted(&all, policy)).await;
    assert_eq!(
        homes(&other, &backends, 400).await,
        first,
        "at every gateway"
    );

    // Without the last endpoint its keys move, and no others.
    let fewer = Gateway::start(&format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[upstreams.model]\n\
         endpoints = [{{ url = \"{}\", weight = 2 }}, \"{}\"]\n{policy}\n\
         [routes.all]\npath = \"/*\"\nto = \"model\"\n",
        all[1], all[0]
    ))
    .await;
    let left = homes(&fewer, &backends, 400).await;
    for (key, home) in &first {
        match home {
            2 => assert_ne!(left[key], 2),
            stays => assert_eq!(left[key], *stays, "key {key} moved"),
        }
    }
    assert!(first.values().any(|home| *home == 2), "none to be moved");
}

#[tokio::test]
async fn while_an_endpoint_is_out_only_its_keys_are_elsewhere() {
    let (one, two) = (
        Script::saying(wire::json(200, "{}")).await,
        Script::failing(500).await,
    );
    let pair = [one.backend.url(), two.backend.url()];
    let keys = "balance = \"hash\"\nhash_by = \"x-session\"\n\
                eject = { after = 3, percent = 0, pause = \"60s\", longest = \"60s\" }";
    let gateway = Gateway::start(&chain(&[(&pair, keys)], "")).await;
    for key in 0..60 {
        let ask = CHAT.ask().field(&format!("X-Session: session-{key}"));
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), 200, "{key}");
    }
    assert_eq!(two.count(), 3);
    assert_eq!(one.count(), 60);
}

#[tokio::test]
async fn callers_are_told_apart_by_what_they_show() {
    let scripts = three().await;
    let gateway = Gateway::start(&weighted(&urls(&scripts), "balance = \"hash\"")).await;
    let mut used = std::collections::BTreeSet::new();
    for caller in 0..40 {
        let before = scripts.each_ref().map(Script::count);
        for _ in 0..3 {
            let ask = CHAT
                .ask()
                .field(&format!("Authorization: Bearer key-{caller}"));
            assert_eq!(gateway.fetch(&ask).await.status(), 200);
        }
        let after = scripts.each_ref().map(Script::count);
        let gained: Vec<_> = after
            .iter()
            .zip(before)
            .map(|(after, before)| after - before)
            .collect();
        let home = gained.iter().position(|count| *count == 3);
        used.insert(home.unwrap_or_else(|| panic!("{caller}: {gained:?}")));
    }
    assert_eq!(used.len(), 3, "all are used");
    let before = scripts.each_ref().map(Script::count);
    for _ in 0..5 {
        gateway.fetch(&Ask::get("/anonymous")).await;
    }
    let after = scripts.each_ref().map(Script::count);
    let homes = after
        .iter()
        .zip(before)
        .filter(|(after, before)| *after > before);
    assert_eq!(homes.count(), 1, "one address, one home");
}

#[tokio::test]
async fn who_never_has_a_first_event_in_time_is_known_for_it() {
    // One that is let go by a hedge, one that callers leave, one that fails though nothing is left out.
    let hedged = "hedge = \"30ms\"\nhedge_percent = 100";
    for (line, keys, route) in [
        (Line::Hold(Vec::new()), "", hedged),
        (Line::Hold(begun("")), "eject = false", hedged),
        (
            Line::Say(error(500, "no", &[])),
            "eject = false",
            "retry = false",
        ),
        (Line::Close(Vec::new()), "eject = false", "retry = false"),
    ] {
        let bad = Script::of([line.clone()]).await;
        let good = Script::saying(stream(&CHAT.whole())).await;
        let next = Script::saying(stream(&CHAT.whole())).await;
        let urls = [bad.backend.url(), good.backend.url()];
        let gateway = Gateway::start(&chain(
            &[
                (&urls, &format!("balance = \"first-event\"\n{keys}")),
                (&[next.backend.url()], ""),
            ],
            route,
        ))
        .await;
        for _ in 0..40 {
            assert_eq!(gateway.fetch(&CHAT.ask()).await.text(), CHAT.whole());
        }
        assert!(bad.count() < 10, "{line:?}: {} of 40", bad.count());
        assert!(good.count() > 30, "{line:?}: {} of 40", good.count());
    }
}

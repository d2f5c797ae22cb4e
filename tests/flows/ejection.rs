//! Endpoints that fail are left out, tried again, and come back; what counts as failing, and for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use deltaway::config::{Check, Config};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::support::api::CHAT;
use crate::support::script::{Line, begun, chain, error, role_of, stream, text_of, told};
use crate::support::{Ask, Backend, Client, Gateway, Reader, Script, until, wire, within};

/// Out after three failures in a row, and for long.
const FOR_LONG: &str = "eject = { after = 3, percent = 0, pause = \"60s\", longest = \"60s\" }";
/// The same for so short that a test can wait for it.
const BRIEFLY: &str = "eject = { after = 3, percent = 0, pause = \"150ms\", longest = \"150ms\" }";

/// What `/upstreams` says of the endpoint at `url`.
async fn seen(gateway: &Gateway, url: &str) -> Value {
    let shown = gateway.ask_admin("/upstreams").await.json();
    let upstreams = shown["upstreams"].as_array().unwrap().clone();
    let mut endpoints = upstreams
        .iter()
        .flat_map(|upstream| upstream["endpoints"].as_array().unwrap());
    let found = endpoints.find(|endpoint| endpoint["name"] == url);
    found.expect("the endpoint").clone()
}

/// Waits until the endpoint at `url` stands so.
async fn until_it_is(gateway: &Gateway, url: &str, standing: &str) {
    let what = format!("{url} to be {standing}");
    let looking = async {
        let mut look = tokio::time::interval(Duration::from_millis(5));
        while seen(gateway, url).await["standing"] != standing {
            look.tick().await;
        }
    };
    within(&what, looking).await;
}

/// Waits until no request is with the endpoint: how the last one ended is known to the gateway then.
async fn settled(gateway: &Gateway, url: &str) {
    within("the endpoint to be left", async {
        while seen(gateway, url).await["in_flight"] != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A backend whose answers have the status in the number, which it also counts.
async fn of_status(status: Arc<AtomicU16>) -> Backend {
    Backend::playing(move |mut peer| {
        let status = status.clone();
        async move {
            while peer.request().await.is_some() {
                let status = status.load(Ordering::SeqCst);
                peer.send(with(status)).await;
            }
        }
    })
    .await
}

fn often(config: &mut Config) {
    for upstream in config.upstreams.values_mut() {
        Arc::make_mut(upstream).check = Some(Check {
            path: "/health".into(),
            every: Duration::from_millis(5),
            within: Duration::from_secs(10),
            up: 1,
            down: 1,
        });
    }
}

/// A small answer of this status.
fn with(status: u16) -> Vec<u8> {
    match status {
        200 => wire::json(200, "{}"),
        _ => error(status, "no", &[]),
    }
}

#[tokio::test]
async fn who_fails_often_enough_gets_nothing_more() {
    for line in [
        Line::Say(error(500, "no", &[])),
        Line::Say(error(503, "no", &[])),
        Line::Close(Vec::new()),
        Line::Close(b"what?\r\n\r\n".to_vec()),
    ] {
        let bad = Script::of([line.clone()]).await;
        let good = Script::saying(wire::json(200, "{}")).await;
        let urls = [bad.backend.url(), good.backend.url()];
        let gateway = Gateway::start(&chain(&[(&urls, FOR_LONG)], "")).await;
        for _ in 0..30 {
            gateway.fetch(&CHAT.ask()).await;
        }
        assert_eq!(bad.count(), 3, "{line:?}");
        assert!(good.count() >= 27);
        let shown = seen(&gateway, &urls[0]).await;
        assert_eq!(shown["standing"], "out", "{shown}");
        assert_eq!(shown["ejections"], 1);
        assert!(shown["out_for_ms"].as_u64().unwrap() > 0);
        assert_eq!(seen(&gateway, &urls[1]).await["standing"], "in");
    }
}

#[tokio::test]
async fn a_share_of_failures_is_enough() {
    let fails = Arc::new(AtomicUsize::new(0));
    let counted = fails.clone();
    let bad = Backend::playing(move |mut peer| {
        let fails = counted.clone();
        async move {
            while peer.request().await.is_some() {
                let status = if fails.fetch_add(1, Ordering::SeqCst).is_multiple_of(2) {
                    200
                } else {
                    500
                };
                peer.send(with(status)).await;
            }
        }
    })
    .await;
    let good = Script::saying(wire::json(200, "{}")).await;
    let keys = "eject = { after = 100, percent = 50, pause = \"60s\", longest = \"60s\" }";
    let urls = [bad.url(), good.backend.url()];
    let gateway = Gateway::start(&chain(&[(&urls, keys)], "")).await;
    for _ in 0..60 {
        gateway.fetch(&Ask::get("/plain")).await;
        settled(&gateway, &urls[0]).await;
    }
    assert_eq!(bad.requests().len(), 10, "five of the first ten");
}

#[tokio::test]
async fn few_try_whether_it_is_well_again() {
    for (probes, most) in [("", 1), (", probes = 3", 3)] {
        let status = Arc::new(AtomicU16::new(500));
        let gate = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let (said, held) = (status.clone(), gate.clone());
        let bad = Backend::playing(move |mut peer| {
            let (said, held) = (said.clone(), held.clone());
            async move {
                while peer.request().await.is_some() {
                    held.acquire().await.unwrap().forget();
                    peer.send(with(said.load(Ordering::SeqCst))).await;
                }
            }
        })
        .await;
        let good = Script::saying(wire::json(200, "{}")).await;
        let keys = format!(
            "eject = {{ after = 3, percent = 0, pause = \"150ms\", longest = \"150ms\"{probes} }}"
        );
        let urls = [bad.url(), good.backend.url()];
        let gateway = Gateway::start_changed(&chain(&[(&urls, &keys)], ""), &[], |config| {
            config.server.workers = Some(3);
        })
        .await;
        while seen(&gateway, &urls[0]).await["standing"] == "in" {
            gateway.fetch(&CHAT.ask()).await;
        }
        assert_eq!(bad.requests().len(), 3);
        gate.forget_permits(Semaphore::MAX_PERMITS);
        status.store(200, Ordering::SeqCst);
        until_it_is(&gateway, &urls[0], "trial").await;
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let address = gateway.address;
            asking.spawn(async move { Client::fetch(address, &CHAT.ask()).await.status() });
        }
        // All but the probes are answered by the other one.
        for _ in 0..20 - most {
            let answered = within("answers of the other one", asking.join_next()).await;
            assert_eq!(answered.unwrap().unwrap(), 200);
        }
        assert_eq!(bad.requests().len(), 3 + most, "no more than the probes");
        gate.add_permits(1000);
        while let Some(answered) = asking.join_next().await {
            assert_eq!(answered.unwrap(), 200);
        }
        until_it_is(&gateway, &urls[0], "in").await;
        let before = bad.requests().len();
        for _ in 0..10 {
            assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
        }
        assert_eq!(bad.requests().len(), before + 5, "its share again");
    }
}

#[tokio::test]
async fn who_fails_its_trial_is_out_for_longer() {
    let bad = Script::failing(500).await;
    let good = Script::saying(wire::json(200, "{}")).await;
    let urls = [bad.backend.url(), good.backend.url()];
    let keys = "eject = { after = 2, percent = 0, pause = \"80ms\", longest = \"60s\" }";
    let gateway = Gateway::start(&chain(&[(&urls, keys)], "")).await;
    let began = Instant::now();
    while seen(&gateway, &urls[0]).await["ejections"].as_u64() < Some(3) {
        gateway.fetch(&CHAT.ask()).await;
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(bad.count(), 4, "two failures, and a probe each time");
    // 80 ms and 160 ms, each less a tenth at most.
    assert!(bad.gap(1) >= Duration::from_millis(72), "{:?}", bad.gap(1));
    assert!(bad.gap(2) >= Duration::from_millis(144), "{:?}", bad.gap(2));
}

#[tokio::test]
async fn answers_that_are_cut_count_as_failures() {
    for route in ["", "rescue = true", "resume = true"] {
        let said = role_of("a", "m") + &text_of("a", "m", "Hel");
        let bad = Script::of([Line::Close(begun(&said))]).await;
        let good = Script::saying(stream(&CHAT.whole())).await;
        let urls = [bad.backend.url(), good.backend.url()];
        let gateway = Gateway::start(&chain(&[(&urls, FOR_LONG)], route)).await;
        for asked in 0.. {
            assert!(asked < 100, "{route}: never left out");
            gateway.fetch(&CHAT.ask()).await;
            settled(&gateway, &urls[0]).await;
            if seen(&gateway, &urls[0]).await["standing"] == "out" {
                break;
            }
        }
        let count = bad.count();
        assert_eq!(count, 3, "{route}");
        for _ in 0..10 {
            assert!(told(&gateway.fetch(&CHAT.ask()).await.body).1);
        }
        assert_eq!(bad.count(), count, "{route}");
    }
}

#[tokio::test]
async fn what_is_the_callers_own_counts_for_nobody() {
    for status in [400, 401, 404, 413, 422, 429] {
        let one = Script::failing(status).await;
        let two = Script::failing(status).await;
        let urls = [one.backend.url(), two.backend.url()];
        let gateway = Gateway::start(&chain(&[(&urls, FOR_LONG)], "retry = false")).await;
        for _ in 0..20 {
            assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), status);
        }
        for url in &urls {
            let shown = seen(&gateway, url).await;
            assert_eq!(
                (&shown["standing"], &shown["failures_in_row"]),
                (&"in".into(), &0.into())
            );
        }
        assert_eq!((one.count(), two.count()), (10, 10), "{status}");
    }
}

#[tokio::test]
async fn callers_who_leave_say_nothing_of_the_endpoint() {
    for route in ["", "rescue = true", "resume = { on_leave = \"cancel\" }"] {
        let said = role_of("a", "m") + &text_of("a", "m", "Hel");
        let slow = Script::of([Line::Hold(begun(&said))]).await;
        let silent = Script::of([Line::Hold(Vec::new())]).await;
        for script in [&slow, &silent] {
            let urls = [script.backend.url()];
            let gateway = Gateway::start(&chain(&[(&urls, FOR_LONG)], route)).await;
            for count in 1..=6 {
                let client = gateway.asking(&CHAT.ask()).await;
                until("the request", || (script.count() >= count).then_some(())).await;
                if std::ptr::eq(script, &raw const slow) {
                    let mut reader = Reader::answered(client).await;
                    reader.next().await;
                    reader.leave();
                } else {
                    client.leave();
                }
                script.is_left(count).await;
            }
            settled(&gateway, &urls[0]).await;
            let shown = seen(&gateway, &urls[0]).await;
            assert_eq!(shown["failures_in_row"], 0, "{route}: {shown}");
            assert_eq!(
                (&shown["standing"], &shown["in_flight"]),
                (&"in".into(), &0.into())
            );
        }
    }
}

#[tokio::test]
async fn where_there_is_nowhere_else_to_go_all_are_asked() {
    let scripts = [Script::failing(500).await, Script::failing(500).await];
    let urls = scripts.each_ref().map(|script| script.backend.url());
    for urls in [&urls[..1], &urls[..]] {
        let gateway = Gateway::start(&chain(&[(urls, FOR_LONG)], "retry = false")).await;
        let before: usize = scripts.iter().map(Script::count).sum();
        for _ in 0..20 {
            let answer = gateway.fetch(&CHAT.ask()).await;
            assert_eq!(answer.status(), 500, "{}", answer.text());
        }
        let after: usize = scripts.iter().map(Script::count).sum();
        assert_eq!(after - before, 20, "never refused by what we think");
        for url in urls {
            assert_eq!(seen(&gateway, url).await["standing"], "out");
        }
    }
}

#[tokio::test]
async fn where_most_are_out_the_rest_is_not_buried() {
    let good = Script::saying(wire::json(200, "{}")).await;
    let bad = [
        Script::failing(500).await,
        Script::failing(500).await,
        Script::failing(500).await,
    ];
    let mut urls = vec![good.backend.url()];
    urls.extend(bad.iter().map(|script| script.backend.url()));
    // A half has to stay: two of four.
    let keys = "eject = { after = 2, percent = 0, pause = \"60s\", longest = \"60s\", keep = 50 }";
    let gateway = Gateway::start(&chain(&[(&urls, keys)], "retry = false")).await;
    for _ in 0..40 {
        gateway.fetch(&CHAT.ask()).await;
    }
    for url in &urls[1..] {
        assert_eq!(seen(&gateway, url).await["standing"], "out");
    }
    let before = good.count();
    for _ in 0..40 {
        gateway.fetch(&CHAT.ask()).await;
    }
    assert_eq!(good.count() - before, 10, "one of four: each is asked");
}

#[tokio::test]
async fn an_upstream_that_is_out_is_passed_over_at_once() {
    let first = Script::failing(500).await;
    let second = Script::saying(wire::json(200, "{}")).await;
    let urls = [first.backend.url()];
    let gateway = Gateway::start(&chain(
        &[(&urls, FOR_LONG), (&[second.backend.url()], "")],
        "retry = false",
    ))
    .await;
    for asked in 1..=20 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
        assert_eq!(second.count(), asked);
    }
    assert_eq!(first.count(), 3);
    assert_eq!(seen(&gateway, &urls[0]).await["standing"], "out");
}

#[tokio::test]
async fn it_comes_back_when_it_is_well() {
    let status = Arc::new(AtomicU16::new(500));
    let first = of_status(status.clone()).await;
    let second = Script::saying(wire::json(200, "{}")).await;
    let urls = [first.url()];
    let gateway = Gateway::start(&chain(
        &[(&urls, BRIEFLY), (&[second.backend.url()], "")],
        "retry = false",
    ))
    .await;
    for _ in 0..3 {
        gateway.fetch(&CHAT.ask()).await;
    }
    status.store(200, Ordering::SeqCst);
    let before = second.count();
    until_it_is(&gateway, &urls[0], "trial").await;
    for _ in 0..5 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
    }
    assert_eq!(second.count(), before, "all to the first again");
    let shown = seen(&gateway, &urls[0]).await;
    assert_eq!(
        (&shown["standing"], &shown["failures_in_row"]),
        (&"in".into(), &0.into())
    );
}

#[tokio::test]
async fn an_endpoint_on_trial_is_well_with_its_first_event() {
    for route in ["", "rescue = true"] {
        let said = role_of("a", "m") + &text_of("a", "m", "Hel");
        let no = Line::Say(error(500, "no", &[]));
        let first = Script::of([no.clone(), no.clone(), no, Line::Hold(begun(&said))]).await;
        let second = Script::saying(stream(&CHAT.whole())).await;
        let urls = [first.backend.url()];
        let gateway = Gateway::start(&chain(
            &[(&urls, BRIEFLY), (&[second.backend.url()], "")],
            &format!("retry = false\n{route}"),
        ))
        .await;
        for _ in 0..3 {
            gateway.fetch(&CHAT.ask()).await;
        }
        until_it_is(&gateway, &urls[0], "trial").await;
        let mut probe = Reader::open(&gateway, &CHAT.ask()).await;
        probe.next().await;
        until_it_is(&gateway, &urls[0], "in").await;
        let mut beside = Reader::open(&gateway, &CHAT.ask()).await;
        beside.next().await;
        assert_eq!(first.count(), 5, "{route}: both are with it");
        let shown = seen(&gateway, &urls[0]).await;
        assert_eq!(shown["in_flight"], 2);
        assert!(shown["first_event_ms"].is_number(), "{route}: {shown}");
    }
}

#[tokio::test]
async fn what_checks_find_down_is_not_asked() {
    let status = Arc::new(AtomicU16::new(200));
    let first = of_status(status.clone()).await;
    let second = of_status(Arc::new(AtomicU16::new(200))).await;
    let urls = [first.url(), second.url()];
    let chats = |backend: &Backend| {
        let requests = backend.requests();
        requests
            .iter()
            .filter(|request| request.head.target() == CHAT.target)
            .count()
    };
    let gateway = Gateway::start_changed(&chain(&[(&urls, "")], "retry = false"), &[], often).await;
    status.store(500, Ordering::SeqCst);
    within("the check to fail", async {
        while seen(&gateway, &urls[0]).await["checked"] != false {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..10 {
        gateway.fetch(&CHAT.ask()).await;
    }
    assert_eq!(chats(&first), 0);
    assert_eq!(chats(&second), 10);
    status.store(200, Ordering::SeqCst);
    within("the check to find it well", async {
        while seen(&gateway, &urls[0]).await["checked"] != true {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for _ in 0..10 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
    }
    assert_eq!((chats(&first), chats(&second)), (5, 15));
}

#[tokio::test]
async fn where_checks_find_all_down_the_next_entry_is_asked_and_else_they_are() {
    let down = of_status(Arc::new(AtomicU16::new(500))).await;
    let second = Script::saying(wire::json(200, "{}")).await;
    let asked = || {
        let requests = down.requests();
        let chat =
            |request: &&crate::support::backend::Request| request.head.target() == CHAT.target;
        requests.iter().filter(chat).count()
    };
    let only_first = |config: &mut Config| {
        often(config);
        if let Some(second) = config.upstreams.get_mut("second") {
            Arc::make_mut(second).check = None;
        }
    };
    let urls = [down.url()];
    let chained = chain(
        &[(&urls, ""), (&[second.backend.url()], "")],
        "retry = false",
    );
    for (source, count, status) in [
        (chained, 0, 200),
        (chain(&[(&urls, "")], "retry = false"), 5, 500),
    ] {
        let gateway = Gateway::start_changed(&source, &[], only_first).await;
        within("the check to fail", async {
            while seen(&gateway, &urls[0]).await["checked"] != false {
                tokio::task::yield_now().await;
            }
        })
        .await;
        for _ in 0..5 {
            assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), status);
        }
        assert_eq!(asked(), count);
    }
    assert_eq!(second.count(), 5);
}

#[tokio::test]
async fn an_error_of_the_callers_within_an_answer_counts_for_nobody() {
    let too_long =
        "data: {\"error\":{\"message\":\"too long\",\"code\":\"context_length_exceeded\"}}\n\n";
    let before = role_of("a", "m") + &text_of("a", "m", "Hel");
    for route in ["", "rescue = true", "resume = true"] {
        for events in [too_long.to_owned(), before.clone() + too_long] {
            let script = Script::saying(stream(&events)).await;
            let urls = [script.backend.url()];
            let gateway = Gateway::start(&chain(&[(&urls, FOR_LONG)], route)).await;
            for _ in 0..5 {
                assert!(gateway.fetch(&CHAT.ask()).await.text().contains("too long"));
                settled(&gateway, &urls[0]).await;
            }
            let shown = seen(&gateway, &urls[0]).await;
            assert_eq!(shown["standing"], "in", "{route}: {shown}");
            assert_eq!(shown["failures_in_row"], 0, "{route}: {shown}");
        }
    }
    let broken = "data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n";
    for route in ["", "rescue = true", "resume = true"] {
        let script = Script::saying(stream(&(before.clone() + broken))).await;
        let urls = [script.backend.url()];
        let gateway = Gateway::start(&chain(&[(&urls, FOR_LONG)], route)).await;
        for _ in 0..3 {
            gateway.fetch(&CHAT.ask()).await;
            settled(&gateway, &urls[0]).await;
        }
        assert_eq!(seen(&gateway, &urls[0]).await["standing"], "out", "{route}");
    }
}

//! The chain of a route: who is asked when an entry fails, in what way, and what the caller gets at last.

use deltaway::config::Trouble;

use crate::support::api::{CHAT, GEMINI, MESSAGES, OLLAMA, RESPONSES, TEXT};
use crate::support::backend::Refusing;
use crate::support::script::{
    Line, begun, chain, chat_of, coded, error, errors, role_of, stop_of, stream, text_of, told,
};
use crate::support::{Ask, Client, Gateway, Script, wire};

/// A way for a backend to fail, and what its upstream needs for it.
fn failing_by(trouble: Trouble) -> (Line, &'static str) {
    let say = |status, message: &str, code: &str| Line::Say(coded(status, message, code, &[]));
    let line = match trouble {
        Trouble::Unreachable | Trouble::Closed => Line::Close(Vec::new()),
        Trouble::Silent => return (Line::Hold(Vec::new()), "clocks = { first_byte = \"60ms\" }"),
        Trouble::NoEvent => return (Line::Hold(begun("")), "clocks = { first_event = \"60ms\" }"),
        Trouble::Malformed => Line::Close(b"SMTP ready\r\n\r\n".to_vec()),
        Trouble::RateLimited => say(429, "slow down", "rate_limit_exceeded"),
        Trouble::Quota => say(429, "no money left", "insufficient_quota"),
        Trouble::Overloaded => say(529, "overloaded", ""),
        Trouble::Failed => say(500, "internal error", ""),
        Trouble::Transient => say(408, "too late", ""),
        Trouble::Credentials => say(401, "who are you", "invalid_api_key"),
        Trouble::UnknownModel => say(404, "no such model", "model_not_found"),
        Trouble::ContextLength => say(400, "too long", "context_length_exceeded"),
        Trouble::ContentFilter => say(400, "not that", "content_filter"),
        Trouble::Refused => say(422, "not so", ""),
    };
    (line, "")
}

/// What the configuration calls the remedy that is usual for it (`docs/configuration.md`).
fn usual(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Unreachable
        | Trouble::Closed
        | Trouble::RateLimited
        | Trouble::Overloaded
        | Trouble::Failed
        | Trouble::Transient => "again",
        Trouble::Silent
        | Trouble::NoEvent
        | Trouble::Malformed
        | Trouble::Quota
        | Trouble::Credentials
        | Trouble::UnknownModel => "next",
        Trouble::ContextLength => "larger",
        Trouble::ContentFilter | Trouble::Refused => "give-up",
    }
}

/// Asks once where the first of three entries fails by `trouble`, and looks who was asked.
async fn follows(trouble: Trouble, remedy: Option<&str>) {
    let (line, keys) = failing_by(trouble);
    let first = Script::of([line]).await;
    let refusing = Refusing::new();
    let url = match trouble {
        Trouble::Unreachable => format!("http://{}", refusing.address),
        _ => first.backend.url(),
    };
    let second = Script::saying(stream(&chat_of("b", &["second"]))).await;
    let larger = Script::saying(stream(&chat_of("c", &["larger"]))).await;
    // An entry that is `larger` wants to be asked for by something.
    let other = match trouble {
        Trouble::Refused => "content_filter",
        _ => "refused",
    };
    let told_so = remedy.map_or_else(String::new, |remedy| {
        let word = trouble.word();
        format!("failures = {{ {word} = \"{remedy}\", {other} = \"larger\" }}\n")
    });
    let gateway = Gateway::start(&chain(
        &[
            (&[url], keys),
            (&[second.backend.url()], ""),
            (&[larger.backend.url()], ""),
        ],
        &format!(
            "to = [\"first\", \"second\", {{ upstream = \"third\", larger = true }}]\n\
             retry = {{ times = 1, pause = \"1ms\" }}\n{told_so}"
        ),
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    let remedy = remedy.unwrap_or(usual(trouble));
    let (asked, text) = match remedy {
        "again" => ((2, 1, 0), "second"),
        "next" => ((1, 1, 0), "second"),
        "larger" => ((1, 0, 1), "larger"),
        _ => ((1, 0, 0), ""),
    };
    let mut seen = (first.count(), second.count(), larger.count());
    if trouble == Trouble::Unreachable {
        assert_eq!(seen.0, 0);
        seen.0 = asked.0;
    }
    assert_eq!(seen, asked, "{trouble:?} {remedy}");
    if text.is_empty() {
        assert!(answer.status() >= 400, "{trouble:?}: {}", answer.status());
    } else {
        assert_eq!(
            told(&answer.body),
            (text.to_owned(), true),
            "{trouble:?} {remedy}"
        );
    }
}

#[tokio::test]
async fn each_way_to_fail_has_its_usual_remedy() {
    for trouble in Trouble::ALL {
        follows(trouble, None).await;
    }
}

#[tokio::test]
async fn each_way_to_fail_has_the_remedy_that_the_route_says() {
    for trouble in Trouble::ALL {
        for remedy in ["again", "next", "larger", "give-up"] {
            follows(trouble, Some(remedy)).await;
        }
    }
}

#[tokio::test]
async fn who_gives_up_gets_the_backends_own_words() {
    for (status, trouble) in [(503, "overloaded"), (401, "credentials"), (400, "refused")] {
        let first = Script::saying(error(status, "in my own words", &["X-Own: yes"])).await;
        let second = Script::saying(wire::json(200, "{}")).await;
        let gateway = Gateway::start(&chain(
            &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
            &format!("failures = {{ {trouble} = \"give-up\" }}"),
        ))
        .await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.json()["error"]["message"], "in my own words");
        assert_eq!(answer.head.get("x-own"), Some("yes"));
        assert_eq!(second.count(), 0);
    }
}

#[tokio::test]
async fn an_error_as_the_first_event_is_a_failure_like_any_other() {
    let told_first = "data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n";
    let overloaded = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let unavailable = "data: {\"error\":{\"code\":503,\"message\":\"overloaded\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n";
    let failed = "event: error\ndata: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"failed\",\"sequence_number\":0}\n\n";
    for (api, failure, whole) in [
        (CHAT, told_first, CHAT.whole()),
        (TEXT, told_first, TEXT.whole()),
        (MESSAGES, overloaded, MESSAGES.whole()),
        (RESPONSES, failed, RESPONSES.whole()),
        (GEMINI, unavailable, GEMINI.whole()),
        (
            OLLAMA,
            "{\"error\":\"llama runner died\"}\n",
            OLLAMA.whole(),
        ),
    ] {
        let answering = |events: &str| {
            let head = api.head("Connection: close\r\nTransfer-Encoding: chunked");
            [head, wire::chunk(events), wire::LAST.to_vec()].concat()
        };
        let first = Script::saying(answering(failure)).await;
        let second = Script::saying(answering(&whole)).await;
        let gateway = Gateway::start(&chain(
            &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
            "retry = { times = 1, pause = \"1ms\" }",
        ))
        .await;
        let answer = gateway.fetch(&api.ask()).await;
        assert_eq!(
            (answer.status(), answer.text()),
            (200, whole),
            "{}",
            api.name
        );
        assert_eq!((first.count(), second.count()), (2, 1));
    }
}

#[tokio::test]
async fn an_error_as_the_first_event_passes_where_nobody_else_can_be_asked() {
    let failure = "data: {\"error\":{\"message\":\"my own words\",\"code\":400}}\n\n";
    let first = Script::saying(stream(failure)).await;
    let second = Script::saying(stream(failure)).await;
    for urls in [
        vec![first.backend.url()],
        vec![first.backend.url(), second.backend.url()],
    ] {
        let upstreams: Vec<_> = urls
            .iter()
            .map(|url| (std::slice::from_ref(url), ""))
            .collect();
        let gateway = Gateway::start(&chain(&upstreams, "")).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!((answer.status(), answer.text().as_str()), (200, failure));
    }
    assert_eq!(
        (first.count(), second.count()),
        (2, 0),
        "a fault of the caller's"
    );
}

#[tokio::test]
async fn an_error_behind_the_first_event_is_not_called_back() {
    let events = text_of("a", "m", "Hel") + "data: {\"error\":{\"message\":\"busy\"}}\n\n";
    let first = Script::saying(stream(&events)).await;
    let second = Script::saying(stream(&CHAT.whole())).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
        "",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.text(), events, "and not doubled");
    assert_eq!((first.count(), second.count()), (1, 0));
}

#[tokio::test]
async fn who_is_silent_is_left_for_the_next_entry() {
    for (line, keys) in [
        (Line::Hold(Vec::new()), "clocks = { first_byte = \"60ms\" }"),
        (
            Line::Hold(b"HTTP/1.1 200 OK\r\nContent".to_vec()),
            "clocks = { first_byte = \"60ms\" }",
        ),
        (Line::Hold(begun("")), "clocks = { first_event = \"60ms\" }"),
        (
            Line::Hold(begun(": ping\n\n")),
            "clocks = { first_event = \"60ms\" }",
        ),
        (
            Line::Hold(begun("data: {\"id\":")),
            "clocks = { first_event = \"60ms\" }",
        ),
    ] {
        let first = Script::of([line]).await;
        let second = Script::saying(stream(&chat_of("b", &["Hello"]))).await;
        let gateway = Gateway::start(&chain(
            &[
                (&[first.backend.url()], keys),
                (&[second.backend.url()], ""),
            ],
            "",
        ))
        .await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(
            answer.text(),
            chat_of("b", &["Hello"]),
            "{keys}: nothing of the first"
        );
        first.is_left(1).await;
        assert_eq!((first.count(), second.count()), (1, 1));
    }
}

#[tokio::test]
async fn each_entry_is_asked_for_the_model_it_knows() {
    let first = Script::failing(503).await;
    let second = Script::failing(404).await;
    let answer = role_of("c", "real-three")
        + &text_of("c", "real-three", "Hi")
        + &stop_of("c", "real-three");
    let third = Script::saying(stream(&answer)).await;
    let gateway = Gateway::start(&chain(
        &[
            (&[first.backend.url()], ""),
            (&[second.backend.url()], ""),
            (&[third.backend.url()], ""),
        ],
        "to = [{ upstream = \"first\", model = \"one\" }, \"second\", { upstream = \"third\", model = \"three\" }]\n\
         retry = false\nfailures = { refused = \"next\", unknown_model = \"next\" }",
    ))
    .await;
    let ask = Ask::post(
        CHAT.target,
        "{ \"stream\":true, \"model\" : \"any\", \"messages\":[]}",
    );
    let got = gateway.fetch(&ask).await;
    assert_eq!(got.text(), answer, "the model that answered is told");
    let asked =
        |model: &str| format!("{{ \"stream\":true, \"model\" : \"{model}\", \"messages\":[]}}");
    assert_eq!(first.bodies(), [asked("one")]);
    assert_eq!(second.bodies(), [asked("any")]);
    assert_eq!(third.bodies(), [asked("three")]);
}

#[tokio::test]
async fn a_larger_model_is_asked_only_for_what_is_too_long() {
    let long = coded(400, "too long", "context_length_exceeded", &[]);
    for (first, second, asked) in [
        (long.clone(), wire::json(200, "{}"), (1, 0, 1)),
        (error(503, "busy", &[]), wire::json(200, "{}"), (1, 1, 0)),
        (error(503, "busy", &[]), error(503, "busy", &[]), (1, 1, 0)),
        (error(503, "busy", &[]), long.clone(), (1, 1, 1)),
    ] {
        let first = Script::saying(first).await;
        let second = Script::saying(second).await;
        let larger = Script::saying(wire::json(200, "{}")).await;
        let gateway = Gateway::start(&chain(
            &[
                (&[first.backend.url()], ""),
                (&[second.backend.url()], ""),
                (&[larger.backend.url()], ""),
            ],
            "to = [\"first\", \"second\", { upstream = \"third\", larger = true }]\nretry = false",
        ))
        .await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert_eq!((first.count(), second.count(), larger.count()), asked);
        let failed = asked == (1, 1, 0) && second.bodies().len() == 1 && answer.status() == 503;
        assert!(answer.status() == 200 || failed, "{}", answer.status());
    }
}

#[tokio::test]
async fn a_backends_own_error_is_better_than_ours() {
    let refusing = Refusing::new();
    let refused = format!("http://{}", refusing.address);
    for (status, target) in [
        (503, CHAT.target),
        (401, CHAT.target),
        (402, CHAT.target),
        (408, CHAT.target),
        (529, CHAT.target),
        (503, "/plain"),
    ] {
        let own = error(status, "in my own words", &["X-Own: yes"]);
        let (head, body) = own.split_at(wire::find(&own, b"\r\n\r\n").unwrap() + 4);
        let (head, body) = (head.to_vec(), body.to_vec());
        // Also where the body comes a little behind its head.
        let first = crate::support::Backend::playing(move |mut peer| {
            let (head, body) = (head.clone(), body.clone());
            async move {
                while peer.request().await.is_some() {
                    peer.send(&head).await;
                    tokio::task::yield_now().await;
                    peer.send(&body).await;
                }
            }
        })
        .await;
        let gateway = Gateway::start(&chain(
            &[(&[first.url()], ""), (std::slice::from_ref(&refused), "")],
            "retry = false",
        ))
        .await;
        let ask = match target {
            "/plain" => Ask::get(target),
            _ => CHAT.ask(),
        };
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), status, "{target}: {}", answer.text());
        assert_eq!(answer.json()["error"]["message"], "in my own words");
        assert_eq!(answer.head.get("x-own"), Some("yes"));
    }
}

#[tokio::test]
async fn when_all_answer_with_errors_the_last_one_is_the_callers() {
    let scripts = [
        Script::saying(error(503, "one", &[])).await,
        Script::saying(error(401, "two", &[])).await,
        Script::saying(error(500, "three", &[])).await,
    ];
    let urls = scripts.each_ref().map(|script| [script.backend.url()]);
    let upstreams = urls.each_ref().map(|url| (url.as_slice(), ""));
    let gateway =
        Gateway::start(&chain(&upstreams, "retry = { times = 1, pause = \"1ms\" }")).await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.json()["error"]["message"], "three");
    assert_eq!(scripts.each_ref().map(Script::count), [2, 1, 2]);
}

#[tokio::test]
async fn a_chain_is_gone_through_in_order_for_every_request() {
    let scripts = [
        Script::failing(503).await,
        Script::of([Line::Close(Vec::new())]).await,
        Script::saying(stream(&CHAT.whole())).await,
    ];
    let urls = scripts.each_ref().map(|script| [script.backend.url()]);
    let upstreams = urls.each_ref().map(|url| (url.as_slice(), "eject = false"));
    let gateway = Gateway::start(&chain(&upstreams, "retry = false")).await;
    let mut client = Client::connect(gateway.address).await;
    for asked in 1..=5 {
        let answer = client.exchange(&CHAT.ask()).await;
        assert_eq!((answer.status(), answer.text()), (200, CHAT.whole()));
        assert_eq!(scripts.each_ref().map(Script::count), [asked; 3]);
    }
    for script in &scripts {
        assert_eq!(script.bodies(), [CHAT.request; 5]);
    }
}

#[tokio::test]
async fn a_kept_answer_is_got_from_a_chain_as_any_other() {
    let first = Script::saying(stream(
        "data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n",
    ))
    .await;
    let second = Script::saying(stream(&CHAT.whole())).await;
    let gateway = Gateway::start(&chain(
        &[(&[first.backend.url()], ""), (&[second.backend.url()], "")],
        "resume = true\nretry = false",
    ))
    .await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(told(&answer.body), ("Hello".to_owned(), true));
    let id = answer.head.get("deltaway-stream").expect("an id");
    let kept = gateway.fetch(&Ask::get(&format!("/streams/{id}"))).await;
    assert_eq!(told(&kept.body), ("Hello".to_owned(), true));
    assert!(errors(&kept.body).is_empty());
    assert_eq!((first.count(), second.count()), (1, 1));
}

//! Faults of attempts: what one caller, or one answer, may bring about for all others.

use crate::support::api::{CHAT, PLAIN};
use crate::support::script::{Line, chain, chat_of, error, errors, stop_of, stream, text_of, told};
use crate::support::{Ask, Backend, Client, Ended, Gateway, Script, toml, wire, within};

/// 60. A caller whose own key had reached its limit, or whose request was refused with a `Retry-After`, sent all others to
/// the next entry for a minute.
#[tokio::test]
async fn r60_who_is_told_to_wait_waits_alone() {
    let good = stream(&chat_of("a", &["first"]));
    for (status, field, others) in [
        (429, "Authorization: Bearer used-up", "first"),
        (403, "X-Nothing: 1", "first"),
        // Nobody showed a key: it is the endpoint that is too busy.
        (429, "X-Nothing: 1", "second"),
    ] {
        let wait = error(status, "wait", &["Retry-After: 3600"]);
        let first = Script::of([Line::Say(wait), Line::Say(good.clone())]).await;
        let second = Script::saying(stream(&chat_of("b", &["second"]))).await;
        let urls = [&first, &second].map(|script| [script.backend.url()]);
        let gateway = Gateway::start(&chain(&[(&urls[0], ""), (&urls[1], "")], "")).await;
        let refused = gateway.fetch(&CHAT.ask().field(field)).await;
        assert_eq!(told(&refused.body).0, "second", "{status}");
        let other = gateway.fetch(&CHAT.ask()).await;
        assert_eq!(told(&other.body).0, others, "{status} {field}");
        let report = gateway.ask_admin("/upstreams").await.json();
        let rests = &report["upstreams"][0]["endpoints"][0]["rests_for_ms"];
        assert_eq!(rests.is_null(), others == "first", "{report}");
        gateway.stop().await;
    }
}

/// 61. A client that sent its body slowly got endpoints left out for everybody, which only waited for it.
#[tokio::test]
async fn r61_who_waits_for_a_body_is_not_left_out() {
    // One that waits, and one that does not wait for long.
    for closes in [false, true] {
        let backend = Backend::playing(move |mut peer| async move {
            peer.head().await;
            if !closes {
                peer.left().await;
            }
        })
        .await;
        let keys = "eject = { after = 1 }\nclocks = { first_byte = \"100ms\" }\n[routes.all]";
        let source = toml(&backend.url(), "").replacen("[routes.all]", keys, 1)
            + "[admin]\nlisten = \"127.0.0.1:0\"\n";
        let gateway = Gateway::start(&source).await;
        let slow = Ask::new("POST", "/x").field("Content-Length: 3000000");
        let mut client = Client::asking(gateway.address, &slow).await;
        client.send(vec![b'a'; 70_000]).await;
        assert!(client.head().await.status() >= 502);
        let endpoint = |report: serde_json::Value| report["upstreams"][0]["endpoints"][0].clone();
        let report = endpoint(gateway.ask_admin("/upstreams").await.json());
        assert_eq!(report["standing"], "in", "{report}");
        // The same without a body to wait for.
        assert!(gateway.fetch(&Ask::get("/x")).await.status() >= 502);
        let report = endpoint(gateway.ask_admin("/upstreams").await.json());
        assert_eq!(report["standing"], "out", "{report}");
        gateway.stop().await;
    }
}

/// 62. Requests by a method that a backend does not know got it left out for everybody.
#[tokio::test]
async fn r62_what_a_backend_says_of_a_method_is_not_held_against_it() {
    for (status, standing) in [(501, "in"), (505, "in"), (500, "out")] {
        let backend = Script::failing(status).await;
        let url = [backend.backend.url()];
        let source = chain(&[(&url, "eject = { after = 1 }")], "");
        let gateway = Gateway::start(&source).await;
        assert_eq!(gateway.fetch(&PLAIN.ask()).await.status(), status);
        let report = gateway.ask_admin("/upstreams").await.json();
        let endpoint = &report["upstreams"][0]["endpoints"][0];
        assert_eq!(endpoint["standing"], standing, "{status}");
        gateway.stop().await;
    }
}

/// 63. A server that says goodbye on each connection by HTTP/2 at once, as those that are being stopped do, was
/// connected to without a pause for as long as anybody waited.
#[tokio::test]
async fn r63_a_server_that_takes_no_request_is_not_stormed() {
    let backend = Backend::playing(|mut peer| async move {
        // SETTINGS and GOAWAY, each empty (RFC 9113 §6.5, §6.8).
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let goaway = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        peer.send([&settings[..], &goaway[..]].concat()).await;
        peer.left().await;
    })
    .await;
    let url = [backend.url()];
    let source = chain(&[(&url, "http = \"2\"")], "retry = false\n");
    let gateway = Gateway::start(&source).await;
    let refused = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(refused.status(), 502, "{}", refused.text());
    assert!(backend.connections() <= 3, "{}", backend.connections());
    gateway.stop().await;
}

/// 64. An error within an answer that spoke of the request (a filter, a length) got its endpoint left out for everybody.
/// 65. And with `rescue`, another backend was asked for what a filter had held back, though `failures` gives up there.
#[tokio::test]
async fn r64_an_error_of_the_request_within_an_answer_is_the_callers_alone() {
    let told_of =
        |code: &str| format!("data: {{\"error\":{{\"message\":\"no\",\"code\":\"{code}\"}}}}\n\n");
    for (code, of_request) in [("content_filter", true), ("server_error", false)] {
        for begun in ["", "begun"] {
            for keys in [
                "",
                "rescue = true\n",
                "resume = true\n",
                "rescue = true\nresume = true\n",
            ] {
                let events = match begun {
                    "" => told_of(code),
                    text => text_of("a", "m", text) + &told_of(code),
                };
                let first = Script::saying(stream(&events)).await;
                let second = Script::saying(stream(&chat_of("b", &["second"]))).await;
                let urls = [&first, &second].map(|script| [script.backend.url()]);
                let eject = "eject = { after = 1, pause = \"1m\", longest = \"1m\" }";
                let source = chain(
                    &[(&urls[0], eject), (&urls[1], "")],
                    &format!("retry = false\n{keys}"),
                );
                let gateway = Gateway::start(&source).await;
                let answer = gateway.fetch(&CHAT.ask()).await;
                let case = format!("{code}, {begun:?}, {keys:?}: {}", answer.text());
                if of_request {
                    assert_eq!(second.count(), 0, "{case}");
                    assert_eq!(errors(&answer.body).len(), 1, "{case}");
                }
                let standing = within("what the answer says of its endpoint", async {
                    loop {
                        let report = gateway.ask_admin("/upstreams").await.json();
                        let endpoint = &report["upstreams"][0]["endpoints"][0];
                        if endpoint["in_flight"] == 0 {
                            return endpoint["standing"].clone();
                        }
                    }
                })
                .await;
                assert_eq!(standing, if of_request { "in" } else { "out" }, "{case}");
                gateway.stop().await;
            }
        }
    }
}

/// 66. A backend that told of more tokens than there can be turned the counters of tokens back.
#[tokio::test]
async fn r66_figures_that_cannot_be_are_none() {
    for (figure, counted) in [
        (
            "18446744073709551615",
            "completion-tokens=1 tokens=estimated",
        ),
        ("1e14", "completion-tokens=1 tokens=estimated"),
        ("7", "completion-tokens=7 tokens=reported"),
    ] {
        let usage = format!(
            "data: {{\"object\":\"chat.completion.chunk\",\"choices\":[],\"usage\":{{\"completion_tokens\":{figure}}}}}\n\n"
        );
        let events = text_of("a", "m", "hi") + &usage + &stop_of("a", "m");
        let backend = Script::saying(stream(&events)).await;
        let url = [backend.backend.url()];
        let gateway = Gateway::start(&chain(&[(&url, "")], "usage = \"comment\"\n")).await;
        let answer = gateway.fetch(&CHAT.ask()).await;
        assert!(
            answer.text().contains(counted),
            "{figure}: {}",
            answer.text()
        );
        gateway.stop().await;
    }
}

/// 67. Where a caller is told what its answer took, the upstream's own trailers were lost.
#[tokio::test]
async fn r67_trailers_of_the_upstream_stay_beside_ours() {
    let head = wire::head(
        "HTTP/1.1 200 OK",
        &[
            "Content-Type: text/event-stream",
            "Trailer: X-Sum",
            "Transfer-Encoding: chunked",
        ],
    );
    let events = wire::chunk(chat_of("a", &["hi"]));
    let answer = [head, events, b"0\r\nX-Sum: 7\r\n\r\n".to_vec()].concat();
    for (usage, comment) in [("no", false), ("comment", true), ("trailers", false)] {
        let backend = Backend::answering(answer.clone()).await;
        let url = [backend.url()];
        let source = chain(&[(&url, "")], &format!("usage = \"{usage}\"\n"));
        let gateway = Gateway::start(&source).await;
        let ask = CHAT.ask().field("TE: trailers").field("Connection: TE");
        let got = gateway.fetch(&ask).await;
        assert_eq!(got.text().contains(": deltaway"), comment, "{usage}");
        let Ended::LastChunk(trailers) = got.ended else {
            panic!("{usage}: {:?}", got.ended);
        };
        let has = |name: &str| trailers.iter().any(|(it, _)| it.eq_ignore_ascii_case(name));
        assert!(has("x-sum"), "{usage}: {trailers:?}");
        assert_eq!(has("deltaway-tokens"), usage == "trailers", "{trailers:?}");
        gateway.stop().await;
    }
}

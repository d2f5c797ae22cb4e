//! Where a request goes when the first place for it cannot be reached: the next endpoint, then the
//! next entry of `to`, with the model that this one knows.

use crate::support::api::CHAT;
use crate::support::backend::Refusing;
use crate::support::{Ask, Backend, Client, Gateway, wire};

const SERVER: &str = "[server]\nlisten = \"127.0.0.1:0\"\n";
const ALL: &str = "[routes.all]\npath = \"/*\"\n";

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over_every_time() {
    let refusing = Refusing::new();
    let one = Backend::answering(wire::json(200, "1")).await;
    let two = Backend::answering(wire::json(200, "2")).await;
    let gateway = Gateway::start(&format!(
        "{SERVER}[upstreams.model]\nendpoints = [\"http://{}\", \"{}\", \"{}\"]\n{ALL}to = \"model\"\n",
        refusing.address,
        one.url(),
        two.url()
    ))
    .await;
    for _ in 0..9 {
        assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 200);
    }
    assert_eq!(one.requests().len() + two.requests().len(), 9);
    assert!(!one.requests().is_empty() && !two.requests().is_empty());
}

#[tokio::test]
async fn an_upload_that_streams_is_not_lost_on_what_refuses() {
    let refusing = Refusing::new();
    let backend = Backend::answering(wire::json(200, "{}")).await;
    let (refused, url) = (refusing.address, backend.url());
    for upstreams in [
        format!(
            "[upstreams.model]\nendpoints = [\"http://{refused}\", \"{url}\"]\n{ALL}to = \"model\""
        ),
        format!(
            "[upstreams.a]\nurl = \"http://{refused}\"\n[upstreams.b]\nurl = \"{url}\"\n{ALL}to = [\"a\", \"b\"]"
        ),
    ] {
        let gateway = Gateway::start(&format!("{SERVER}{upstreams}\n")).await;
        for _ in 0..4 {
            let mut client = Client::connect(gateway.address).await;
            client
                .ask(&Ask::new("POST", "/file").field("Transfer-Encoding: chunked"))
                .await;
            client.send(wire::chunk("order")).await;
            client.send(wire::LAST).await;
            assert_eq!(client.answer().await.status(), 200);
        }
    }
    let bodies: Vec<_> = backend.requests().into_iter().map(|r| r.body).collect();
    assert_eq!(bodies, ["order"; 8]);
}

#[tokio::test]
async fn the_next_entry_is_asked_for_its_own_model_with_its_own_credentials() {
    let (first, second) = (Refusing::new(), Refusing::new());
    let last = Backend::answering(wire::json(200, "{}")).await;
    let gateway = Gateway::start(&format!(
        "{SERVER}[upstreams.first]\nurl = \"http://{}\"\ncredentials = {{ bearer = \"sk-first\" }}\n\
         [upstreams.second]\nurl = \"http://{}\"\n\
         [upstreams.last]\nurl = \"{}/base\"\ncredentials = {{ header = \"api-key\", value = \"sk-last\" }}\n\
         {ALL}to = [{{ upstream = \"first\", model = \"one\" }}, \"second\", {{ upstream = \"last\", model = \"three\" }}]\n",
        first.address,
        second.address,
        last.url()
    ))
    .await;
    let ask = Ask::post(CHAT.target, "{ \"model\" : \"any\", \"n\":1}");
    assert_eq!(gateway.fetch(&ask).await.status(), 200);
    let request = &last.requests()[0];
    assert_eq!(request.body, "{ \"model\" : \"three\", \"n\":1}");
    assert_eq!(request.head.get("authorization"), None);
    assert_eq!(request.head.get("api-key"), Some("sk-last"));
    assert_eq!(request.head.target(), "/base/v1/chat/completions");
}

/// A chain of two, with `route` among its keys.
async fn chain(first: &Backend, second: &Backend, route: &str) -> Gateway {
    Gateway::start(&format!(
        "{SERVER}[upstreams.first]\nurl = \"{}\"\n[upstreams.second]\nurl = \"{}\"\n\
         {ALL}to = [\"first\", \"second\"]\n{route}\n",
        first.url(),
        second.url()
    ))
    .await
}

/// Asks a chain whose first entry answers with `status`: the status that came, and how often each was asked.
async fn asked(status: u16, route: &str, ask: &Ask) -> (u16, usize, usize) {
    let first = Backend::answering(wire::json(status, "{\"no\":1}")).await;
    let second = Backend::answering(wire::json(200, "{\"yes\":1}")).await;
    let gateway = chain(&first, &second, route).await;
    let answer = gateway.fetch(&ask.clone().field("X-Own: 1")).await;
    let whole = if answer.status() == status {
        "{\"no\":1}"
    } else {
        "{\"yes\":1}"
    };
    assert_eq!(answer.text(), whole);
    let (first, second) = (first.requests(), second.requests());
    for request in first.iter().chain(&second) {
        assert_eq!(request.head.get("x-own"), Some("1"));
    }
    (answer.status(), first.len(), second.len())
}

#[tokio::test]
async fn an_entry_that_cannot_serve_is_asked_again_and_then_the_next() {
    let chat = CHAT.ask();
    for (status, times) in [(503, 3), (500, 3), (429, 3), (401, 1)] {
        assert_eq!(asked(status, "", &chat).await, (200, times, 1), "{status}");
        let once = asked(status, "retry = false", &chat).await;
        assert_eq!(once, (200, 1, 1), "{status}");
    }
    // It is the request that is at fault, or the route that says so.
    assert_eq!(asked(400, "", &chat).await, (400, 1, 0));
    let route = "failures = { overloaded = \"give-up\" }";
    assert_eq!(asked(503, route, &chat).await, (503, 1, 0));
}

#[tokio::test]
async fn an_ordinary_answer_is_asked_for_elsewhere_but_never_again_of_the_same() {
    let get = Ask::get("/x");
    assert_eq!(asked(503, "", &get).await, (200, 1, 1));
    assert_eq!(asked(500, "", &get).await, (200, 1, 1));
    assert_eq!(asked(404, "", &get).await, (404, 1, 0));
    // An order may not be placed twice.
    let order = Ask::post("/orders", "{\"order\":1}");
    assert_eq!(asked(503, "", &order).await, (503, 1, 0));

    let first = Backend::answering(wire::json(503, "{\"no\":1}")).await;
    let second = Backend::answering(wire::json(200, "{\"yes\":1}")).await;
    let endpoints = |urls: &[String]| {
        format!("{SERVER}[upstreams.model]\nendpoints = {urls:?}\n{ALL}to = \"model\"\n")
    };
    let gateway = Gateway::start(&endpoints(&[first.url(), second.url()])).await;
    for n in 1..=4 {
        assert_eq!(gateway.fetch(&get).await.status(), 200);
        assert_eq!(second.requests().len(), n);
    }
    assert_eq!(first.requests().len(), 2, "it is its turn every other time");
    let gateway = Gateway::start(&endpoints(&[first.url()])).await;
    let answer = gateway.fetch(&get).await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (503, "{\"no\":1}")
    );
    assert_eq!(first.requests().len(), 3);
}

#[tokio::test]
async fn where_all_fail_the_last_ones_own_answer_is_the_callers() {
    let first = Backend::answering(wire::json(500, "{\"first\":1}")).await;
    let second = Backend::answering(wire::json(429, "{\"second\":1}")).await;
    let gateway = chain(&first, &second, "retry = { pause = \"1ms\" }").await;
    let answer = gateway.fetch(&CHAT.ask()).await;
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (429, "{\"second\":1}")
    );
    assert_eq!((first.requests().len(), second.requests().len()), (3, 3));
}

#[tokio::test]
async fn when_nobody_can_be_reached_the_answer_is_502() {
    let (first, second) = (Refusing::new(), Refusing::new());
    let gateway = Gateway::start(&format!(
        "{SERVER}[upstreams.a]\nendpoints = [\"http://{}\", \"http://{}\"]\n\
         [upstreams.b]\nurl = \"http://{}\"\n{ALL}to = [\"a\", \"b\"]\n",
        first.address, second.address, second.address
    ))
    .await;
    assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 502);
}

#[tokio::test]
async fn addresses_of_ipv6_serve_on_both_sides() {
    let backend = Backend::listen_on("[::1]:0").await;
    let gateway = Gateway::start(&format!(
        "[server]\nlisten = \"[::1]:0\"\n[upstreams.model]\nurl = \"{}\"\n{ALL}to = \"model\"\n",
        backend.url()
    ))
    .await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, request) = backend.request().await;
    let host = backend.address.to_string();
    assert_eq!(request.head.get("host"), Some(host.as_str()), "in brackets");
    assert_eq!(request.head.get("x-forwarded-for"), Some("::1"));
    let forwarded = request.head.get("forwarded").unwrap();
    assert!(forwarded.contains("for=\"[::1]\""), "{forwarded}");
    peer.send(wire::json(200, "{}")).await;
    assert_eq!(client.answer().await.status(), 200);
}

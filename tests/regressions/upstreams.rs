//! Faults on the side of the upstream: what is sent twice, to whom, and what is passed back.

use std::time::Duration;

use crate::support::api::{CHAT, PLAIN};
use crate::support::backend::{Refusing, Unreachable};
use crate::support::binary::{Served, file};
use crate::support::tls::Tls;
use crate::support::{Ask, Backend, Client, Ended, Gateway, gateway, toml, wire};

const GOOD: &str = "{\"good\":1}";

/// Answers GETs of `/warm`, and leaves a connection that was used before, after `quiet`, without an
/// answer to anything else; a fresh one it answers.
async fn leaving_used_ones_after(quiet: Duration) -> Backend {
    Backend::playing(move |mut peer| async move {
        let mut used = false;
        while let Some(request) = peer.request().await {
            if used && request.head.target() != "/warm" {
                peer.is_quiet_for(quiet).await;
                return;
            }
            used = true;
            peer.send(wire::json(200, GOOD)).await;
        }
    })
    .await
}

/// How often `target` was asked for.
fn count(backend: &Backend, target: &str) -> usize {
    let requests = backend.requests();
    let asked = requests.iter().filter(|r| r.head.target() == target);
    asked.count()
}

/// 7. A POST of any kind was sent a second time when the kept connection closed behind it, though the
/// backend may have acted on the first.
#[tokio::test]
async fn r07_only_what_may_be_repeated_is_sent_again() {
    // Without retries: what is sent again here costs none.
    let backend = leaving_used_ones_after(Duration::ZERO).await;
    let gateway = gateway(&backend, "retry = false").await;
    let order = Ask::post("/orders", "{\"order\":1}");
    for (ask, status, times) in [
        (order.clone(), 502, 1),
        (Ask::get("/x"), 200, 2),
        (CHAT.ask(), 200, 2),
    ] {
        let warm = gateway.fetch(&Ask::get("/warm")).await;
        assert_eq!(warm.status(), 200);
        let before = backend.requests().len();
        assert_eq!(gateway.fetch(&ask).await.status(), status, "{ask:?}");
        assert_eq!(backend.requests().len() - before, times, "{ask:?}");
    }
    assert_eq!(count(&backend, "/orders"), 1);

    // Who took its time may have begun to work, and to bill for it.
    let backend = leaving_used_ones_after(Duration::from_millis(1_200)).await;
    let gateway = crate::support::gateway(&backend, "retry = false").await;
    assert_eq!(gateway.fetch(&Ask::get("/warm")).await.status(), 200);
    assert_eq!(gateway.fetch(&CHAT.ask()).await.status(), 502);
    assert_eq!(count(&backend, CHAT.target), 1);

    // That a question may be billed twice is for the route to allow; an order is never placed twice.
    let gateway = crate::support::gateway(&backend, "").await;
    for (ask, target, status, times) in [
        (CHAT.ask(), CHAT.target, 200, 2),
        (order, "/orders", 502, 1),
    ] {
        let before = count(&backend, target);
        assert_eq!(gateway.fetch(&Ask::get("/warm")).await.status(), 200);
        assert_eq!(gateway.fetch(&ask).await.status(), status, "{ask:?}");
        assert_eq!(count(&backend, target) - before, times, "{ask:?}");
    }
}

/// 16. Two upstreams with one URL shared their connections, also where they trust different authorities.
#[tokio::test]
async fn r16_a_connection_is_not_shared_by_upstreams_that_trust_others() {
    let server = Tls::answering(wire::json(200, GOOD)).await;
    let stranger = Tls::answering(Vec::new()).await;
    let (own, other) = (file(&server.authority), file(&stranger.authority));
    let source = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
         [upstreams.a]\nurl = \"{url}\"\nca = \"{}\"\n\
         [upstreams.b]\nurl = \"{url}\"\nca = \"{}\"\n\
         [routes.a]\npath = \"/a\"\nto = \"a\"\n[routes.b]\npath = \"/b\"\nto = \"b\"\n",
        own.path().display(),
        other.path().display(),
        url = server.url,
    );
    let gateway = Gateway::start(&source).await;
    for (target, status) in [("/a", 200), ("/b", 502), ("/a", 200), ("/b", 502)] {
        let answer = gateway.fetch(&Ask::post(target, CHAT.request)).await;
        assert_eq!(answer.status(), status, "{target}");
    }
    assert_eq!(server.connections(), 1, "the trusting one's is kept");
}

/// 23. A credential that goes into the query came back to the client in the backend's redirects.
#[tokio::test]
async fn r23_a_credential_in_the_query_does_not_come_back_in_a_redirect() {
    let secret = "sk-5d1e-8c2f";
    let backend = Backend::playing(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let target = request.head.target();
            let other = target.replace("/from", "/to");
            let location = match target.starts_with("/absolute") {
                true => format!("Location: http://elsewhere.test{other}"),
                false => format!("Location: {other}"),
            };
            let content = format!("Content-Location: {target}");
            let fields = [&location, &content, "Content-Length: 0"];
            peer.send(wire::head("HTTP/1.1 307 There", &fields)).await;
        }
    })
    .await;
    let credentials =
        format!("credentials = {{ query = \"key\", value = \"{secret}\" }}\n[routes.all]");
    let source = toml(&backend.url(), "").replace("[routes.all]", &credentials);
    let gateway = Gateway::start(&source).await;
    for target in ["/from", "/from?a=1", "/absolute/from?a=1&b=2"] {
        let answer = gateway.fetch(&Ask::get(target)).await;
        let asked = backend.requests().last().unwrap().head.target().to_owned();
        assert!(asked.contains(secret), "{asked}");
        assert_eq!(answer.status(), 307);
        let location = answer.head.get("location").expect("it still redirects");
        assert!(location.contains("/to"), "{location}");
        let shown = format!("{:?}", answer.head);
        assert!(!shown.contains(secret), "{shown}");
    }
}

/// 24. A 101 opened a tunnel also to a protocol that nobody had asked for.
#[tokio::test]
async fn r24_only_a_protocol_that_was_asked_for_opens_a_tunnel() {
    let h2c = Ask::get("/x")
        .field("Connection: Upgrade, HTTP2-Settings")
        .field("Upgrade: h2c")
        .field("HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA");
    let websocket = Ask::get("/x")
        .field("Connection: Upgrade")
        .field("Upgrade: websocket");
    for (ask, taken) in [
        (h2c, "Upgrade: h2c"),
        (websocket.clone(), "Upgrade: other"),
        (websocket.clone(), "Upgrade: websocket2"),
        (websocket, "X-Upgrade: none"),
    ] {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, "").await;
        let mut client = gateway.asking(&ask).await;
        let (mut peer, _) = backend.request().await;
        let fields = ["Connection: Upgrade", taken];
        peer.send(wire::head("HTTP/1.1 101 Switching Protocols", &fields))
            .await;
        peer.send("in the tunnel").await;
        let answer = client.answer().await;
        assert_eq!(answer.status(), 502, "{taken}");
        assert!(!answer.text().contains("in the tunnel"));
        peer.left().await;
    }
}

fn routes(url: &str, route: &str) -> String {
    let source = toml(url, route);
    source[source.find("[upstreams").unwrap()..].to_owned()
}

/// 26. Refusals told callers the addresses of the machines behind the gateway.
#[tokio::test]
async fn r26_addresses_of_backends_are_for_the_log_only() {
    let refusing = Refusing::new();
    let unreachable = Unreachable::new().await;
    let silent = Backend::playing(|mut peer| async move {
        peer.request().await;
        peer.left().await;
    })
    .await;
    let leaving = Backend::playing(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let odd = Backend::answering(&b"SMTP 220 hello\r\n\r\n"[..]).await;
    let switching = Backend::answering(wire::head("HTTP/1.1 101 On", &["Upgrade: h2c"])).await;
    let clocks = "retry = false\nclocks = { connect = \"200ms\", first_byte = \"400ms\" }";
    for (address, status) in [
        (refusing.address, 502),
        (unreachable.address, 504),
        (silent.address, 504),
        (leaving.address, 502),
        (odd.address, 502),
        (switching.address, 502),
    ] {
        let served = Served::start(&routes(&format!("http://{address}"), clocks), &[]).await;
        for (index, ask) in [CHAT.ask(), PLAIN.ask()].iter().enumerate() {
            let answer = served.fetch(ask).await;
            assert_eq!(answer.status(), status, "{}", answer.text());
            let port = address.port().to_string();
            for part in [port.as_str(), "127.0.0.1"] {
                assert!(!answer.text().contains(part), "{}", answer.text());
            }
            let line = served.access(index).await;
            let told = format!("{} {}", line["reason"], line["endpoint"]);
            assert!(told.contains(&address.to_string()), "{line}");
        }
    }
}

/// 26, behind an early head, where the words come in the stream.
#[tokio::test]
async fn r26_nor_are_they_told_behind_an_early_head() {
    let unreachable = Unreachable::new().await;
    let keys = "early_head = \"1ms\"\nheartbeat = \"off\"\nretry = false\n\
                clocks = { connect = \"400ms\" }";
    let url = format!("http://{}", unreachable.address);
    let served = Served::start(&routes(&url, keys), &[]).await;
    let answer = Client::fetch(served.address, &CHAT.ask()).await;
    assert_eq!(
        (answer.status(), answer.ended.clone()),
        (200, Ended::LastChunk(vec![]))
    );
    assert!(CHAT.is_error(&answer.body), "{}", answer.text());
    assert!(!answer.text().contains("127.0.0.1"), "{}", answer.text());
    let line = served.access(0).await;
    let told = format!("{} {}", line["reason"], line["endpoint"]);
    assert!(told.contains(&unreachable.address.to_string()), "{line}");
}

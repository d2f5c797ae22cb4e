//! A panic within one request: its client loses its connection, and nobody else notices.
//!
//! The gateway has no panic to be asked for. What a test can bring in is a subscriber of the log, which
//! runs inside the request's task: the one here fails on the warning about one certain endpoint, in the
//! middle of the attempt loop.

use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

use crate::support::api::CHAT;
use crate::support::backend::Refusing;
use crate::support::{Ask, Backend, Client, Ended, Gateway, wire};

/// Endpoints whose mention is a panic.
static DEADLY: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Failing;

struct Looks(bool);

impl Visit for Looks {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}");
        let deadly = DEADLY.lock().unwrap();
        self.0 |= field.name() == "endpoint" && deadly.iter().any(|part| value.contains(part));
    }
}

impl Subscriber for Failing {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
            && metadata.target().starts_with("deltaway::relay::attempts")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut looks = Looks(false);
        event.record(&mut looks);
        assert!(!looks.0, "a panic that a test asked for");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn a_panic_in_one_request_harms_no_other() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::subscriber::set_global_default(Failing).unwrap());
    let (one, two) = (Refusing::new(), Refusing::new());
    for refusing in [&one, &two] {
        DEADLY.lock().unwrap().push(refusing.address.to_string());
    }
    let backend = Backend::listen().await;
    let source = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 1\nmax_connections = 3\n\
         [upstreams.model]\nurl = \"{url}\"\n\
         [upstreams.deadly]\nendpoints = [\"http://{}\", \"http://{}\"]\n\
         [routes.all]\npath = \"/*\"\nto = \"model\"\n\
         [routes.deadly]\npath = \"/deadly\"\nto = \"deadly\"\n",
        one.address,
        two.address,
        url = backend.url(),
    );
    let gateway = Gateway::start(&source).await;
    let mut client = gateway.asking(&CHAT.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer.chunk(CHAT.begun()).await;
    client.head().await;
    client.reads(CHAT.begun()).await;

    // More often than there are connections: each is free again afterwards.
    for _ in 0..8 {
        let mut other = gateway.asking(&Ask::get("/deadly")).await;
        other.left().await;
    }

    peer.chunk(CHAT.finish).await;
    client.reads(CHAT.finish).await;
    peer.chunk(CHAT.marker).await;
    peer.send(wire::LAST).await;
    let rest = client.rest().await;
    assert_eq!(rest, (CHAT.marker.into(), Ended::LastChunk(vec![])));
    client.ask(&Ask::get("/x")).await;
    assert!(
        peer.request().await.is_some(),
        "the kept connection is used"
    );
    peer.send(wire::json(200, "{}")).await;
    assert_eq!(client.answer().await.status(), 200);
    let mut fresh = Client::connect(gateway.address).await;
    fresh.ask(&Ask::get("/y")).await;
    assert!(peer.request().await.is_some());
    peer.send(wire::json(200, "{}")).await;
    assert_eq!(fresh.answer().await.status(), 200);
    gateway.stop().await;
}

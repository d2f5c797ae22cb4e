//! Feeds: many readers of a URL, one connection to the upstream.

use std::time::Duration;

use crate::support::{Ask, Backend, Ended, Gateway, Peer, Reader, gateway, toml, wire};

/// Long enough for a connection to be seen that should not be there.
const A_MOMENT: Duration = Duration::from_millis(300);

/// A peer that has begun an event stream.
pub(super) async fn streaming(backend: &Backend) -> Peer {
    let (mut peer, _) = backend.request().await;
    peer.send(wire::event_stream()).await;
    peer
}

/// A gateway with one shared route, its backend, a reader, and the peer that feeds it.
pub(super) async fn reading(share: &str) -> (Gateway, Backend, Reader, Peer) {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, share).await;
    let client = gateway.asking(&Ask::get("/prices")).await;
    let peer = streaming(&backend).await;
    (gateway, backend, Reader::answered(client).await, peer)
}

/// One more reader of the same feed.
pub(super) async fn another(gateway: &Gateway, fields: &[&str]) -> Reader {
    let ask = fields
        .iter()
        .fold(Ask::get("/prices"), |ask, field| ask.field(field));
    Reader::open(gateway, &ask).await
}

#[tokio::test]
async fn fifty_readers_of_a_url_cost_the_upstream_one_connection() {
    let backend = Backend::listen().await;
    let config = toml(&backend.url(), "share = true").replace("[server]", "[server]\nworkers = 2");
    let gateway = Gateway::start(&config).await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(gateway.asking(&Ask::get("/prices?of=tea")).await);
    }
    let (mut peer, request) = backend.request().await;
    assert_eq!(request.head.target(), "/prices?of=tea");
    assert_eq!(request.head.get("accept"), Some("text/event-stream"));
    peer.send(wire::event_stream()).await;
    let mut readers = Vec::new();
    for client in clients {
        readers.push(Reader::answered(client).await);
    }
    peer.chunk("event: price\ndata: 1\n\ndata: 2\ndata: 3\n\n")
        .await;
    let mut first = Vec::new();
    for reader in &mut readers {
        let events = (reader.next().await, reader.next().await);
        first.push(events);
    }
    let (one, two) = &first[0];
    assert_eq!(
        (one.name.as_deref(), one.data.as_str()),
        (Some("price"), "1")
    );
    assert_eq!((&two.name, two.data.as_str()), (&None, "2\n3"));
    assert!(one.id.is_some() && two.id.is_some() && one.id != two.id);
    assert!(
        first.iter().all(|events| events == &first[0]),
        "all read the same"
    );
    assert!(backend.is_left_alone_for(A_MOMENT).await);
}

#[tokio::test]
async fn what_differs_in_its_url_is_another_feed() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "share = true").await;
    for target in ["/a", "/b", "/a?x=1", "/a?x=2"] {
        let client = gateway.asking(&Ask::get(target)).await;
        let (mut peer, request) = backend.request().await;
        assert_eq!(request.head.target(), target);
        peer.send(wire::event_stream()).await;
        peer.chunk(format!("data: {target}\n\n")).await;
        Reader::answered(client).await.reads(&[target]).await;
    }
}

#[tokio::test]
async fn what_a_reader_says_of_itself_is_not_part_of_the_url() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "share = true").await;
    let first = gateway
        .asking(&Ask::get("/a?after=0&x=1&transport=sse"))
        .await;
    let (mut peer, request) = backend.request().await;
    assert_eq!(request.head.target(), "/a?x=1");
    assert_eq!(request.head.get("last-event-id"), None);
    peer.send(wire::event_stream()).await;
    let mut first = Reader::answered(first).await;
    let mut second = Reader::open(&gateway, &Ask::get("/a?x=1&last_event_id=")).await;
    peer.chunk("data: x\n\n").await;
    first.reads(&["x"]).await;
    second.reads(&["x"]).await;
}

#[tokio::test]
async fn callers_who_show_different_credentials_do_not_share() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "share = true").await;
    let mut readers = Vec::new();
    let mut peers = Vec::new();
    for field in [
        "Authorization: Bearer a",
        "Authorization: Bearer b",
        "Cookie: session=a",
        "X-Api-Key: a",
    ] {
        let client = gateway.asking(&Ask::get("/prices").field(field)).await;
        let (mut peer, request) = backend.request().await;
        let (name, value) = field.split_once(": ").unwrap();
        assert_eq!(request.head.get(name), Some(value));
        peer.send(wire::event_stream()).await;
        peer.chunk(format!("data: {field}\n\n")).await;
        let mut reader = Reader::answered(client).await;
        reader.reads(&[field]).await;
        readers.push(reader);
        peers.push(peer);
    }
    let mut same = another(&gateway, &["Authorization: Bearer a"]).await;
    peers[0].chunk("data: more\n\n").await;
    same.reads(&["more"]).await;
    readers[0].reads(&["more"]).await;
}

#[tokio::test]
async fn a_public_feed_is_shared_by_all_and_shows_the_upstream_nobodys_credentials() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "share = { public = true }").await;
    let ask = Ask::get("/prices")
        .field("Authorization: Bearer secret")
        .field("Cookie: session=secret")
        .field("X-Api-Key: secret")
        .field("X-Forwarded-For: 192.0.2.1")
        .field("X-Tenant: secret");
    let first = gateway.asking(&ask).await;
    let (mut peer, request) = backend.request().await;
    for name in [
        "authorization",
        "cookie",
        "x-api-key",
        "x-forwarded-for",
        "forwarded",
        "x-tenant",
    ] {
        assert_eq!(request.head.get(name), None, "{:?}", request.head);
    }
    peer.send(wire::event_stream()).await;
    let mut first = Reader::answered(first).await;
    let mut second = another(&gateway, &["Authorization: Bearer other"]).await;
    peer.chunk("data: x\n\n").await;
    first.reads(&["x"]).await;
    second.reads(&["x"]).await;
}

#[tokio::test]
async fn headers_that_the_answer_depends_on_tell_feeds_apart() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "share = { key_headers = [\"accept-language\"] }").await;
    let mut feeds = Vec::new();
    for language in ["de", "en"] {
        let field = format!("Accept-Language: {language}");
        let client = gateway.asking(&Ask::get("/prices").field(&field)).await;
        let (mut peer, request) = backend.request().await;
        assert_eq!(request.head.get("accept-language"), Some(language));
        peer.send(wire::event_stream()).await;
        feeds.push((peer, Reader::answered(client).await));
    }
    let mut german = another(&gateway, &["Accept-Language: de", "User-Agent: other"]).await;
    feeds[0].0.chunk("data: Tee\n\n").await;
    german.reads(&["Tee"]).await;
    feeds[0].1.reads(&["Tee"]).await;
    feeds[1].0.chunk("data: tea\n\n").await;
    feeds[1].1.reads(&["tea"]).await;
}

#[tokio::test]
async fn an_upstream_that_drops_is_asked_again_with_its_own_last_id() {
    let (gateway, backend, mut reader, mut peer) = reading("share = true").await;
    peer.chunk("id: seven\ndata: 1\n\n").await;
    reader.reads(&["1"]).await;
    // A clean end.
    peer.send(wire::LAST).await;
    drop(peer);
    let (mut peer, request) = backend.request().await;
    assert_eq!(request.head.get("last-event-id"), Some("seven"));
    peer.send(wire::event_stream()).await;
    peer.chunk("id: eight\ndata: 2\n\ndata: 3\n\nid: nine\ndata: ha")
        .await;
    reader.reads(&["2", "3"]).await;
    let mut late = another(&gateway, &[]).await;
    // A cut within an event: its half is nobody's, and neither is its id.
    peer.close();
    let (mut peer, request) = backend.request().await;
    assert_eq!(request.head.get("last-event-id"), Some("eight"));
    peer.send(wire::event_stream()).await;
    peer.chunk("id: nine\ndata: half no more\n\n").await;
    reader.reads(&["half no more"]).await;
    late.reads(&["half no more"]).await;
    assert!(!String::from_utf8_lossy(&reader.raw).contains("ha\n"));
}

#[tokio::test]
async fn the_upstreams_own_pause_is_kept_before_it_is_asked_again() {
    let (_gateway, backend, mut reader, mut peer) = reading("share = true").await;
    peer.chunk("retry: 3000\ndata: 1\n\n").await;
    reader.reads(&["1"]).await;
    peer.reset();
    assert!(backend.is_left_alone_for(Duration::from_millis(1300)).await);
    let mut peer = streaming(&backend).await;
    peer.chunk("data: 2\n\n").await;
    reader.reads(&["2"]).await;
}

#[tokio::test]
async fn an_upstream_that_ends_after_each_event_is_asked_again_as_often() {
    let (_gateway, backend, mut reader, mut peer) = reading("share = true").await;
    let begun = std::time::Instant::now();
    for count in 0..10 {
        let data = format!("{count}");
        peer.chunk(format!("retry: 20\ndata: {data}\n\n")).await;
        reader.reads(&[&data]).await;
        peer.send(wire::LAST).await;
        peer.close();
        peer = streaming(&backend).await;
    }
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn an_upstream_that_fails_for_a_while_costs_its_readers_nothing() {
    let (_gateway, backend, mut reader, mut peer) = reading("share = true").await;
    peer.chunk("id: a\ndata: 1\n\n").await;
    reader.reads(&["1"]).await;
    peer.reset();
    let (mut peer, _) = backend.request().await;
    peer.send(wire::json(503, "{}")).await;
    // Perhaps on the same connection, perhaps on another.
    peer.close();
    let (mut peer, request) = backend.request().await;
    assert_eq!(request.head.get("last-event-id"), Some("a"));
    peer.send(wire::event_stream()).await;
    peer.chunk("data: 2\n\n").await;
    reader.reads(&["2"]).await;
}

#[tokio::test]
async fn an_upstream_that_wants_nobody_back_ends_the_feed() {
    let (gateway, backend, mut reader, mut peer) = reading("share = true").await;
    peer.chunk("data: 1\n\n").await;
    reader.reads(&["1"]).await;
    peer.reset();
    let (mut peer, _) = backend.request().await;
    peer.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    let (events, ended) = reader.rest().await;
    assert_eq!((events, ended), (vec![], Ended::LastChunk(vec![])));
    assert_eq!(gateway.fetch(&Ask::get("/prices")).await.status(), 204);
}

#[tokio::test]
async fn the_last_reader_to_leave_closes_the_connection_and_the_next_opens_another() {
    let (gateway, backend, reader, mut peer) =
        reading("share = { on_last_leave = \"100ms\" }").await;
    let mut second = another(&gateway, &[]).await;
    reader.leave();
    peer.chunk("data: 1\n\n").await;
    second.reads(&["1"]).await;
    second.leave();
    peer.left().await;
    let client = gateway.asking(&Ask::get("/prices")).await;
    let mut peer = streaming(&backend).await;
    let mut reader = Reader::answered(client).await;
    peer.chunk("data: 2\n\n").await;
    reader.reads(&["2"]).await;
}

#[tokio::test]
async fn a_reader_who_comes_back_in_time_has_missed_nothing() {
    let (gateway, backend, mut reader, mut peer) =
        reading("share = { on_last_leave = \"off\" }").await;
    peer.chunk("data: 1\n\n").await;
    reader.reads(&["1"]).await;
    let last_id = reader.last_id.clone();
    reader.leave();
    peer.chunk("data: 2\n\n").await;
    let field = format!("Last-Event-ID: {last_id}");
    let mut back = another(&gateway, &[&field]).await;
    peer.chunk("data: 3\n\n").await;
    back.reads(&["2", "3"]).await;
    assert!(backend.is_left_alone_for(A_MOMENT).await);
}

#[tokio::test]
async fn a_reader_cut_before_its_first_event_knows_where_it_was() {
    let (gateway, _backend, mut reader, mut peer) = reading("share = true").await;
    let mut early = another(&gateway, &[]).await;
    peer.chunk("data: 1\n\n").await;
    reader.reads(&["1"]).await;
    let head = early.last_id.clone();
    assert_eq!(head, "", "nothing was read yet");
    early.reads(&["1"]).await;
    let raw = String::from_utf8(early.raw.clone()).unwrap();
    let begin = raw.split("\n\n").next().unwrap();
    let id = begin
        .strip_prefix("id: ")
        .expect("a block with an id alone");
    let field = format!("Last-Event-ID: {id}");
    another(&gateway, &[&field]).await.reads(&["1"]).await;
}

#[tokio::test]
async fn a_new_reader_begins_where_the_route_says() {
    for (start, expected) in [
        ("live", &["4"][..]),
        ("latest", &["3", "4"]),
        ("oldest", &["1", "2", "3", "4"]),
    ] {
        let share = format!("share = {{ start = \"{start}\" }}");
        let (gateway, _backend, mut reader, mut peer) = reading(&share).await;
        peer.chunk("data: 1\n\ndata: 2\n\ndata: 3\n\n").await;
        reader.reads(&["1", "2", "3"]).await;
        let mut late = another(&gateway, &[]).await;
        peer.chunk("data: 4\n\n").await;
        late.reads(expected).await;
        // Whoever shows an id is served from there, wherever others begin.
        let field = format!("Last-Event-ID: {}", reader.last_id);
        another(&gateway, &[&field]).await.reads(&["4"]).await;
    }
}

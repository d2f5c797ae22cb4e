//! Kept answers: a generation that survives its reader's connection.

use std::time::Duration;

use crate::support::api::{Api, CHAT, GEMINI, MESSAGES, OLLAMA, RESPONSES, TEXT};
use crate::support::{Ask, Backend, Client, Ended, Gateway, Peer, Reader, gateway, wire, within};

/// Long enough for a request to be seen that should not be there.
const A_MOMENT: Duration = Duration::from_millis(300);

/// The head of a streamed answer, chunked, on a connection that is not used again.
fn begun(api: &Api) -> Vec<u8> {
    api.head("Connection: close\r\nTransfer-Encoding: chunked")
}

/// Asks, has the backend begin its answer, and reads the head.
pub(super) async fn generating(gateway: &Gateway, backend: &Backend, ask: &Ask) -> (Reader, Peer) {
    let client = gateway.asking(ask).await;
    let (mut peer, _) = backend.request().await;
    peer.send(begun(&CHAT)).await;
    (Reader::answered(client).await, peer)
}

/// A gateway with this on its route, a reader of a generation, and who generates.
async fn kept(route: &str) -> (Gateway, Backend, Reader, Peer) {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, route).await;
    let (reader, peer) = generating(&gateway, &backend, &CHAT.ask()).await;
    (gateway, backend, reader, peer)
}

/// Where the answer that `reader` reads is found.
pub(super) fn place(reader: &Reader) -> String {
    let id = reader.head.get("deltaway-stream").expect("an id");
    assert_eq!(
        reader.head.get("link"),
        Some(&*format!("</streams/{id}>; rel=\"self\""))
    );
    format!("/streams/{id}")
}

/// Sends the rest of the chat whose first `sent` events were sent.
pub(super) async fn complete(peer: &mut Peer, sent: usize) {
    for event in &CHAT.events[sent..] {
        peer.chunk(event).await;
    }
    peer.chunk(CHAT.finish).await;
    peer.chunk(CHAT.marker).await;
    peer.send(wire::LAST).await;
}

/// The data of each event of a chat.
pub(super) fn chat() -> Vec<String> {
    let whole = CHAT.whole();
    whole
        .split_terminator("\n\n")
        .map(|event| event["data: ".len()..].to_owned())
        .collect()
}

/// The data of the rest of what `reader` reads, which must end well.
async fn rest(reader: &mut Reader) -> Vec<String> {
    let (events, ended) = reader.rest().await;
    assert_eq!(ended, Ended::LastChunk(vec![]));
    events.into_iter().map(|event| event.data).collect()
}

/// What there is at `place`, from its beginning to its end.
pub(super) async fn whole(gateway: &Gateway, place: &str) -> Vec<String> {
    rest(&mut Reader::open(gateway, &Ask::get(place)).await).await
}

#[tokio::test]
async fn an_answer_is_as_it_came_with_ids_and_the_place_where_it_is_kept() {
    for api in [CHAT, TEXT, RESPONSES, MESSAGES] {
        let whole = [begun(&api), wire::chunk(api.whole()), wire::LAST.to_vec()].concat();
        let backend = Backend::answering(whole).await;
        let gateway = gateway(&backend, "resume = true").await;
        let mut reader = Reader::open(&gateway, &api.ask()).await;
        let id = reader
            .head
            .get("deltaway-stream")
            .expect("an id")
            .to_owned();
        assert!(
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()),
            "{id}"
        );
        place(&reader);
        assert_eq!(reader.head.get("x-accel-buffering"), Some("no"));
        let (events, ended) = reader.rest().await;
        assert_eq!(ended, Ended::LastChunk(vec![]), "{}", api.name);
        assert!(events.iter().all(|event| event.id.is_some()));
        let raw = String::from_utf8(reader.raw.clone()).unwrap();
        let lines = raw
            .split_inclusive('\n')
            .filter(|line| !line.starts_with("id: "));
        assert_eq!(lines.collect::<String>(), api.whole());
        assert_eq!(
            raw.matches("id: ").count(),
            events.len(),
            "no other ids: {raw}"
        );
    }
}

#[tokio::test]
async fn an_event_is_there_before_the_next_one_is_sent() {
    let (_gateway, _backend, mut reader, mut peer) = kept("resume = true").await;
    for (event, data) in CHAT.events.iter().zip(chat()) {
        peer.chunk(event).await;
        reader.reads(&[&data]).await;
    }
    complete(&mut peer, CHAT.events.len()).await;
    assert_eq!(rest(&mut reader).await, chat()[2..]);
}

#[tokio::test]
async fn whoever_was_cut_reads_on_from_where_it_was() {
    let (gateway, _backend, mut reader, mut peer) = kept("resume = true").await;
    peer.chunk(CHAT.events[0]).await;
    reader.reads(&[&chat()[0]]).await;
    let (place, id) = (place(&reader), reader.last_id.clone());
    reader.leave();
    peer.chunk(CHAT.events[1]).await;
    let asks = [
        Ask::get(&place).field(&format!("Last-Event-ID: {id}")),
        Ask::get(&format!("{place}?last_event_id={id}")),
        Ask::get(&format!("{place}?after=1")),
        // The field is what a browser knows for itself: it goes before the query.
        Ask::get(&format!("{place}?after=0&last_event_id=x"))
            .field(&format!("Last-Event-ID: {id}")),
    ];
    let mut readers = Vec::new();
    for ask in &asks {
        let mut reader = Reader::open(&gateway, ask).await;
        assert_eq!(
            reader.head.get("deltaway-stream"),
            place.strip_prefix("/streams/")
        );
        reader.reads(&[&chat()[1]]).await;
        readers.push(reader);
    }
    complete(&mut peer, 2).await;
    for reader in &mut readers {
        assert_eq!(rest(reader).await, chat()[2..]);
    }
    let last_id = &readers[0].last_id;
    let again = Ask::get(&place).field(&format!("Last-Event-ID: {id}"));
    assert_eq!(
        rest(&mut Reader::open(&gateway, &again).await).await,
        chat()[1..]
    );
    for ask in [
        Ask::get(&place).field(&format!("Last-Event-ID: {last_id}")),
        Ask::get(&format!("{place}?after=4")),
    ] {
        let answer = gateway.fetch(&ask).await;
        assert_eq!(
            (answer.status(), answer.body.len()),
            (204, 0),
            "nothing is left"
        );
    }
}

#[tokio::test]
async fn a_place_that_the_answer_has_not_reached_is_told_as_a_gap() {
    let (gateway, _backend, mut reader, mut peer) = kept("resume = true").await;
    complete(&mut peer, 0).await;
    assert_eq!(rest(&mut reader).await, chat());
    let place = place(&reader);
    let other = format!("Last-Event-ID: {}.1", "0".repeat(12));
    for (ask, reason) in [
        (Ask::get(&format!("{place}?after=99")), "ahead"),
        (
            Ask::get(&place).field("Last-Event-ID: of-another"),
            "unknown",
        ),
        (Ask::get(&place).field(&other), "epoch"),
    ] {
        let mut reader = Reader::open(&gateway, &ask).await;
        let gap = reader.next().await;
        assert_eq!(gap.name.as_deref(), Some("gap"));
        assert!(gap.data.contains(reason), "{}", gap.data);
        assert_eq!(rest(&mut reader).await, chat());
    }
    let bad = gateway.fetch(&Ask::get(&format!("{place}?after=x"))).await;
    assert_eq!(
        (bad.status(), &bad.json()["error"]["code"]),
        (400, &"bad_cursor".into())
    );
}

#[tokio::test]
async fn any_number_of_readers_follow_one_answer() {
    let (gateway, _backend, mut first, mut peer) = kept("resume = true").await;
    peer.chunk(CHAT.events[0]).await;
    let ask = Ask::get(&place(&first));
    let mut second = Reader::open(&gateway, &ask).await;
    second.reads(&[&chat()[0]]).await;
    complete(&mut peer, 1).await;
    assert_eq!(rest(&mut second).await, chat()[1..]);
    assert_eq!(rest(&mut first).await, chat());
}

#[tokio::test]
async fn a_request_with_a_known_key_reads_the_answer_that_is_there() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true").await;
    let ask = CHAT.ask().field("Idempotency-Key: \"k1\"");
    let (mut first, mut peer) = generating(&gateway, &backend, &ask).await;
    assert_eq!(backend.requests()[0].head.get("idempotency-key"), None);
    peer.chunk(CHAT.events[0]).await;
    let retried = ask.clone().field("X-Stainless-Retry-Count: 1");
    let mut second = Reader::open(&gateway, &retried).await;
    assert_eq!(
        second.head.get("deltaway-stream"),
        first.head.get("deltaway-stream")
    );
    second.reads(&[&chat()[0]]).await;
    complete(&mut peer, 1).await;
    assert_eq!(rest(&mut first).await, chat());
    assert_eq!(rest(&mut second).await, chat()[1..]);
    // After the end as well.
    let mut third = Reader::open(&gateway, &ask).await;
    assert_eq!(rest(&mut third).await, chat());
    let other =
        Ask::post(CHAT.target, CHAT.request.replace("Hi", "Ho")).field("Idempotency-Key: \"k1\"");
    let refused = gateway.fetch(&other).await;
    assert_eq!(refused.status(), 422);
    assert_eq!(refused.json()["error"]["code"], "idempotency_key_reused");
    assert!(backend.is_left_alone_for(A_MOMENT).await);
}

#[tokio::test]
async fn a_key_belongs_to_whoever_showed_it() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true").await;
    let ask = |caller: &str| {
        let caller = format!("Authorization: Bearer {caller}");
        CHAT.ask().field("Idempotency-Key: k1").field(&caller)
    };
    let (one, _peer) = generating(&gateway, &backend, &ask("a")).await;
    let (two, _peer) = generating(&gateway, &backend, &ask("b")).await;
    assert_ne!(
        one.head.get("deltaway-stream"),
        two.head.get("deltaway-stream")
    );
}

#[tokio::test]
async fn the_same_request_in_flight_is_asked_once() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true\ndedupe = true").await;
    let ask = CHAT.ask().field("Authorization: Bearer a");
    let client = gateway.asking(&ask).await;
    let (mut peer, _) = backend.request().await;
    // Before the upstream has said anything, and after.
    let early = gateway
        .asking(&ask.clone().field("X-Stainless-Retry-Count: 1"))
        .await;
    peer.send(begun(&CHAT)).await;
    let mut readers = vec![
        Reader::answered(client).await,
        Reader::answered(early).await,
    ];
    readers.push(Reader::open(&gateway, &ask.clone().field("Idempotency-Key: named")).await);
    let (_other, _peer) = {
        let other = CHAT.ask().field("Authorization: Bearer b");
        generating(&gateway, &backend, &other).await
    };
    complete(&mut peer, 0).await;
    for reader in &mut readers {
        assert_eq!(rest(reader).await, chat());
    }
    assert_eq!(backend.requests().len(), 2);
    // What is over is not in flight, but has a name.
    let mut named = Reader::open(&gateway, &ask.clone().field("Idempotency-Key: named")).await;
    assert_eq!(rest(&mut named).await, chat());
    generating(&gateway, &backend, &ask).await;
}

#[tokio::test]
async fn without_dedupe_or_without_a_name_for_the_caller_every_request_is_asked() {
    for (route, field) in [
        ("resume = true", "Authorization: Bearer a"),
        ("resume = true\ndedupe = true", "X-Nobody: a"),
    ] {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, route).await;
        let ask = CHAT.ask().field(field);
        let (_first, _peer) = generating(&gateway, &backend, &ask).await;
        let (_second, _peer) = generating(&gateway, &backend, &ask).await;
        assert_eq!(backend.requests().len(), 2);
    }
}

#[tokio::test]
async fn who_waits_for_the_same_answer_is_told_when_it_is_no_stream() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true").await;
    let ask = CHAT.ask().field("Idempotency-Key: k");
    let mut first = gateway.asking(&ask).await;
    let (mut peer, _) = backend.request().await;
    let mut second = gateway.asking(&ask).await;
    assert!(backend.is_left_alone_for(A_MOMENT).await);
    peer.send(wire::json(400, "{\"error\":{}}")).await;
    assert_eq!(first.answer().await.status(), 400);
    let told = second.answer().await;
    assert_eq!(
        (told.status(), told.head.get("retry-after")),
        (503, Some("1"))
    );
    // And its next try is asked anew.
    let mut client = gateway.asking(&ask).await;
    assert!(within("the next try", peer.request()).await.is_some());
    peer.send(begun(&CHAT)).await;
    assert_eq!(client.head().await.status(), 200);
}

#[tokio::test]
async fn an_answer_nobody_reads_is_dropped_read_to_its_end_or_waits_as_the_route_says() {
    let (_gateway, _backend, mut reader, mut peer) =
        kept("resume = { on_leave = \"cancel\" }").await;
    peer.chunk(CHAT.events[0]).await;
    reader.reads(&[&chat()[0]]).await;
    reader.leave();
    peer.left().await;

    let (gateway, _backend, mut reader, mut peer) =
        kept("resume = { on_leave = \"finish\" }").await;
    peer.chunk(CHAT.events[0]).await;
    reader.reads(&[&chat()[0]]).await;
    let there = place(&reader);
    reader.leave();
    assert!(peer.is_quiet_for(A_MOMENT).await, "the connection stays");
    complete(&mut peer, 1).await;
    assert_eq!(whole(&gateway, &there).await, chat());

    let (gateway, _backend, reader, mut peer) =
        kept("resume = { on_leave = \"linger 300ms\" }").await;
    let there = place(&reader);
    reader.leave();
    let mut back = Reader::open(&gateway, &Ask::get(&there)).await;
    assert!(
        peer.is_quiet_for(Duration::from_millis(600)).await,
        "somebody reads"
    );
    peer.chunk(CHAT.events[0]).await;
    back.reads(&[&chat()[0]]).await;
    back.leave();
    peer.left().await;
    let late = Reader::open(&gateway, &Ask::get(&there)).await.rest().await;
    assert_eq!(
        late.0.len(),
        2,
        "what came, and that it broke off: {:?}",
        late.0
    );
}

#[tokio::test]
async fn an_answer_that_its_caller_stops_is_not_asked_for_any_longer() {
    let (gateway, _backend, mut reader, mut peer) = kept("resume = true").await;
    peer.chunk(CHAT.events[0]).await;
    reader.reads(&[&chat()[0]]).await;
    let there = place(&reader);
    let stopped = gateway.fetch(&Ask::new("DELETE", &there)).await;
    assert_eq!((stopped.status(), stopped.body.len()), (204, 0));
    peer.left().await;
    let (events, ended) = reader.rest().await;
    assert_eq!((events.len(), ended), (1, Ended::LastChunk(vec![])));
    let error = format!("data: {}\n\n", events[0].data);
    assert!(CHAT.is_error(error.as_bytes()), "{error}");
    // Once more does no harm, and what there was can be read.
    assert_eq!(
        gateway.fetch(&Ask::new("DELETE", &there)).await.status(),
        204
    );
    assert_eq!(whole(&gateway, &there).await.len(), 2);
    for method in ["POST", "PUT", "PATCH"] {
        let answer = gateway.fetch(&Ask::new(method, &there)).await;
        assert_eq!(
            (answer.status(), answer.head.get("allow")),
            (405, Some("DELETE, GET, HEAD"))
        );
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_is_told_to_every_reader_in_its_own_words() {
    for api in [CHAT, TEXT, RESPONSES, MESSAGES] {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, "resume = true").await;
        let client = gateway.asking(&api.ask()).await;
        let (mut peer, _) = backend.request().await;
        peer.send(begun(&api)).await;
        let first = Reader::answered(client).await;
        let there = place(&first);
        let second = Reader::open(&gateway, &Ask::get(&there)).await;
        peer.chunk(api.begun() + "data: {\"half").await;
        peer.reset();
        for mut reader in [first, second] {
            let (events, ended) = reader.rest().await;
            assert_eq!(
                (events.len(), ended),
                (3, Ended::LastChunk(vec![])),
                "{}",
                api.name
            );
            let name = events[2]
                .name
                .as_ref()
                .map(|name| format!("event: {name}\n"));
            let error = format!("{}data: {}\n\n", name.unwrap_or_default(), events[2].data);
            assert!(api.is_error(error.as_bytes()), "{error}");
        }
        assert_eq!(
            whole(&gateway, &there).await.len(),
            3,
            "also to who comes later"
        );
    }
}

#[tokio::test]
async fn what_is_no_stream_passes_as_always() {
    for (ask, answer) in [
        (
            Ask::post(CHAT.target, CHAT.request.replace("true", "false")),
            wire::json(200, "{\"id\":1}"),
        ),
        (
            CHAT.ask(),
            wire::json(400, "{\"error\":{\"message\":\"no\"}}"),
        ),
        (CHAT.ask(), wire::json(200, "{\"a\":1}")),
        (
            CHAT.ask(),
            wire::head(
                "HTTP/1.1 429 Slow",
                &["Retry-After: 7", "Content-Length: 0"],
            ),
        ),
        (Ask::get("/v1/models"), wire::json(200, "[]")),
    ] {
        let backend = Backend::answering(answer.clone()).await;
        let gateway = gateway(&backend, "resume = true").await;
        let got = gateway.fetch(&ask).await;
        assert!(answer.ends_with(&got.body) && got.ended.is_clean());
        assert!(answer.starts_with(format!("HTTP/1.1 {}", got.status()).as_bytes()));
        assert_eq!(
            (got.head.get("deltaway-stream"), got.head.get("link")),
            (None, None)
        );
        if got.status() == 429 {
            assert_eq!(got.head.get("retry-after"), Some("7"));
        }
    }
}

#[tokio::test]
async fn clients_that_read_data_lines_alone_get_no_others() {
    let answer = [
        begun(&GEMINI),
        wire::chunk(GEMINI.whole()),
        wire::LAST.to_vec(),
    ]
    .concat();
    let backend = Backend::answering(answer).await;
    let gemini = gateway(&backend, "resume = true").await;
    let got = gemini.fetch(&GEMINI.ask()).await;
    assert_eq!(got.text(), GEMINI.whole().replace('\r', ""));
    let there = format!("/streams/{}", got.head.get("deltaway-stream").unwrap());
    assert_eq!(whole(&gemini, &there).await.len(), 3);

    let answer = [
        begun(&OLLAMA),
        wire::chunk(OLLAMA.whole()),
        wire::LAST.to_vec(),
    ]
    .concat();
    let backend = Backend::answering(answer).await;
    let ollama = gateway(&backend, "resume = true").await;
    let got = ollama.fetch(&OLLAMA.ask()).await;
    assert_eq!(got.head.get("content-type"), Some("application/x-ndjson"));
    assert_eq!(got.text(), OLLAMA.whole());
    let there = format!("/streams/{}", got.head.get("deltaway-stream").unwrap());
    let lines: Vec<_> = OLLAMA.whole().lines().map(str::to_owned).collect();
    assert_eq!(whole(&ollama, &there).await, lines);
}

#[tokio::test]
async fn a_generation_goes_on_over_a_new_connection_after_the_old_one_was_half_read() {
    let (gateway, _backend, reader, mut peer) = kept("resume = true").await;
    let there = place(&reader);
    drop(reader);
    complete(&mut peer, 0).await;
    let mut client = Client::connect(gateway.address).await;
    for after in 0..4 {
        let ask = Ask::get(&format!("{there}?after={after}"));
        let text = client.exchange(&ask).await.text();
        let data: Vec<_> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .collect();
        assert_eq!(data, chat()[after..]);
    }
}

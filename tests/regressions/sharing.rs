//! Faults in what is kept and shared: who gets what is another's, and what ends as if it were whole.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use ring::hmac;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;

use crate::support::api::{CHAT, OLLAMA};
use crate::support::{
    Ask, Backend, Client, Ended, Gateway, Peer, Reader, gateway, toml, wire, within,
};

const SECRET: &str = "a secret that is long enough for SHA-256";

/// One route to `backend` for the holders of one key, and for tokens.
fn closed(backend: &Backend, route: &str) -> String {
    let route = format!("allow = [\"web\", \"accounts\"]\n{route}");
    toml(&backend.url(), &route)
        + &format!(
            "[keys.web]\nvalue = \"gateway-key\"\n\
             [jwt.accounts]\nsecret = \"{SECRET}\"\nleeway = \"0s\"\n"
        )
}

/// A token that is accepted for so many seconds.
fn token(subject: &str, seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let claims = json!({ "sub": subject, "exp": now.as_secs() + seconds });
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(&json!({ "alg": "HS256" })), encode(&claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// The head of a streamed answer of this type.
fn head(content_type: &str) -> Vec<u8> {
    let content_type = format!("Content-Type: {content_type}");
    let fields = [
        content_type.as_str(),
        "Connection: close",
        "Transfer-Encoding: chunked",
    ];
    wire::head("HTTP/1.1 200 OK", &fields)
}

/// Asks, and has the backend begin a stream; who read, who sends, and what was asked.
async fn begun(gateway: &Gateway, backend: &Backend, ask: &Ask) -> (Reader, Peer, wire::Head) {
    let client = gateway.asking(ask).await;
    let (mut peer, request) = backend.request().await;
    peer.send(head("text/event-stream")).await;
    (Reader::answered(client).await, peer, request.head)
}

/// 27. Readers whom one key of the gateway let in shared a stream, though each showed the upstream
/// credentials of its own: all got what was for the first of them.
#[tokio::test]
async fn r27_who_shows_the_upstream_other_credentials_does_not_share_behind_one_key() {
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&closed(&backend, "share = true")).await;
    for own in [
        "Authorization: Bearer ann",
        "Authorization: Bearer bob",
        "Cookie: session=1",
    ] {
        let ask = Ask::get("/mine").field("X-Api-Key: gateway-key").field(own);
        let (mut reader, mut peer, request) = begun(&gateway, &backend, &ask).await;
        let (name, value) = own.split_once(": ").unwrap();
        assert_eq!(request.get(name), Some(value));
        assert_eq!(request.get("x-api-key"), None);
        peer.chunk(format!("data: for {value}\n\n")).await;
        reader.reads(&[&format!("for {value}")]).await;
    }
}

/// 28. A field by which an upstream may know its caller, and that is none of the usual ones, was sent to it
/// by the first reader, and the stream it opened was everybody's. The host was not looked at either.
#[tokio::test]
async fn r28_what_one_reader_says_of_itself_opens_no_stream_for_the_others() {
    let backend = Backend::listen().await;
    let share = "share = { key_headers = [\"x-tenant\"] }";
    let gateway = gateway(&backend, share).await;
    let ask = Ask::get("/mine")
        .field("X-Auth-Token: ann")
        .field("X-Tenant: red");
    let (_reader, _peer, request) = begun(&gateway, &backend, &ask).await;
    assert_eq!(request.get("x-auth-token"), None);
    assert_eq!(request.get("x-tenant"), Some("red"));
    let bytes = String::from_utf8(ask.bytes()).unwrap();
    let elsewhere = bytes.replace("gateway.test", "other.test");
    let mut client = Client::connect(gateway.address).await;
    client.send(elsewhere).await;
    let (_peer, request) = backend.request().await;
    assert_eq!(request.head.get("x-forwarded-host"), Some("other.test"));
}

/// 29. The same for kept answers: a request sent again by somebody else behind the same key got the answer of
/// the first. And one that passed a load balancer, which numbers each request, was taken for another.
#[tokio::test]
async fn r29_an_answer_is_found_by_who_asks_the_upstream_and_not_by_what_numbers_the_request() {
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&closed(&backend, "resume = true\ndedupe = true")).await;
    let ask = |own: &str, number: u8| {
        CHAT.ask()
            .field("X-Api-Key: gateway-key")
            .field("Idempotency-Key: k1")
            .field(&format!("Authorization: Bearer {own}"))
            .field(&format!("X-Amzn-Trace-Id: Root={number}"))
    };
    let (ann, _peer, _) = begun(&gateway, &backend, &ask("ann", 1)).await;
    let (bob, _peer, request) = begun(&gateway, &backend, &ask("bob", 2)).await;
    assert_eq!(request.get("authorization"), Some("Bearer bob"));
    let place = |reader: &Reader| reader.head.get("deltaway-stream").map(str::to_owned);
    assert_ne!(place(&ann), place(&bob));
    let again = Reader::open(&gateway, &ask("ann", 3)).await;
    assert_eq!(place(&again), place(&ann));
}

/// 30. A kept answer in lines got an empty line when it was silent, which clients that read an object
/// from each line take for a fault.
#[tokio::test]
async fn r30_a_silent_answer_in_lines_gets_no_empty_line() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true\nheartbeat = \"50ms\"").await;
    let mut client = gateway.asking(&OLLAMA.ask()).await;
    let (mut peer, _) = backend.request().await;
    peer.send(head(OLLAMA.content_type)).await;
    client.head().await;
    peer.chunk(OLLAMA.events[0]).await;
    client.reads(OLLAMA.events[0]).await;
    assert!(peer.is_quiet_for(Duration::from_millis(400)).await);
    peer.chunk([OLLAMA.events[1], OLLAMA.finish].concat()).await;
    peer.send(wire::LAST).await;
    let (rest, ended) = client.rest().await;
    let expected = [OLLAMA.events[1], OLLAMA.finish].concat();
    assert_eq!((rest, ended), (expected.into(), Ended::LastChunk(vec![])));
}

/// 31. Who was too slow for what is kept of an answer lost its middle and got its end, as if that were all. And
/// an answer in lines had no word for its own break.
#[tokio::test]
async fn r31_an_answer_that_lost_its_middle_does_not_end_well() {
    for api in [CHAT, OLLAMA] {
        let backend = Backend::listen().await;
        let gateway = gateway(&backend, "resume = { history = { events = 20 } }").await;
        let mut client = Client::connect_with_little_room(gateway.address).await;
        client.ask(&api.ask()).await;
        let (mut peer, _) = backend.request().await;
        peer.send(head(api.content_type)).await;
        let long = "l".repeat(60_000);
        let event = api.events[1].replace("lo", &long);
        peer.pour(&wire::chunk(event), 400).await;
        peer.chunk([api.finish, api.marker].concat()).await;
        peer.send(wire::LAST).await;
        client.head().await;
        let (body, _) = client.rest().await;
        let text = String::from_utf8(body.to_vec()).unwrap();
        let last = text.trim_end().rsplit('\n').next().unwrap();
        assert!(last.contains("error"), "{}: {last:.300}", api.name);
        assert!(
            last.contains("evicted") || last.contains("too slow"),
            "{last:.300}"
        );
        assert!(
            !text.contains("\"reason\""),
            "no gap, which its client does not know"
        );
    }
}

/// 32. A kept answer that broke off, in a dialect that has no word for that, was over and done for whoever came
/// back to it: 204, or closed.
#[tokio::test]
async fn r32_who_comes_back_to_an_answer_that_broke_off_is_not_told_that_it_is_done() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true").await;
    let ask = Ask::post("/own", "{}").field("Accept: text/event-stream");
    let (mut reader, mut peer, _) = begun(&gateway, &backend, &ask).await;
    peer.chunk("data: one\n\n").await;
    reader.reads(&["one"]).await;
    peer.close();
    let (events, ended) = reader.rest().await;
    assert_eq!((events, ended), (vec![], Ended::Cut));
    let id = reader.head.get("deltaway-stream").unwrap();
    let there = format!("/streams/{id}?last_event_id={}", reader.last_id);
    for transport in ["sse", "ndjson", "poll", "long-poll"] {
        let ask = Ask::get(&format!("{there}&transport={transport}"));
        let answer = gateway.fetch(&ask).await;
        assert_eq!(answer.status(), 502, "{transport}");
        assert_eq!(answer.json()["error"]["code"], "broken_off");
    }
    let all = Ask::get(&format!("/streams/{id}?transport=poll"));
    let all = gateway.fetch(&all).await.json();
    assert_eq!(all["events"][0]["data"], "one");
    assert_eq!(all["closed"], false, "there is something to be told yet");
}

/// 33. Who read a shared stream by a token read on when the token was over.
#[tokio::test]
async fn r33_a_shared_stream_ends_with_the_token_of_its_reader() {
    let backend = Backend::listen().await;
    let gateway = Gateway::start(&closed(&backend, "share = true")).await;
    let shown = format!("Authorization: Bearer {}", token("ann", 2));
    let (mut reader, _peer, _) = begun(&gateway, &backend, &Ask::get("/x").field(&shown)).await;
    let (events, ended) = reader.rest().await;
    assert_eq!((events, ended), (vec![], Ended::LastChunk(vec![])));
}

/// 34. A token's `*` was a pattern where a route takes patterns from its query: whose name it was, got what
/// was for everybody.
#[tokio::test]
async fn r34_a_claim_is_never_a_pattern() {
    let backend = Backend::listen().await;
    let inbox = "[routes.inbox]\npath = \"/inbox\"\nallow = [\"accounts\"]\npatterns = true\n\
                 subscribe = [\"user/{jwt.sub}/{query.box}\"]\n";
    let gateway = Gateway::start(&(closed(&backend, "") + inbox)).await;
    let ask = |subject: &str| {
        let shown = format!("Authorization: Bearer {}", token(subject, 600));
        Ask::get("/inbox?box=*&transport=poll").field(&shown)
    };
    assert_eq!(gateway.fetch(&ask("ann")).await.status(), 200);
    let refused = gateway.fetch(&ask("*")).await;
    assert_eq!(refused.status(), 400);
    assert_eq!(refused.json()["error"]["code"], "bad_topic");
}

/// 35. A route that keeps its answers sent no head before the upstream's, whatever `early_head` said.
#[tokio::test]
async fn r35_a_kept_answer_has_an_early_head_too() {
    let backend = Backend::listen().await;
    let route = "resume = true\nearly_head = \"50ms\"\nheartbeat = \"50ms\"\nretry = false";
    let gateway = gateway(&backend, route).await;
    let ask = CHAT.ask();

    let mut reader = Reader::answered(gateway.asking(&ask).await).await;
    assert_eq!(reader.head.status(), 200);
    let there = format!("/streams/{}", reader.head.get("deltaway-stream").unwrap());
    let mut second = Reader::open(&gateway, &Ask::get(&there)).await;
    let (mut peer, _) = backend.request().await;
    peer.send(head("text/event-stream")).await;
    peer.chunk(CHAT.whole()).await;
    peer.send(wire::LAST).await;
    for reader in [&mut reader, &mut second] {
        let (events, ended) = reader.rest().await;
        assert_eq!(events.last().unwrap().data, "[DONE]");
        assert_eq!(ended, Ended::LastChunk(vec![]));
    }

    let mut reader = Reader::answered(gateway.asking(&ask).await).await;
    assert_eq!(reader.head.status(), 200);
    let (mut peer, _) = backend.request().await;
    peer.send(wire::json(429, "{}")).await;
    let (events, _) = reader.rest().await;
    assert_eq!(events.len(), 1, "{events:?}");
    assert!(CHAT.is_error(format!("data: {}\n\n", events[0].data).as_bytes()));
    assert!(events[0].data.contains("429"), "{events:?}");
}

/// 36. Answers that had ended, and that nobody read, held all the room there is until their time was over: a
/// running one lost its own events for them, and nothing could be published.
#[tokio::test]
async fn r36_answers_that_ended_make_room_for_what_comes() {
    let backend = Backend::listen().await;
    let hub = "[hub]\nbytes = \"1MiB\"\nevent = \"128KiB\"\n\
               [routes.inbox]\npath = \"/inbox\"\npublish = \"a\"\n";
    let gateway = Gateway::start(&(toml(&backend.url(), "resume = true") + hub)).await;
    let (mut reader, mut peer, _) = begun(&gateway, &backend, &CHAT.ask()).await;
    let event = CHAT.events[1].replace("lo", &"l".repeat(100_000));
    peer.pour(&wire::chunk(event), 10).await;
    peer.chunk([CHAT.finish, CHAT.marker].concat()).await;
    peer.send(wire::LAST).await;
    reader.rest().await;
    reader.leave();
    let event = Ask::post("/inbox", "x".repeat(100_000));
    assert_eq!(gateway.fetch(&event).await.status(), 200);
}

/// 37. A WebSocket was closed on a client that had only listened for as long as its upstream may be silent,
/// though it would have answered a ping.
#[tokio::test]
async fn r37_a_websocket_is_kept_for_who_answers_pings() {
    let backend = Backend::listen().await;
    let route = "share = true\nheartbeat = \"300ms\"\nclocks = { idle = \"100ms\" }";
    let gateway = gateway(&backend, route).await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let opening = client_async(format!("ws://{}/x", gateway.address), stream);
    let (_peer, opened) = tokio::join!(
        async {
            let (mut peer, _) = backend.request().await;
            peer.send(head("text/event-stream")).await;
            peer
        },
        within("the WebSocket", opening)
    );
    let (mut socket, _) = opened.unwrap();
    for _ in 0..3 {
        let message = within("a ping", socket.next()).await;
        assert!(matches!(message, Some(Ok(Message::Ping(_)))), "{message:?}");
    }
}

/// 38. Every key that a request under way was sent again with was remembered, without a bound.
#[tokio::test]
async fn r38_an_answer_is_found_by_so_many_keys_and_no_more() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = true\ndedupe = true").await;
    let ask = |key: usize| {
        CHAT.ask()
            .field("Authorization: Bearer a")
            .field(&format!("Idempotency-Key: {key}"))
    };
    let (mut reader, mut peer, _) = begun(&gateway, &backend, &ask(0)).await;
    for key in 1..80 {
        Reader::open(&gateway, &ask(key)).await.leave();
    }
    peer.chunk(CHAT.whole()).await;
    peer.send(wire::LAST).await;
    reader.rest().await;
    let place = |reader: &Reader| reader.head.get("deltaway-stream").map(str::to_owned);
    let early = Reader::open(&gateway, &ask(50)).await;
    assert_eq!(place(&early), place(&reader));
    let (late, _peer, _) = begun(&gateway, &backend, &ask(79)).await;
    assert_ne!(place(&late), place(&reader));
}

/// 39. Who sent a request again, with the key of one whose answer had failed, got the failure again for as long as
/// answers are kept.
#[tokio::test]
async fn r39_who_tries_again_does_not_get_the_failure_again() {
    let backend = Backend::listen().await;
    let gateway = gateway(&backend, "resume = { on_leave = \"cancel\" }").await;
    let ask = CHAT.ask().field("Idempotency-Key: k1");
    let (reader, mut peer, _) = begun(&gateway, &backend, &ask).await;
    reader.leave();
    peer.left().await;
    let (mut reader, mut peer, _) = begun(&gateway, &backend, &ask).await;
    peer.chunk(CHAT.begun()).await;
    peer.close();
    reader.rest().await;
    let (mut reader, mut peer, _) = begun(&gateway, &backend, &ask).await;
    peer.chunk(CHAT.whole()).await;
    peer.send(wire::LAST).await;
    assert_eq!(reader.rest().await.0.last().unwrap().data, "[DONE]");
}

/// 40. Where every origin may read, any page could open a WebSocket with its visitor's cookies, and read what was
/// for that visitor.
#[tokio::test]
async fn r40_a_page_of_any_origin_opens_no_websocket_with_the_cookies_of_its_visitor() {
    let backend = Backend::listen().await;
    let cors = "cors = { origins = [\"*\"] }";
    let inbox = format!(
        "[keys.web]\nvalue = \"k\"\n\
         [routes.inbox]\npath = \"/inbox\"\nallow = [\"web\"]\nkey_in = {{ cookie = \"key\" }}\n\
         subscribe = [\"mine\"]\n{cors}\n\
         [routes.news]\npath = \"/news\"\nsubscribe = [\"news\"]\n{cors}\n"
    );
    let source = toml(&backend.url(), &format!("share = true\n{cors}")) + &inbox;
    let gateway = Gateway::start(&source).await;
    let ask = |path: &str, origin: &str| {
        Ask::get(path)
            .field("Connection: Upgrade")
            .field("Upgrade: websocket")
            .field("Sec-WebSocket-Version: 13")
            .field("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
            .field(&format!("Origin: {origin}"))
            .field("Cookie: key=k")
    };
    for (path, origin, status) in [
        ("/inbox", "https://evil.test", 403),
        ("/inbox", "http://gateway.test", 101),
        ("/news", "https://evil.test", 101),
    ] {
        let mut client = gateway.asking(&ask(path, origin)).await;
        assert_eq!(client.head().await.status(), status, "{path} {origin}");
    }
    let mut client = gateway.asking(&ask("/shared", "https://evil.test")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(head("text/event-stream")).await;
    assert_eq!(client.head().await.status(), 403);
}

/// 41. Whoever asked for enough topics that nobody had published to drove out what others kept.
#[tokio::test]
async fn r41_topics_without_events_give_way_before_those_that_have_some() {
    let backend = Backend::listen().await;
    let hub = "[hub]\nstreams = 3\n\
               [routes.topics]\npath = \"/t/{topic}\"\npublish = \"{topic}\"\nsubscribe = [\"{topic}\"]\n";
    let gateway = Gateway::start(&(toml(&backend.url(), "") + hub)).await;
    let published = gateway.fetch(&Ask::post("/t/mine", "kept")).await;
    assert_eq!(published.status(), 200);
    for other in 0..9 {
        let poll = Ask::get(&format!("/t/other{other}?transport=poll"));
        assert_eq!(gateway.fetch(&poll).await.status(), 200);
    }
    let kept = Ask::get("/t/mine?transport=poll&after=0");
    let kept = gateway.fetch(&kept).await.json();
    assert_eq!(kept["events"][0]["data"], "kept", "{kept}");
}

/// 42. Who polls topics from before what is kept was told of the same gap again with every poll, and got no event.
#[tokio::test]
async fn r42_a_poll_gets_past_a_gap() {
    let backend = Backend::listen().await;
    let topics = "[topics.\"*\"]\nhistory = { events = 2 }\n\
                  [routes.topics]\npath = \"/t/{topic}\"\npublish = \"{topic}\"\nsubscribe = [\"{topic}\", \"b\"]\n";
    for transport in ["poll", "long-poll"] {
        let gateway = Gateway::start(&(toml(&backend.url(), "") + topics)).await;
        for topic in ["a", "b"] {
            for number in 0..5 {
                let event = Ask::post(&format!("/t/{topic}"), format!("{topic}{number}"));
                assert_eq!(gateway.fetch(&event).await.status(), 200);
            }
        }
        let ask = |from: &str| Ask::get(&format!("/t/a?transport={transport}&{from}"));
        let first = gateway.fetch(&ask("after=0")).await.json();
        let events = first["events"].as_array().unwrap().iter();
        let (gaps, events): (Vec<_>, Vec<_>) = events.partition(|event| event["event"] == "gap");
        let data: Vec<_> = events.iter().map(|event| event["data"].as_str()).collect();
        assert_eq!(gaps.len(), 2, "{first}");
        assert_eq!(data, ["a3", "a4", "b3", "b4"].map(Some), "{first}");
        let cursor = first["cursor"].as_str().unwrap();
        let event = Ask::post("/t/b", "next");
        assert_eq!(gateway.fetch(&event).await.status(), 200);
        let next = gateway
            .fetch(&ask(&format!("cursor={cursor}")))
            .await
            .json();
        assert_eq!(next["events"].as_array().unwrap().len(), 1, "{next}");
        assert_eq!(next["events"][0]["data"], "next");
    }
}

/// 43. Answers that had ended took all the places there are, and for as long as they were kept nothing could be
/// shared, published or subscribed to.
#[tokio::test]
async fn r43_answers_that_ended_give_their_places_to_what_is_wanted() {
    let answer = [
        head(CHAT.content_type),
        wire::chunk(CHAT.whole()),
        wire::LAST.to_vec(),
    ];
    let backend = Backend::answering(answer.concat()).await;
    let hub = "[hub]\nstreams = 3\n\
               [routes.topics]\npath = \"/t/{topic}\"\npublish = \"{topic}\"\nsubscribe = [\"{topic}\", \"b\"]\n";
    let source = toml(&backend.url(), "resume = true\nshare = true") + hub;
    for ask in [
        Ask::get("/shared"),
        Ask::post("/t/a", "x"),
        Ask::get("/t/a?transport=poll"),
    ] {
        let gateway = Gateway::start(&source).await;
        for _ in 0..3 {
            let mut reader = Reader::open(&gateway, &CHAT.ask()).await;
            assert!(reader.head.get("deltaway-stream").is_some());
            reader.rest().await;
            reader.leave();
        }
        // The last one may still be about to leave.
        within("a place", async {
            let mut look = tokio::time::interval(Duration::from_millis(20));
            while gateway.asking(&ask).await.head().await.status() != 200 {
                look.tick().await;
            }
        })
        .await;
    }
}

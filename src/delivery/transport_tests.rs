//! What requests ask for, and what they get.

use http::HeaderMap;
use http::header::{ACCEPT, HeaderValue};
use proptest::prelude::*;

use super::{BadTransport, Transport, choose, thousandths};

fn accepting(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        headers.append(ACCEPT, line.parse().unwrap());
    }
    headers
}

#[test]
fn accept_is_weighed() {
    use Transport::{LongPoll, Ndjson, Sse};
    let none = Err(BadTransport::NotAcceptable);
    for (accept, expected) in [
        ("text/event-stream", Ok(Sse)),
        ("*/*", Ok(Sse)),
        ("text/*", Ok(Sse)),
        ("TEXT/Event-Stream; charset=utf-8", Ok(Sse)),
        ("application/json, text/event-stream", Ok(Sse)),
        ("application/json, text/plain, */*", Ok(Sse)),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", Ok(Sse)),
        ("application/x-ndjson", Ok(Ndjson)),
        ("application/jsonl", Ok(Ndjson)),
        ("application/*", Ok(Ndjson)),
        ("application/json", Ok(LongPoll)),
        ("application/json, */*;q=0.1", Ok(LongPoll)),
        (
            "application/json;q=0.5, application/x-ndjson;q=0.6",
            Ok(Ndjson),
        ),
        ("text/event-stream;q=0, */*", Ok(Ndjson)),
        (
            "text/event-stream ; Q = 0.2, application/json;q=0.20",
            Ok(Sse),
        ),
        ("text/html", none.clone()),
        ("text/html, text/event-stream;q=0.000", none.clone()),
        ("*/*;q=0", none),
        ("", Ok(Sse)),
        ("nonsense", Ok(Sse)),
        ("text/event-stream;q=2, application/json", Ok(LongPoll)),
    ] {
        assert_eq!(
            choose(None, &accepting(&[accept]), false),
            expected,
            "{accept}"
        );
    }
    assert_eq!(choose(None, &HeaderMap::new(), false), Ok(Sse));
    let lines = accepting(&["text/html", "application/json"]);
    assert_eq!(choose(None, &lines, false), Ok(LongPoll));
}

#[test]
fn the_query_beats_an_upgrade_and_that_beats_accept() {
    let json = accepting(&["application/json"]);
    for (word, transport) in [
        ("sse", Transport::Sse),
        ("ndjson", Transport::Ndjson),
        ("long-poll", Transport::LongPoll),
        ("poll", Transport::Poll),
        ("websocket", Transport::WebSocket),
    ] {
        assert_eq!(choose(Some(word), &json, true), Ok(transport));
    }
    assert_eq!(choose(None, &json, true), Ok(Transport::WebSocket));
    assert_eq!(
        choose(Some("websocket"), &json, false),
        Err(BadTransport::NoUpgrade)
    );
    assert_eq!(
        choose(Some("SSE"), &json, false),
        Err(BadTransport::Unknown("SSE".to_owned()))
    );
}

#[test]
fn each_transport_has_its_content_type() {
    let of = |transport: Transport| transport.content_type();
    assert_eq!(
        of(Transport::Sse),
        Some(HeaderValue::from_static("text/event-stream"))
    );
    assert_eq!(
        of(Transport::Ndjson),
        Some(HeaderValue::from_static("application/x-ndjson"))
    );
    assert_eq!(
        of(Transport::Poll),
        Some(HeaderValue::from_static("application/json"))
    );
    assert_eq!(of(Transport::LongPoll), of(Transport::Poll));
    assert_eq!(of(Transport::WebSocket), None);
}

#[test]
fn weights_have_three_decimals() {
    for (text, weight) in [
        ("0", Some(0)),
        ("1", Some(1000)),
        ("0.", Some(0)),
        ("1.000", Some(1000)),
        ("0.5", Some(500)),
        ("0.05", Some(50)),
        ("0.123", Some(123)),
        ("1.001", None),
        ("0.1234", None),
        ("2", None),
        ("", None),
        ("-0", None),
        ("0.+1", None),
        (".5", None),
    ] {
        assert_eq!(thousandths(text), weight, "{text}");
    }
}

proptest! {
    #[test]
    fn any_accept_has_an_answer(accept in "[ -~]{0,60}") {
        let answer = choose(None, &accepting(&[&accept]), false);
        prop_assert!(!matches!(answer, Ok(Transport::WebSocket | Transport::Poll)));
    }

    #[test]
    fn weights_are_between_nothing_and_all(text in "[01]?\\.?[0-9]{0,4}") {
        prop_assert!(thousandths(&text).is_none_or(|weight| weight <= 1000));
    }
}

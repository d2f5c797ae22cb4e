//! Every row of the table of endings, for each model API and a plain stream, to HTTP/1.1 and HTTP/1.0.
//!
//! A row is how the backend ends and whether a marker was seen; what is asserted is what the client
//! gets: a clean end, an error of its dialect and then a clean end, or an abort it cannot overlook.

use std::time::Duration;

use bytes::Bytes;

use crate::support::api::{Api, CHAT, MESSAGES, MODELS, PLAIN};
use crate::support::binary::Served;
use crate::support::recording;
use crate::support::{Ask, Backend, Client, Ended, Gateway, Peer, gateway, toml, wire};

/// How the backend ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Chunked, with the last chunk.
    LastChunk,
    /// By a length that is reached.
    Length,
    /// Framed by closing, then closed.
    Close,
    /// Chunked, then closed without the last chunk.
    MissingLastChunk,
    /// By a length that is not reached, then closed.
    ShortOfLength,
    /// Chunked, then a reset.
    Reset,
    /// Chunked, then a chunk that is none.
    BadChunk,
    /// Chunked, then silence beyond the idle limit.
    Silence,
}

const FRAMED: [Way; 2] = [Way::LastChunk, Way::Length];
const CUT: [Way; 5] = [
    Way::MissingLastChunk,
    Way::ShortOfLength,
    Way::Reset,
    Way::BadChunk,
    Way::Silence,
];

/// Heartbeats off: what the client gets is compared byte for byte.
const ROUTE: &str = "heartbeat = \"off\"\nclocks = { idle = \"300ms\" }";

/// Sends the head and `body` on `peer` and ends in this `way`, once `seen` by the client.
async fn play(peer: &mut Option<Peer>, api: &Api, body: &[u8], way: Way, extra: &[&str]) {
    let mut fields = vec![format!("Content-Type: {}", api.content_type)];
    fields.extend(extra.iter().map(|field| (*field).to_owned()));
    match way {
        Way::Length => fields.push(format!("Content-Length: {}", body.len())),
        Way::ShortOfLength => fields.push(format!("Content-Length: {}", body.len() + 10)),
        Way::Close => {}
        _ => fields.push("Transfer-Encoding: chunked".to_owned()),
    }
    let fields: Vec<_> = fields.iter().map(String::as_str).collect();
    let peer = peer.as_mut().unwrap();
    peer.send(wire::head("HTTP/1.1 200 OK", &fields)).await;
    match way {
        Way::Length | Way::ShortOfLength | Way::Close => peer.send(body).await,
        _ => peer.chunk(body).await,
    };
}

async fn end(peer: Option<Peer>, way: Way) {
    let mut peer = peer.unwrap();
    match way {
        Way::LastChunk => {
            peer.send(wire::LAST).await;
            peer.left().await;
        }
        Way::BadChunk => {
            peer.send(b"not a size\r\n").await;
            peer.left().await;
        }
        Way::Length | Way::Silence => {
            peer.left().await;
        }
        Way::Close | Way::MissingLastChunk | Way::ShortOfLength => peer.close(),
        Way::Reset => peer.reset(),
    }
}

struct Case<'a> {
    api: &'a Api,
    body: &'a [u8],
    way: Way,
    http10: bool,
    extra: &'a [&'a str],
}

impl Case<'_> {
    /// What the client gets after `body`, which always arrives, and how its body ends.
    async fn tail(&self, backend: &Backend, gateway: &Gateway) -> (Bytes, Ended) {
        let mut ask = self.api.ask();
        if self.http10 {
            ask = ask.http10();
        }
        let mut client = gateway.asking(&ask).await;
        let (peer, _) = backend.request().await;
        let mut peer = Some(peer);
        play(&mut peer, self.api, self.body, self.way, self.extra).await;
        client.head().await;
        client.reads(self.body).await;
        let ending = tokio::spawn(end(peer, self.way));
        let rest = client.rest().await;
        drop(client);
        ending.abort();
        rest
    }

    fn name(&self) -> String {
        let version = if self.http10 { "1.0" } else { "1.1" };
        format!("{} {:?} HTTP/{version}", self.api.name, self.way)
    }

    fn clean(&self) -> &'static [Ended] {
        const NEW: &[Ended] = &[Ended::LastChunk(vec![]), Ended::Length];
        const OLD: &[Ended] = &[Ended::Closed, Ended::Length];
        if self.http10 { OLD } else { NEW }
    }

    fn is_complete(&self, (tail, ended): &(Bytes, Ended)) {
        assert_eq!(tail, "", "{}", self.name());
        assert!(self.clean().contains(ended), "{}: {ended:?}", self.name());
    }

    fn is_error_then_clean(&self, (tail, ended): &(Bytes, Ended)) {
        assert!(self.api.is_error(tail), "{}: {tail:?}", self.name());
        assert!(self.clean().contains(ended), "{}: {ended:?}", self.name());
    }

    fn is_aborted(&self, (tail, ended): &(Bytes, Ended)) {
        assert_eq!(tail, "", "{}", self.name());
        let aborts: &[_] = if self.http10 {
            &[Ended::Reset]
        } else {
            &[Ended::Cut, Ended::Reset]
        };
        assert!(aborts.contains(ended), "{}: {ended:?}", self.name());
    }
}

async fn started() -> (Backend, Gateway) {
    let backend = Backend::listen().await;
    // Each case has a connection of its own: a kept one would be closed under the next case's POST,
    // which is not sent twice.
    let route = format!("{ROUTE}\n[upstreams.model.pool]\nidle = 0\n");
    let gateway = gateway(&backend, &route).await;
    (backend, gateway)
}

/// Plays `body` in every one of `ways`, to both versions, and hands each outcome to `check`.
async fn each(
    apis: &[Api],
    ways: &[Way],
    body: impl Fn(&Api) -> String,
    check: fn(&Case<'_>, &(Bytes, Ended)),
) {
    let (backend, gateway) = started().await;
    for api in apis {
        for way in ways.iter().copied() {
            for http10 in [false, true] {
                let body = body(api);
                let case = Case {
                    api,
                    body: body.as_bytes(),
                    way,
                    http10,
                    extra: &[],
                };
                check(&case, &case.tail(&backend, &gateway).await);
            }
        }
    }
}

#[tokio::test]
async fn a_stream_that_ends_as_framed_with_its_marker_is_complete() {
    each(&MODELS, &FRAMED, Api::whole, |case, end| {
        case.is_complete(end)
    })
    .await;
}

#[tokio::test]
async fn a_missing_done_after_a_finish_reason_is_complete_at_once() {
    let finished = MODELS.map(|api| Api { marker: "", ..api });
    let finished: Vec<_> = finished
        .into_iter()
        .filter(|api| !api.finish.is_empty())
        .collect();
    // Anthropic's finish reason comes before its terminal event, which is never missing for good reason.
    let finished: Vec<_> = finished
        .into_iter()
        .filter(|api| api.name != MESSAGES.name)
        .collect();
    assert_eq!(finished.len(), 4);
    each(&finished, &FRAMED, Api::whole, |case, end| {
        case.is_complete(end)
    })
    .await;
}

#[tokio::test]
async fn a_model_stream_that_ends_as_framed_without_any_marker_is_told_as_truncated() {
    each(&MODELS, &[Way::LastChunk], Api::begun, |case, end| {
        case.is_error_then_clean(end)
    })
    .await;
}

#[tokio::test]
async fn a_plain_stream_needs_no_marker() {
    each(
        &[PLAIN],
        &[Way::LastChunk, Way::Length, Way::Close],
        Api::begun,
        |case, end| case.is_complete(end),
    )
    .await;
}

#[tokio::test]
async fn a_stream_framed_by_close_is_complete_with_its_marker() {
    each(&MODELS, &[Way::Close], Api::whole, |case, end| {
        case.is_complete(end)
    })
    .await;
}

#[tokio::test]
async fn a_model_stream_framed_by_close_without_its_marker_is_told_as_truncated() {
    each(&MODELS, &[Way::Close], Api::begun, |case, end| {
        case.is_error_then_clean(end)
    })
    .await;
}

#[tokio::test]
async fn a_model_stream_cut_between_two_events_is_told_as_truncated() {
    let ways: Vec<_> = CUT
        .into_iter()
        .filter(|way| *way != Way::ShortOfLength)
        .collect();
    each(&MODELS, &ways, Api::begun, |case, end| {
        case.is_error_then_clean(end)
    })
    .await;
}

#[tokio::test]
async fn a_model_stream_that_falls_short_of_its_length_never_looks_whole() {
    each(
        &MODELS,
        &[Way::ShortOfLength],
        Api::begun,
        |case, outcome| {
            if outcome.0.is_empty() {
                case.is_aborted(outcome);
            } else {
                case.is_error_then_clean(outcome);
            }
        },
    )
    .await;
}

#[tokio::test]
async fn a_plain_stream_that_is_cut_is_aborted() {
    each(&[PLAIN], &CUT, Api::begun, |case, end| case.is_aborted(end)).await;
}

#[tokio::test]
async fn a_stream_cut_inside_an_event_is_aborted() {
    let half = |api: &Api| {
        let begun = api.begun();
        let half = api.events.last().unwrap().len() / 2;
        begun[..begun.len() - half].to_owned()
    };
    let ways: Vec<_> = CUT.into_iter().chain([Way::LastChunk]).collect();
    each(&MODELS, &ways, half, |case, end| case.is_aborted(end)).await;
    each(&[PLAIN], &CUT, half, |case, end| case.is_aborted(end)).await;
}

#[tokio::test]
async fn a_compressed_stream_that_is_cut_is_aborted() {
    let (backend, gateway) = started().await;
    for api in MODELS.iter().chain([&PLAIN]) {
        for way in CUT {
            for http10 in [false, true] {
                let (body, extra) = (b"\x1f\x8b\x08\0\n\n", &["Content-Encoding: gzip"]);
                let case = Case {
                    api,
                    body,
                    way,
                    http10,
                    extra,
                };
                case.is_aborted(&case.tail(&backend, &gateway).await);
            }
        }
    }
}

#[tokio::test]
async fn a_binary_stream_that_is_cut_never_looks_whole() {
    let recording = recording::named("bedrock/converse-tools-f0eb");
    let api = Api {
        name: "bedrock",
        target: "/model/m/converse-stream",
        request: "{\"messages\":[]}",
        content_type: "application/vnd.amazon.eventstream",
        ..PLAIN
    };
    let first = u32::from_be_bytes(recording.body[..4].try_into().unwrap()) as usize;
    let (backend, gateway) = started().await;
    for (body, is_between) in [
        (&recording.body[..first], true),
        (&recording.body[..first + 20], false),
    ] {
        for way in CUT {
            let case = Case {
                api: &api,
                body,
                way,
                http10: false,
                extra: &[],
            };
            let outcome = case.tail(&backend, &gateway).await;
            if is_between && !outcome.0.is_empty() {
                assert!(
                    wire::find(&outcome.0, b":exception-type").is_some(),
                    "{:?}",
                    outcome.0
                );
                assert!(outcome.1.is_clean(), "{}: {:?}", case.name(), outcome.1);
            } else {
                case.is_aborted(&outcome);
            }
        }
    }
    let case = Case {
        api: &api,
        body: &recording.body,
        way: Way::LastChunk,
        http10: false,
        extra: &[],
    };
    case.is_complete(&case.tail(&backend, &gateway).await);
}

#[tokio::test]
async fn any_other_body_that_is_cut_is_aborted() {
    let file = Api {
        content_type: "application/json",
        target: "/file",
        ..PLAIN
    };
    let large = |_: &Api| "{\"a\":1}".repeat(20_000);
    each(&[file], &CUT, large, |case, end| case.is_aborted(end)).await;
}

#[tokio::test]
async fn an_error_event_of_the_backends_own_is_passed_and_not_doubled() {
    let (backend, gateway) = started().await;
    let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n";
    let body = MESSAGES.begun() + error;
    for way in FRAMED {
        let case = Case {
            api: &MESSAGES,
            body: body.as_bytes(),
            way,
            http10: false,
            extra: &[],
        };
        case.is_complete(&case.tail(&backend, &gateway).await);
    }
}

#[tokio::test]
async fn a_connection_can_be_used_again_after_an_error_event() {
    let backend = Backend::playing(|mut peer| async move {
        peer.request().await;
        peer.send(wire::event_stream()).await;
        peer.chunk(CHAT.begun()).await;
    })
    .await;
    let gateway = gateway(&backend, ROUTE).await;
    let mut client = Client::connect(gateway.address).await;
    for _ in 0..3 {
        let answer = client.exchange(&CHAT.ask()).await;
        let tail = answer
            .body
            .strip_prefix(CHAT.begun().as_bytes())
            .expect("the events");
        assert!(
            CHAT.is_error(tail) && answer.ended == Ended::LastChunk(vec![]),
            "{tail:?}"
        );
    }
}

#[tokio::test]
async fn the_access_log_tells_the_same_ending_as_the_client_sees() {
    let backend = Backend::listen().await;
    let source = toml(&backend.url(), ROUTE);
    let rest = &source[source.find("[upstreams").unwrap()..];
    let served = Served::start(rest, &[]).await;
    let (begun, whole) = (CHAT.begun(), CHAT.whole());
    let rows = [
        (whole.as_str(), Way::LastChunk, "complete"),
        (whole.as_str(), Way::Close, "complete"),
        (begun.as_str(), Way::LastChunk, "truncated"),
        (begun.as_str(), Way::Close, "truncated"),
        (begun.as_str(), Way::Reset, "truncated"),
        (begun.as_str(), Way::Silence, "truncated"),
        (
            &begun[..begun.len() - 9],
            Way::MissingLastChunk,
            "truncated",
        ),
    ];
    for (index, (body, way, ending)) in rows.into_iter().enumerate() {
        let mut client = Client::asking(served.address, &CHAT.ask()).await;
        let mut peer = Some(backend.request().await.0);
        play(&mut peer, &CHAT, body.as_bytes(), way, &[]).await;
        client.head().await;
        client.reads(body).await;
        let task = tokio::spawn(end(peer, way));
        client.rest().await;
        let line = served.access(index).await;
        assert_eq!(line["ending"], ending, "{way:?} {line}");
        task.abort();
    }

    let mut client = Client::asking(served.address, &CHAT.ask()).await;
    let mut peer = backend.request().await.0;
    peer.send(wire::event_stream()).await;
    client.head().await;
    client.leave();
    peer.left().await;
    let line = served.access(7).await;
    assert_eq!(line["ending"], "left", "{line}");
}

#[tokio::test]
async fn a_client_that_left_first_scores_nothing_and_the_next_is_served() {
    let (backend, gateway) = started().await;
    for _ in 0..3 {
        let client = gateway.asking(&CHAT.ask()).await;
        let (mut peer, _) = backend.request().await;
        client.reset();
        let left = peer.left().await;
        assert_eq!(left.bytes, 0);
    }
    let mut client = gateway.asking(&Ask::get("/x")).await;
    let (mut peer, _) = backend.request().await;
    peer.send(wire::json(200, "{}")).await;
    let answer = tokio::time::timeout(Duration::from_secs(20), client.answer())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
}

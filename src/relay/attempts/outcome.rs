//! What one attempt came to: an answer that can be passed on, or a trouble.
//!
//! An answer's head alone does not tell. An error's reason stands in its body, and a backend that will never send an
//! event may have sent its head at once. Where somebody else could still be asked, the answer is therefore read up to
//! its first content before it counts; what was read is handed out again.

use std::future::poll_fn;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, timeout_at};

use crate::config::{Dialect, ResolvedClocks, Trouble};
use crate::dialect::{BodyKind, Marker, Watcher, body_kind};
use crate::dialect::{retry_after, retry_delay, trouble, wants_body};
use crate::relay::head::essence;
use crate::upstream::{Answer, Piece, Reason};

/// Largest body of an error that is read for its reason, in bytes.
const ERROR_BODY: usize = 64 * 1024;
/// How long such a body may take.
const ERROR_WITHIN: Duration = Duration::from_secs(5);
/// How long the rest of an error is waited for that nobody may ever read.
const AT_HAND: Duration = Duration::from_millis(250);
/// Most bytes of an answer that are held until it counts.
const HELD: usize = 256 * 1024;

/// How long content may follow upon a first event that is none: some backends say hello, and then that they are
/// overloaded.
const GRACE: Duration = Duration::from_secs(1);

/// Up to where an answer is read before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// Its head.
    Head,
    /// Its first content, or an event behind which none comes for a moment.
    Event,
    /// Its first content: no ping, no role, no error.
    Content,
}

/// What is wrong with an attempt.
#[derive(Debug)]
pub(super) struct Bad {
    pub(super) trouble: Trouble,
    /// How long the upstream wants to be left alone.
    pub(super) rest: Option<Duration>,
    pub(super) what: What,
}

impl Bad {
    /// Whether it speaks against the endpoint. `owed` says that the caller still owes a part of its body: a server may
    /// wait for that, and let go of who takes too long.
    pub(super) fn blames_endpoint(&self, owed: bool) -> bool {
        let waited = owed && matches!(self.trouble, Trouble::Silent | Trouble::Closed);
        let asked = matches!(&self.what, What::Answer(answer) if ABOUT_REQUEST.contains(&answer.head.status));
        self.trouble.blames_endpoint() && !waited && !asked
    }
}

/// Statuses in the 500s that speak of the request: a method and a version that are not spoken there (RFC 9110
/// §15.6.2, §15.6.6).
const ABOUT_REQUEST: [StatusCode; 2] = [
    StatusCode::NOT_IMPLEMENTED,
    StatusCode::HTTP_VERSION_NOT_SUPPORTED,
];

/// What there is to show for it.
#[derive(Debug)]
pub(super) enum What {
    /// An answer, though not a good one.
    Answer(Box<Answer>),
    /// Nothing.
    Nothing(Reason),
}

/// What a failure to get a head means; none where the endpoint is not concerned.
pub(super) fn of_reason(reason: &Reason) -> Option<Trouble> {
    Some(match reason {
        // A caller must not get an endpoint ejected by what it asks for.
        Reason::Upload(_) | Reason::Upgrade | Reason::Unwritable(_) => return None,
        reason if reason.before_request() => Trouble::Unreachable,
        Reason::FirstByteTimeout(_) => Trouble::Silent,
        Reason::FirstEventTimeout(_) => Trouble::NoEvent,
        Reason::Head(_) | Reason::Framing(_) | Reason::Protocol(_) => Trouble::Malformed,
        _ => Trouble::Closed,
    })
}

/// Whether an answer has ended with an error that is not the endpoint's doing: the caller's own, or a limit of its.
pub(in crate::relay) fn is_no_fault(watcher: &Watcher) -> bool {
    watcher
        .trouble()
        .is_some_and(|trouble| !trouble.blames_endpoint())
}

/// Judges `answer`, having read it up to `until` where it is an answer's stream.
pub(super) async fn judge(
    mut answer: Answer,
    dialect: Dialect,
    until: Until,
    clocks: &ResolvedClocks,
    began: Instant,
) -> Result<Answer, Bad> {
    let status = answer.head.status;
    if status == StatusCode::OK && until != Until::Head && dialect != Dialect::Plain {
        let kind = body_kind(&answer.head.headers);
        if kind != BodyKind::Opaque {
            // Boxed: most answers count at once.
            return Box::pin(hold(answer, (dialect, kind), until, clocks, began)).await;
        }
    }
    // Some servers say 200 to all, and what went wrong in the body.
    let is_told = status == StatusCode::OK && until != Until::Head && is_json(&answer, dialect);
    if status.as_u16() < 400 && !is_told {
        return Ok(answer);
    }
    let body = match is_told || wants_body(dialect, status) {
        true => Box::pin(peek(&mut answer, ERROR_WITHIN)).await,
        false => None,
    };
    let headers = &answer.head.headers;
    match trouble(dialect, status, headers, body.as_deref()) {
        None => Ok(answer),
        Some(trouble) => Err(Bad {
            trouble,
            rest: rest(headers, body.as_deref()),
            what: What::Answer(Box::new(answer)),
        }),
    }
}

fn is_json(answer: &Answer, dialect: Dialect) -> bool {
    dialect != Dialect::Plain
        && essence(&answer.head.headers)
            .is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// How long the upstream wants to be left alone, from its fields or its body.
fn rest(headers: &HeaderMap, body: Option<&[u8]>) -> Option<Duration> {
    retry_after(headers, SystemTime::now()).or_else(|| retry_delay(body?))
}

/// The body of an error, if it is small and comes soon; it stays to be read.
async fn peek(answer: &mut Answer, within: Duration) -> Option<Bytes> {
    let due = Instant::now() + within;
    let mut read = Held::default();
    let mut whole = false;
    while read.len() < ERROR_BODY {
        let piece = poll_fn(|cx| answer.body.poll_piece(cx));
        match timeout_at(due, piece).await {
            Ok(Some(Ok(Piece::Data(data)))) => read.push(data),
            Ok(None) => {
                whole = true;
                break;
            }
            Ok(Some(_)) | Err(_) => break,
        }
        if answer.body.is_over() {
            whole = true;
            break;
        }
    }
    let read = read.into_bytes();
    answer.body.put_back(read.clone());
    whole.then_some(read)
}

/// Whether all of an error is here, so that it can be kept without its connection; what is to come yet is waited for
/// a little.
pub(super) async fn is_at_hand(answer: &mut Answer) -> bool {
    if answer.body.end().is_none() {
        Box::pin(peek(answer, AT_HAND)).await;
    }
    answer.body.end().is_some()
}

/// Reads a stream until it counts.
async fn hold(
    mut answer: Answer,
    (dialect, kind): (Dialect, BodyKind),
    until: Until,
    clocks: &ResolvedClocks,
    began: Instant,
) -> Result<Answer, Bad> {
    let mut watcher = Watcher::new(dialect, kind);
    let mut held = Held::default();
    let nothing = |reason: Reason| Bad {
        trouble: of_reason(&reason).unwrap_or(Trouble::Closed),
        rest: None,
        what: What::Nothing(reason),
    };
    let mut graced = None;
    loop {
        let (due, limit) = due(&watcher, clocks, began);
        let piece = poll_fn(|cx| answer.body.poll_piece(cx));
        let piece = match [due, graced].into_iter().flatten().min() {
            None => piece.await,
            Some(due) => match timeout_at(due, piece).await {
                Ok(piece) => piece,
                Err(_) if graced == Some(due) => {
                    answer.body.put_back(held.into_bytes());
                    return Ok(answer);
                }
                Err(_) => return Err(nothing(Reason::FirstEventTimeout(limit))),
            },
        };
        match piece {
            Some(Ok(Piece::Data(data))) => {
                watcher.feed(&data);
                held.push(data);
                if until == Until::Event && watcher.events() > 0 {
                    graced.get_or_insert_with(|| Instant::now() + GRACE);
                }
            }
            Some(Ok(Piece::Trailers(_))) => {}
            Some(Err(reason)) => return Err(nothing(reason)),
            None if watcher.marker() == Marker::None => return Err(nothing(Reason::Cut)),
            None => {}
        }
        let over = answer.body.is_over() || answer.body.end().is_some();
        if let Some(trouble) = watcher.trouble().filter(|_| !watcher.has_content()) {
            answer.body.put_back(held.into_bytes());
            return Err(Bad {
                trouble,
                rest: None,
                what: What::Answer(Box::new(answer)),
            });
        }
        let counts = counts(&watcher, until);
        if over && !counts && watcher.marker() == Marker::None {
            return Err(nothing(Reason::Cut));
        }
        if over || counts || held.len() > HELD {
            answer.body.put_back(held.into_bytes());
            return Ok(answer);
        }
    }
}

fn counts(watcher: &Watcher, until: Until) -> bool {
    match until {
        Until::Head => true,
        Until::Event | Until::Content => watcher.has_content() || watcher.marker() != Marker::None,
    }
}

/// When what is waited for has to be there, and the limit that says so.
fn due(watcher: &Watcher, clocks: &ResolvedClocks, began: Instant) -> (Option<Instant>, Duration) {
    let now = Instant::now();
    let first = clocks.first_event.filter(|_| watcher.events() == 0);
    let limits = [
        first.map(|limit| (began + limit, limit)),
        clocks.idle.map(|limit| (now + limit, limit)),
    ];
    let next = limits.into_iter().flatten().min();
    next.map_or((None, Duration::ZERO), |(at, limit)| (Some(at), limit))
}

/// Bytes that were read and not handed out. Nearly always one piece, which is not copied then.
#[derive(Debug, Default)]
struct Held {
    first: Option<Bytes>,
    more: BytesMut,
}

impl Held {
    fn push(&mut self, data: Bytes) {
        match self.first.take() {
            None if self.more.is_empty() => self.first = Some(data),
            None => self.more.extend_from_slice(&data),
            Some(first) => {
                self.more.reserve(first.len() + data.len());
                self.more.extend_from_slice(&first);
                self.more.extend_from_slice(&data);
            }
        }
    }

    fn len(&self) -> usize {
        self.first.as_ref().map_or(self.more.len(), Bytes::len)
    }

    fn into_bytes(self) -> Bytes {
        self.first.unwrap_or_else(|| self.more.freeze())
    }
}

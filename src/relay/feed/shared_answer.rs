//! An answer that is no stream, held so that everybody who waits for it can have it.

use std::future::poll_fn;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, SET_COOKIE, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use crate::dialect::Ending;
use crate::edge::{credentials, hop};
use crate::relay::body::Body;
use crate::relay::context::{Context, Reached};
use crate::relay::head::finish;
use crate::relay::plane::LiveRoute;
use crate::relay::record::{Outcome, Record};
use crate::relay::refusal::Refusal;
use crate::upstream::Piece;

/// Largest body that is held, in bytes.
const LARGEST: usize = 1024 * 1024;
/// How long a body may take, where no clock of the route says it.
const LONGEST: Duration = Duration::from_secs(30);

/// An answer for several callers.
#[derive(Debug)]
pub(super) enum SharedAnswer {
    /// The upstream's.
    Whole {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// Ours.
    Refused(Refusal),
}

/// Reads the rest of an answer that is no stream.
pub(super) async fn collect(reached: &mut Reached, route: &LiveRoute) -> SharedAnswer {
    let upstream = &route.chain[reached.entry].upstream;
    let limit = reached
        .clocks
        .idle
        .map_or(LONGEST, |idle| idle.min(LONGEST));
    let answer = &mut reached.asked.answer;
    let reading = async {
        let mut whole = BytesMut::new();
        loop {
            match poll_fn(|cx| answer.body.poll_piece(cx)).await {
                None => return Ok(whole.freeze()),
                Some(Ok(Piece::Trailers(_))) => {}
                Some(Ok(Piece::Data(data))) if whole.len() + data.len() <= LARGEST => {
                    whole.extend_from_slice(&data);
                }
                Some(Ok(Piece::Data(_))) => return Err("is no stream, and too large to be shared"),
                Some(Err(_)) => return Err("broke off its answer"),
            }
        }
    };
    let body = match tokio::time::timeout(limit, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(what)) => return unfit(&upstream.name, what),
        Err(_) => {
            return unfit(
                &upstream.name,
                "is no stream, and did not end its answer in time",
            );
        }
    };
    let mut headers = std::mem::take(&mut answer.head.headers);
    if let Some(credential) = &upstream.credential {
        credentials::conceal(credential, &mut headers);
    }
    hop::strip_response(&mut headers);
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, SET_COOKIE] {
        headers.remove(name);
    }
    SharedAnswer::Whole {
        status: answer.head.status,
        headers,
        body,
    }
}

fn unfit(upstream: &str, what: &str) -> SharedAnswer {
    let message = format!("the upstream `{upstream}` {what}");
    SharedAnswer::Refused(Refusal::new(
        StatusCode::BAD_GATEWAY,
        "upstream_unfit",
        message,
    ))
}

impl SharedAnswer {
    /// The body as text, where the answer is a document that was found.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Whole {
                status: StatusCode::OK,
                headers,
                body,
            } if !headers.contains_key(CONTENT_ENCODING) => {
                Some(String::from_utf8_lossy(body).into_owned())
            }
            _ => None,
        }
    }

    /// The status its callers get.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Whole { status, .. } => *status,
            Self::Refused(refusal) => refusal.status,
        }
    }

    /// The answer for one caller.
    pub(super) fn give(
        &self,
        context: &Context,
        record: &mut Option<Box<Record>>,
    ) -> Result<Response<Body>, Option<Refusal>> {
        let (status, headers, body) = match self {
            Self::Refused(refusal) => return Err(Some(refusal.clone())),
            Self::Whole {
                status,
                headers,
                body,
            } => (*status, headers.clone(), body.clone()),
        };
        let mut record = record.take().ok_or(None)?;
        record.status = Some(status);
        record.outcome = Outcome::Ended(Ending::Complete);
        let mut headers = headers;
        finish(&mut headers, context, &record);
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
        let mut response = Response::new(Body::whole(body, record));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

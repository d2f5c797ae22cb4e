//! What a failed answer means: which of the troubles that a route has remedies for.
//!
//! Three sources, the surest first: the codes a body names, the words of its message, the status.
//! Codes and words are looked up in tables without regard to the dialect, since every server
//! speaks OpenAI's and hardly two of them fail alike, and gateways pass on what others said. Only
//! what a backend says of the error is read: nothing of the request that it quotes, nor of what
//! the model wrote.

mod codes;
mod phrases;
mod told;
mod wait;

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::is_error_answer;
use crate::config::{Dialect, Trouble};
use told::Told;

pub use wait::{retry_after, retry_delay};

/// Where AWS puts the name of an exception; a `:` and an address may follow it.
const AMZN_ERROR: &str = "x-amzn-errortype";

/// What an answer's status and body say has gone wrong; `None` for one that is well.
///
/// `body`: if it is small and whole. Where [`wants_body`] says no it is not looked at, but for an
/// error in an answer that claims success.
pub fn trouble(
    dialect: Dialect,
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<&[u8]>,
) -> Option<Trouble> {
    if status.is_success() {
        return body
            .filter(|body| fails(dialect, body))
            .map(|body| trouble_in_event(dialect, body));
    }
    if !is_failure(status) {
        return None;
    }
    let plain = by_status(status.as_u16());
    if !wants_body(dialect, status) {
        return Some(plain);
    }
    let mut told = body.map(Told::read).unwrap_or_default();
    if let Some(name) = headers
        .get(AMZN_ERROR)
        .and_then(|value| value.to_str().ok())
    {
        told.code(name);
    }
    Some(verdict(&told, status.as_u16()).unwrap_or(plain))
}

/// Whether the body of an answer with this status has to be read to know what it means.
///
/// Never so without a dialect, nor where the status says all. For a success it says no: whether
/// such an answer is an error shows once it is whole, and it is not to be held back for that.
pub fn wants_body(dialect: Dialect, status: StatusCode) -> bool {
    let settled = matches!(
        status.as_u16(),
        401 | 402 | 408 | 409 | 425 | 501 | 505 | 520..=527 | 529
    );
    dialect != Dialect::Plain && is_failure(status) && !settled
}

/// What an error means that is told inside a stream.
///
/// `data`: one event's data, or one line of NDJSON. [`Trouble::Failed`] where nothing more
/// particular is told.
pub fn trouble_in_event(dialect: Dialect, data: &[u8]) -> Trouble {
    if dialect == Dialect::Plain {
        return Trouble::Failed;
    }
    let told = Told::read(data);
    let status = told.status().unwrap_or(phrases::UNTOLD);
    verdict(&told, status).unwrap_or_else(|| match told.status() {
        Some(status) => by_status(status),
        None if told.has_code(codes::REFUSED) => Trouble::Refused,
        None => Trouble::Failed,
    })
}

/// What a status means by itself.
fn by_status(status: u16) -> Trouble {
    match status {
        401 | 403 => Trouble::Credentials,
        402 => Trouble::Quota,
        408 | 409 | 425 => Trouble::Transient,
        429 => Trouble::RateLimited,
        503 | 529 => Trouble::Overloaded,
        400..=499 => Trouble::Refused,
        _ => Trouble::Failed,
    }
}

fn is_failure(status: StatusCode) -> bool {
    status.as_u16() >= 400
}

/// What the body says beyond its status, if anything.
fn verdict(told: &Told, status: u16) -> Option<Trouble> {
    let by_code = codes::TABLE
        .iter()
        .find(|(_, codes)| told.has_code(codes))
        .map(|(trouble, _)| *trouble);
    match by_code {
        Some(Trouble::RateLimited) if never_passes(told) => Some(Trouble::Quota),
        Some(trouble) => Some(trouble),
        None => phrases::TABLE
            .iter()
            .filter(|row| row.statuses.contains(&status))
            .find(|row| row.phrases.iter().any(|phrase| told.says(phrase)))
            .map(|row| row.trouble),
    }
}

/// Whether a rate limit is one that no pause outlasts: for a day or more, of nothing at all, or
/// less than this one request needs.
fn never_passes(told: &Told) -> bool {
    told.daily() || phrases::NEVER.iter().any(|phrase| told.says(phrase))
}

/// Whether an answer that claims success is an error. [`is_error_answer`] leaves out Responses: all
/// its answers have an `error`, and a failed one is known by its `status`.
fn fails(dialect: Dialect, body: &[u8]) -> bool {
    if dialect != Dialect::OpenaiResponses {
        return is_error_answer(dialect, body);
    }
    memchr::memmem::find(body, b"\"failed\"").is_some()
        && serde_json::from_slice::<Value>(body)
            .is_ok_and(|answer| answer["status"] == "failed" && answer["error"].is_object())
}

#[cfg(test)]
#[path = "trouble_tests.rs"]
mod tests;

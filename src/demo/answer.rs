//! What the demo backend sends back: the type of its answers, and every refusal with its status.
//!
//! Refusals have OpenAI's shape (`{"error": {message, type, param, code}}`) on every path, since
//! SDKs and the page read that one.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::paced::Paced;

/// An answer of the demo backend: its bodies never fail.
pub(super) type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// The path is not one of the demo's.
    #[error("The demo backend has no path {0}.")]
    NoSuchPath(String),
    /// The path exists, the method does not fit.
    #[error("This path takes {allowed} only.")]
    Method {
        /// The methods that fit, as `Allow` has them.
        allowed: &'static str,
    },
    /// The body is longer than the demo reads.
    #[error("The request body is longer than {limit} bytes.")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body broke off.
    #[error("The request body could not be read: {0}")]
    Unreadable(String),
    /// The body is not the JSON that is asked for.
    #[error("The request body is not a chat completion request: {0}")]
    NotJson(#[from] serde_json::Error),
    /// One parameter is wrong.
    #[error("{message}")]
    Parameter {
        /// Its name.
        name: &'static str,
        /// What would be right.
        message: String,
    },
}

impl Refusal {
    /// The refusal as an HTTP answer.
    pub(super) fn into_answer(self) -> Answer {
        let (status, code, param) = match &self {
            Self::NoSuchPath(_) => (StatusCode::NOT_FOUND, "not_found", None),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", None),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", None),
            Self::Unreadable(_) => (StatusCode::BAD_REQUEST, "body_unreadable", None),
            Self::NotJson(_) => (StatusCode::BAD_REQUEST, "invalid_json", None),
            Self::Parameter { name, .. } => (StatusCode::BAD_REQUEST, "invalid_value", Some(*name)),
        };
        let mut answer = json(&json!({
            "error": {
                "message": self.to_string(),
                "type": "invalid_request_error",
                "param": param,
                "code": code,
            }
        }));
        *answer.status_mut() = status;
        if let Self::Method { allowed } = self {
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static(allowed));
        }
        answer
    }
}

/// A JSON answer with status 200.
pub(super) fn json(value: &Value) -> Answer {
    whole("application/json", Bytes::from(value.to_string()))
}

/// A whole answer with status 200.
pub(super) fn whole(content_type: &'static str, body: Bytes) -> Answer {
    with_type(content_type, Full::new(body).boxed_unsync())
}

/// An event stream with status 200.
pub(super) fn event_stream(body: Paced) -> Answer {
    with_type("text/event-stream", body.boxed_unsync())
}

fn with_type(content_type: &'static str, body: UnsyncBoxBody<Bytes, Infallible>) -> Answer {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

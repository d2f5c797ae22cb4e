//! A request that is answered by the gateway itself, before any head went out.

use http::{HeaderName, HeaderValue, StatusCode};

use super::attempts::Trail;
use crate::edge::credentials::CredentialError;
use crate::hub::{Full, PublishFault};
use crate::upstream::{Reason, UploadFault, UpstreamFault};

/// Why a request is refused, in words that the caller may see.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// The status.
    pub status: StatusCode,
    /// A word for programs: it names the kind of the refusal and never changes.
    pub code: &'static str,
    /// What happened and what would help, in words for the caller.
    pub message: String,
    /// The same for the operator, where it says more: addresses, and what the system said.
    pub detail: Option<String>,
    /// A header that belongs to the status (`Allow`, `WWW-Authenticate`).
    pub header: Option<Box<(HeaderName, HeaderValue)>>,
    /// Whether the same request may well succeed a moment later.
    pub transient: bool,
    /// What was tried before.
    pub trail: Trail,
    /// The entry of the route's chain that was asked last.
    pub entry: Option<u32>,
}

impl Refusal {
    /// A refusal that trying again will not change.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            detail: None,
            header: None,
            transient: false,
            trail: Trail::default(),
            entry: None,
        }
    }

    /// The same, with a header.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some(Box::new((name, value)));
        self
    }

    fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// The route leads to an upstream whose credential cannot be put in.
    pub fn credential(error: &CredentialError, upstream: &str) -> Self {
        let (code, message) = match error {
            CredentialError::Missing(missing) => (
                "secret_missing",
                format!("the upstream `{upstream}` needs a credential, and {missing}"),
            ),
            CredentialError::Unfit(_) => (
                "secret_unfit",
                format!("the credential of the upstream `{upstream}` cannot stand in a header"),
            ),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// A request body that could not be read.
    pub fn upload(fault: &UploadFault) -> Self {
        let (status, code) = match fault {
            UploadFault::Client => (StatusCode::BAD_REQUEST, "body_incomplete"),
            UploadFault::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            UploadFault::Slow(_) => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
        };
        Self::new(status, code, format!("the request body: {fault}"))
    }

    /// An upstream that speaks another protocol all of a sudden.
    pub(super) fn switched(endpoint: &str, upstream: &str) -> Self {
        let what = "switched to a protocol nobody asked for";
        let message = format!("the upstream `{upstream}` {what}");
        let mut refusal = Self::new(StatusCode::BAD_GATEWAY, "upstream_malformed", message);
        refusal.detail = Some(format!("{endpoint}: it {what}"));
        refusal
    }

    /// Another protocol is asked for (a WebSocket), of an upstream that is asked by HTTP/2 alone.
    fn no_upgrade(fault: &UpstreamFault, upstream: &str) -> Self {
        let message = format!(
            "the upstream `{upstream}` is asked by HTTP/2, where a connection cannot switch to another protocol"
        );
        let mut refusal = Self::new(StatusCode::BAD_GATEWAY, "no_upgrade", message);
        refusal.detail = Some(fault.to_string());
        refusal
    }

    /// What is asked cannot be written in HTTP/2.
    fn unwritable(fault: &UpstreamFault, upstream: &str) -> Self {
        let message = format!(
            "the upstream `{upstream}` is asked by HTTP/2, where this target or `Host` cannot be written"
        );
        let mut refusal = Self::new(StatusCode::BAD_GATEWAY, "request_unwritable", message);
        refusal.detail = Some(fault.to_string());
        refusal
    }

    /// A bound of the hub was reached; some of it may be free again soon.
    pub(super) fn full(full: &Full) -> Self {
        let message = format!("the gateway has no room: {full}");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "hub_full", message)
            .transient()
            .with(http::header::RETRY_AFTER, HeaderValue::from_static("5"))
    }

    /// Nothing was published.
    pub(super) fn unpublished(fault: &PublishFault) -> Self {
        match fault {
            PublishFault::Full(full) => Self::full(full),
            PublishFault::Reused => Self::key_reused(),
            PublishFault::UnderWay => Self::new(
                StatusCode::CONFLICT,
                "publication_under_way",
                "the same publication, by its `Idempotency-Key`, is under way: ask again for its ids",
            ),
            PublishFault::Store(fault) => {
                let message = "the store did not take the publication";
                let mut refusal =
                    Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", message);
                refusal.detail = Some(fault.to_string());
                refusal.transient()
            }
        }
    }

    /// A key that names a request came with another one.
    pub(super) fn key_reused() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this `Idempotency-Key` was used for another request: take a new one",
        )
    }

    /// There is no such kept answer, or it is somebody else's: nobody learns which.
    pub fn no_stream() -> Self {
        let message = "there is no such stream: it never was, is no longer kept, or is not yours (show the key that it was asked for with)";
        Self::new(StatusCode::NOT_FOUND, "no_stream", message)
    }

    /// The same request is answered to somebody else with what cannot be shared.
    pub(super) fn not_shared() -> Self {
        let message = "the same request was under way, and its answer was no stream: ask again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_shared", message)
            .transient()
            .with(http::header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// Nobody wanted the answer any more before it began.
    pub(super) fn stopped() -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "stopped",
            "the answer was stopped before it began",
        )
    }

    /// A kept answer of which all was read, and which is not whole; its dialect has no word for that.
    pub(super) fn broken_off() -> Self {
        let message = "the answer broke off: there is no more of it, and it is not whole";
        Self::new(StatusCode::BAD_GATEWAY, "broken_off", message)
    }

    /// Something that cannot be, was.
    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the gateway failed",
        )
    }

    /// A route that asks no upstream.
    pub(super) fn no_upstream() -> Self {
        let message = "this route leads to no upstream, and this is nothing it answers itself";
        Self::new(StatusCode::NOT_IMPLEMENTED, "no_upstream", message)
    }

    /// The process ends before the upstream has answered.
    pub(super) fn stopping() -> Self {
        let message = "the gateway ends, and the upstream has not answered yet";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "gateway_stopping", message).transient()
    }

    /// A clock that ran out before any head was sent.
    pub fn timed_out(code: &'static str, message: String) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, code, message).transient()
    }
}

impl Refusal {
    /// An upstream that gave no answer. The caller is told its name and the kind of failure; the
    /// endpoint's address and the system's words are the operator's.
    pub(super) fn upstream(fault: &UpstreamFault, upstream: &str) -> Self {
        let (code, what) = match &fault.reason {
            Reason::Upload(fault) => return Self::upload(fault),
            Reason::Resolve(_) => ("upstream_unknown_host", "has no address".to_owned()),
            Reason::Connect(_) => ("upstream_unreachable", "cannot be reached".to_owned()),
            Reason::ConnectTimeout(limit) => (
                "connect_timeout",
                format!("could not be reached within {limit:?}"),
            ),
            Reason::FirstByteTimeout(limit) => (
                "first_byte_timeout",
                format!("did not answer within {limit:?}"),
            ),
            Reason::FirstEventTimeout(limit) => (
                "first_event_timeout",
                format!("sent no event within {limit:?}"),
            ),
            Reason::NoHttp2(_) => (
                "upstream_unreachable",
                "cannot be reached by HTTP/2".to_owned(),
            ),
            // Trying again changes nothing.
            Reason::Upgrade => return Self::no_upgrade(fault, upstream),
            Reason::Unwritable(_) => return Self::unwritable(fault, upstream),
            Reason::Refused(_) => (
                "upstream_refused",
                "turned the request away before it looked at it".to_owned(),
            ),
            Reason::Closed | Reason::Cut | Reason::GoneAway(_) => (
                "upstream_closed",
                "closed the connection before it answered".to_owned(),
            ),
            Reason::Io(_)
            | Reason::Reset(_)
            | Reason::Silent(_)
            | Reason::Idle(_)
            | Reason::NotContinued(_) => {
                ("upstream_failed", "broke off before it answered".to_owned())
            }
            Reason::Head(_) | Reason::Framing(_) => (
                "upstream_malformed",
                "answered what is not acceptable HTTP/1".to_owned(),
            ),
            Reason::Protocol(_) => (
                "upstream_malformed",
                "answered what is not acceptable HTTP/2".to_owned(),
            ),
        };
        let message = format!("the upstream `{upstream}` {what}");
        let mut refusal = if fault.reason.is_timeout() {
            Self::timed_out(code, message)
        } else {
            Self::new(StatusCode::BAD_GATEWAY, code, message).transient()
        };
        refusal.detail = Some(fault.to_string());
        refusal
    }
}

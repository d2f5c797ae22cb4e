//! What happens when backends fail: who is asked, who is left out, and what is tried again.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;

use super::Endpoint;

/// One entry of `endpoints`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weighted {
    /// The address.
    pub endpoint: Endpoint,
    /// Its share beside the others'; at least 1.
    pub weight: u32,
}

/// How an endpoint is chosen among those that can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Balance {
    /// Each in turn, by weight.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastInFlight,
    /// The better of two taken by chance: by the moving average of the time to their first event.
    FirstEvent,
    /// Always the same one for the same value of this, as long as it can be asked.
    Hash(HashBy),
}

/// What requests are told apart by, where the same ones are to go to the same endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The caller's key or token; its address where it shows none.
    Caller,
    /// A header's value; as [`HashBy::Caller`] where there is none.
    Header(HeaderName),
}

/// The version of HTTP spoken to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    One,
    /// HTTP/2: over TLS by agreement, without TLS by prior knowledge (RFC 9113 §3.3).
    Two,
    /// HTTP/2 where TLS agrees on it, else HTTP/1.1.
    Auto,
}

/// `check` of an upstream: it is asked whether it is well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is asked for, behind the endpoint's base; begins with a slash.
    pub path: Arc<str>,
    /// From one question to the next.
    pub every: Duration,
    /// How long an answer may take.
    pub within: Duration,
    /// Good answers in a row (2xx) until an endpoint is asked again; at least 1.
    pub up: u32,
    /// Bad ones in a row until it is not; at least 1.
    pub down: u32,
}

/// `eject` of an upstream: an endpoint whose answers fail is left out for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eject {
    /// Failures in a row; at least 1.
    pub after: u32,
    /// Or this share of the last twenty endings, in percent, once there are ten; 0 is never.
    pub percent: u32,
    /// How long it is left out the first time; each further time in a row doubles it.
    pub pause: Duration,
    /// The longest it is left out.
    pub longest: Duration,
    /// Requests at once that try whether it is well again; at least 1.
    pub probes: u32,
    /// The share of the upstream's endpoints that is never left out, in percent, while a request has
    /// nowhere else to go.
    pub keep: u32,
}

impl Default for Eject {
    fn default() -> Self {
        Self {
            after: 5,
            percent: 50,
            pause: Duration::from_secs(5),
            longest: Duration::from_secs(30),
            probes: 1,
            keep: 50,
        }
    }
}

/// `retry_budget` of an upstream: how much of its load may be requests that are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryBudget {
    /// Most retries for 100 requests of the last ten seconds.
    pub percent: u32,
    /// Retries a second that are always allowed.
    pub least: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            percent: 20,
            least: 3,
        }
    }
}

/// How an upstream takes the beginning of an answer that it is to continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefill {
    /// Not at all: the answer is begun anew, and compared with what was delivered.
    #[default]
    No,
    /// As a last message of the assistant.
    Assistant,
    /// As such a message with `"prefix": true`.
    Prefix,
    /// As such a message, with `"continue_final_message": true` and `"add_generation_prompt": false` in the
    /// request.
    Continue,
}

/// `retry` of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// How often the same upstream is asked again for one request.
    pub times: u32,
    /// Before the first time, less up to a half by chance; each further time doubles it.
    pub pause: Duration,
    /// The longest pause, also where the upstream asks for one (`Retry-After`).
    pub longest: Duration,
    /// Largest request body that is kept to be sent again, in bytes.
    pub body: u64,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            times: 2,
            pause: Duration::from_millis(100),
            longest: Duration::from_secs(5),
            body: 1 << 20,
        }
    }
}

/// In what way an attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    /// No connection could be made.
    Unreachable,
    /// The connection ended before there was an answer.
    Closed,
    /// No answer within `first_byte`.
    Silent,
    /// An answer without an event within `first_event`.
    NoEvent,
    /// What came is not acceptable HTTP.
    Malformed,
    /// 429.
    RateLimited,
    /// 429 or 402 because of a quota or balance that is used up.
    Quota,
    /// 503 and 529.
    Overloaded,
    /// 500 and what else is in the 500s.
    Failed,
    /// 408 and 409.
    Transient,
    /// 401 and 403.
    Credentials,
    /// 404 because of the model.
    UnknownModel,
    /// The request is longer than the model's context.
    ContextLength,
    /// The request or its answer was held back for what it says.
    ContentFilter,
    /// Any other answer in the 400s.
    Refused,
}

impl Trouble {
    /// All of them, in order.
    pub const ALL: [Self; 15] = [
        Self::Unreachable,
        Self::Closed,
        Self::Silent,
        Self::NoEvent,
        Self::Malformed,
        Self::RateLimited,
        Self::Quota,
        Self::Overloaded,
        Self::Failed,
        Self::Transient,
        Self::Credentials,
        Self::UnknownModel,
        Self::ContextLength,
        Self::ContentFilter,
        Self::Refused,
    ];

    /// Its name in the configuration, the log and the metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Closed => "closed",
            Self::Silent => "silent",
            Self::NoEvent => "no_event",
            Self::Malformed => "malformed",
            Self::RateLimited => "rate_limited",
            Self::Quota => "quota",
            Self::Overloaded => "overloaded",
            Self::Failed => "failed",
            Self::Transient => "transient",
            Self::Credentials => "credentials",
            Self::UnknownModel => "unknown_model",
            Self::ContextLength => "context_length",
            Self::ContentFilter => "content_filter",
            Self::Refused => "refused",
        }
    }

    /// What is done about it where the route says nothing else.
    pub fn usual(self) -> Remedy {
        match self {
            Self::Unreachable
            | Self::Closed
            | Self::RateLimited
            | Self::Overloaded
            | Self::Failed
            | Self::Transient => Remedy::Again,
            Self::Silent
            | Self::NoEvent
            | Self::Malformed
            | Self::Quota
            | Self::Credentials
            | Self::UnknownModel => Remedy::Next,
            Self::ContextLength => Remedy::Larger,
            Self::ContentFilter | Self::Refused => Remedy::GiveUp,
        }
    }

    /// Whether it speaks against the endpoint, and not against the request or its caller.
    pub fn blames_endpoint(self) -> bool {
        matches!(
            self,
            Self::Unreachable
                | Self::Closed
                | Self::Silent
                | Self::NoEvent
                | Self::Malformed
                | Self::Overloaded
                | Self::Failed
        )
    }
}

/// What is done about an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// The same upstream is asked again, then the next entry.
    Again,
    /// The next entry is asked.
    Next,
    /// The next entry that is marked `larger` is asked.
    Larger,
    /// The answer is the caller's.
    GiveUp,
}

/// What is done about each trouble on a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedies([Remedy; Trouble::ALL.len()]);

impl Default for Remedies {
    fn default() -> Self {
        Self(Trouble::ALL.map(Trouble::usual))
    }
}

impl Remedies {
    /// What is done about `trouble`.
    pub fn of(&self, trouble: Trouble) -> Remedy {
        self.0[trouble as usize]
    }

    /// Has `remedy` done about `trouble`.
    pub fn set(&mut self, trouble: Trouble, remedy: Remedy) {
        self.0[trouble as usize] = remedy;
    }
}

/// `hedge` of a route: the next entry is asked beside one that takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hedge {
    /// How long there may be no content.
    pub after: Duration,
    /// Most requests of a hundred that are asked twice.
    pub percent: u32,
}

/// Where the caller is told what an answer took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TellUsage {
    /// Nowhere.
    #[default]
    No,
    /// In a comment at the end of an event stream.
    Comment,
    /// In trailers, for callers that take them (`TE: trailers`).
    Trailers,
}

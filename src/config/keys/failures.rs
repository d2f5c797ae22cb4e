//! What happens when backends fail: tables of an upstream and of a route.

use std::time::Duration;

use super::server::SOME_TIME;
use super::{CHECK_AT, Fallback, Key, Kind, Table, URL, table};
use crate::config::values::{Remedy, Trouble};

/// The words of `balance`: by turns, by load, by time, by what the request shows.
pub(in crate::config) const BALANCE: &[&str] =
    &["round-robin", "least-in-flight", "first-event", "hash"];
/// The words of `http`, in the order of `HttpVersion`.
pub(in crate::config) const HTTP: &[&str] = &["1.1", "2", "auto"];
/// The words of `prefill`, in the order of `Prefill`.
pub(in crate::config) const PREFILL: &[&str] = &["no", "assistant", "prefix", "continue"];
/// The words of `usage`, in the order of `TellUsage`.
pub(in crate::config) const USAGE: &[&str] = &["no", "comment", "trailers"];
/// The words of a remedy, in the order of `Remedy`.
pub(in crate::config) const REMEDIES: &[&str] = &["again", "next", "larger", "give-up"];

/// A share of the whole.
const PERCENT: Kind = Kind::Count(0, 100);
/// So many in a row, or at once.
const SOME: Kind = Kind::Count(1, 1000);

table! {
    /// An entry of `endpoints` that says more than the URL.
    ENDPOINT {
        about: "An entry of `endpoints` that has a weight. It may also be written inline: \
                `endpoints = [\"http://10.0.0.7:8000\", { url = \"http://10.0.0.8:8000\", weight = 3 }]`.",
        example: "[[upstreams.gpu.endpoints]]\nurl = \"http://10.0.0.7:8000\"\n\n\
                  [[upstreams.gpu.endpoints]]\nurl = \"http://10.0.0.8:8000\"\nweight = 3\n",
        forms: &[]
    }
    ENDPOINT_URL = ("url", Kind::Text(&URL), Fallback::Required,
        "Its address.");
    ENDPOINT_WEIGHT = ("weight", SOME, Fallback::Count(1),
        "Its share beside the others': one with `3` gets three requests where one with `1` gets one.");
}

table! {
    /// `check` of an upstream.
    CHECK {
        about: "Each endpoint is asked with a `GET` whether it is well, also while nobody else asks it anything. One that \
                is not gets no requests until it is. An answer with 2xx is good; any other, and none in time, is bad.",
        example: "[upstreams.gpu.check]\npath = \"/health\"\nevery = \"10s\"\n",
        forms: &[]
    }
    CHECK_PATH = ("path", Kind::Text(&CHECK_AT), Fallback::Required,
        "What is asked for, put behind the endpoint's own path.");
    CHECK_EVERY = ("every", Kind::Duration(Duration::from_millis(100)),
        Fallback::Duration(Duration::from_secs(5)),
        "From one question to the next.");
    CHECK_WITHIN = ("within", SOME_TIME, Fallback::Duration(Duration::from_secs(2)),
        "How long an answer may take; at most `every`.");
    CHECK_UP = ("up", SOME, Fallback::Count(2),
        "Good answers in a row until an endpoint that was not well gets requests again.");
    CHECK_DOWN = ("down", SOME, Fallback::Count(3),
        "Bad answers in a row until an endpoint gets none.");
}

table! {
    /// `eject` of an upstream.
    EJECT {
        about: "An endpoint whose answers fail is left out for a while. What counts is what speaks against the endpoint, \
                not against the request or its caller: no connection or one that ends early, silence, what is no HTTP, \
                answers in the 500s, and answers that are cut or tell an error of the backend's own. After its pause a few requests try whether it is well again; each \
                further time in a row doubles the pause. `eject = true` stands for this table with all defaults.",
        example: "[upstreams.gpu.eject]\nafter = 3\nlongest = \"1m\"\n",
        forms: &[]
    }
    EJECT_AFTER = ("after", SOME, Fallback::Count(5),
        "Failures in a row after which an endpoint is left out.");
    EJECT_PERCENT = ("percent", PERCENT, Fallback::Count(50),
        "Or this share of failures among how its last twenty requests ended, in percent, once there were ten; `0` is never.");
    EJECT_PAUSE = ("pause", SOME_TIME, Fallback::Duration(Duration::from_secs(5)),
        "How long it is left out the first time.");
    EJECT_LONGEST = ("longest", SOME_TIME, Fallback::Duration(Duration::from_secs(30)),
        "The longest it is left out; at least `pause`.");
    EJECT_PROBES = ("probes", SOME, Fallback::Count(1),
        "Requests at once that try whether it is well again.");
    EJECT_KEEP = ("keep", PERCENT, Fallback::Count(50),
        "The share of the endpoints, in percent, that is never left out while a request has nowhere else to go: where \
         all of them fail, asking one is better than asking none.");
}

table! {
    /// `retry_budget` of an upstream.
    RETRY_BUDGET {
        about: "How much of the load may be requests that are sent again. It keeps an upstream that fails from being \
                held down by retries. A request that finds it used up goes on as though it had been sent again as often as it may. \
                Asking the same upstream for the rest of an answer (`rescue` of a route) is a retry; an attempt that got no connection \
                is none.",
        example: "[upstreams.gpu.retry_budget]\npercent = 10\n",
        forms: &[]
    }
    BUDGET_PERCENT = ("percent", Kind::Count(0, 1000), Fallback::Count(20),
        "Most retries for 100 requests of the last ten seconds.");
    BUDGET_LEAST = ("least", Kind::Count(0, 10_000), Fallback::Count(3),
        "Retries a second that are always allowed.");
}

table! {
    /// `retry` of a route.
    RETRY {
        about: "How a request is sent again, as long as nothing of an answer was sent to the client. Only requests \
                that may be: methods that are idempotent (RFC 9110 §9.2.2), and `POST` where a model API is spoken. \
                Where no connection could be made, any request goes on. When all attempts have failed, the \
                caller gets the last one's own answer, or the last one that any backend gave. `retry = true` stands for this table with all defaults.",
        example: "[routes.small.retry]\ntimes = 1\nbody = \"4MiB\"\n",
        forms: &[]
    }
    RETRY_TIMES = ("times", PERCENT, Fallback::Count(2),
        "How often the same upstream is asked again for one request, another endpoint of it if it has one; then the next \
         entry of `to` is.");
    RETRY_PAUSE = ("pause", SOME_TIME, Fallback::Duration(Duration::from_millis(100)),
        "Before the first time, less up to a half by chance; each further time doubles it.");
    RETRY_LONGEST = ("longest", SOME_TIME, Fallback::Duration(Duration::from_secs(5)),
        "The longest pause; at least `pause`. A `Retry-After` of the upstream is honoured up to it; an upstream that asks for \
         more is not asked again: the next entry is, or its answer is the caller's.");
    RETRY_BODY = ("body", Kind::Size(0, 1 << 30), Fallback::Size(1 << 20),
        "Largest request body that is kept to be sent again, as far as `max_body` lets it come at all. A larger one \
         streams through, or is held because the route reads it (`model_within`): either way it is not sent again once a byte of it \
         went out. One whose length is not announced is kept only where the route reads it.");
}

/// What is done about `trouble` where the route says nothing else, as it is written.
fn usual(trouble: Trouble) -> String {
    format!("`\"{}\"`", remedy_word(trouble.usual()))
}

/// The word of `remedy`.
fn remedy_word(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Again => REMEDIES[0],
        Remedy::Next => REMEDIES[1],
        Remedy::Larger => REMEDIES[2],
        Remedy::GiveUp => REMEDIES[3],
    }
}

/// What is done about one of them.
const REMEDY: Kind = Kind::Choice(REMEDIES);

table! {
    /// `failures` of a route: a key for each of `Trouble::ALL`, in its order.
    FAILURES {
        about: "What is done about an attempt that failed in one of these ways, as long as nothing of an answer was sent \
                to the client. An error that is told under status 200 counts too, where others could be asked: in JSON, or in a stream \
                before its first content. `again`: the same upstream is asked again, as `retry` says, then the next entry of \
                `to`. `next`: the next entry at once. `larger`: the next entry that is marked `larger`. `give-up`, and \
                wherever there is no entry left: the answer is the caller's. Before that, an entry that was passed over because \
                none of its endpoints could be asked is come back to, once.",
        example: "[routes.small.failures]\nrate_limited = \"next\"\nquota = \"give-up\"\n",
        forms: &[]
    }
    FAILURE_UNREACHABLE = ("unreachable", REMEDY, Fallback::Later(|| usual(Trouble::Unreachable)),
        "No connection could be made: name look-up, TCP or TLS failed, or `connect` ran out.");
    FAILURE_CLOSED = ("closed", REMEDY, Fallback::Later(|| usual(Trouble::Closed)),
        "The connection ended before there was an answer.");
    FAILURE_SILENT = ("silent", REMEDY, Fallback::Later(|| usual(Trouble::Silent)),
        "No answer within `first_byte`.");
    FAILURE_NO_EVENT = ("no_event", REMEDY, Fallback::Later(|| usual(Trouble::NoEvent)),
        "An answer that is an event stream, without an event within `first_event`.");
    FAILURE_MALFORMED = ("malformed", REMEDY, Fallback::Later(|| usual(Trouble::Malformed)),
        "What came is not acceptable HTTP.");
    FAILURE_RATE_LIMITED = ("rate_limited", REMEDY, Fallback::Later(|| usual(Trouble::RateLimited)),
        "429: too many requests.");
    FAILURE_QUOTA = ("quota", REMEDY, Fallback::Later(|| usual(Trouble::Quota)),
        "429 or 402 because a quota or a balance is used up: waiting does not help.");
    FAILURE_OVERLOADED = ("overloaded", REMEDY, Fallback::Later(|| usual(Trouble::Overloaded)),
        "503 and 529.");
    FAILURE_FAILED = ("failed", REMEDY, Fallback::Later(|| usual(Trouble::Failed)),
        "500 and whatever else is in the 500s.");
    FAILURE_TRANSIENT = ("transient", REMEDY, Fallback::Later(|| usual(Trouble::Transient)),
        "408, 409 and 425.");
    FAILURE_CREDENTIALS = ("credentials", REMEDY, Fallback::Later(|| usual(Trouble::Credentials)),
        "401 and 403.");
    FAILURE_UNKNOWN_MODEL = ("unknown_model", REMEDY, Fallback::Later(|| usual(Trouble::UnknownModel)),
        "404 because of the model.");
    FAILURE_CONTEXT_LENGTH = ("context_length", REMEDY, Fallback::Later(|| usual(Trouble::ContextLength)),
        "The request is longer than what the model can take.");
    FAILURE_CONTENT_FILTER = ("content_filter", REMEDY, Fallback::Later(|| usual(Trouble::ContentFilter)),
        "The request or its answer was held back for what it says.");
    FAILURE_REFUSED = ("refused", REMEDY, Fallback::Later(|| usual(Trouble::Refused)),
        "Any other answer in the 400s.");
}

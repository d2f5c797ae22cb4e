//! `[upstreams.NAME]` and the tables in it.

use std::time::Duration;

use super::server::SOME_TIME;
use super::{
    BALANCE, CHECK, EJECT, ENDPOINT, Fallback, HASH_BY, HEADER_NAME, HTTP, Key, Kind, PREFILL,
    QUERY_NAME, RETRY_BUDGET, Table, URL, show_limit, table,
};
use crate::config::clocks::{DEFAULT_CLOCKS, DEFAULT_PLAIN_CLOCKS};

table! {
    /// `[upstreams.NAME]`.
    UPSTREAM {
        about: "A backend, by the name that `to` uses: one address, or several (`endpoints`) among \
                which each request is given one. Those that fail are left out for a while (`eject`), and can be asked \
                whether they are well (`check`).",
        example: "[upstreams.openai]\nurl = \"https://api.openai.com\"\n\n\
                  [upstreams.local]\nendpoints = [\"http://10.0.0.7:8000\", \"http://10.0.0.8:8000\"]\n\
                  balance = \"least-in-flight\"\n",
        forms: &[&["url"], &["endpoints"]]
    }
    UPSTREAM_URL = ("url", Kind::Text(&URL), Fallback::Absent("–"),
        "`http://` or `https://`, a host, perhaps a port, perhaps a path that is put before the path of \
         every request. No user name, query or fragment. `\"builtin:demo\"` is a demo backend inside \
         this process.");
    UPSTREAM_ENDPOINTS = ("endpoints", Kind::List(1, &Kind::TextOrTable(&URL, &ENDPOINT)), Fallback::Absent("–"),
        "Several such URLs, each perhaps with a weight; `balance` says which of them a request goes to. One that cannot be \
         connected to is passed over for another. `\"builtin:demo\"` only alone.");
    UPSTREAM_BALANCE = ("balance", Kind::Choice(BALANCE), Fallback::Text(BALANCE[0]),
        "How an endpoint is chosen among those that can be asked. `round-robin`: each in turn, by weight. `least-in-flight`: \
         the one with the fewest requests in flight for its weight. `first-event`: of two taken by chance, the one whose first \
         events have lately come sooner. `hash`: always the same one for the same `hash_by`, as long as it can be asked, \
         so that what it keeps of earlier requests serves later ones.");
    UPSTREAM_HASH_BY = ("hash_by", Kind::Text(&HASH_BY), Fallback::Text("caller"),
        "What requests are told apart by: the caller's key or token, its address where it shows none (`caller`), or the value \
         of this header, and the caller where the header is not there. Only with `balance = \"hash\"`.");
    UPSTREAM_HTTP = ("http", Kind::Choice(HTTP), Fallback::Text(HTTP[0]),
        "The version of HTTP spoken to the upstream. `2`: over TLS by agreement, without TLS by prior knowledge. `auto`: 2 \
         where TLS agrees on it, else 1.1.");
    UPSTREAM_LOOKUP = ("lookup", Kind::Duration(Duration::from_secs(1)),
        Fallback::Duration(Duration::from_secs(30)),
        "How long the addresses of a name are used before it is looked up again. Connections to an address that it has no more get \
         no new requests.");
    UPSTREAM_CHECK = ("check", Kind::Table(&CHECK), Fallback::Absent("only requests show who is well"),
        "Asks each endpoint whether it is well.");
    UPSTREAM_EJECT = ("eject", Kind::FlagOrTable(&EJECT), Fallback::Flag(true),
        "Leaves out for a while an endpoint whose answers fail. `false`: never.");
    UPSTREAM_RETRY_BUDGET = ("retry_budget", Kind::Table(&RETRY_BUDGET), Fallback::Absent("all defaults"),
        "How many requests may be sent to this upstream again.");
    UPSTREAM_PREFILL = ("prefill", Kind::Choice(PREFILL), Fallback::Text(PREFILL[0]),
        "How the upstream takes the beginning of an answer that it is to continue (`rescue` of a route). `no`: not at all; \
         the answer is begun anew, and compared with what was delivered. `assistant`: as a last message of the \
         assistant. `prefix`: as such a message with `\"prefix\": true`. `continue`: as such a message, with \
         `\"continue_final_message\": true` and `\"add_generation_prompt\": false` in the request. It is trusted: one that takes the \
         beginning and does not go on from it repeats the text.");
    UPSTREAM_CREDENTIALS = ("credentials", Kind::Table(&CREDENTIALS),
        Fallback::Absent("the caller's own pass through"),
        "What proves to the upstream who is calling. The caller's own are removed: `authorization`, \
         `proxy-authorization`, `x-api-key`, `api-key`, `x-goog-api-key` and cookies.");
    UPSTREAM_CA = ("ca", Kind::File, Fallback::Absent("the system's"),
        "A PEM file of the certificate authorities to trust, instead of the system's.");
    UPSTREAM_POOL = ("pool", Kind::Table(&POOL), Fallback::Absent("all defaults"),
        "Connections kept open between requests.");
    UPSTREAM_CLOCKS = ("clocks", Kind::Table(&CLOCKS), Fallback::Absent("all defaults"),
        "How long things may take. A route's own `clocks` outweigh these.");
}

table! {
    /// `credentials` of an upstream.
    CREDENTIALS {
        about: "What is put into requests to the upstream. A secret written as `\"${NAME:-}\"` may be \
                empty: the start succeeds, and this upstream is skipped; a route that has nobody else to ask answers 503, \
                naming the variable.",
        example: "[upstreams.openai.credentials]\nbearer = \"${OPENAI_API_KEY:-}\"\n\n\
                  [upstreams.anthropic]\nurl = \"https://api.anthropic.com\"\n\
                  credentials = { header = \"x-api-key\", value = { file = \"secrets/anthropic\" } }\n",
        forms: &[&["bearer"], &["header", "value"], &["query", "value"]]
    }
    CREDENTIAL_BEARER = ("bearer", Kind::Secret, Fallback::Absent("–"),
        "Sent as `Authorization: Bearer SECRET`.");
    CREDENTIAL_HEADER = ("header", Kind::Text(&HEADER_NAME), Fallback::Absent("–"),
        "The header that `value` is sent in.");
    CREDENTIAL_QUERY = ("query", Kind::Text(&QUERY_NAME), Fallback::Absent("–"),
        "The query parameter that `value` is sent in. The caller's own of that name, `key` and `api-key` are \
         removed. Where a field of the answer (`Location`) repeats the secret, `REMOVED` stands in its place.");
    CREDENTIAL_VALUE = ("value", Kind::Secret, Fallback::Absent("–"),
        "The secret for `header` or `query`.");
}

table! {
    /// `{ file = "…" }` where a secret is wanted.
    SECRET_FILE {
        about: "",
        example: "",
        forms: &[]
    }
    SECRET_FILE_PATH = ("file", Kind::File, Fallback::Required,
        "A file that holds the secret; line breaks at its end are no part of it. Relative to the folder \
         of the configuration.");
}

table! {
    /// `pool` of an upstream.
    POOL {
        about: "Connections kept open between requests.",
        example: "[upstreams.local.pool]\nidle = 16\nkeep = \"2s\"\n",
        forms: &[]
    }
    POOL_IDLE = ("idle", Kind::Count(0, 100_000), Fallback::Count(64),
        "Idle connections kept for each endpoint by each worker; `0` opens one for each request.");
    POOL_KEEP = ("keep", SOME_TIME, Fallback::Duration(Duration::from_secs(4)),
        "How long an idle connection is kept. Starts when it becomes idle. Stay below the servers \
         behind (llama.cpp and uvicorn close after 5 s): a connection they close under a request costs a \
         second attempt, and a request that may not be sent again (see `retry` of a route) a 502. Requests whose body is not \
         kept to be sent again take a new connection.");
}

table! {
    /// `clocks` of an upstream or a route.
    CLOCKS {
        about: "How long things may take. Each is a duration, or `\"off\"`. A route's own outweigh the \
                upstream's, each by itself. The heartbeats that are sent to clients reset none of them. A \
                clock that runs out before the head of the answer is sent answers 504, where `failures` of the route has no \
                further attempt made; later, it ends the \
                answer as cut: with an error in the words of its model API where one can be put in, else \
                with a broken connection. `stall` breaks the connection. A model that is silent for long, before its head \
                or after it, needs `first_byte`, `first_event` and `idle` longer.",
        example: "[upstreams.local.clocks]\nconnect = \"500ms\"\nfirst_byte = \"20m\"\nfirst_event = \"20m\"\nidle = \"20m\"\n",
        forms: &[]
    }
    CLOCK_CONNECT = ("connect", Kind::Limit, Fallback::Later(|| show_limit(DEFAULT_CLOCKS.connect)),
        "Until a request could be written: name look-up, TCP, TLS. Starts with the attempt; a \
         connection from the pool needs none of it.");
    CLOCK_FIRST_BYTE = ("first_byte", Kind::Limit,
        Fallback::Later(|| show_limit(DEFAULT_CLOCKS.first_byte)),
        "Until the whole head of the answer is there. Starts with the attempt; nothing resets it.");
    CLOCK_FIRST_EVENT = ("first_event", Kind::Limit,
        Fallback::Later(|| model_or_plain(show_limit(DEFAULT_CLOCKS.first_event),
            show_limit(DEFAULT_PLAIN_CLOCKS.first_event))),
        "Until the first event of an event stream (or line of NDJSON) is whole; comments are no events. \
         Starts with the attempt; nothing resets it. Where another entry of `to`, or another endpoint, could be asked, the head of the \
         answer is held until its first content, or for one second after a first event without any; the next entry is asked when \
         the clock runs out (`no_event` of `failures`).");
    CLOCK_IDLE = ("idle", Kind::Limit,
        Fallback::Later(|| model_or_plain(show_limit(DEFAULT_CLOCKS.idle),
            show_limit(DEFAULT_PLAIN_CLOCKS.idle))),
        "The longest silence of the upstream within an answer. Starts with its head; every byte read resets it. It \
         stands still while the client holds us back. On an upgraded connection it is the time in which no \
         byte passes either way; looked at in steps of its own length, so that it may last twice as long.");
    CLOCK_STALL = ("stall", Kind::Limit, Fallback::Later(|| show_limit(DEFAULT_CLOCKS.stall)),
        "The longest time the client takes no byte. Starts when there are bytes that the kernel has no more \
         room for; every byte taken resets it. Meanwhile its upstream is held back. What counts is what fits into the \
         kernel's buffer for it: a client that takes very little a minute frees no room there for a while, \
         and may count as stalled.");
    CLOCK_TOTAL = ("total", Kind::Limit, Fallback::Later(|| show_limit(DEFAULT_CLOCKS.total)),
        "From the arrival of the request to the end of the answer. Nothing resets it. A client that takes too \
         little to be told is cut by a reset, a second later or at the next look at its connection after that \
         (once in `head_timeout` or `keep_alive`, whichever is shorter); the access log then says `left`.");
}

/// Two defaults in one cell of the reference.
fn model_or_plain(model: String, plain: String) -> String {
    if model == plain {
        model
    } else {
        format!("{model}; {plain} where no model API is spoken")
    }
}

//! `[server]`, `[admin]`, `[log]`.

use std::time::Duration;

use super::{ADDRESS, FILTER, Fallback, Key, Kind, NETWORK, Table, table};

/// A duration that may not be nothing.
pub(super) const SOME_TIME: Kind = Kind::Duration(Duration::from_millis(1));
/// A duration that may be nothing.
pub(super) const ANY_TIME: Kind = Kind::Duration(Duration::ZERO);
/// The words of `log.format`.
const LOG_FORMATS: &[&str] = &["json", "text"];

table! {
    /// `[server]`.
    SERVER {
        about: "The listener for clients.",
        example: "[server]\nlisten = \"127.0.0.1:8080\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
        forms: &[]
    }
    LISTEN = ("listen", Kind::Text(&ADDRESS), Fallback::Text("127.0.0.1:8080"),
        "Address to listen on. `0.0.0.0` is every IPv4 address of the machine, `[::]` every address. \
         `--listen` and `DELTAWAY_LISTEN` outweigh it.");
    WORKERS = ("workers", Kind::Count(1, 1024), Fallback::Absent("one for each core"),
        "Worker threads. Each has its own event loop and its own pool of connections to upstreams.");
    MAX_CONNECTIONS = ("max_connections", Kind::Count(1, 10_000_000), Fallback::Count(10_000),
        "Client connections at once, shared out evenly to the workers. Further ones are not accepted but \
         wait in the kernel's queue. A relayed stream that rests costs about 10 KB (more with TLS to \
         the upstream) and two file descriptors. The limit of those (`ulimit -n`) is raised at the start as \
         far as the system allows; where that is too low for this number, the log warns.");
    MAX_HEAD = ("max_head", Kind::Size(8 << 10, 1 << 20), Fallback::Size(16 << 10),
        "Largest request head (request line and headers); a larger one is answered 431, without a \
         body. A connection may hold this much memory while it reads a head.");
    HEAD_TIMEOUT = ("head_timeout", SOME_TIME, Fallback::Duration(Duration::from_secs(10)),
        "The longest a request head may take. Starts with its first byte; nothing resets it. The \
         connection is then closed without an answer.");
    KEEP_ALIVE = ("keep_alive", SOME_TIME, Fallback::Duration(Duration::from_secs(75)),
        "How long a connection may rest. Starts when an answer is complete (or the connection is new); \
         the first byte of the next request ends it. A load balancer in front has to let go \
         earlier than this, or it will send requests into connections that are being closed.");
    UPLOAD_TIMEOUT = ("upload_timeout", SOME_TIME, Fallback::Duration(Duration::from_secs(60)),
        "The longest pause in a request body. Starts when a body is waited for; every byte of it \
         resets it. Answered 408, unless an answer has begun. It does not run while the upstream holds \
         the body back. A body that is held before anything is sent may take ten times this in all.");
    DRAIN = ("drain", ANY_TIME, Fallback::Duration(Duration::from_secs(30)),
        "How long running requests, streams and upgraded connections (WebSocket) may go on after SIGTERM, \
         SIGINT or SIGQUIT. Then answers that still run are ended as cut, which takes at most one more \
         second: with an error event `gateway_stopping` where a model API has one, else with a broken \
         connection. A request that has no answer by then is answered 503. From \
         the first moment no connection is accepted, resting ones are closed, and `/readyz` answers 503. \
         The process ends as soon as nothing runs; a second signal ends it at once. Give the process's \
         supervisor two seconds more than this.");
    TRUSTED_PROXIES = ("trusted_proxies", Kind::List(0, &Kind::Text(&NETWORK)), Fallback::Absent("nobody"),
        "Peers whose `X-Forwarded-*` and `Forwarded` are kept and extended, and whose `X-Request-Id` is \
         kept. From anybody else they are replaced.");
}

table! {
    /// `[admin]`.
    ADMIN {
        about: "The listener for operators: `/livez`, `/readyz`, `/metrics`, `/upstreams`. It asks nobody for a key: \
                let it listen where only operators reach it. Without this table there is none.",
        example: "[admin]\nlisten = \"127.0.0.1:9090\"\n",
        forms: &[]
    }
    ADMIN_LISTEN = ("listen", Kind::Text(&ADDRESS), Fallback::Required,
        "Address to listen on.");
}

table! {
    /// `[log]`.
    LOG {
        about: "What is logged, to standard output, and how.",
        example: "[log]\nformat = \"text\"\nlevel = \"info,deltaway=debug\"\n",
        forms: &[]
    }
    LOG_FORMAT = ("format", Kind::Choice(LOG_FORMATS), Fallback::Text(LOG_FORMATS[0]),
        "One JSON object a line for machines, or readable text for people.");
    LOG_LEVEL = ("level", Kind::Text(&FILTER), Fallback::Text("info"),
        "The least important level that is logged (`error`, `warn`, `info`, `debug`, `trace`, `off`), \
         or levels for parts of the program, separated by commas. \
         The lines of the access log have the level `info` and the part `deltaway::access`.");
    LOG_ACCESS = ("access", Kind::Flag, Fallback::Flag(true),
        "Whether each request gets its line in the access log, written when its answer has ended. Where the \
         log is read so slowly that 128,000 lines wait, further ones are dropped: it holds back no stream.");
}

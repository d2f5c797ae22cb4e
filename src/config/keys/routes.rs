//! `[routes.NAME]` and the tables in it.

use std::time::Duration;

use super::server::ANY_TIME;
use super::streams::POLL;
use super::{
    CALLER_NAME, CLOCKS, FAILURES, Fallback, GREETING, HEADER_NAME, HEADER_VALUE, HOST, KEY_IN,
    Key, Kind, METHOD, MODEL, MODEL_NAME, ORIGIN, PATH, RESUME, RETRY, REWRITE, SHARE, TEXT,
    TOPIC_TEMPLATE, Table, UPSTREAM_NAME, USAGE, table,
};
use crate::config::values::Limit;

/// The words of `dialect`, `auto` first, then in the order of `Dialect`.
pub(in crate::config) const DIALECTS: &[&str] = &[
    "auto",
    "plain",
    "openai-chat",
    "openai-text",
    "openai-responses",
    "anthropic-messages",
    "gemini",
    "ollama",
    "bedrock",
];

table! {
    /// `[routes.NAME]`.
    ROUTE {
        about: "What a request must be like, and where it goes then: to an upstream, or to topics of our own. The order of routes in the file \
                carries no meaning; `deltaway explain` says which route a request takes, and why.",
        example: "[routes.chat]\npath = \"/v1/*\"\nmodel = [\"gpt-*\", \"o3\"]\nto = \"openai\"\n\
                  allow = [\"web\", \"batch\"]\n\n\
                  [routes.events]\nhost = \"*.example.com\"\npath = \"/users/{id}/events\"\n\
                  method = \"GET\"\nto = \"local\"\nheartbeat = \"30s\"\n\n\
                  [routes.topics]\npath = \"/topics/{topic*}\"\npublish = \"{topic}\"\nsubscribe = \"{topic}\"\n\
                  allow = [\"web\"]\n",
        forms: &[&["to"], &["publish"], &["subscribe"], &["publish", "subscribe"]]
    }
    ROUTE_HOST = ("host", Kind::OneOrMore(&Kind::Text(&HOST)), Fallback::Absent("any"),
        "The host asked for, without port. `*.example.com` is any name below `example.com`, not \
         `example.com` itself.");
    ROUTE_PATH = ("path", Kind::Text(&PATH), Fallback::Required,
        "The path. `/exact` is this path alone; `/prefix/*` is `/prefix`, `/prefix/` and everything \
         below; `{id}` is any one segment that is not empty; `{rest*}` at the end is as `*`, but at least one \
         segment that is not empty, and has a name. Compared after percent-decoding, segment by segment.");
    ROUTE_METHOD = ("method", Kind::OneOrMore(&Kind::Text(&METHOD)), Fallback::Absent("any"),
        "The method. A path that is known but not with this method is answered 405.");
    ROUTE_QUERY = ("query", Kind::Map(&Kind::Text(&TEXT)), Fallback::Absent("any"),
        "Query parameters that all have to be there with exactly these values, after decoding.");
    ROUTE_HEADER = ("header", Kind::Map(&Kind::Text(&HEADER_VALUE)), Fallback::Absent("any"),
        "Headers that all have to be there with exactly these values.");
    ROUTE_MODEL = ("model", Kind::OneOrMore(&Kind::Text(&MODEL)), Fallback::Absent("any, and none"),
        "The model asked for, in the JSON body or in the path where the model API has it there; a form \
         (`multipart/form-data`) is not read for it. A `*` at the end is any rest. To find it, the whole \
         body is held: see `model_within`. A name over 256 bytes is answered 400.");
    ROUTE_TO = ("to", Kind::OneOrMore(&Kind::TextOrTable(&UPSTREAM_NAME, &TARGET)),
        Fallback::Absent("–"),
        "The upstream, or several in order of preference: where an attempt fails before anything of an answer was \
         sent to the client, `failures` says whether the same upstream is asked again, the next entry is, or the answer is the \
         caller's.");
    ROUTE_PUBLISH = ("publish", Kind::Text(&TOPIC_TEMPLATE), Fallback::Absent("–"),
        "The topic that a `POST` publishes to. `{name}` is what stands there in `path`, `{query.name}` a query \
         parameter, `{jwt.name}` a claim of the caller's token: each within one segment of the topic, with a `*` \
         before the brace over any number of them. A path's `{name*}` is always whole.");
    ROUTE_SUBSCRIBE = ("subscribe", Kind::OneOrMore(&Kind::Text(&TOPIC_TEMPLATE)), Fallback::Absent("–"),
        "The topics that a `GET` subscribes to, made in the same way. A segment that is `*` stands for others, as in \
         the patterns of `[topics]`. Of a query parameter that is there several times, each value makes a topic.");
    ROUTE_PATTERNS = ("patterns", Kind::Flag, Fallback::Flag(false),
        "Whether a client may put `*` where `subscribe` takes a part of a topic from its request, and so read \
         topics whose names it does not know.");
    ROUTE_GREETING = ("greeting", Kind::TextOrTable(&TEXT, &GREETING), Fallback::Absent("none"),
        "The first event of each subscription: its data. It has no id, and is sent again to a client that comes \
         back.");
    ROUTE_MAX_AGE = ("max_age", Kind::Limit, Fallback::Limit(Limit::Off),
        "How long a reader's connection to a shared stream or to topics lasts at most, less up to a fifth by \
         chance, so that not all come back at once. It then ends cleanly, and the client goes on where it was.");
    ROUTE_SHARE = ("share", Kind::FlagOrTable(&SHARE), Fallback::Absent("each reader has its own"),
        "Whether the readers of one URL share one connection to the upstream. It counts for `GET`.");
    ROUTE_POLL = ("poll", POLL, Fallback::Absent("the upstream sends event streams"),
        "Makes a shared stream of an ordinary endpoint: it is asked this often while somebody reads, and each \
         answer that differs from the last is an event. `share` is then implied.");
    ROUTE_RESUME = ("resume", Kind::FlagOrTable(&RESUME), Fallback::Absent("streams are passed on, not kept"),
        "Whether streamed answers are kept, so that a client that was cut can read on. With `share`, it counts \
         for what is no `GET`.");
    ROUTE_DEDUPE = ("dedupe", Kind::Flag, Fallback::Flag(false),
        "Whether the same request, sent again by the same caller while its answer runs, gets that answer \
         instead of asking the upstream twice. Needs `resume`.");
    ROUTE_REWRITE = ("rewrite", Kind::Text(&REWRITE), Fallback::Absent("the path as it came"),
        "Replaces the part of the path that `path` names literally: with `path = \"/openai/*\"` and \
         `rewrite = \"/\"`, a request for `/openai/v1/models` goes out as `/v1/models`.");
    ROUTE_REQUEST_HEADERS = ("request_headers", Kind::Table(&HEADERS), Fallback::Absent("none"),
        "Headers removed and set on the way to the upstream. `host` may be set.");
    ROUTE_RESPONSE_HEADERS = ("response_headers", Kind::Table(&HEADERS), Fallback::Absent("none"),
        "Headers removed and set on the way to the client, on answers that are relayed.");
    ROUTE_ALLOW = ("allow", Kind::List(1, &Kind::Text(&CALLER_NAME)), Fallback::Absent("everybody"),
        "The callers that are let in: holders of these `keys`, and of tokens of these issuers (`jwt`); everybody \
         else is answered 401. The key or token a caller shows here is not sent to the upstream. Where some routes have `allow` and others do not, paths that backends \
         read in different ways are answered 400 (docs/routing.md says which, and why).");
    ROUTE_KEY_IN = ("key_in", Kind::Table(&KEY_IN), Fallback::Absent("header fields alone"),
        "Where else a caller may show its key. Needs `allow`.");
    ROUTE_OPEN = ("open", Kind::Flag, Fallback::Flag(false),
        "States that everybody who reaches the listener may use the credentials put in for this route, \
         publish to its topics, and name its `patterns`. Without it, a route that has any of these, has no `allow` \
         and listens beyond loopback is a fault.");
    ROUTE_CORS = ("cors", Kind::Table(&CORS), Fallback::Absent("left to the upstream"),
        "Cross-origin rules for browsers. Preflights are then answered here, and the upstream's own CORS \
         headers are replaced.");
    ROUTE_MAX_BODY = ("max_body", Kind::Size(0, i64::MAX as u64), Fallback::Size(32 << 20),
        "Largest request body; a larger one is answered 413. What is no more than 64 KiB by its announced length, what is \
         kept to be sent again (`body` of `retry`) and what the route has to read (`model_within`) is read before the \
         upstream is asked; any other body streams through and costs no memory by itself.");
    ROUTE_MODEL_WITHIN = ("model_within", Kind::Size(1, 1 << 30), Fallback::Size(32 << 20),
        "The largest body that is held to be read; a larger one is answered 413, wherever in it `model` \
         stands, since a second `model` might follow. Bodies are held where the best route for the head \
         asks for a model, where `to` renames it, and where there is an `early_head`.");
    ROUTE_HEARTBEAT = ("heartbeat", Kind::Limit,
        Fallback::Limit(Limit::After(Duration::from_secs(15))),
        "A comment and an empty line (`:` LF LF; for Gemini, whose SDK reads no comments, LF alone) is put into an event \
         stream that was silent this long, so that \
         nothing on the way takes the connection for dead. Starts with the head; every byte from the upstream, \
         and each heartbeat, starts it anew. Never inside an event, never in a body that is compressed or \
         no event stream.");
    ROUTE_EARLY_HEAD = ("early_head", Kind::Limit, Fallback::Limit(Limit::Off),
        "Answers the head of an event stream when the upstream has sent none for this long, and lets \
         heartbeats begin: for load balancers in front that cut a silent request. Only for \
         requests that ask for one (`Accept: text/event-stream`, or `\"stream\": true` in the body). Starts with the \
         attempt. Once it was sent, the status is 200 for good, and whatever the upstream answers but \
         200 with `text/event-stream` arrives as an error event; where the dialect has none, the connection \
         is broken.");
    ROUTE_CLOCKS = ("clocks", Kind::Table(&CLOCKS), Fallback::Absent("those of the upstream"),
        "How long things may take.");
    ROUTE_DIALECT = ("dialect", Kind::Choice(DIALECTS), Fallback::Text(DIALECTS[0]),
        "The model API spoken here: it decides how a stream is known to be complete and in which words \
         an error is told. `auto` tells it from method and path; `plain` is none. Where one is spoken, \
         a JSON error with status 200 is answered 502, with the same body, because SDKs \
         would take it for an answer; where others could be asked, they are before that.");
    ROUTE_RETRY = ("retry", Kind::FlagOrTable(&RETRY), Fallback::Flag(true),
        "How requests are sent again. `false`: each goes to each entry of `to` once.");
    ROUTE_FAILURES = ("failures", Kind::Table(&FAILURES), Fallback::Absent("all defaults"),
        "What is done about each way to fail.");
    ROUTE_HEDGE = ("hedge", Kind::Limit, Fallback::Limit(Limit::Off),
        "Asks the next entry of `to` as well when there was no content for this long, and takes whichever has some first; the \
         other is dropped. Content is text, reasoning or a tool call, not a role or a ping; until there is some, the head of the answer \
         is held. Both may cost. Needs a second entry that is not `larger`.");
    ROUTE_HEDGE_PERCENT = ("hedge_percent", Kind::Count(1, 100), Fallback::Count(10),
        "Most requests of a hundred that are asked twice: of those of the last ten seconds, rounded down, so that `10` is none \
         below ten requests in ten seconds. Needs `hedge`.");
    ROUTE_RESCUE = ("rescue", Kind::Flag, Fallback::Flag(false),
        "Whether an answer of a model API that was cut is continued on the next entry of `to`, or on the same upstream where there \
         is none behind (within its `retry_budget`), at most twice. What was delivered stays \
         delivered: that entry is given it to go on from (`prefill` of its upstream), or answers anew, and is compared with it \
         text by text. Never within a tool call or structured output. Each rescue costs one further question.");
    ROUTE_USAGE = ("usage", Kind::Choice(USAGE), Fallback::Text(USAGE[0]),
        "Where the caller is told what an answer took, in tokens. `comment`: in a comment at the end of an event stream. \
         `trailers`: in trailers, for callers that take them (`TE: trailers`). Not for kept answers (`resume`): their readers are told \
         none.");
}

table! {
    /// An entry of `to` that says more than the upstream.
    TARGET {
        about: "An entry of `to` that renames the model, or is for requests that are too long for another. It may also be written inline: \
                `to = [{ upstream = \"local\", model = \"qwen3\" }, \"openai\"]`.",
        example: "[routes.small]\npath = \"/v1/chat/completions\"\nmodel = \"small\"\nopen = true\n\n\
                  [[routes.small.to]]\nupstream = \"local\"\nmodel = \"qwen3\"\n\n\
                  [[routes.small.to]]\nupstream = \"openai\"\nmodel = \"gpt-4.1\"\nlarger = true\n",
        forms: &[]
    }
    TARGET_UPSTREAM = ("upstream", Kind::Text(&UPSTREAM_NAME), Fallback::Required,
        "The upstream.");
    TARGET_MODEL = ("model", Kind::Text(&MODEL_NAME), Fallback::Absent("as the caller wrote it"),
        "The name the upstream knows the model by; put in place of the caller's.");
    TARGET_LARGER = ("larger", Kind::Flag, Fallback::Flag(false),
        "It is passed over, but where an entry before it failed in a way whose remedy is `larger` (`failures`): usually \
         because the request is longer than what its model can take. Not the first entry.");
}

table! {
    /// `request_headers` and `response_headers` of a route.
    HEADERS {
        about: "Header changes; what is removed is removed first. Headers that belong to one connection \
                (`connection`, `transfer-encoding`, `upgrade` and the like) and `content-length` are not ours \
                to change.",
        example: "[routes.events.request_headers]\nset = { x-tenant = \"eu\" }\nremove = [\"cookie\"]\n\n\
                  [routes.events.response_headers]\nremove = [\"server\"]\n",
        forms: &[]
    }
    HEADERS_SET = ("set", Kind::Map(&Kind::Text(&HEADER_VALUE)), Fallback::Absent("none"),
        "Headers set, in place of all values there were.");
    HEADERS_REMOVE = ("remove", Kind::List(0, &Kind::Text(&HEADER_NAME)), Fallback::Absent("none"),
        "Headers removed, with all their values.");
}

table! {
    /// `cors` of a route.
    CORS {
        about: "Which web pages may call this route from a browser.",
        example: "[routes.chat.cors]\norigins = [\"https://app.example.com\"]\ncredentials = true\n\
                  expose = [\"x-request-id\"]\n",
        forms: &[]
    }
    CORS_ORIGINS = ("origins", Kind::List(1, &Kind::Text(&ORIGIN)), Fallback::Required,
        "The origins let in: scheme, host and port as the browser sends them, or `\"*\"` alone.");
    CORS_METHODS = ("methods", Kind::List(0, &Kind::Text(&METHOD)), Fallback::Absent("what is asked for"),
        "Methods named to a preflight.");
    CORS_HEADERS = ("headers", Kind::List(0, &Kind::Text(&HEADER_NAME)), Fallback::Absent("what is asked for"),
        "Request headers named to a preflight.");
    CORS_EXPOSE = ("expose", Kind::List(0, &Kind::Text(&HEADER_NAME)), Fallback::Absent("none"),
        "Response headers that scripts may read, besides `x-request-id`.");
    CORS_CREDENTIALS = ("credentials", Kind::Flag, Fallback::Flag(false),
        "Whether cookies and `Authorization` of the browser go along; not with `\"*\"`.");
    CORS_MAX_AGE = ("max_age", ANY_TIME, Fallback::Duration(Duration::from_secs(60 * 60)),
        "How long a browser may keep a preflight's answer.");
}

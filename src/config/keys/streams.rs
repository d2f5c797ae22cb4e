//! `[hub]`, `[topics."PATTERN"]`, and the tables of a route whose streams are kept and shared.

use std::time::Duration;

use super::server::SOME_TIME;
use super::{
    CALLER_NAME, COOKIE, EVENT_NAME, Fallback, HEADER_NAME, HUB_PATH, Key, Kind, ON_LEAVE,
    QUERY_NAME, TEXT, Table, table,
};
use crate::config::values::Limit;

/// The words of `slow`, in the order of `Slow`.
pub(in crate::config) const SLOW: &[&str] = &["disconnect", "skip", "latest"];
/// The words of `start`, in the order of `Start`.
pub(in crate::config) const START: &[&str] = &["live", "latest", "oldest"];
/// The words of `ids`, in the order of `Ids`.
const IDS: &[&str] = &["gateway", "backend"];

const MINUTE: Duration = Duration::from_secs(60);
/// The shortest pause between two requests to one endpoint.
const LEAST_POLL: Duration = Duration::from_millis(100);
/// How many events of one stream can be kept.
const EVENTS: Kind = Kind::Count(1, 10_000_000);
/// How many bytes of one stream can be kept.
const BYTES: Kind = Kind::Size(1 << 10, 1 << 40);

/// `poll` of a route.
pub(super) const POLL: Kind = Kind::Duration(LEAST_POLL);

const EVENTS_MEANING: &str = "Most events kept. Beyond it the oldest goes.";
const BYTES_MEANING: &str = "Most bytes kept, each event counted with a little over its own length. The newest event is kept \
     whatever its size.";
const AGE_MEANING: &str = "How old an event may become.";
const SLOW_MEANING: &str = "What happens to a reader so slow that its next event is gone. It never holds back the \
     others. `skip`: it gets an event `gap` that says how much it missed, and goes on with the oldest event kept. \
     `latest`: the same, but with the latest event. `disconnect`: its connection is closed; when it \
     comes back, it is told of the gap.";
const START_MEANING: &str = "Where a reader begins that shows no `Last-Event-ID`: with what comes next (`live`), with \
     the latest event there is, or with the oldest kept.";

table! {
    /// `[hub]`.
    HUB {
        about: "Bounds of all streams together that are kept or shared: what routes `share`, `resume` and \
                `publish`. They are held in memory, and gone when the process ends.",
        example: "[hub]\nstreams = 20000\nbytes = \"1GiB\"\n",
        forms: &[]
    }
    HUB_AT = ("path", Kind::Text(&HUB_PATH), Fallback::Text("/streams"),
        "Where kept answers are found: `GET PATH/ID` goes on reading one. Only taken from the routes where one of \
         them has `resume`; no other route may then lie there.");
    HUB_STREAMS = ("streams", Kind::Count(1, 10_000_000), Fallback::Count(10_000),
        "Streams at once: shared connections, kept answers and topics. Where there is no room for another, what \
         nobody reads makes room: the topic that was used longest ago, the answer that ended longest ago. If there \
         is none, a request that needs a stream is answered 503, and an answer is passed on without being kept.");
    HUB_BYTES = ("bytes", Kind::Size(1 << 20, 1 << 44), Fallback::Size(256 << 20),
        "Bytes of events kept, over all streams. Beyond it the older events go, first of streams that nobody \
         reads, then of those that keep most; the newest of each stays. A publication for which that is not \
         enough is answered 503.");
    HUB_EVENT = ("event", Kind::Size(1 << 10, 1 << 30), Fallback::Size(8 << 20),
        "Largest single event: models send whole images in one. A larger one that is published is answered 413; one of an upstream ends its \
         stream as broken. At most `bytes`.");
}

table! {
    /// `[topics."PATTERN"]`.
    TOPIC {
        about: "What holds for the topics that a pattern means. A pattern is a name of a topic in which whole \
                segments may be `*`: at the end one segment or more, elsewhere exactly one. Where several patterns \
                match a topic, the most particular counts, alone: compared segment by segment, a literal goes \
                before `*`, and the longer pattern before the shorter. A topic that none matches has all \
                defaults. Topics need no declaration: they come to be when they are first published to.",
        example: "[topics.\"user/*\"]\nstart = \"oldest\"\nslow = \"disconnect\"\n",
        forms: &[]
    }
    TOPIC_HISTORY = ("history", Kind::Table(&HISTORY), Fallback::Absent("all defaults"),
        "How much of each topic is kept, for readers that come back and for those that begin with the past.");
    TOPIC_SLOW = ("slow", Kind::Choice(SLOW), Fallback::Text(SLOW[1]), SLOW_MEANING);
    TOPIC_START = ("start", Kind::Choice(START), Fallback::Text(START[0]), START_MEANING);
}

table! {
    /// `history` of topics.
    HISTORY {
        about: "How much of each topic is kept: what is beyond any of these goes, oldest first. It may also be \
                written inline: `history = { events = 200, age = \"1h\" }`.",
        example: "[topics.\"user/*\".history]\nevents = 200\nage = \"1h\"\n",
        forms: &[]
    }
    HISTORY_EVENTS = ("events", EVENTS, Fallback::Count(100), EVENTS_MEANING);
    HISTORY_BYTES = ("bytes", BYTES, Fallback::Size(1 << 20), BYTES_MEANING);
    HISTORY_AGE = ("age", SOME_TIME, Fallback::Duration(MINUTE.saturating_mul(10)), AGE_MEANING);
}

table! {
    /// `share` of a route.
    SHARE {
        about: "Many readers, one connection to the upstream: `GET`s for the same URL by the same caller get \
                the events of one stream, each at its own pace, and with `Last-Event-ID` from where it was cut. \
                The query parameters `transport`, `last_event_id`, `cursor` and `after` are read here and not \
                sent upstream. \
                `share = true` stands for this table with all defaults.",
        example: "[routes.prices]\npath = \"/prices/*\"\nto = \"local\"\n\n\
                  [routes.prices.share]\npublic = true\nkey_headers = [\"accept-language\"]\n\
                  on_last_leave = \"1m\"\n",
        forms: &[]
    }
    SHARE_START = ("start", Kind::Choice(START), Fallback::Text(START[0]), START_MEANING);
    SHARE_SLOW = ("slow", Kind::Choice(SLOW), Fallback::Text(SLOW[1]), SLOW_MEANING);
    SHARE_HISTORY = ("history", Kind::Table(&FEED_HISTORY), Fallback::Absent("all defaults"),
        "How much of each stream is kept.");
    SHARE_ON_LAST_LEAVE = ("on_last_leave", Kind::Limit,
        Fallback::Limit(Limit::After(Duration::from_secs(10))),
        "How long the upstream's connection is kept when the last reader has left, for the one that comes back. \
         `\"off\"`: it is never closed for want of readers.");
    SHARE_PUBLIC = ("public", Kind::Flag, Fallback::Flag(false),
        "Whether callers with different credentials share. Nothing that tells one caller from another is then sent \
         to the upstream: neither keys nor cookies.");
    SHARE_KEY_HEADERS = ("key_headers", Kind::List(0, &Kind::Text(&HEADER_NAME)), Fallback::Absent("none"),
        "Request headers on which the upstream's answer depends: requests that differ in one of them do not share. Any \
         other field of a reader that could tell it from another is not sent to the upstream, but for its \
         credentials, which tell streams apart by themselves.");
    SHARE_IDS = ("ids", Kind::Choice(IDS), Fallback::Text(IDS[0]),
        "Whose ids readers see. `gateway`: every event has one, and it never repeats. `backend`: the upstream's own \
         where an event has one; such an id is found again only while its event is kept.");
}

table! {
    /// `history` of `share`.
    FEED_HISTORY {
        about: "How much of each shared stream is kept.",
        example: "[routes.prices.share.history]\nevents = 5000\nage = \"1h\"\n",
        forms: &[]
    }
    FEED_EVENTS = ("events", EVENTS, Fallback::Count(1000), EVENTS_MEANING);
    FEED_BYTES = ("bytes", BYTES, Fallback::Size(4 << 20), BYTES_MEANING);
    FEED_AGE = ("age", SOME_TIME, Fallback::Duration(MINUTE.saturating_mul(10)), AGE_MEANING);
}

table! {
    /// `resume` of a route.
    RESUME {
        about: "Answers that survive a cut: a streamed answer is kept as it comes, whether its reader stays or not, \
                and read on at the path of the `[hub]`, by whoever asked for it. `resume = true` stands for this \
                table with all defaults.",
        example: "[routes.small.resume]\nkeep = \"1h\"\non_leave = \"finish\"\nwatch = [\"batch\"]\n",
        forms: &[]
    }
    RESUME_KEEP = ("keep", SOME_TIME, Fallback::Duration(MINUTE.saturating_mul(10)),
        "How long an answer is kept after its end.");
    RESUME_ON_LEAVE = ("on_leave", Kind::Text(&ON_LEAVE), Fallback::Text("linger 2m"),
        "What happens when the last reader leaves before the end. `cancel`: the upstream's connection is dropped. \
         `finish`: the answer is read to its end. `linger` and a duration: it is dropped if nobody has come back by \
         then.");
    RESUME_HISTORY = ("history", Kind::Table(&ANSWER_HISTORY), Fallback::Absent("all defaults"),
        "How much of each answer is kept.");
    RESUME_WATCH = ("watch", Kind::List(1, &Kind::Text(&CALLER_NAME)), Fallback::Absent("nobody else"),
        "The keys whose holders may read every answer of this route, besides whoever asked for it.");
}

table! {
    /// `history` of `resume`.
    ANSWER_HISTORY {
        about: "How much of each answer is kept.",
        example: "[routes.small.resume.history]\nbytes = \"4MiB\"\n",
        forms: &[]
    }
    ANSWER_EVENTS = ("events", EVENTS, Fallback::Count(100_000), EVENTS_MEANING);
    ANSWER_BYTES = ("bytes", BYTES, Fallback::Size(16 << 20), BYTES_MEANING);
    ANSWER_AGE = ("age", SOME_TIME, Fallback::Duration(MINUTE.saturating_mul(24 * 60)), AGE_MEANING);
}

table! {
    /// `greeting` of a route that says more than its data.
    GREETING {
        about: "The first event of each subscription, with a name. It may also be written inline: \
                `greeting = { event = \"hello\", data = \"{}\" }`.",
        example: "[routes.notify]\npath = \"/notify\"\nsubscribe = [\"user/{query.user}\", \"all\"]\n\n\
                  [routes.notify.greeting]\nevent = \"hello\"\ndata = \"welcome\"\n",
        forms: &[]
    }
    GREETING_EVENT = ("event", Kind::Text(&EVENT_NAME), Fallback::Absent("`message`, as of every event without a name"),
        "Its name.");
    GREETING_DATA = ("data", Kind::Text(&TEXT), Fallback::Required,
        "Its data. Several lines are several `data` lines.");
}

table! {
    /// `key_in` of a route.
    KEY_IN {
        about: "Where else than in header fields a caller may show its key or token: an `EventSource` in a browser can set no \
                header. A query ends in the logs of whoever stands between: a cookie is better where there can be one. \
                Neither is sent to the upstream.",
        example: "[routes.inbox]\npath = \"/inbox/{user}\"\npublish = \"user/{user}\"\nallow = [\"web\"]\n\n\
                  [routes.inbox.key_in]\nquery = \"key\"\n",
        forms: &[]
    }
    KEY_IN_COOKIE = ("cookie", Kind::Text(&COOKIE), Fallback::Absent("in none"),
        "In the cookie of this name.");
    KEY_IN_QUERY = ("query", Kind::Text(&QUERY_NAME), Fallback::Absent("in none"),
        "In the query parameter of this name.");
}

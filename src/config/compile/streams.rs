//! `[hub]`, `[topics."PATTERN"]`, and what a route keeps and shares.

use std::sync::Arc;
use std::time::Duration;

use super::route::{Names, callers};
use super::{checked, each, headers};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{self, Key, SLOW, START, root};
use crate::config::topic::{BadTopic, TopicPattern};
use crate::config::units::parse_duration;
use crate::config::values::{
    Allow, CredentialsIn, Greeting, History, Hub, Ids, OnLeave, Resume, Share, Slow, Start,
    TopicRights, TopicRules,
};
use crate::config::written::{Section, Value};

/// `[hub]`.
pub(super) fn hub(section: &Section, gathered: &mut Gathered<'_>) -> Hub {
    if let Some(node) = section.node(&keys::HUB_AT) {
        checked(node, hub_path, gathered);
    }
    let mut hub = Hub {
        path: section.text(&keys::HUB_AT).into(),
        streams: section.count(&keys::HUB_STREAMS).unwrap_or_default(),
        bytes: bytes(section, &keys::HUB_BYTES),
        event: bytes(section, &keys::HUB_EVENT),
    };
    if !section.has(&keys::HUB_EVENT) {
        hub.event = hub.event.min(hub.bytes);
    }
    if hub.event > hub.bytes {
        let error = Malformed::new("is more than `bytes`", "no event could be so large");
        wrong(section, &keys::HUB_EVENT, error, gathered);
    }
    hub
}

/// Literal segments that every reader takes for themselves: nothing to decode, nothing to resolve.
fn hub_path(text: &str) -> Result<(), Malformed> {
    let help =
        r#"such as "/streams": letters, digits, `-`, `_`, `.`, `~`, and no slash at the end"#;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(plain);
    let inner = text
        .strip_prefix('/')
        .ok_or_else(|| Malformed::new("does not begin with `/`", help))?;
    if !inner.split('/').all(segment) {
        return Err(Malformed::new("is not a plain path", help));
    }
    Ok(())
}

/// Everything said of topics, most particular pattern first.
pub(super) fn topics(file: &Section, gathered: &mut Gathered<'_>) -> Vec<Arc<TopicRules>> {
    let mut topics = Vec::new();
    for (name, section) in file.sections(&root::TOPICS) {
        match TopicPattern::new(name) {
            Ok(pattern) => topics.push(Arc::new(rules(pattern, section))),
            Err(error) => gathered.wrong(section.at, &section.path, not_a_pattern(error)),
        }
    }
    topics.sort_by_cached_key(|rules| rules.pattern.rank());
    topics
}

fn rules(pattern: TopicPattern, section: &Section) -> TopicRules {
    let history = section.section(&keys::TOPIC_HISTORY);
    TopicRules {
        pattern,
        history: kept(
            history,
            [
                &keys::HISTORY_EVENTS,
                &keys::HISTORY_BYTES,
                &keys::HISTORY_AGE,
            ],
        ),
        slow: slow(section.text(&keys::TOPIC_SLOW)),
        start: start(section.text(&keys::TOPIC_START)),
    }
}

impl Default for TopicRules {
    /// All defaults, for every topic.
    fn default() -> Self {
        rules(TopicPattern::every(), &Section::default())
    }
}

/// `publish` and `subscribe` of a key.
pub(super) fn rights(section: &Section, gathered: &mut Gathered<'_>) -> TopicRights {
    let mut patterns = |key: &Key| {
        let listed = section.has(key);
        listed.then(|| each(section, key, pattern, gathered))
    };
    TopicRights {
        publish: patterns(&keys::CALLER_PUBLISH),
        subscribe: patterns(&keys::CALLER_SUBSCRIBE),
    }
}

fn pattern(text: &str) -> Result<TopicPattern, Malformed> {
    TopicPattern::new(text).map_err(not_a_pattern)
}

fn not_a_pattern(error: BadTopic) -> Malformed {
    let help = r#"a name such as "orders/new", or "orders/*" for every one below"#;
    Malformed::new(error.to_string(), help)
}

/// `share` and `poll` of a route.
pub(super) fn share(route: &Section, gathered: &mut Gathered<'_>) -> Option<Share> {
    let nothing = Section::default();
    let poll = route
        .node(&keys::ROUTE_POLL)
        .map(|_| route.duration(&keys::ROUTE_POLL));
    let section = match route.section(&keys::ROUTE_SHARE) {
        Some(section) => section,
        None => poll.map(|_| &nothing)?,
    };
    let history = section.section(&keys::SHARE_HISTORY);
    Some(Share {
        start: start(section.text(&keys::SHARE_START)),
        slow: slow(section.text(&keys::SHARE_SLOW)),
        history: kept(
            history,
            [&keys::FEED_EVENTS, &keys::FEED_BYTES, &keys::FEED_AGE],
        ),
        on_last_leave: section.limit(&keys::SHARE_ON_LAST_LEAVE).duration(),
        public: section.flag(&keys::SHARE_PUBLIC),
        key_headers: each(section, &keys::SHARE_KEY_HEADERS, headers::name, gathered),
        ids: match section.text(&keys::SHARE_IDS) {
            "backend" => Ids::Backend,
            _ => Ids::Gateway,
        },
        poll,
    })
}

/// `resume` and `dedupe` of a route.
pub(super) fn resume(
    route: &Section,
    names: &Names<'_>,
    gathered: &mut Gathered<'_>,
) -> Option<Resume> {
    let section = route.section(&keys::ROUTE_RESUME)?;
    if let Some(node) = section.node(&keys::RESUME_ON_LEAVE) {
        checked(node, on_leave, gathered);
    }
    let leave = on_leave(section.text(&keys::RESUME_ON_LEAVE));
    let history = section.section(&keys::RESUME_HISTORY);
    Some(Resume {
        keep: section.duration(&keys::RESUME_KEEP),
        on_leave: leave.unwrap_or(OnLeave::Cancel),
        history: kept(
            history,
            [&keys::ANSWER_EVENTS, &keys::ANSWER_BYTES, &keys::ANSWER_AGE],
        ),
        watch: if section.has(&keys::RESUME_WATCH) {
            callers(section, &keys::RESUME_WATCH, names, gathered)
        } else {
            Allow::Callers(Vec::new(), Vec::new())
        },
        dedupe: route.flag(&keys::ROUTE_DEDUPE),
    })
}

fn on_leave(text: &str) -> Result<OnLeave, Malformed> {
    match text {
        "cancel" => return Ok(OnLeave::Cancel),
        "finish" => return Ok(OnLeave::Finish),
        _ => {}
    }
    let help = r#""cancel", "finish", or "linger" and how long: "linger 2m""#;
    let Some(pause) = text.strip_prefix("linger ") else {
        return Err(Malformed::new("is none of its three forms", help));
    };
    let pause = parse_duration(pause.trim())
        .map_err(|error| Malformed::new(format!("lingers for {}", error.message), error.help))?;
    if pause == Duration::ZERO {
        return Err(Malformed::new("lingers for no time at all", help));
    }
    Ok(OnLeave::Linger(pause))
}

/// `greeting` of a route.
pub(super) fn greeting(route: &Section, gathered: &mut Gathered<'_>) -> Option<Greeting> {
    let node = route.node(&keys::ROUTE_GREETING)?;
    let Value::Table(section) = &node.value else {
        let data = node.text()?.value.as_str().into();
        return Some(Greeting { event: None, data });
    };
    let event = section.node(&keys::GREETING_EVENT);
    Some(Greeting {
        event: event
            .and_then(|node| checked(node, event_name, gathered))
            .map(Arc::from),
        data: section.text(&keys::GREETING_DATA).into(),
    })
}

/// An event's name, as a line of an event stream can hold one.
fn event_name(text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new("is empty", "leave it out for `message`"));
    }
    if text.contains(['\r', '\n', '\0']) {
        return Err(Malformed::new(
            "holds a line break or a NUL",
            "the name of an event is one line",
        ));
    }
    Ok(text.to_owned())
}

/// `key_in` of a route.
pub(super) fn credentials_in(route: &Section, gathered: &mut Gathered<'_>) -> CredentialsIn {
    let Some(section) = route.section(&keys::ROUTE_KEY_IN) else {
        return CredentialsIn::default();
    };
    if section.entries.is_empty() {
        let error = Malformed::new("says nothing", "`cookie`, `query`, or both");
        gathered.wrong(section.at, &section.path, error);
    }
    let mut name = |key: &Key, read: fn(&str) -> Result<String, Malformed>| {
        let node = section.node(key)?;
        checked(node, read, gathered).map(Arc::from)
    };
    CredentialsIn {
        cookie: name(&keys::KEY_IN_COOKIE, cookie),
        query: name(&keys::KEY_IN_QUERY, not_empty),
    }
}

/// A cookie's name is a token (RFC 6265 §4.1.1), and so is a header's; case counts.
fn cookie(text: &str) -> Result<String, Malformed> {
    headers::name(text).map(|_| text.to_owned()).map_err(|_| {
        Malformed::new(
            "is not the name of a cookie",
            r#"letters, digits, `-` and `_`, such as "session""#,
        )
    })
}

fn not_empty(text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new("is empty", r#"such as "key""#));
    }
    Ok(text.to_owned())
}

/// A `history`, from its keys in the order events, bytes, age.
fn kept(section: Option<&Section>, keys: [&Key; 3]) -> History {
    let nothing = Section::default();
    let section = section.unwrap_or(&nothing);
    let [events, size, age] = keys;
    History {
        events: section.count(events).unwrap_or_default(),
        bytes: bytes(section, size),
        age: section.duration(age),
    }
}

fn bytes(section: &Section, key: &Key) -> usize {
    usize::try_from(section.size(key)).unwrap_or(usize::MAX)
}

fn slow(word: &str) -> Slow {
    const IN_ORDER: [Slow; 3] = [Slow::Disconnect, Slow::Skip, Slow::Latest];
    let index = SLOW.iter().position(|known| *known == word);
    index.map_or(Slow::Skip, |index| IN_ORDER[index])
}

fn start(word: &str) -> Start {
    const IN_ORDER: [Start; 3] = [Start::Live, Start::Latest, Start::Oldest];
    let index = START.iter().position(|known| *known == word);
    index.map_or(Start::Live, |index| IN_ORDER[index])
}

/// Gathers `error` where `key` stands in `section`, or at its table.
pub(super) fn wrong(section: &Section, key: &Key, error: Malformed, gathered: &mut Gathered<'_>) {
    let at = section.node(key).map_or(section.at, |node| node.at);
    gathered.wrong(at, &section.path_of(key), error);
}

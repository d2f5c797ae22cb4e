//! What is kept and shared: streams, topics, and who may publish and subscribe to them.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::HeaderName;

use super::{Allow, Config};
use crate::config::topic::{Topic, TopicPattern};

/// `[hub]`: bounds of all streams together.
#[derive(Debug, Clone)]
pub struct Hub {
    /// Where kept streams are found: `PATH/ID`. Begins with a slash and ends without one.
    pub path: Arc<str>,
    /// Most streams at once: feeds, kept answers and topics.
    pub streams: usize,
    /// Most bytes of events kept, over all streams.
    pub bytes: usize,
    /// Largest single event, in bytes.
    pub event: usize,
}

/// How much of a stream is kept. What is beyond any of these is evicted, oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// Most events.
    pub events: usize,
    /// Most bytes.
    pub bytes: usize,
    /// Oldest age.
    pub age: Duration,
}

/// What happens to a reader whose next event was evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// Its connection is closed; a reader that comes back is told of the gap.
    Disconnect,
    /// It is told of the gap and goes on with the oldest event kept.
    Skip,
    /// It is told of the gap and goes on with the latest event alone.
    Latest,
}

/// Where a reader begins that names no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With what comes next.
    Live,
    /// With the latest event there is.
    Latest,
    /// With the oldest event kept.
    Oldest,
}

/// Whose ids readers see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// Ours: every event has one, and it never repeats.
    Gateway,
    /// The backend's, where an event has one.
    Backend,
}

/// `share` of a route.
#[derive(Debug, Clone)]
pub struct Share {
    /// Where a reader begins that names no event.
    pub start: Start,
    /// What happens to a reader that cannot keep up.
    pub slow: Slow,
    /// How much is kept.
    pub history: History,
    /// How long the upstream's connection is kept without readers; `None` is for ever.
    pub on_last_leave: Option<Duration>,
    /// Whether callers with different credentials share; the credentials are then not sent upstream.
    pub public: bool,
    /// Request headers whose values tell feeds apart.
    pub key_headers: Vec<HeaderName>,
    /// Whose ids readers see.
    pub ids: Ids,
    /// The upstream is an ordinary endpoint that is asked this often; `None` is an event stream.
    pub poll: Option<Duration>,
}

/// What happens to a kept answer when its last reader leaves before its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnLeave {
    /// The upstream's connection is dropped.
    Cancel,
    /// The answer is read to its end.
    Finish,
    /// The upstream's connection is dropped if nobody comes back for so long.
    Linger(Duration),
}

/// `resume` and `dedupe` of a route.
#[derive(Debug, Clone)]
pub struct Resume {
    /// How long an answer is kept after its end.
    pub keep: Duration,
    /// What happens when nobody reads it.
    pub on_leave: OnLeave,
    /// How much of it is kept.
    pub history: History,
    /// Who may read answers of others, besides whoever asked for them.
    pub watch: Allow,
    /// Whether identical requests in flight by the same principal share one answer.
    pub dedupe: bool,
}

/// The first event of a subscription. It has no id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Its name; none is `message`.
    pub event: Option<Arc<str>>,
    /// Its data.
    pub data: Arc<str>,
}

/// `[topics."PATTERN"]`.
#[derive(Debug, Clone)]
pub struct TopicRules {
    /// The topics it holds for.
    pub pattern: TopicPattern,
    /// How much of each is kept.
    pub history: History,
    /// What happens to a reader that cannot keep up.
    pub slow: Slow,
    /// Where a reader begins that names no event.
    pub start: Start,
}

/// Where the parts of a topic's name come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicTemplate {
    /// The pieces in order. Literal text holds the slashes between segments, and perhaps wildcards.
    pub pieces: Vec<TopicPiece>,
}

/// A piece of a [`TopicTemplate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicPiece {
    /// This text.
    Literal(String),
    /// `{source}`: within one segment. `{source*}`: any number of segments.
    Taken {
        /// Where from.
        source: TopicSource,
        /// Whether it may hold slashes.
        rest: bool,
    },
}

/// Where a piece of a topic's name is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicSource {
    /// `{name}`: a parameter of the route's path.
    Path(String),
    /// `{query.name}`: a query parameter. Where it is repeated, each value makes a topic.
    Query(String),
    /// `{jwt.name}`: a claim of the caller's token.
    Claim(String),
}

/// What a caller may publish to and subscribe to; `None` is whatever the route leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicRights {
    /// Topics it may publish to.
    pub publish: Option<Vec<TopicPattern>>,
    /// Topics it may subscribe to.
    pub subscribe: Option<Vec<TopicPattern>>,
}

/// Where a caller may show its key or token besides the header fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialsIn {
    /// In this cookie.
    pub cookie: Option<Arc<str>>,
    /// In this query parameter: for an EventSource, which can set no header.
    pub query: Option<Arc<str>>,
}

impl TopicRules {
    /// What holds for a topic that no pattern of the configuration matches: the default of each key.
    pub fn fallback() -> &'static Arc<Self> {
        static FALLBACK: LazyLock<Arc<TopicRules>> = LazyLock::new(|| TopicRules::default().into());
        &FALLBACK
    }

    /// What holds for `topic`, out of `rules` with the most particular pattern first.
    pub fn of<'r>(rules: &'r [Arc<Self>], topic: &Topic) -> &'r Arc<Self> {
        rules
            .iter()
            .find(|rules| rules.pattern.matches(topic))
            .unwrap_or_else(|| Self::fallback())
    }
}

impl Config {
    /// What holds for `topic`: the rules of the most particular pattern that matches it.
    pub fn rules_for(&self, topic: &Topic) -> &Arc<TopicRules> {
        TopicRules::of(&self.topics, topic)
    }
}

impl fmt::Display for TopicTemplate {
    /// As it is written in a configuration.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                TopicPiece::Literal(text) => f.write_str(text)?,
                TopicPiece::Taken { source, rest } => {
                    let (kind, name) = match source {
                        TopicSource::Path(name) => ("", name),
                        TopicSource::Query(name) => ("query.", name),
                        TopicSource::Claim(name) => ("jwt.", name),
                    };
                    let star = if *rest { "*" } else { "" };
                    write!(f, "{{{kind}{name}{star}}}")?;
                }
            }
        }
        Ok(())
    }
}

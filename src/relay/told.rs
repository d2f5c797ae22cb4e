//! What a caller is told of its answer at the end: the tokens, who answered, and what was tried.

use std::fmt::Write;

use bytes::Bytes;
use http::header::TRAILER;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::record::Record;
use super::took::counted;
use crate::config::{Dialect, TellUsage};
use crate::dialect::BodyKind;

/// The names of the trailers.
const NAMES: [HeaderName; 7] = [
    HeaderName::from_static("deltaway-prompt-tokens"),
    HeaderName::from_static("deltaway-completion-tokens"),
    HeaderName::from_static("deltaway-cached-tokens"),
    HeaderName::from_static("deltaway-reasoning-tokens"),
    HeaderName::from_static("deltaway-tokens"),
    HeaderName::from_static("deltaway-upstream"),
    HeaderName::from_static("deltaway-attempts"),
];

/// Where a caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// In a comment behind the last event.
    Comment,
    /// In trailers.
    Trailers,
}

impl Told {
    /// How it is told in an answer of this dialect and kind, where the route wants it. Google's Python SDK fails on a
    /// comment. `takes_trailers` says whether the caller does (RFC 9110 §10.1.4).
    pub(super) fn of(
        wanted: TellUsage,
        dialect: Dialect,
        kind: BodyKind,
        takes_trailers: bool,
    ) -> Option<Self> {
        let stream = kind == BodyKind::Sse;
        match wanted {
            _ if dialect == Dialect::Plain => None,
            TellUsage::No => None,
            TellUsage::Comment if stream && dialect != Dialect::Gemini => Some(Self::Comment),
            TellUsage::Trailers if kind != BodyKind::Opaque && takes_trailers => {
                Some(Self::Trailers)
            }
            TellUsage::Comment | TellUsage::Trailers => None,
        }
    }

    /// Announces the trailers (RFC 9110 §6.6.2).
    pub(super) fn announce(self, headers: &mut HeaderMap) {
        if self == Self::Trailers {
            let names = NAMES.map(|name| name.to_string()).join(", ");
            if let Ok(names) = HeaderValue::try_from(names) {
                headers.append(TRAILER, names);
            }
        }
    }

    /// The last frame of the answer. A comment only goes in `between` two events.
    pub(super) fn frame(self, record: &Record, between: bool) -> Option<Frame<Bytes>> {
        let told = figures(record);
        match self {
            Self::Comment if !between => None,
            Self::Comment => {
                let mut line = String::from(": deltaway");
                for (name, value) in &told {
                    let name = name.as_str().trim_start_matches("deltaway-");
                    // Writing to a string does not fail.
                    let _ = write!(line, " {name}={value}");
                }
                line.push_str("\n\n");
                Some(Frame::data(line.into()))
            }
            Self::Trailers => {
                let fields = told.into_iter().filter_map(|(name, value)| {
                    let value = HeaderValue::try_from(value).ok()?;
                    Some((name, value))
                });
                Some(Frame::trailers(fields.collect()))
            }
        }
    }
}

/// What is known, by the names of the trailers.
fn figures(record: &Record) -> Vec<(HeaderName, String)> {
    let usage = &record.took.usage;
    let completion = record.took.completion();
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let values = [
        number(usage.prompt),
        number(completion.map(|(tokens, _)| tokens)),
        number(usage.cached),
        number(usage.reasoning),
        completion.map(|(_, estimated)| counted(estimated).to_owned()),
        record.upstream().map(ToString::to_string),
        record.attempts(),
    ];
    NAMES
        .into_iter()
        .zip(values)
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}

//! Two routes of equal rank that could both match one request.
//!
//! Equal rank makes this simple: both hosts (paths, models) are given equally precisely, so they
//! overlap only where they are the same. Methods overlap in any they share; conditions on headers
//! and on the query exclude each other only where one name is asked for with two values.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use http::Method;

use super::entry::{Entry, Step, compile, names};
use crate::config::{HostPattern, ModelPattern, Route, Segment};

/// Two routes between which nothing decides.
#[derive(Debug, Clone)]
pub struct Clash {
    /// The one that stands first in the file.
    pub first: Arc<Route>,
    /// The other one.
    pub second: Arc<Route>,
    /// A request that both would match, for people: `POST a.example/v1/x, model gpt-4o`.
    pub example: String,
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            first,
            second,
            example,
        } = self;
        write!(
            f,
            "routes `{}` and `{}` have equal rank and both match {example}",
            first.name, second.name
        )
    }
}

/// Every pair of `routes` that clashes, each pair once, in the order of the file.
pub fn clashes(routes: &[Arc<Route>]) -> Vec<Clash> {
    let entries = compile(routes);
    let mut found = BTreeMap::new();
    for group in entries.chunk_by(|a, b| a.rank == b.rank) {
        for (at, a) in group.iter().enumerate() {
            for b in &group[at + 1..] {
                // The sort is stable: within a rank, entries stand in the order of the file.
                let pair = (a.number, b.number);
                if a.number == b.number || found.contains_key(&pair) || !overlap(a, b) {
                    continue;
                }
                if let Some(method) = common_method(a, b) {
                    let (first, second) = (a.route.clone(), b.route.clone());
                    let example = example(a, b, &method);
                    found.insert(
                        pair,
                        Clash {
                            first,
                            second,
                            example,
                        },
                    );
                }
            }
        }
    }
    found.into_values().collect()
}

/// Whether one request could match both, methods aside.
fn overlap(a: &Entry, b: &Entry) -> bool {
    let (one, other) = (&a.route.matches, &b.route.matches);
    let same_path = one
        .path
        .segments
        .iter()
        .zip(&other.path.segments)
        .all(|pair| match pair {
            (Segment::Literal(one), Segment::Literal(other)) => one == other,
            _ => true,
        });
    same_path
        && a.host == b.host
        && a.model == b.model
        && agree(one.query.iter().chain(&other.query))
        && agree(one.headers.iter().chain(&other.headers))
}

/// Whether no name is asked for with two values.
fn agree<'c, N: PartialEq + 'c>(conditions: impl Iterator<Item = &'c (N, String)> + Clone) -> bool {
    let mut rest = conditions;
    while let Some((name, value)) = rest.next() {
        if rest
            .clone()
            .any(|(other, wanted)| other == name && wanted != value)
        {
            return false;
        }
    }
    true
}

/// A method that both take.
fn common_method(a: &Entry, b: &Entry) -> Option<Method> {
    let (one, other) = (&a.route.matches.methods, &b.route.matches.methods);
    if one.is_empty() && other.is_empty() {
        return Some(Method::GET);
    }
    one.iter()
        .chain(other)
        .find(|method| names(one, method) && names(other, method))
        .cloned()
}

/// A request that both match, as people write one.
fn example(a: &Entry, b: &Entry, method: &Method) -> String {
    let mut text = format!("{method} ");
    match &a.host {
        Some(HostPattern::Exact(name)) => text.push_str(name),
        Some(HostPattern::Below(suffix)) => {
            text.push('x');
            text.push_str(suffix);
        }
        None => {}
    }
    for segment in &a.route.matches.path.segments {
        text.push('/');
        text.push_str(match segment {
            Segment::Literal(literal) => literal,
            Segment::Parameter(_) => "x",
        });
    }
    if a.rank.path.last() == Some(&Step::Rest) {
        text.push_str("/x");
    } else if a.route.matches.path.segments.is_empty() {
        text.push('/');
    }
    // Writing to a string cannot fail.
    for (at, (name, value)) in both(&a.route.matches.query, &b.route.matches.query).enumerate() {
        let _ = write!(text, "{}{name}={value}", if at == 0 { '?' } else { '&' });
    }
    for (name, value) in both(&a.route.matches.headers, &b.route.matches.headers) {
        let _ = write!(text, ", {name}: {value}");
    }
    match &a.model {
        Some(ModelPattern::Exact(name)) => {
            let _ = write!(text, ", model {name}");
        }
        Some(ModelPattern::Prefix(start)) => {
            let _ = write!(text, ", model {start}x");
        }
        None => {}
    }
    text
}

/// The conditions of both, each once.
fn both<'c, C: PartialEq>(one: &'c [C], other: &'c [C]) -> impl Iterator<Item = &'c C> {
    one.iter()
        .chain(other.iter().filter(|condition| !one.contains(condition)))
}

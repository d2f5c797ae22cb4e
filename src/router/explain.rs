//! Which route a request takes and why, in words, for `deltaway explain`.
//!
//! It asks the same entries as [`Router::find`](super::Router::find), so that it cannot tell
//! another story. Each route is spoken of once, through the entry of it that came nearest. A route
//! came near when its path matches; when nothing is taken, every route is spoken of.

use std::fmt;
use std::sync::Arc;

use http::Method;

use super::entry::{Entry, Request, names};
use super::{BadPath, Found, Head, Router, query};
use crate::config::{HostPattern, Matches, ModelPattern, PathPattern, Route, Segment};

/// What `deltaway explain` prints; made by [`Router::explain`](super::Router::explain).
#[derive(Debug, Clone)]
pub struct Explanation {
    request: String,
    verdict: Verdict,
    needs_model: bool,
    /// Names of routes and what is to be said of them, in rank order.
    others: Vec<(Arc<str>, String)>,
}

#[derive(Debug, Clone)]
enum Verdict {
    Takes { route: Arc<Route>, because: String },
    OtherModel,
    MethodNotAllowed(Vec<Method>),
    Nothing,
    Refused(BadPath),
}

impl Explanation {
    /// The route that is taken, if one is.
    pub fn route(&self) -> Option<&Arc<Route>> {
        match &self.verdict {
            Verdict::Takes { route, .. } => Some(route),
            _ => None,
        }
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.request)?;
        match &self.verdict {
            Verdict::Takes { route, because } => {
                writeln!(f, "  takes route `{}`: {because}", route.name)?;
                for (at, target) in route.to.iter().enumerate() {
                    let step = match (at, target.larger) {
                        (0, _) => "goes to",
                        (_, false) => "or else to",
                        (_, true) => "or, where the request is too long for the model, to",
                    };
                    write!(f, "  {step} upstream `{}`", target.upstream.name)?;
                    match &target.model {
                        Some(model) => writeln!(f, ", as model `{model}`")?,
                        None => writeln!(f)?,
                    }
                }
                if let Some(topic) = &route.publish {
                    writeln!(f, "  publishes to topic `{topic}` (POST)")?;
                }
                if !route.subscribe.is_empty() {
                    let topics: Vec<_> = route
                        .subscribe
                        .iter()
                        .map(|one| format!("`{one}`"))
                        .collect();
                    writeln!(f, "  subscribes to topic {} (GET)", topics.join(", "))?;
                }
            }
            Verdict::OtherModel if self.needs_model => {
                writeln!(
                    f,
                    "  takes no route (404): the routes that match ask for a model"
                )?;
            }
            Verdict::OtherModel => {
                writeln!(
                    f,
                    "  takes no route (404): the routes that match ask for another model"
                )?;
            }
            Verdict::MethodNotAllowed(methods) => {
                let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
                writeln!(
                    f,
                    "  takes no route (405): allowed here are {}",
                    names.join(", ")
                )?;
            }
            Verdict::Nothing => writeln!(f, "  takes no route (404)")?,
            Verdict::Refused(why) => writeln!(f, "  is refused (400): {why}")?,
        }
        if self.needs_model {
            writeln!(
                f,
                "The model is needed to decide, and none was given: with one (`--model`) the route may differ."
            )?;
        }
        if !self.others.is_empty() {
            writeln!(f, "Other routes, in rank order:")?;
        }
        self.others
            .iter()
            .try_for_each(|(name, what)| writeln!(f, "  `{name}` {what}"))
    }
}

pub(super) fn explain(router: &Router, head: &Head<'_>, model: Option<&str>) -> Explanation {
    let mut told = Explanation {
        request: request_line(head, model),
        verdict: Verdict::Nothing,
        needs_model: false,
        others: Vec::new(),
    };
    let request = match Request::read(head) {
        Ok(Some(request)) => request,
        Ok(None) => return told,
        Err(why) => {
            told.verdict = Verdict::Refused(why);
            return told;
        }
    };
    let mut taken = None;
    match router.find(head) {
        Ok(Found::Candidates(candidates)) => {
            told.needs_model = model.is_none() && candidates.needs_model();
            taken = candidates.iter().find(|entry| entry.matches_model(model));
            told.verdict = match taken {
                Some(entry) => Verdict::Takes {
                    route: entry.route.clone(),
                    because: wants(entry),
                },
                None => Verdict::OtherModel,
            };
        }
        Ok(Found::MethodNotAllowed(methods)) => told.verdict = Verdict::MethodNotAllowed(methods),
        Ok(Found::Nothing) => {}
        Err(why) => told.verdict = Verdict::Refused(why),
    }
    told.others = others(router, &request, model, taken);
    told
}

/// What is to be said of every route but the one taken, best rank first.
fn others(
    router: &Router,
    request: &Request<'_>,
    model: Option<&str>,
    taken: Option<&Entry>,
) -> Vec<(Arc<str>, String)> {
    let mut nearest: Vec<(&Entry, Vec<String>)> = Vec::new();
    for entry in router.entries.iter() {
        let misses = misses(entry, request, model);
        match nearest
            .iter_mut()
            .find(|(known, _)| known.number == entry.number)
        {
            Some(slot) if misses.len() < slot.1.len() => *slot = (entry, misses),
            Some(_) => {}
            None => nearest.push((entry, misses)),
        }
    }
    nearest.retain(|(entry, _)| taken.is_none_or(|taken| taken.number != entry.number));
    if taken.is_some() {
        nearest.retain(|(entry, _)| request.path.matches(&entry.route.matches.path));
    }
    nearest.sort_by(|(a, _), (b, _)| b.rank.cmp(&a.rank));
    let say = |(entry, misses): (&Entry, Vec<String>)| {
        let what = match taken {
            Some(taken) if misses.is_empty() => {
                format!(
                    "matches too, but ranks lower by its {}",
                    difference(taken, entry)
                )
            }
            _ => format!("does not match: {}", misses.join("; ")),
        };
        (entry.route.name.clone(), what)
    };
    nearest.into_iter().map(say).collect()
}

/// Everything about `request` that `entry` asks to be otherwise.
fn misses(entry: &Entry, request: &Request<'_>, model: Option<&str>) -> Vec<String> {
    let wanted = &entry.route.matches;
    let mut misses = Vec::new();
    if !request.host.matches(entry.host.as_ref()) {
        misses.push(match request.head.host {
            Some(_) => format!("the host is not {}", host(entry)),
            None => format!("no host is given, and only {} fits", host(entry)),
        });
    }
    if !request.path.matches(&wanted.path) {
        misses.push(format!("the path is not `{}`", path(&wanted.path)));
    }
    if !names(&wanted.methods, request.head.method) {
        misses.push(format!("the method is not {}", methods(wanted)));
    }
    for (name, value) in &wanted.headers {
        match request.head.headers.get(name) {
            None => misses.push(format!("header `{name}: {value}` is absent")),
            Some(found) if found.as_bytes() != value.as_bytes() => {
                misses.push(format!("header `{name}` is not `{value}`"));
            }
            Some(_) => {}
        }
    }
    for (name, value) in &wanted.query {
        if !query::has(request.head.query, name, value) {
            let what = match query::first(request.head.query, name) {
                None => format!("query `{name}={value}` is absent"),
                Some(_) => format!("query `{name}` is not `{value}`"),
            };
            misses.push(what);
        }
    }
    if !entry.matches_model(model) {
        misses.push(match model {
            Some(_) => format!("the model is not {}", model_of(entry)),
            None => format!("no model is given, and only {} fits", model_of(entry)),
        });
    }
    misses
}

/// The first thing in which `lower` ranks below `taken`.
fn difference(taken: &Entry, lower: &Entry) -> String {
    let (high, low) = (&taken.rank, &lower.rank);
    if high.host != low.host {
        return format!("host ({} against {})", host(lower), host(taken));
    }
    if high.path != low.path {
        let (lower, taken) = (&lower.route.matches.path, &taken.route.matches.path);
        return format!("path (`{}` against `{}`)", path(lower), path(taken));
    }
    if high.method != low.method {
        return "method (any against a named one)".to_owned();
    }
    if high.headers != low.headers {
        return format!(
            "header conditions ({} against {})",
            low.headers, high.headers
        );
    }
    if high.query != low.query {
        return format!("query conditions ({} against {})", low.query, high.query);
    }
    format!("model ({} against {})", model_of(lower), model_of(taken))
}

/// What `entry` asks for.
fn wants(entry: &Entry) -> String {
    let wanted = &entry.route.matches;
    let mut parts = Vec::new();
    if entry.host.is_some() {
        parts.push(format!("host {}", host(entry)));
    }
    parts.push(format!("path `{}`", path(&wanted.path)));
    if !wanted.methods.is_empty() {
        parts.push(format!("method {}", methods(wanted)));
    }
    parts.extend(
        wanted
            .headers
            .iter()
            .map(|(name, value)| format!("header `{name}: {value}`")),
    );
    parts.extend(
        wanted
            .query
            .iter()
            .map(|(name, value)| format!("query `{name}={value}`")),
    );
    if entry.model.is_some() {
        parts.push(format!("model {}", model_of(entry)));
    }
    parts.join(", ")
}

fn request_line(head: &Head<'_>, model: Option<&str>) -> String {
    let mut line = format!("{} {}", head.method, head.path);
    if let Some(query) = head.query {
        line.extend(["?", query]);
    }
    if let Some(host) = head.host {
        line.extend([", host ", host]);
    }
    if let Some(model) = model {
        line.extend([", model ", model]);
    }
    line
}

fn host(entry: &Entry) -> String {
    match &entry.host {
        None => "any".to_owned(),
        Some(HostPattern::Exact(name)) => format!("`{name}`"),
        Some(HostPattern::Below(suffix)) => format!("`*{suffix}`"),
    }
}

fn model_of(entry: &Entry) -> String {
    match &entry.model {
        None => "any".to_owned(),
        Some(ModelPattern::Exact(name)) => format!("`{name}`"),
        Some(ModelPattern::Prefix(start)) => format!("`{start}*`"),
    }
}

fn methods(wanted: &Matches) -> String {
    wanted
        .methods
        .iter()
        .map(Method::as_str)
        .collect::<Vec<_>>()
        .join(" or ")
}

/// A path pattern as it is written in a configuration.
fn path(pattern: &PathPattern) -> String {
    let mut text = String::new();
    for segment in &pattern.segments {
        text.push('/');
        match segment {
            Segment::Literal(literal) => text.push_str(literal),
            Segment::Parameter(name) => text.extend(["{", name, "}"]),
        }
    }
    if let Some(name) = &pattern.rest_name {
        text.extend(["/{", name, "*}"]);
    } else if pattern.rest {
        text.push_str("/*");
    } else if text.is_empty() {
        text.push('/');
    }
    text
}

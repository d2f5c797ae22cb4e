//! One route for one of its hosts and one of its models: what it matches, and its rank.

use std::sync::Arc;

use http::Method;

use super::host::{self, Host};
use super::path::{BadPath, Path};
use super::{Head, query};
use crate::config::{HostPattern, ModelPattern, PathPattern, Route, Segment};

/// A route seen through one of its hosts and one of its models.
#[derive(Debug)]
pub(super) struct Entry {
    /// The route.
    pub(super) route: Arc<Route>,
    /// Which of the routes it is; entries of one route never clash.
    pub(super) number: usize,
    /// The host, or any.
    pub(super) host: Option<HostPattern>,
    /// The model, or any and none.
    pub(super) model: Option<ModelPattern>,
    /// Where it stands among the others.
    pub(super) rank: Rank,
}

/// The rank: the first field that differs decides, the greater goes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rank {
    pub(super) host: Precision,
    pub(super) path: Vec<Step>,
    pub(super) method: bool,
    pub(super) headers: usize,
    pub(super) query: usize,
    pub(super) model: Precision,
}

/// How precisely a name is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Precision {
    /// Not at all.
    Any,
    /// By a part of this many bytes.
    Part(usize),
    /// Wholly.
    Exact,
}

/// One step of a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// `/*` or `/{name*}`.
    Rest,
    /// The pattern ends, and the path must too.
    End,
    /// `{name}`.
    Parameter,
    /// A segment as written.
    Literal,
}

/// A head as entries look at it.
pub(super) struct Request<'a> {
    pub(super) head: Head<'a>,
    pub(super) host: Host<'a>,
    pub(super) path: Path<'a>,
}

impl<'a> Request<'a> {
    /// Reads host and path; `None` when there is no path (`OPTIONS *`).
    #[inline]
    pub(super) fn read(head: &Head<'a>) -> Result<Option<Self>, BadPath> {
        let path = Path::read(head.path)?;
        Ok(path.map(|path| Self {
            head: *head,
            host: Host::read(head.host),
            path,
        }))
    }
}

impl Entry {
    /// Whether the head fits; the model is left to [`Entry::matches_model`].
    pub(super) fn matches(&self, request: &Request<'_>) -> bool {
        names(&self.route.matches.methods, request.head.method)
            && self.matches_target(request)
            && self.matches_headers(request)
    }

    /// Whether host, path and query fit: what a preflight shows too.
    pub(super) fn matches_target(&self, request: &Request<'_>) -> bool {
        let wanted = &self.route.matches;
        request.path.matches(&wanted.path)
            && request.host.matches(self.host.as_ref())
            && wanted
                .query
                .iter()
                .all(|(name, value)| query::has(request.head.query, name, value))
    }

    /// Whether the headers fit: the first value of each, byte for byte.
    pub(super) fn matches_headers(&self, request: &Request<'_>) -> bool {
        self.route.matches.headers.iter().all(|(name, value)| {
            request
                .head
                .headers
                .get(name)
                .is_some_and(|found| found.as_bytes() == value.as_bytes())
        })
    }

    /// Whether the model fits; a request without one fits only entries that ask for none.
    pub(super) fn matches_model(&self, model: Option<&str>) -> bool {
        match (&self.model, model) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ModelPattern::Exact(wanted)), Some(model)) => model == wanted,
            (Some(ModelPattern::Prefix(start)), Some(model)) => model.starts_with(start.as_str()),
        }
    }
}

/// The entries of `routes`, best rank first.
pub(super) fn compile(routes: &[Arc<Route>]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (number, route) in routes.iter().enumerate() {
        for host in each(&route.matches.hosts) {
            for model in each(&route.matches.models) {
                let host = host.map(host::normal);
                let rank = rank(route, host.as_ref(), model);
                let (route, model) = (route.clone(), model.cloned());
                entries.push(Entry {
                    route,
                    number,
                    host,
                    model,
                    rank,
                });
            }
        }
    }
    entries.sort_by(|a, b| b.rank.cmp(&a.rank));
    entries
}

/// Whether a route that names `methods` takes `method`. HEAD is GET without the content
/// (RFC 9110 §9.3.2), so who serves the one serves the other.
pub(super) fn names(methods: &[Method], method: &Method) -> bool {
    let same = |named: &Method| named == method || (method == Method::HEAD && named == Method::GET);
    methods.is_empty() || methods.iter().any(same)
}

/// Each of `list`, or once nothing when it is empty.
fn each<T>(list: &[T]) -> impl Iterator<Item = Option<&T>> {
    list.iter().map(Some).chain(list.is_empty().then_some(None))
}

fn rank(route: &Route, host: Option<&HostPattern>, model: Option<&ModelPattern>) -> Rank {
    Rank {
        host: match host {
            None => Precision::Any,
            Some(HostPattern::Below(suffix)) => Precision::Part(suffix.len()),
            Some(HostPattern::Exact(_)) => Precision::Exact,
        },
        path: steps(&route.matches.path),
        method: !route.matches.methods.is_empty(),
        headers: route.matches.headers.len(),
        query: route.matches.query.len(),
        model: match model {
            None => Precision::Any,
            Some(ModelPattern::Prefix(start)) => Precision::Part(start.len()),
            Some(ModelPattern::Exact(_)) => Precision::Exact,
        },
    }
}

fn steps(pattern: &PathPattern) -> Vec<Step> {
    let step = |segment: &Segment| match segment {
        Segment::Literal(_) => Step::Literal,
        Segment::Parameter(_) => Step::Parameter,
    };
    let last = if pattern.rest { Step::Rest } else { Step::End };
    pattern.segments.iter().map(step).chain([last]).collect()
}

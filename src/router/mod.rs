//! Request head → route.
//!
//! A route that names several hosts or models is split into one *entry* for each pair of them.
//! Entries are sorted once, by rank; a request takes the first entry that matches. Since the order
//! in the file carries no meaning, two entries of equal rank that could both match one request are
//! a fault ([`clashes`]), never a silent choice.
//!
//! # Rank
//!
//! The first difference decides:
//!
//! 1. **host**: exact, then `*.x` (longer first), then any;
//! 2. **path**, segment by segment: a literal before `{name}`, `{name}` before the end, and an
//!    ended pattern before `/*` and `/{name*}`, so that the longer literal prefix wins;
//! 3. **method**: named before any;
//! 4. **headers**: more conditions first;
//! 5. **query**: more conditions first;
//! 6. **model**: exact, then `x*` (longer first), then any.
//!
//! The model is last because it is the only part that is not in the head: everything else can be
//! decided before the first byte of a body is read.
//!
//! # What a request means
//!
//! Paths are compared by percent-decoded segments; `%2F` stays inside its segment. A path that two
//! readers could resolve differently (dot segments, control characters, broken escapes) is refused
//! with [`BadPath`]: a route is a promise about which paths reach a backend. Of a header or query
//! parameter that is there twice, the first value counts. `HEAD` matches a route that names `GET`;
//! `OPTIONS` is implied by nothing.

mod clash;
mod entry;
mod explain;
mod host;
mod parameters;
mod path;
mod query;

use std::sync::Arc;

use http::{HeaderMap, Method};

use crate::config::{Allow, Route};
use entry::{Entry, Request, names};

pub use clash::{Clash, clashes};
pub use explain::Explanation;
pub use parameters::{Parameters, parameters, query_values};
pub use path::{BadPath, after_literals};

/// Finds the route of a request. Cheap to clone; made once for each configuration.
#[derive(Debug, Clone)]
pub struct Router {
    /// Best rank first.
    entries: Arc<[Entry]>,
    /// Whether some routes ask for a key and some do not.
    guards: bool,
    /// Whether any route asks for a host.
    by_host: bool,
}

/// What the router looks at.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// The authority of the request target, else the `Host` field; with or without a port.
    pub host: Option<&'a str>,
    /// The method.
    pub method: &'a Method,
    /// The path as it was sent, still percent-encoded.
    pub path: &'a str,
    /// What follows `?`, still encoded.
    pub query: Option<&'a str>,
    /// The header fields.
    pub headers: &'a HeaderMap,
}

/// What a head leads to.
#[derive(Debug, Clone)]
pub enum Found<'r> {
    /// At least one entry matches, perhaps on condition of the model.
    Candidates(Candidates<'r>),
    /// Something would match but for the method (405): the methods for `Allow`, sorted, each once.
    MethodNotAllowed(Vec<Method>),
    /// Nothing matches (404).
    Nothing,
}

/// The entries that match a head, best first: any number that ask for the model, then at most one
/// that does not, since nothing after that one could be taken.
#[derive(Debug, Clone)]
pub struct Candidates<'r> {
    /// The first entries, in place; a list of models longer than this is rare.
    near: [Option<&'r Entry>; INLINE],
    /// The rest.
    far: Vec<&'r Entry>,
}

const INLINE: usize = 12;

impl Router {
    /// Compiles `routes`; their order does not matter.
    pub fn new(routes: &[Arc<Route>]) -> Self {
        Self {
            entries: entry::compile(routes).into(),
            guards: guards(routes),
            by_host: routes.iter().any(|route| !route.matches.hosts.is_empty()),
        }
    }

    /// Whether the host of a request matters.
    pub fn is_by_host(&self) -> bool {
        self.by_host
    }

    /// The entries that match `head`, or why there are none.
    ///
    /// # Errors
    ///
    /// [`BadPath`] when the path could be read in two ways (400).
    pub fn find<'r>(&'r self, head: &Head<'_>) -> Result<Found<'r>, BadPath> {
        if self.guards {
            path::one_reading(head.path)?;
        }
        let Some(request) = Request::read(head)? else {
            return Ok(Found::Nothing);
        };
        let mut found = Candidates::empty();
        for entry in self.entries.iter() {
            if !entry.matches(&request) {
                continue;
            }
            found.push(entry);
            if entry.model.is_none() {
                break;
            }
        }
        if found.near[0].is_some() {
            return Ok(Found::Candidates(found));
        }
        let allowed = self.allowed(&request);
        Ok(if allowed.is_empty() {
            Found::Nothing
        } else {
            Found::MethodNotAllowed(allowed)
        })
    }

    /// The route whose cross-origin rules answer a preflight for the method `asked`
    /// (WHATWG Fetch, CORS-preflight request); `None` when CORS is left to the backend.
    ///
    /// A preflight carries neither the headers nor the body of the request to come. An entry that
    /// depends on them is taken to match, and the best entry that has rules answers; the search ends
    /// at the first entry that is sure to match, with rules or without.
    ///
    /// # Errors
    ///
    /// [`BadPath`] as for [`Router::find`].
    pub fn preflight<'r>(
        &'r self,
        head: &Head<'_>,
        asked: &Method,
    ) -> Result<Option<&'r Arc<Route>>, BadPath> {
        let Some(mut request) = Request::read(head)? else {
            return Ok(None);
        };
        request.head.method = asked;
        for entry in self.entries.iter() {
            if !(entry.matches_target(&request) && names(&entry.route.matches.methods, asked)) {
                continue;
            }
            if entry.route.cors.is_some() {
                return Ok(Some(&entry.route));
            }
            if entry.model.is_none() && entry.route.matches.headers.is_empty() {
                break;
            }
        }
        Ok(None)
    }

    /// Which route `head` takes and why, and why not the others that came near.
    pub fn explain(&self, head: &Head<'_>, model: Option<&str>) -> Explanation {
        explain::explain(self, head, model)
    }

    /// The methods of every entry that matches but for the method.
    fn allowed(&self, request: &Request<'_>) -> Vec<Method> {
        let mut methods: Vec<Method> = self
            .entries
            .iter()
            .filter(|entry| entry.matches_target(request) && entry.matches_headers(request))
            .flat_map(|entry| &entry.route.matches.methods)
            .cloned()
            .collect();
        if methods.contains(&Method::GET) {
            methods.push(Method::HEAD);
        }
        methods.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        methods.dedup();
        methods
    }
}

/// Whether to slip from one route to another can spare a caller the key.
fn guards(routes: &[Arc<Route>]) -> bool {
    let asks = |route: &&Arc<Route>| matches!(route.allow, Allow::Callers(..));
    let asking = routes.iter().filter(asks).count();
    asking > 0 && asking < routes.len()
}

impl<'r> Candidates<'r> {
    /// Whether the best entry asks for the model, so that the body must be read to decide.
    pub fn needs_model(&self) -> bool {
        self.iter()
            .next()
            .is_some_and(|entry| entry.model.is_some())
    }

    /// How much of a body may be held to find the model, in bytes: the largest bound of the
    /// entries that ask for it.
    pub fn model_within(&self) -> usize {
        let asking = self.iter().filter(|entry| entry.model.is_some());
        asking
            .map(|entry| entry.route.model_within)
            .max()
            .unwrap_or(0)
    }

    /// The route for `model`; `None` when every entry asks for another one.
    pub fn pick(&self, model: Option<&str>) -> Option<&'r Arc<Route>> {
        self.iter()
            .find(|entry| entry.matches_model(model))
            .map(|entry| &entry.route)
    }

    /// The routes that may still be meant.
    pub fn routes(&self) -> impl Iterator<Item = &'r Arc<Route>> {
        self.iter().map(|entry| &entry.route)
    }

    fn empty() -> Self {
        Self {
            near: [None; INLINE],
            far: Vec::new(),
        }
    }

    fn push(&mut self, entry: &'r Entry) {
        match self.near.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(entry),
            None => self.far.push(entry),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &'r Entry> {
        self.near
            .iter()
            .map_while(|slot| *slot)
            .chain(self.far.iter().copied())
    }
}

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

//! The router against its definition: every rule of `docs/routing.md` once more, naively, with
//! nothing shared but the configuration's types.
#![allow(clippy::unwrap_used)]

use std::cmp::Ordering;
use std::sync::Arc;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::fixtures::{Asked, asked, hosts, models, pattern, route};
use super::{Found, Router, clashes};
use crate::config::{HostPattern, Matches, ModelPattern, PathPattern, Route, Segment};

/// One route, one host and one model of it.
#[derive(Clone)]
struct Single<'a> {
    route: &'a Arc<Route>,
    host: Option<&'a HostPattern>,
    model: Option<&'a ModelPattern>,
}

fn singles(routes: &[Arc<Route>]) -> Vec<Single<'_>> {
    let mut all = Vec::new();
    for route in routes {
        let mut hosts: Vec<Option<&HostPattern>> = route.matches.hosts.iter().map(Some).collect();
        let mut models: Vec<Option<&ModelPattern>> =
            route.matches.models.iter().map(Some).collect();
        if hosts.is_empty() {
            hosts.push(None);
        }
        if models.is_empty() {
            models.push(None);
        }
        for host in &hosts {
            for model in &models {
                all.push(Single {
                    route,
                    host: *host,
                    model: *model,
                });
            }
        }
    }
    all
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}

fn fits(single: &Single<'_>, asked: &Asked, with_method: bool, with_model: bool) -> bool {
    let wanted = &single.route.matches;
    let name = asked.host.clone().map(|host| {
        let name = host.split(':').next().unwrap_or_default().to_lowercase();
        name.trim_end_matches('.').to_owned()
    });
    let host = match (single.host, name) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(HostPattern::Exact(wanted)), Some(name)) => name == *wanted,
        (Some(HostPattern::Below(suffix)), Some(name)) => name.ends_with(suffix) && name != *suffix,
    };
    let segments: Vec<String> = match &asked.path[1..] {
        "" => Vec::new(),
        inner => inner.split('/').map(decoded).collect(),
    };
    let length = wanted.path.segments.len();
    let named = wanted.path.rest_name.is_none()
        || segments
            .iter()
            .skip(length)
            .any(|segment| !segment.is_empty());
    let path = (if wanted.path.rest {
        segments.len() >= length
    } else {
        segments.len() == length
    }) && named
        && wanted
            .path
            .segments
            .iter()
            .zip(&segments)
            .all(|(pattern, segment)| match pattern {
                Segment::Literal(text) => text == segment,
                Segment::Parameter(_) => !segment.is_empty(),
            });
    let head_as_get = asked.method == Method::HEAD && wanted.methods.contains(&Method::GET);
    let method = !with_method
        || wanted.methods.is_empty()
        || wanted.methods.contains(&asked.method)
        || head_as_get;
    let headers = wanted.headers.iter().all(|(name, value)| {
        asked
            .headers
            .get(name)
            .is_some_and(|found| found.to_str().is_ok_and(|found| found == value))
    });
    let pairs: Vec<(String, String)> = asked
        .query
        .as_deref()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(&value.replace('+', " "))))
        .collect();
    let query = wanted.query.iter().all(|(name, value)| {
        pairs
            .iter()
            .find(|(found, _)| found == name)
            .is_some_and(|(_, found)| found == value)
    });
    let model = !with_model
        || match (single.model, &asked.model) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ModelPattern::Exact(wanted)), Some(model)) => wanted == model,
            (Some(ModelPattern::Prefix(start)), Some(model)) => model.starts_with(start),
        };
    host && path && method && headers && query && model
}

/// Which of two outranks the other, as the documentation says it.
fn outranks(a: &Single<'_>, b: &Single<'_>) -> Ordering {
    let host = |single: &Single<'_>| match single.host {
        Some(HostPattern::Exact(_)) => (2, 0),
        Some(HostPattern::Below(suffix)) => (1, suffix.len()),
        None => (0, 0),
    };
    let model = |single: &Single<'_>| match single.model {
        Some(ModelPattern::Exact(_)) => (2, 0),
        Some(ModelPattern::Prefix(start)) => (1, start.len()),
        None => (0, 0),
    };
    let (one, other) = (&a.route.matches, &b.route.matches);
    let path = || {
        let step = |pattern: &PathPattern, at: usize| match pattern.segments.get(at) {
            Some(Segment::Literal(_)) => 3,
            Some(Segment::Parameter(_)) => 2,
            None if !pattern.rest => 1,
            None => 0,
        };
        let length = one.path.segments.len().max(other.path.segments.len());
        (0..=length)
            .map(|at| step(&one.path, at).cmp(&step(&other.path, at)))
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    };
    host(a)
        .cmp(&host(b))
        .then_with(path)
        .then_with(|| {
            one.methods
                .is_empty()
                .cmp(&other.methods.is_empty())
                .reverse()
        })
        .then_with(|| one.headers.len().cmp(&other.headers.len()))
        .then_with(|| one.query.len().cmp(&other.query.len()))
        .then_with(|| model(a).cmp(&model(b)))
}

fn some_of<T: Clone + std::fmt::Debug + 'static>(
    list: &[T],
    most: usize,
) -> impl Strategy<Value = Vec<T>> + use<T> {
    prop::sample::subsequence(list.to_vec(), 0..=most)
}

prop_compose! {
    fn any_matches()(
        host in some_of(&["a.b.c", "x.b.c", "*.b.c", "*.c"], 2),
        segments in prop::collection::vec(prop::sample::select(vec!["a", "b", "{x}"]), 0..4),
        rest in prop::sample::select(vec!["", "/*", "/{rest*}"]),
        methods in some_of(&[Method::GET, Method::HEAD, Method::POST], 2),
        headers in some_of(&[("h", "1"), ("i", "1"), ("i", "2")], 1),
        query in some_of(&[("q", "1"), ("q", "2 "), ("r", "1")], 1),
        model in some_of(&["m", "mm", "m*", "n*"], 2),
    ) -> Matches {
        let mut path = String::new();
        for (at, segment) in segments.iter().enumerate() {
            // A pattern names no parameter twice.
            path.push_str(&format!("/{}", segment.replace('x', &format!("x{at}"))));
        }
        path.push_str(if rest.is_empty() && path.is_empty() { "/" } else { rest });
        Matches {
            hosts: hosts(&host),
            path: pattern(&path),
            methods,
            query: query.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
            headers: headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), value.into())).collect(),
            models: models(&model),
        }
    }
}

prop_compose! {
    fn any_request()(
        host in prop::option::of(prop::sample::select(vec!["a.b.c", "A.B.c:80", "x.b.c.", "y.b.c", "b.c", "c"])),
        method in prop::sample::select(vec![Method::GET, Method::HEAD, Method::POST]),
        segments in prop::collection::vec(prop::sample::select(vec!["a", "%61", "b", "a%2fb", ""]), 1..4),
        query in prop::collection::vec(prop::sample::select(vec!["q=1", "q=2+", "q=%32%20", "r=1", "%72=1"]), 0..3),
        headers in prop::collection::vec(prop::sample::select(vec![("h", "1"), ("i", "1"), ("i", "2")]), 0..3),
        model in prop::option::of(prop::sample::select(vec!["m", "mm", "mx", "n", "o"])),
    ) -> Asked {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_static(value));
        }
        Asked {
            host: host.map(Into::into),
            method,
            path: format!("/{}", segments.join("/")),
            query: (!query.is_empty()).then(|| query.join("&")),
            headers: map,
            model: model.map(Into::into),
        }
    }
}

fn any_routes(most: usize) -> impl Strategy<Value = Vec<Arc<Route>>> {
    prop::collection::vec(any_matches(), 1..=most).prop_map(|all| {
        all.into_iter()
            .enumerate()
            .map(|(at, matches)| route(&format!("r{at}"), matches))
            .collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The route taken is one that fits and that nothing which fits outranks; 405 and its list are
    /// what the methods of the fitting routes make them.
    #[test]
    fn agrees_with_the_definition(routes in any_routes(8), requests in prop::collection::vec(any_request(), 12)) {
        let router = Router::new(&routes);
        let singles = singles(&routes);
        for asked in &requests {
            let fitting: Vec<_> = singles.iter().filter(|single| fits(single, asked, true, true)).collect();
            let found = router.find(&asked.head()).unwrap();
            let told = router.explain(&asked.head(), asked.model.as_deref());
            match &found {
                Found::Candidates(candidates) => {
                    let taken = candidates.pick(asked.model.as_deref());
                    prop_assert_eq!(taken.is_some(), !fitting.is_empty());
                    prop_assert_eq!(told.route().map(|r| &r.name), taken.map(|r| &r.name));
                    if let Some(taken) = taken {
                        let best = fitting.iter().max_by(|a, b| outranks(a, b));
                        let best_of_taken = fitting
                            .iter()
                            .filter(|single| Arc::ptr_eq(single.route, taken))
                            .max_by(|a, b| outranks(a, b));
                        prop_assert!(best_of_taken.is_some(), "{} does not fit {:?}", taken.name, asked);
                        prop_assert_eq!(best_of_taken.zip(best).map(|(a, b)| outranks(a, b)), Some(Ordering::Equal));
                    }
                    let any_fits = singles.iter().any(|single| fits(single, asked, true, false));
                    prop_assert!(any_fits);
                }
                Found::MethodNotAllowed(methods) => {
                    prop_assert!(fitting.is_empty());
                    for method in [Method::GET, Method::HEAD, Method::POST] {
                        let tried = Asked { method: method.clone(), ..asked.clone() };
                        let fits = singles.iter().any(|single| fits(single, &tried, true, false));
                        prop_assert_eq!(methods.contains(&method), fits);
                    }
                    prop_assert!(methods.is_sorted_by(|a, b| a.as_str() < b.as_str()));
                }
                Found::Nothing => prop_assert!(!singles.iter().any(|single| fits(single, asked, false, false))),
            }
        }
    }

    /// Where `clashes` finds none, nothing is ever undecided; what it finds is undecided indeed.
    #[test]
    fn clashes_are_exactly_the_undecided(mut routes in any_routes(6), requests in prop::collection::vec(any_request(), 24)) {
        for clash in clashes(&routes) {
            let both = [clash.first.clone(), clash.second.clone()];
            prop_assert!(undecided(&both, &asked(&clash.example)), "{}", clash);
        }
        while let Some(clash) = clashes(&routes).first() {
            routes.retain(|route| !Arc::ptr_eq(route, &clash.second));
        }
        for asked in &requests {
            prop_assert!(!undecided(&routes, asked), "{:?}", asked);
        }
    }
}

/// Whether two routes fit `asked` with the same, highest rank.
fn undecided(routes: &[Arc<Route>], asked: &Asked) -> bool {
    let singles = singles(routes);
    let fitting: Vec<_> = singles
        .iter()
        .filter(|single| fits(single, asked, true, true))
        .collect();
    fitting.iter().any(|a| {
        fitting
            .iter()
            .any(|b| !Arc::ptr_eq(a.route, b.route) && outranks(a, b) == Ordering::Equal)
    })
}

//! Routes and requests for tests, written as one line each:
//! `POST|PUT a.example|*.b.example/v1/{id}/*?alt=sse, x-tier: gold, model gpt-*|o3`.
//! `ANY` is any method; a part that is left out is any. Requests are written the same way, which is
//! also how a clash writes its example.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::{Found, Head, Router};
use crate::config::*;

/// A route to one upstream.
pub(super) fn route(name: &str, matches: Matches) -> Arc<Route> {
    let upstream = Upstream {
        name: "first".into(),
        endpoints: vec![Weighted {
            endpoint: Endpoint::Demo,
            weight: 1,
        }],
        balance: Balance::default(),
        http: HttpVersion::default(),
        lookup: Duration::from_secs(1),
        check: None,
        eject: None,
        retry_budget: RetryBudget::default(),
        prefill: Prefill::default(),
        credential: None,
        ca: None,
        pool_idle: 1,
        pool_keep: Duration::from_secs(1),
        clocks: Clocks::default(),
    };
    Arc::new(Route {
        name: name.into(),
        place: Place {
            file: "test.toml".into(),
            line: 1,
            column: 1,
        },
        matches,
        to: vec![Target {
            upstream: Arc::new(upstream),
            model: None,
            larger: false,
        }],
        share: None,
        resume: None,
        publish: None,
        subscribe: Vec::new(),
        patterns: false,
        greeting: None,
        max_age: None,
        credentials_in: CredentialsIn::default(),
        rewrite: None,
        request_headers: HeaderEdits::default(),
        response_headers: HeaderEdits::default(),
        allow: Allow::Everybody,
        cors: None,
        max_body: 1,
        model_within: name.len(),
        heartbeat: None,
        early_head: None,
        clocks: Clocks::default(),
        dialect: DialectChoice::Auto,
        retry: None,
        failures: Remedies::default(),
        hedge: None,
        rescue: false,
        usage: TellUsage::default(),
    })
}

/// The same route with cross-origin rules.
pub(super) fn with_cors(route: &Arc<Route>) -> Arc<Route> {
    let mut route = Route::clone(route);
    route.cors = Some(Cors {
        origins: Origins::Any,
        methods: Vec::new(),
        headers: Vec::new(),
        expose: Vec::new(),
        credentials: false,
        max_age: Duration::ZERO,
    });
    Arc::new(route)
}

/// Routes from names and lines.
pub(super) fn routes(lines: &[(&str, &str)]) -> Vec<Arc<Route>> {
    lines
        .iter()
        .map(|(name, line)| route(name, matches(line)))
        .collect()
}

fn matches(line: &str) -> Matches {
    let line = asked(line);
    let list = |text: &str| text.split('|').map(str::to_owned).collect::<Vec<_>>();
    let names = |text: Option<&String>| text.map(|text| list(text)).unwrap_or_default();
    let methods = list(line.method.as_str());
    let value = |value: &HeaderValue| value.to_str().unwrap().to_owned();
    Matches {
        hosts: hosts(&names(line.host.as_ref())),
        path: pattern(&line.path),
        methods: methods
            .iter()
            .filter(|name| *name != "ANY")
            .map(|name| name.parse().unwrap())
            .collect(),
        query: line
            .query
            .iter()
            .flat_map(|query| query.split('&'))
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace('+', " ")))
            .collect(),
        headers: line
            .headers
            .iter()
            .map(|(name, text)| (name.clone(), value(text)))
            .collect(),
        models: models(&names(line.model.as_ref())),
    }
}

pub(super) fn pattern(text: &str) -> PathPattern {
    text.parse().unwrap()
}

pub(super) fn hosts(list: &[impl AsRef<str>]) -> Vec<HostPattern> {
    list.iter()
        .map(|text| text.as_ref().parse().unwrap())
        .collect()
}

pub(super) fn models(list: &[impl AsRef<str>]) -> Vec<ModelPattern> {
    list.iter()
        .map(|text| text.as_ref().parse().unwrap())
        .collect()
}

/// A request that owns what a head borrows.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) host: Option<String>,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) model: Option<String>,
}

/// A request from its line.
pub(super) fn asked(line: &str) -> Asked {
    let mut parts = line.split(", ");
    let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
    // Only `*` has no slash.
    let (host, target) = target.split_at(target.find('/').unwrap_or(0));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.replace(' ', "+"))),
        None => (target, None),
    };
    let mut asked = Asked {
        host: (!host.is_empty()).then(|| host.to_owned()),
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        path: path.to_owned(),
        query,
        headers: HeaderMap::new(),
        model: None,
    };
    for part in parts {
        match part.strip_prefix("model ") {
            Some(model) => asked.model = Some(model.to_owned()),
            None => {
                let (name, value) = part.split_once(": ").unwrap();
                let name: HeaderName = name.parse().unwrap();
                asked.headers.append(name, value.parse().unwrap());
            }
        }
    }
    asked
}

impl Asked {
    pub(super) fn head(&self) -> Head<'_> {
        Head {
            host: self.host.as_deref(),
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
        }
    }

    /// The name of the route it takes, or the status it is refused with.
    pub(super) fn takes(&self, routes: &[Arc<Route>]) -> String {
        match Router::new(routes).find(&self.head()) {
            Ok(Found::Candidates(found)) => match found.pick(self.model.as_deref()) {
                Some(route) => route.name.to_string(),
                None => "404".to_owned(),
            },
            Ok(Found::MethodNotAllowed(methods)) => {
                let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
                format!("405 {}", methods.join(", "))
            }
            Ok(Found::Nothing) => "404".to_owned(),
            Err(_) => "400".to_owned(),
        }
    }
}

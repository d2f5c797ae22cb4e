//! The plane: everything a configuration compiles to, built whole and swapped by one pointer.
//!
//! What must outlive a configuration (the endpoints with their connections and state) is kept in the
//! [`Registry`], keyed by identity, and found again by the next plane.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use http::HeaderValue;
use http::header::LINK;
use rustls::pki_types::ServerName;
use tower_http::cors::CorsLayer;

use super::generation::DELTAWAY_STREAM;
use super::took::Took;
use crate::config::{self, Clocks, Config, Dialect, ResolvedClocks, Trouble};
use crate::edge::cors;
use crate::metrics::{
    Counted, Metrics, RescueSeries, RouteSeries, TokenKind, TokenSeries, UpstreamSeries,
};
use crate::router::Router;
use crate::upstream::{
    Balancer, Budget, Endpoint, Group, Health, Lookup, Member, Place, TlsFault, tls,
};

/// A configuration at work.
pub struct Plane {
    /// What it was built from.
    pub config: Arc<Config>,
    /// Finds a request's route.
    pub router: Router,
    /// In the order of the addresses of the configured routes, which live as long as `config`.
    routes: Vec<Arc<LiveRoute>>,
    /// Every upstream, by name.
    groups: BTreeMap<Arc<str>, Arc<Group>>,
    /// Whether any route keeps answers.
    keeps: bool,
}

/// A route at work.
#[derive(Debug)]
pub struct LiveRoute {
    /// What it was built from.
    pub config: Arc<config::Route>,
    /// Where requests go, in order of preference.
    pub chain: Vec<Entry>,
    /// The route's cross-origin rules.
    pub cors: Option<CorsLayer>,
    /// Where kept answers are found.
    pub hub_path: Arc<str>,
    /// What is counted of answers that others continued.
    pub rescues: RescueSeries,
}

/// One entry of a route's chain.
#[derive(Debug)]
pub struct Entry {
    /// The upstream as configured.
    pub upstream: Arc<config::Upstream>,
    /// Its endpoints.
    pub group: Arc<Group>,
    /// The clocks of a request that speaks no model API, and of one that does.
    pub clocks: [ResolvedClocks; 2],
    /// The model name the upstream knows, where it differs.
    pub model: Option<Arc<str>>,
    /// What is counted for it.
    pub series: RouteSeries,
    /// What is counted of the attempts on the upstream.
    pub attempts: UpstreamSeries,
    /// What its answers on this route took.
    pub tokens: TokenSeries,
}

impl Entry {
    /// Counts what an answer took that its upstream has ended.
    pub(super) fn count_tokens(&self, took: &Took) {
        let usage = &took.usage;
        let told = [
            (TokenKind::Prompt, usage.prompt),
            (TokenKind::Cached, usage.cached),
            (TokenKind::Reasoning, usage.reasoning),
        ];
        for (kind, tokens) in told {
            // Most answers tell nothing, and all workers share the counters.
            if let Some(tokens) = tokens {
                self.tokens.of(kind, Counted::Reported).inc_by(tokens);
            }
        }
        if let Some((tokens, estimated)) = took.of_the_last() {
            let counted = match estimated {
                true => Counted::Estimated,
                false => Counted::Reported,
            };
            self.tokens
                .of(TokenKind::Completion, counted)
                .inc_by(tokens);
        }
    }
}

/// What outlives every plane.
#[derive(Debug, Default)]
pub struct Registry {
    /// By address, and by whom its certificate has to be from.
    endpoints: DashMap<(config::Endpoint, Option<PathBuf>), Arc<Endpoint>>,
    next: AtomicU64,
    demo: Option<SocketAddr>,
}

/// Why a checked configuration cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum PlaneFault {
    /// TLS towards an upstream cannot be set up.
    #[error("upstreams.{upstream}: {fault}")]
    Tls {
        /// The upstream.
        upstream: Arc<str>,
        /// What is missing.
        fault: TlsFault,
    },
    /// A host is neither a name nor an address.
    #[error("upstreams.{upstream}: `{host}` is neither a host name nor an address")]
    Host {
        /// The upstream.
        upstream: Arc<str>,
        /// The host as written.
        host: Arc<str>,
    },
}

impl std::fmt::Debug for Plane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plane")
            .field("routes", &self.routes)
            .finish_non_exhaustive()
    }
}

impl Plane {
    /// Compiles `config`.
    ///
    /// # Errors
    ///
    /// [`PlaneFault`]: nothing has changed then.
    pub fn build(
        config: Arc<Config>,
        registry: &Registry,
        metrics: &Metrics,
    ) -> Result<Self, PlaneFault> {
        let mut groups = BTreeMap::new();
        for upstream in config.upstreams.values() {
            groups.insert(
                upstream.name.clone(),
                Arc::new(registry.group(upstream, metrics)?),
            );
        }
        let words = Trouble::ALL.map(Trouble::word);
        let live = |route: &Arc<config::Route>| {
            let chain = route.to.iter().map(|target| Entry {
                upstream: target.upstream.clone(),
                clocks: [Dialect::Plain, Dialect::OpenaiChat].map(|dialect| {
                    Clocks::resolve(&route.clocks, &target.upstream.clocks, dialect)
                }),
                group: groups[&target.upstream.name].clone(),
                model: target.model.clone(),
                series: metrics.route(route.name.clone(), target.upstream.name.clone()),
                attempts: metrics.upstream(&target.upstream.name, &words),
                tokens: metrics.tokens(&route.name, &target.upstream.name),
            });
            Arc::new(LiveRoute {
                config: route.clone(),
                chain: chain.collect(),
                cors: route
                    .cors
                    .as_ref()
                    .map(|rules| cors::layer(&exposing(rules, route))),
                hub_path: config.hub.path.clone(),
                rescues: metrics.rescues(&route.name),
            })
        };
        let mut routes: Vec<_> = config.routes.iter().map(live).collect();
        routes.sort_unstable_by_key(|live| Arc::as_ptr(&live.config));
        Ok(Self {
            router: Router::new(&config.routes),
            routes,
            groups,
            keeps: config.routes.iter().any(|route| route.resume.is_some()),
            config: config.clone(),
        })
    }

    /// The id in the path of a kept answer, where answers are kept at all.
    pub fn stream_id<'p>(&self, path: &'p str) -> Option<&'p str> {
        if !self.keeps {
            return None;
        }
        let id = path
            .strip_prefix(&*self.config.hub.path)?
            .strip_prefix('/')?;
        (!id.is_empty() && !id.contains('/')).then_some(id)
    }

    /// Every upstream, whether a route names it or not, in the order of their names.
    pub fn groups(&self) -> Vec<Arc<Group>> {
        self.groups.values().cloned().collect()
    }

    /// The live form of a route the router has found.
    pub fn live(&self, route: &Arc<config::Route>) -> Option<&Arc<LiveRoute>> {
        let sought = Arc::as_ptr(route);
        let at = self
            .routes
            .binary_search_by_key(&sought, |live| Arc::as_ptr(&live.config));
        self.routes.get(at.ok()?)
    }
}

/// The cross-origin rules of a route; scripts may read where a kept answer is found.
fn exposing(rules: &config::Cors, route: &config::Route) -> config::Cors {
    let mut rules = rules.clone();
    if route.resume.is_some() {
        for name in [DELTAWAY_STREAM, LINK] {
            if !rules.expose.contains(&name) {
                rules.expose.push(name);
            }
        }
    }
    rules
}

impl Registry {
    /// A registry in which `builtin:demo` is served at `demo`.
    pub fn new(demo: Option<SocketAddr>) -> Self {
        Self {
            demo,
            ..Self::default()
        }
    }

    fn group(
        &self,
        upstream: &Arc<config::Upstream>,
        metrics: &Metrics,
    ) -> Result<Group, PlaneFault> {
        let member = |weighted: &config::Weighted| {
            let endpoint = self.endpoint(upstream, &weighted.endpoint)?;
            Ok(Member {
                series: metrics.endpoint(&upstream.name, &endpoint.name),
                weight: weighted.weight,
                endpoint,
            })
        };
        let members: Vec<_> = upstream
            .endpoints
            .iter()
            .map(member)
            .collect::<Result<_, PlaneFault>>()?;
        let secure = members
            .iter()
            .any(|member| member.endpoint.server_name.is_some());
        let tls = match secure {
            true => Some(
                tls(upstream.ca.as_deref()).map_err(|fault| PlaneFault::Tls {
                    upstream: upstream.name.clone(),
                    fault,
                })?,
            ),
            false => None,
        };
        Ok(Group {
            name: upstream.name.clone(),
            config: upstream.clone(),
            members,
            tls,
            balancer: Balancer::new(upstream.balance.clone()),
            retries: Budget::default(),
            hedges: Budget::default(),
        })
    }

    fn endpoint(
        &self,
        upstream: &config::Upstream,
        endpoint: &config::Endpoint,
    ) -> Result<Arc<Endpoint>, PlaneFault> {
        let identity = (endpoint.clone(), upstream.ca.clone());
        if let Some(known) = self.endpoints.get(&identity) {
            return Ok(known.clone());
        }
        let live = Arc::new(self.make(upstream, endpoint)?);
        self.endpoints.insert(identity, live.clone());
        Ok(live)
    }

    fn make(
        &self,
        upstream: &config::Upstream,
        endpoint: &config::Endpoint,
    ) -> Result<Endpoint, PlaneFault> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = endpoint.to_string().into();
        let (tls, host, port, base) = match endpoint {
            config::Endpoint::Url {
                tls,
                host,
                port,
                base,
            } => (*tls, host, *port, base.clone()),
            config::Endpoint::Demo => {
                // Nothing is listening there when no demo was started: a refused connection.
                let place = self
                    .demo
                    .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 1)));
                return Ok(Endpoint {
                    number,
                    name,
                    authority: HeaderValue::from_static("demo.localhost"),
                    base: Arc::from(""),
                    place: Place::Address(place),
                    server_name: None,
                    health: Health::default(),
                });
            }
        };
        let bad_host = || PlaneFault::Host {
            upstream: upstream.name.clone(),
            host: host.clone(),
        };
        let bracketed = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.to_string()
        };
        let default_port = if tls { 443 } else { 80 };
        let authority = if port == default_port {
            bracketed
        } else {
            format!("{bracketed}:{port}")
        };
        let server_name = match tls {
            true => Some(ServerName::try_from(host.to_string()).map_err(|_| bad_host())?),
            false => None,
        };
        Ok(Endpoint {
            number,
            name,
            authority: HeaderValue::try_from(authority).map_err(|_| bad_host())?,
            base,
            place: match host.parse() {
                Ok(address) => Place::Address(SocketAddr::new(address, port)),
                Err(_) => Place::Name {
                    host: host.clone(),
                    port,
                    lookup: Lookup::default(),
                },
            },
            server_name,
            health: Health::default(),
        })
    }
}

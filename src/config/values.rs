//! The configuration as compiled: checked, units resolved, secrets wrapped.
//!
//! Nothing here knows TOML. A value of these types is known to be good: every name that is
//! referred to exists, every duration and size is in its unit, every secret is behind [`Secret`].
//! [`Place`] keeps where a route stood in the file, so that faults which only a later room can see
//! (two routes of equal rank) are still reported with line and column.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http::header::{HeaderName, HeaderValue};

use super::secret::Secret;

mod failures;
mod streams;

pub use failures::*;
pub use streams::*;

/// Everything one configuration says.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listener for clients.
    pub server: Server,
    /// The listener for operators; none unless configured.
    pub admin: Option<Admin>,
    /// What is logged, and how.
    pub log: Log,
    /// The callers' API keys, by name.
    pub keys: BTreeMap<String, Arc<ApiKey>>,
    /// The issuers of callers' tokens, by name.
    pub issuers: BTreeMap<String, Arc<Issuer>>,
    /// Bounds of all streams together.
    pub hub: Hub,
    /// What holds for topics, most particular pattern first; the first that matches a topic counts.
    pub topics: Vec<Arc<TopicRules>>,
    /// The named groups of endpoints, by name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// The routes, in the order of the file (which carries no meaning).
    pub routes: Vec<Arc<Route>>,
}

/// Where a value stands in the file: 1-based.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named, or `<embedded>`.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// `[server]`: the listener for clients.
#[derive(Debug, Clone)]
pub struct Server {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Worker threads; `None` is one for each core.
    pub workers: Option<usize>,
    /// Connections at once, over all workers; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// Largest request head, in bytes.
    pub max_head: usize,
    /// From a request's first byte to the end of its head.
    pub head_timeout: Duration,
    /// How long a connection may rest between two requests.
    pub keep_alive: Duration,
    /// The longest pause in a request body that is being sent.
    pub upload_timeout: Duration,
    /// After SIGTERM: how long running streams may go on.
    pub drain: Duration,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
}

/// `[admin]`: the listener for operators.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Address to listen on.
    pub listen: SocketAddr,
}

/// `[log]`.
#[derive(Debug, Clone)]
pub struct Log {
    /// Lines for machines or for people.
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `deltaway=debug`.
    pub level: String,
    /// Whether each request gets its access-log line.
    pub access: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Readable text.
    Text,
}

/// `[keys.NAME]`: one caller's key, held as its SHA-256 only.
#[derive(Clone)]
pub struct ApiKey {
    /// The name used in `allow` and in the access log.
    pub name: Arc<str>,
    /// SHA-256 of each key this name goes by (a file may hold several, one a line). None where its
    /// value was allowed to be empty, and is: then nobody is let in by it.
    pub hashes: Vec<[u8; 32]>,
    /// What its holders may publish to and subscribe to.
    pub topics: TopicRights,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// `[upstreams.NAME]`: a named group of endpoints.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints, at least one.
    pub endpoints: Vec<Weighted>,
    /// How one of them is chosen.
    pub balance: Balance,
    /// The version of HTTP spoken to them.
    pub http: HttpVersion,
    /// How long the addresses of their names are used before they are looked up again.
    pub lookup: Duration,
    /// Whether they are asked if they are well; none trusts what requests show.
    pub check: Option<Check>,
    /// When one is left out because its answers fail; none is never.
    pub eject: Option<Eject>,
    /// How many requests may be sent again.
    pub retry_budget: RetryBudget,
    /// How they take the beginning of an answer that is to be continued.
    pub prefill: Prefill,
    /// What proves to the upstream who is calling; replaces the caller's own credentials.
    pub credential: Option<Credential>,
    /// Own certificate authorities instead of the system's (PEM).
    pub ca: Option<PathBuf>,
    /// Idle connections kept for each endpoint by each worker.
    pub pool_idle: usize,
    /// How long an idle connection is kept; below what the servers behind it use.
    pub pool_keep: Duration,
    /// Clocks of this upstream; a route's own outweigh them.
    pub clocks: Clocks,
}

/// One address of an upstream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `http://host:port/base` or `https://…`.
    Url {
        /// Whether TLS is spoken.
        tls: bool,
        /// Host as in the URL, without brackets.
        host: Arc<str>,
        /// Port, the scheme's own if none was written.
        port: u16,
        /// Path put before every request's path: empty or `/…` without a slash at the end.
        base: Arc<str>,
    },
    /// `builtin:demo`: the demo backend inside this process.
    Demo,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url {
                tls,
                host,
                port,
                base,
            } => {
                let scheme = if *tls { "https" } else { "http" };
                let (open, close) = if host.contains(':') {
                    ("[", "]")
                } else {
                    ("", "")
                };
                write!(f, "{scheme}://{open}{host}{close}:{port}{base}")
            }
            Self::Demo => f.write_str("builtin:demo"),
        }
    }
}

/// What is put into requests to an upstream.
#[derive(Debug, Clone)]
pub enum Credential {
    /// `Authorization: Bearer SECRET`.
    Bearer(Secret),
    /// `NAME: SECRET`.
    Header(HeaderName, Secret),
    /// `?NAME=SECRET`.
    Query(Arc<str>, Secret),
}

/// A limit that may be left to somebody else, or taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Limit {
    /// Not written here.
    #[default]
    Unset,
    /// `"off"`: no limit.
    Off,
    /// The limit.
    After(Duration),
}

impl Limit {
    /// This limit, or `other` where this one was not written.
    pub fn or(self, other: Self) -> Self {
        if self == Self::Unset { other } else { self }
    }

    /// The duration, if there is a limit.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::After(limit) => Some(limit),
            Self::Unset | Self::Off => None,
        }
    }
}

/// The five clocks and the total. Our own heartbeats reset none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// Name look-up, TCP and TLS until a request could be written.
    pub connect: Limit,
    /// From the start of the attempt until the whole head of the answer is there.
    pub first_byte: Limit,
    /// From the start of the attempt until the first event of an event stream is whole.
    pub first_event: Limit,
    /// The longest silence of an upstream between two reads; stands still while the client holds us back.
    pub idle: Limit,
    /// The longest time the client takes no byte while there are bytes for it.
    pub stall: Limit,
    /// From the request's arrival to the end of its answer.
    pub total: Limit,
}

/// `[routes.NAME]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name.
    pub name: Arc<str>,
    /// Where it stands in the file.
    pub place: Place,
    /// What a request must be like.
    pub matches: Matches,
    /// Where it goes, in order of preference; none only where it publishes or subscribes.
    pub to: Vec<Target>,
    /// Readers of one URL share one upstream connection; none relays each by itself.
    pub share: Option<Share>,
    /// Streamed answers are kept, and can be resumed and watched; none relays them directly.
    pub resume: Option<Resume>,
    /// What is published to: the topic of a `POST`.
    pub publish: Option<TopicTemplate>,
    /// What is subscribed to by a `GET`; empty where nothing is.
    pub subscribe: Vec<TopicTemplate>,
    /// Whether a client may name patterns (`*`) where a template takes its topics from a request.
    pub patterns: bool,
    /// The first event of each subscription; none sends none.
    pub greeting: Option<Greeting>,
    /// How long a subscription lasts at most, less up to a fifth by chance; none is for ever.
    pub max_age: Option<Duration>,
    /// Replaces the part of the path that `path` names literally.
    pub rewrite: Option<Arc<str>>,
    /// Headers set and removed on the way to the upstream.
    pub request_headers: HeaderEdits,
    /// Headers set and removed on the way to the client.
    pub response_headers: HeaderEdits,
    /// The callers let in.
    pub allow: Allow,
    /// Where else than in header fields a caller may show its key or token.
    pub credentials_in: CredentialsIn,
    /// Cross-origin rules; none leaves CORS to the backend.
    pub cors: Option<Cors>,
    /// Largest request body, in bytes.
    pub max_body: u64,
    /// How much of a body may be held to find `model` in it, in bytes.
    pub model_within: usize,
    /// A silent event stream gets a comment this often; `None` is never.
    pub heartbeat: Option<Duration>,
    /// Answer the head after this long without the upstream's own; `None` is never.
    pub early_head: Option<Duration>,
    /// Clocks of this route; they outweigh the upstream's.
    pub clocks: Clocks,
    /// The model API spoken here.
    pub dialect: DialectChoice,
    /// How requests are sent again; none sends each once to each entry.
    pub retry: Option<Retry>,
    /// What is done about each way to fail.
    pub failures: Remedies,
    /// When the next entry is asked beside one that takes long; none is never.
    pub hedge: Option<Hedge>,
    /// Whether an answer that was cut is continued on the next entry.
    pub rescue: bool,
    /// Where the caller is told what its answer took.
    pub usage: TellUsage,
}

/// One entry of `to`.
#[derive(Debug, Clone)]
pub struct Target {
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// The model name the upstream knows, where it differs from the caller's.
    pub model: Option<Arc<str>>,
    /// Whether it is asked only where the request was too long for an entry before it.
    pub larger: bool,
}

/// What a request must be like for a route.
#[derive(Clone, Default)]
pub struct Matches {
    /// Any of these hosts, lower case, without port; empty is any host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Any of these methods; empty is any method.
    pub methods: Vec<Method>,
    /// All of these query parameters.
    pub query: Vec<(String, String)>,
    /// All of these headers.
    pub headers: Vec<(HeaderName, String)>,
    /// Any of these models; empty is any model, and none.
    pub models: Vec<ModelPattern>,
}

impl std::fmt::Debug for Matches {
    /// Without the values of query and headers: a secret may be what tells two routes apart.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let query: Vec<_> = self.query.iter().map(|(name, _)| name).collect();
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name).collect();
        f.debug_struct("Matches")
            .field("hosts", &self.hosts)
            .field("path", &self.path)
            .field("methods", &self.methods)
            .field("query", &query)
            .field("headers", &headers)
            .field("models", &self.models)
            .finish()
    }
}

/// A host in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostPattern {
    /// `api.example.com`.
    Exact(String),
    /// `*.example.com`: any name below it; holds `.example.com`.
    Below(String),
}

/// A path in a route: segments, and perhaps any rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PathPattern {
    /// The segments between slashes, in order. `/` alone is no segment and no rest; a slash at
    /// the end of a longer path is a last literal segment that is empty.
    pub segments: Vec<Segment>,
    /// `/*` at the end: any rest, also none (`/v1/*` matches `/v1`, `/v1/` and below).
    pub rest: bool,
    /// `/{name*}` at the end: as `/*`, but at least one segment that is not empty, and the rest has a name.
    pub rest_name: Option<String>,
}

/// One segment of a path pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this, percent-decoded.
    Literal(String),
    /// `{name}`: any one segment that is not empty.
    Parameter(String),
}

/// A model in a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelPattern {
    /// Exactly this name.
    Exact(String),
    /// `gpt-*`: any name that begins so; holds `gpt-`.
    Prefix(String),
}

/// Header changes, in this order: remove, then set.
#[derive(Debug, Clone, Default)]
pub struct HeaderEdits {
    /// Removed, all values of it.
    pub remove: Vec<HeaderName>,
    /// Set, in place of all values there were.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

/// Who may call a route.
#[derive(Debug, Clone)]
pub enum Allow {
    /// Everybody; no key is asked for.
    Everybody,
    /// The holders of these keys, and of tokens of these issuers.
    Callers(Vec<Arc<ApiKey>>, Vec<Arc<Issuer>>),
}

/// Cross-origin rules of a route.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Origins let in.
    pub origins: Origins,
    /// Methods named to a preflight; empty mirrors what is asked for.
    pub methods: Vec<Method>,
    /// Request headers named to a preflight; empty mirrors what is asked for.
    pub headers: Vec<HeaderName>,
    /// Response headers scripts may read.
    pub expose: Vec<HeaderName>,
    /// Whether cookies and authorization go along.
    pub credentials: bool,
    /// How long a browser may keep a preflight's answer.
    pub max_age: Duration,
}

/// Origins a route lets in.
#[derive(Debug, Clone)]
pub enum Origins {
    /// `*`.
    Any,
    /// Exactly these.
    List(Vec<HeaderValue>),
}

/// The key `dialect` of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DialectChoice {
    /// Told from method and path.
    #[default]
    Auto,
    /// This one, or none.
    Fixed(Dialect),
}

/// The model APIs told apart. What each looks like is known in the dialect room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Dialect {
    /// No model API: plain HTTP, plain Server-Sent Events.
    #[default]
    Plain,
    /// OpenAI chat completions, and the many that speak it.
    OpenaiChat,
    /// OpenAI completions (the older text API).
    OpenaiText,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Anthropic Messages.
    AnthropicMessages,
    /// Gemini `generateContent`.
    Gemini,
    /// Ollama's own NDJSON API.
    Ollama,
    /// Amazon Bedrock's binary event streams.
    Bedrock,
}

/// `[jwt.NAME]`: who signs callers' tokens (RFC 7519).
#[derive(Clone)]
pub struct Issuer {
    /// The name used in `allow`.
    pub name: Arc<str>,
    /// What signatures are checked with. None where its secret was allowed to be empty, and is: then
    /// nobody is let in by its tokens.
    pub keys: Vec<VerifyingKey>,
    /// The `iss` that is asked for.
    pub issuer: Option<Arc<str>>,
    /// The `aud` that is asked for.
    pub audience: Option<Arc<str>>,
    /// How far clocks may be apart.
    pub leeway: Duration,
    /// The claim that holds the caller's rights to topics, `{"publish": [...], "subscribe": [...]}`; where it is named and a
    /// token has none, the token has no right to any.
    pub topics_claim: Option<Arc<str>>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A key that signatures are checked with.
#[derive(Clone)]
pub struct VerifyingKey {
    /// Its `kid`, where it has one.
    pub id: Option<Arc<str>>,
    /// The one algorithm it is good for.
    pub algorithm: Algorithm,
    /// The key itself.
    pub material: KeyMaterial,
}

/// The bytes of a [`VerifyingKey`]; big-endian numbers.
#[derive(Clone)]
pub enum KeyMaterial {
    /// A shared secret.
    Shared(Arc<[u8]>),
    /// An RSA key: modulus and exponent.
    Rsa(Arc<[u8]>, Arc<[u8]>),
    /// A point on P-256, uncompressed (SEC 1 §2.3.3).
    Point(Arc<[u8]>),
}

/// Signature algorithms (RFC 7518 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

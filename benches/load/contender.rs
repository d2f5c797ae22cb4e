//! The proxies under test, each started fresh, well configured, on its own core.
//!
//! Invariant: each gets one worker and no access log, so that one core against one core is what is
//! compared.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::client::{self, Target};
use crate::clock::now_ns;
use crate::environment::version_of;
use crate::error::{LoadError, Result, While};
use crate::launch::{Launched, own_program};
use crate::peers::{Peers, portkey_headers};
use crate::plan::Plan;
use crate::process::Meter;
use crate::tally::Tally;

/// A proxy that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Kind {
    /// A bare TCP relay (this program's `relay`): the floor.
    Relay,
    /// nginx with `proxy_buffering off`.
    Nginx,
    /// The gateway.
    Deltaway,
    /// HAProxy with `http-no-delay`.
    Haproxy,
    /// Envoy.
    Envoy,
    /// LiteLLM's proxy.
    Litellm,
    /// Portkey's gateway.
    Portkey,
}

impl Kind {
    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Nginx => "nginx",
            Self::Deltaway => "deltaway",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Litellm => "litellm",
            Self::Portkey => "portkey",
        }
    }

    /// Whether it takes nothing but requests of a model API, and reads and writes them anew.
    pub fn is_for_models(self) -> bool {
        matches!(self, Self::Litellm | Self::Portkey)
    }

    /// How long it may take until it answers, in nanoseconds; Python has much to load.
    fn start_limit_ns(self) -> u64 {
        match self {
            Self::Litellm => 90_000_000_000,
            _ => 10_000_000_000,
        }
    }
}

/// What can be asked for: one, or all of them.
#[derive(Debug, Clone, Copy)]
pub enum Choice {
    /// This one.
    One(Kind),
    /// Every one there is.
    All,
}

impl Choice {
    /// What was asked for, each once, in the order of the table.
    pub fn kinds(choices: &[Self]) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = choices
            .iter()
            .flat_map(|choice| match choice {
                Self::One(kind) => vec![*kind],
                Self::All => Kind::value_variants().to_vec(),
            })
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }
}

impl ValueEnum for Choice {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::One(Kind::Relay),
            Self::One(Kind::Nginx),
            Self::One(Kind::Deltaway),
            Self::One(Kind::Haproxy),
            Self::One(Kind::Envoy),
            Self::One(Kind::Litellm),
            Self::One(Kind::Portkey),
            Self::All,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::One(kind) => kind.to_possible_value(),
            Self::All => Some(PossibleValue::new("all").help("Every one there is")),
        }
    }
}

/// Where the proxies run and where they send requests.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// nginx's binary.
    pub nginx: PathBuf,
    /// The others.
    pub peers: Peers,
    /// The paced backend.
    pub backend: SocketAddr,
    /// The proxy's cores: one, but where `workers` are measured.
    pub proxy_cores: Vec<usize>,
    /// The gateway's workers.
    pub workers: usize,
}

/// The versions of these contenders, as they tell them themselves.
pub fn versions(kinds: &[Kind], setup: &Setup) -> Vec<(&'static str, Option<String>)> {
    let others = kinds.iter().filter(|kind| **kind != Kind::Relay);
    let version = |kind: &Kind| match kind {
        Kind::Relay => None,
        Kind::Nginx => version_of(&setup.nginx, ["-v"]),
        Kind::Deltaway => version_of(&setup.gateway, ["--version"]),
        Kind::Haproxy | Kind::Envoy | Kind::Litellm | Kind::Portkey => setup.peers.version(*kind),
    };
    others.map(|kind| (kind.name(), version(kind))).collect()
}

/// A running proxy.
pub struct Contender {
    kind: Kind,
    backend: SocketAddr,
    process: Launched,
}

impl Contender {
    /// Starts a proxy and waits until it answers.
    pub async fn start(kind: Kind, setup: &Setup) -> Result<Self> {
        let process = Launched::start(&setup.proxy_cores, |address, directory| {
            command(kind, setup, address, directory)
        })?;
        let mut contender = Self {
            kind,
            backend: setup.backend,
            process,
        };
        contender.answers().await?;
        Ok(contender)
    }

    /// Where clients send their requests.
    pub fn target(&self) -> Arc<Target> {
        let target = Target::chat(self.process.address.to_string());
        Arc::new(match self.kind {
            Kind::Litellm => target.for_models(String::new()),
            Kind::Portkey => target.for_models(portkey_headers(self.backend)),
            _ => target,
        })
    }

    /// A meter on its processes.
    pub fn meter(&self) -> Result<Meter> {
        self.process.meter()
    }

    /// The last lines that it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The result of a workload, an error with what the proxy logged.
    pub fn explain<T>(&self, result: Result<T>) -> Result<T> {
        result.map_err(|error| {
            let both = format!("{error}\n{}", self.log());
            LoadError::Failed(both.trim_end().to_owned())
        })
    }

    async fn answers(&mut self) -> Result<()> {
        let started = now_ns();
        let target = self.target();
        let request = target.order(&Plan::Answer { bytes: 300 });
        loop {
            let tally = Tally::new()?;
            let asked = client::answers(
                Arc::clone(&target),
                request.clone(),
                8 * 1024,
                now_ns() + 1,
                &tally,
            );
            let last = match tokio::time::timeout(Duration::from_secs(2), asked).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer within 2 s".to_owned(),
            };
            if self.process.has_ended()? || now_ns() - started > self.kind.start_limit_ns() {
                let (name, log) = (self.kind.name(), self.log());
                return Err(LoadError::Contender(format!(
                    "{name} does not answer ({last}); it logged:\n{log}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn command(
    kind: Kind,
    setup: &Setup,
    address: SocketAddr,
    directory: &Path,
) -> Result<Vec<String>> {
    let path = |name: &str| directory.join(name).display().to_string();
    let write = |name: &str, text: String| {
        fs::write(directory.join(name), text).while_doing(format!("writing {name}"))
    };
    Ok(match kind {
        Kind::Relay => vec![
            own_program()?,
            "relay".into(),
            format!("--listen={address}"),
            format!("--to={}", setup.backend),
        ],
        Kind::Nginx => {
            write("nginx.conf", nginx_conf(address, setup.backend, directory))?;
            let nginx = setup.nginx.display().to_string();
            vec![
                nginx,
                "-p".into(),
                path(""),
                "-c".into(),
                path("nginx.conf"),
                "-e".into(),
                "stderr".into(),
            ]
        }
        Kind::Deltaway => {
            write("deltaway.toml", deltaway_toml(address, setup))?;
            vec![
                setup.gateway.display().to_string(),
                "--config".into(),
                path("deltaway.toml"),
            ]
        }
        Kind::Haproxy | Kind::Envoy | Kind::Litellm | Kind::Portkey => {
            let addresses = (address, setup.backend);
            setup.peers.command(kind, addresses, directory)?
        }
    })
}

/// nginx as one would tune it for event streams: unbuffered, upstream connections kept, no log.
/// What is not named is nginx's default, also the buffer of one page that serves each stream.
fn nginx_conf(address: SocketAddr, backend: SocketAddr, directory: &Path) -> String {
    let at = directory.display();
    format!(
        "daemon off;
worker_processes 1;
worker_rlimit_nofile 20000;
pid {at}/nginx.pid;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  keepalive_requests 1000000000;
  upstream model {{
    server {backend};
    keepalive 512;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {address} backlog=4096;
    location /v1/ {{
      proxy_pass http://model;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_buffering off;
      proxy_read_timeout 1h;
    }}
  }}
}}
"
    )
}

fn deltaway_toml(address: SocketAddr, setup: &Setup) -> String {
    let Setup {
        backend, workers, ..
    } = setup;
    format!(
        "[server]
listen = \"{address}\"
workers = {workers}

[log]
access = false

[upstreams.model]
url = \"http://{backend}\"

[routes.load]
path = \"/v1/*\"
to = \"model\"
"
    )
}

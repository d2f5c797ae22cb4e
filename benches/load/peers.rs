//! The programs people would use instead: HAProxy and Envoy, and gateways made for models.
//!
//! Invariant: each is set up as one would tune it for event streams, and like the others: one worker,
//! upstream connections kept, no access log, an hour before silence ends a stream. What is not named is
//! its default.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::contender::Kind;
use crate::environment::version_of;
use crate::error::{LoadError, Result, While};

/// Where the peers are installed.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct Peers {
    /// HAProxy's binary.
    #[arg(long, value_name = "PATH", default_value = "haproxy")]
    haproxy_bin: PathBuf,
    /// Where benches/load/install-peers.sh put the others.
    #[arg(long, value_name = "FOLDER", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers"))]
    peers: PathBuf,
}

impl Peers {
    /// The file that must be there for this contender to run; none for those that are not peers.
    fn program(&self, kind: Kind) -> Option<PathBuf> {
        let below = |path: &str| Some(self.peers.join(path));
        match kind {
            Kind::Relay | Kind::Nginx | Kind::Deltaway => None,
            Kind::Haproxy => Some(self.haproxy_bin.clone()),
            Kind::Envoy => below("envoy/envoy"),
            Kind::Litellm => below("litellm/bin/litellm"),
            Kind::Portkey => {
                below("portkey/node_modules/@portkey-ai/gateway/build/start-server.js")
            }
        }
    }

    /// An error that names the command which installs this contender, unless it is there.
    pub fn check(&self, kind: Kind) -> Result<()> {
        match self.program(kind) {
            Some(program) if !is_there(&program) => Err(LoadError::Usage(format!(
                "{name} is not installed (looked for {}); this installs it: benches/load/install-peers.sh {name}",
                program.display(),
                name = kind.name(),
            ))),
            _ => Ok(()),
        }
    }

    /// The version that this peer tells.
    pub fn version(&self, kind: Kind) -> Option<String> {
        let program = self.program(kind)?;
        match kind {
            Kind::Haproxy => version_of(program, ["-v"]),
            // It would look up prices over the network even to tell its version.
            Kind::Litellm => {
                let program = program.display().to_string();
                let [env, settings @ ..] = LITELLM_ENV;
                let arguments = settings.into_iter().chain([&*program, "--version"]);
                version_of(env, arguments)
            }
            Kind::Portkey => {
                let package = program.parent()?.parent()?.join("package.json");
                let version = format!("require({:?}).version", package.display().to_string());
                version_of("node", ["-p", &version])
            }
            _ => version_of(program, ["--version"]),
        }
    }

    /// What starts this peer, its configuration written to `directory`.
    pub fn command(
        &self,
        kind: Kind,
        (address, backend): (SocketAddr, SocketAddr),
        directory: &Path,
    ) -> Result<Vec<String>> {
        let write = |name: &str, text: String| {
            let path = directory.join(name);
            fs::write(&path, text).while_doing(format!("writing {name}"))?;
            Ok::<_, LoadError>(path.display().to_string())
        };
        let program = self.program(kind).unwrap_or_default();
        let program = program.display().to_string();
        let port = format!("--port={}", address.port());
        let command = match kind {
            Kind::Relay | Kind::Nginx | Kind::Deltaway => Vec::new(),
            Kind::Haproxy => {
                let config = write("haproxy.cfg", haproxy_cfg(address, backend))?;
                vec![program, "-db".into(), "-f".into(), config]
            }
            Kind::Envoy => {
                let config = write("envoy.json", envoy_json(address, backend).to_string())?;
                let fixed = ["--concurrency", "1", "--disable-hot-restart"];
                let mut command = vec![program, "--config-path".into(), config];
                command.extend(fixed.map(str::to_owned));
                command.extend(["--log-level".to_owned(), "warn".to_owned()]);
                command
            }
            Kind::Litellm => {
                let config = write("litellm.json", litellm_json(backend).to_string())?;
                let logging = write("logging.json", quiet_uvicorn().to_string())?;
                let mut command: Vec<String> = LITELLM_ENV.map(str::to_owned).into();
                command.extend([
                    program,
                    format!("--config={config}"),
                    format!("--log_config={logging}"),
                    format!("--host={}", address.ip()),
                    port,
                    "--num_workers=1".into(),
                    "--telemetry=False".into(),
                ]);
                command
            }
            Kind::Portkey => {
                let loopback = write("loopback.cjs", LOOPBACK_ONLY.to_owned())?;
                let node = ["env", "NODE_ENV=production", "node", "--require"];
                let mut command: Vec<String> = node.map(str::to_owned).into();
                command.extend([loopback, program, port, "--headless".into()]);
                command
            }
        };
        Ok(command)
    }
}

/// The headers without which Portkey does not know where to go; whole lines.
pub fn portkey_headers(backend: SocketAddr) -> String {
    format!(
        "Authorization: Bearer none\r\nx-portkey-provider: openai\r\n\
         x-portkey-custom-host: http://{backend}/v1\r\n"
    )
}

/// Whether a program is at its path, or on the search path if it is a bare name.
fn is_there(program: &Path) -> bool {
    if program.components().count() > 1 {
        return program.is_file();
    }
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Each event goes out when it comes (`http-no-delay`), and an idle upstream connection serves whoever
/// comes next, as nginx's do. Its most connections take two files each, and nine thousand are more than this
/// tool opens.
fn haproxy_cfg(address: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "global
  nbthread 1
  maxconn 9000
defaults
  mode http
  option http-no-delay
  http-reuse always
  backlog 4096
  timeout connect 5s
  timeout http-request 60s
  timeout http-keep-alive 75s
  timeout client 1h
  timeout server 1h
frontend load
  bind {address}
  default_backend model
backend model
  server model {backend}
"
    )
}

/// The limits that Envoy puts on a cluster by default (1024 each) are raised, so that none of them is what is measured.
fn envoy_json(address: SocketAddr, backend: SocketAddr) -> serde_json::Value {
    let at = |address: SocketAddr| {
        serde_json::json!({ "socket_address": {
            "address": address.ip().to_string(), "port_value": address.port(),
        }})
    };
    let filters = "type.googleapis.com/envoy.extensions.filters";
    let connections = serde_json::json!({
        "@type": format!("{filters}.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "load",
        "generate_request_id": false,
        "stream_idle_timeout": "3600s",
        "route_config": { "virtual_hosts": [{
            "name": "load",
            "domains": ["*"],
            "routes": [{
                "match": { "prefix": "/v1/" },
                "route": { "cluster": "model", "timeout": "0s", "idle_timeout": "3600s" },
            }],
        }]},
        "http_filters": [{
            "name": "router",
            "typed_config": { "@type": format!("{filters}.http.router.v3.Router") },
        }],
    });
    let most = 16_384;
    serde_json::json!({ "static_resources": {
        "listeners": [{
            "name": "load",
            "address": at(address),
            "tcp_backlog_size": 4096,
            "filter_chains": [{ "filters": [{ "name": "http", "typed_config": connections }] }],
        }],
        "clusters": [{
            "name": "model",
            "type": "STATIC",
            "connect_timeout": "5s",
            "circuit_breakers": { "thresholds": [{
                "max_connections": most, "max_pending_requests": most, "max_requests": most,
            }]},
            "load_assignment": { "cluster_name": "model", "endpoints": [{ "lb_endpoints": [{
                "endpoint": { "address": at(backend) },
            }]}]},
        }],
    }})
}

/// No look-up of prices over the network, no logging below errors, and no key asked for.
const LITELLM_ENV: [&str; 5] = [
    "env",
    "LITELLM_LOCAL_MODEL_COST_MAP=True",
    "LITELLM_LOG=ERROR",
    "LITELLM_MODE=PRODUCTION",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY=true",
];

fn litellm_json(backend: SocketAddr) -> serde_json::Value {
    // JSON is YAML too.
    serde_json::json!({
        "model_list": [{ "model_name": "load", "litellm_params": {
            "model": "openai/load", "api_base": format!("http://{backend}/v1"), "api_key": "none",
        }}],
        "litellm_settings": { "request_timeout": 3600, "num_retries": 0, "telemetry": false },
        "router_settings": { "num_retries": 0, "disable_cooldowns": true },
    })
}

fn quiet_uvicorn() -> serde_json::Value {
    serde_json::json!({ "version": 1, "disable_existing_loggers": false, "loggers": {
        "uvicorn.access": { "level": "CRITICAL", "propagate": false },
        "uvicorn": { "level": "WARNING" },
    }})
}

/// Portkey has no option for the address to listen on, and would take all of them.
const LOOPBACK_ONLY: &str = "const { Server } = require('node:net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, { port, host: '127.0.0.1', backlog: 4096 }, rest.at(-1));
};
";

//! The proxies under test, each started fresh, well configured, on its own core.
//!
//! Invariant: every process started here is ended by its own id when its [`Contender`] goes, and by the
//! kernel should this tool die first. Each gets one worker and no access log, so that one core
//! against one core is what is compared.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::client::{self, Target};
use crate::clock::now_ns;
use crate::error::{LoadError, Result, While};
use crate::plan::Plan;
use crate::process::{Meter, pin};
use crate::tally::Tally;

/// A proxy that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// A bare TCP relay (this program's `relay`): the floor.
    Relay,
    /// nginx with `proxy_buffering off`.
    Nginx,
    /// The gateway.
    Deltaway,
}

impl Kind {
    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Nginx => "nginx",
            Self::Deltaway => "deltaway",
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
    /// The paced backend.
    pub backend: SocketAddr,
    /// The proxy's core.
    pub proxy_core: usize,
}

/// A running proxy.
pub struct Contender {
    kind: Kind,
    child: Child,
    address: SocketAddr,
    /// Holds configuration and log; removed with it.
    directory: tempfile::TempDir,
}

const START_LIMIT_NS: u64 = 10_000_000_000;
const END_LIMIT: Duration = Duration::from_secs(3);

impl Contender {
    /// Starts a proxy and waits until it answers.
    pub async fn start(kind: Kind, setup: &Setup) -> Result<Self> {
        let directory = tempfile::tempdir().while_doing("making a directory")?;
        let address = free_address()?;
        let command = command(kind, setup, address, directory.path())?;
        let log = File::create(directory.path().join("log")).while_doing("making a log")?;
        let own = std::env::current_exe().while_doing("finding this program")?;
        let child = Command::new(own)
            .args(["launch", "--core", &setup.proxy_core.to_string(), "--"])
            .args(&command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().while_doing("sharing a log")?)
            .stderr(log)
            .spawn()
            .while_doing(format!("starting {}", kind.name()))?;
        let mut contender = Self {
            kind,
            child,
            address,
            directory,
        };
        contender.answers().await?;
        Ok(contender)
    }

    /// Where clients send their requests.
    pub fn target(&self) -> Arc<Target> {
        Arc::new(Target::chat(self.address.to_string()))
    }

    /// A meter on its processes.
    pub fn meter(&self, setup: &Setup) -> Result<Meter> {
        Meter::new(self.child.id(), setup.proxy_core)
    }

    /// The last lines that it logged.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    async fn answers(&mut self) -> Result<()> {
        let started = now_ns();
        let target = self.target();
        let request = target.request(&Plan::Answer { bytes: 300 }.body());
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
            let ended = self.child.try_wait().while_doing("asking for the proxy")?;
            if ended.is_some() || now_ns() - started > START_LIMIT_NS {
                let (name, log) = (self.kind.name(), self.log());
                return Err(LoadError::Contender(format!(
                    "{name} does not answer ({last}); it logged:\n{log}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Contender {
    // A process offers nothing to wait on but its id; nothing else runs meanwhile.
    #[allow(clippy::disallowed_methods)]
    fn drop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // TERM first: nginx's master ends its worker on it.
            let _ = kill_process(pid, Signal::TERM);
        }
        let step = Duration::from_millis(20);
        for _ in 0..END_LIMIT.as_millis() / step.as_millis() {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(step);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `launch`: become another program, pinned, ended by the kernel when the caller dies.
#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// The core to stay on.
    #[arg(long)]
    core: usize,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Becomes the program; returns only when that failed.
pub fn launch(args: &LaunchArgs) -> Result<()> {
    pin(args.core)?;
    set_parent_process_death_signal(Some(Signal::TERM)).while_doing("asking for a signal")?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(LoadError::Usage("launch needs a program".into()));
    };
    Err(Command::new(program).args(arguments).exec()).while_doing(format!("starting {program}"))
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
        Kind::Relay => {
            let own = std::env::current_exe().while_doing("finding this program")?;
            vec![
                own.display().to_string(),
                "relay".into(),
                format!("--listen={address}"),
                format!("--to={}", setup.backend),
            ]
        }
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
            write("deltaway.toml", deltaway_toml(address, setup.backend))?;
            vec![
                setup.gateway.display().to_string(),
                "--config".into(),
                path("deltaway.toml"),
            ]
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

fn deltaway_toml(address: SocketAddr, backend: SocketAddr) -> String {
    format!(
        "[server]
listen = \"{address}\"
workers = 1

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

/// A free loopback address outside of the range that outgoing connections take their ports from.
fn free_address() -> Result<SocketAddr> {
    for _ in 0..200 {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fastrand::u16(20_000..30_000)));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(LoadError::Usage(
        "no free port between 20000 and 30000".into(),
    ))
}

//! Starting the real binary, with its log captured.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::client::{Answer, Ask, Client};
use super::limit::{until, within};

/// What a command that ended said.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

/// Runs a command of the binary to its end. Nothing of the test's own environment is passed on.
pub async fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    said(command(arguments, variables)).await
}

/// The same in another folder.
pub async fn run_in(folder: &std::path::Path, arguments: &[&str]) -> Said {
    let mut command = command(arguments, &[]);
    command.current_dir(folder);
    said(command).await
}

async fn said(mut command: Command) -> Said {
    let output = within("a command to end", command.output()).await.unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A file with a configuration, removed in the end.
pub fn file(source: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    file.write_all(source.as_bytes()).unwrap();
    file
}

/// A running binary.
pub struct Served {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    /// Whether its output is left in the pipe.
    unread: Arc<AtomicBool>,
    config: tempfile::NamedTempFile,
}

impl Served {
    /// Starts the binary; `rest` is the configuration behind `[server]`, `[admin]` and `[log]`, and
    /// may begin with further keys of `[log]`.
    pub async fn start(rest: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_with_server("", rest, variables).await
    }

    /// The same with further keys of `[server]`.
    pub async fn start_with_server(server: &str, rest: &str, variables: &[(&str, &str)]) -> Self {
        let address = free();
        Self::spawn(
            address,
            &format!("listen = \"{address}\"\n{server}"),
            rest,
            variables,
        )
        .await
    }

    /// The same with the address given by a variable, over one in the file that cannot be had.
    pub async fn start_by_variable(rest: &str, variable: &str) -> Self {
        let address = free();
        let given = address.to_string();
        Self::spawn(
            address,
            "listen = \"192.0.2.1:1\"",
            rest,
            &[(variable, &given)],
        )
        .await
    }

    /// The same with the address given by an argument, over a variable and one in the file that
    /// cannot be had.
    pub async fn start_by_argument(rest: &str, argument: &str, variable: &str) -> Self {
        let address = free();
        let given = address.to_string();
        Self::spawn_with(
            address,
            "listen = \"192.0.2.1:1\"",
            rest,
            &[(variable, "192.0.2.2:2")],
            &[argument, &given],
        )
        .await
    }

    async fn spawn(
        address: SocketAddr,
        server: &str,
        rest: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        Self::spawn_with(address, server, rest, variables, &[]).await
    }

    async fn spawn_with(
        address: SocketAddr,
        server: &str,
        rest: &str,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let admin = free();
        let format = if rest.starts_with("format = ") {
            ""
        } else {
            "format = \"json\"\n"
        };
        let config = file(&format!(
            "[server]\nworkers = 1\n{server}\n\
             [admin]\nlisten = \"{admin}\"\n[log]\n{format}{rest}"
        ));
        let mut all = vec!["--config", config.path().to_str().unwrap()];
        all.extend_from_slice(arguments);
        let arguments = all;
        let mut child = command(&arguments, variables)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let unread = Arc::<AtomicBool>::default();
        keep(child.stdout.take().unwrap(), lines.clone(), unread.clone());
        keep(child.stderr.take().unwrap(), lines.clone(), unread.clone());
        let mut served = Self {
            address,
            admin,
            child,
            lines,
            unread,
            config,
        };
        served.is_up().await;
        served
    }

    /// One request on a connection of its own.
    pub async fn fetch(&self, ask: &Ask) -> Answer {
        Client::fetch(self.address, ask).await
    }

    /// One GET at the operators' listener.
    pub async fn ask_admin(&self, target: &str) -> Answer {
        Client::fetch(self.admin, &Ask::get(target)).await
    }

    /// The path of its configuration.
    pub fn config(&self) -> &str {
        self.config.path().to_str().unwrap()
    }

    /// Reads no more of its output than the next line; the pipe stays open.
    pub fn stop_reading(&self) {
        self.unread.store(true, Ordering::SeqCst);
    }

    /// Every line of output so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The access-log lines so far.
    pub fn accesses(&self) -> Vec<Value> {
        self.lines()
            .iter()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line.get("ending").is_some() || line["fields"].get("ending").is_some())
            .map(|line| line.get("fields").cloned().unwrap_or(line))
            .collect()
    }

    /// The access-log line number `index`, once it is there.
    pub async fn access(&self, index: usize) -> Value {
        until("an access-log line", || self.accesses().get(index).cloned()).await
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// What the kernel says of the process, by the name of the line.
    pub fn status(&self, name: &str) -> String {
        let id = self.child.id().expect("a running process");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim_start_matches(':').trim().to_owned()
    }

    /// Sends the signal of this name, without its `SIG`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().expect("a running process").to_string();
        let killed = std::process::Command::new("kill")
            .args([&format!("-{name}"), &id])
            .status();
        assert!(killed.unwrap().success());
    }

    /// Waits for the end of the process; its exit code.
    pub async fn code(&mut self) -> Option<i32> {
        within("the process to end", self.child.wait())
            .await
            .unwrap()
            .code()
    }

    async fn is_up(&mut self) {
        for address in [self.address, self.admin] {
            until("the binary to listen", || {
                if let Some(status) = self.child.try_wait().unwrap() {
                    panic!("{status}: {:#?}", self.lines());
                }
                std::net::TcpStream::connect(address).ok()
            })
            .await;
        }
    }
}

fn command(arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltaway"));
    command
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn keep(
    from: impl AsyncRead + Unpin + Send + 'static,
    lines: Arc<Mutex<Vec<String>>>,
    unread: Arc<AtomicBool>,
) {
    tokio::spawn(async move {
        let mut from = BufReader::new(from).lines();
        while let Ok(Some(line)) = from.next_line().await {
            lines.lock().unwrap().push(line);
            if unread.load(Ordering::SeqCst) {
                std::future::pending::<()>().await;
            }
        }
    });
}

/// A free port below those that the kernel gives to outgoing connections, never the same twice.
fn free() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 20_000 + u16::try_from(std::process::id() % 10_000).unwrap();
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::SeqCst);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

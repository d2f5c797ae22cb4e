//! Programs under test as processes: each started fresh, on its own cores, with a directory of its own.
//!
//! Invariant: every process started here is ended by its own id, with its children, when its [`Launched`] goes, and by
//! the kernel should this tool die first.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::error::{LoadError, Result, While};
use crate::process::{self, Meter, children, pin};

/// A running program.
pub struct Launched {
    child: Child,
    cores: Vec<usize>,
    /// The address it was told to listen on.
    pub address: SocketAddr,
    /// Holds configuration and log; removed with it.
    directory: tempfile::TempDir,
}

const END_LIMIT: Duration = Duration::from_secs(3);

impl Launched {
    /// Starts on `cores` what `command` says for an address and a directory.
    pub fn start(
        cores: &[usize],
        command: impl FnOnce(SocketAddr, &Path) -> Result<Vec<String>>,
    ) -> Result<Self> {
        let directory = tempfile::tempdir().while_doing("making a directory")?;
        let address = free_address()?;
        let command = command(address, directory.path())?;
        let log = File::create(directory.path().join("log")).while_doing("making a log")?;
        let child = Command::new(own_program()?)
            .arg("launch")
            .args(cores.iter().map(|core| format!("--core={core}")))
            .arg("--")
            .args(&command)
            .stdin(Stdio::null())
            .stdout(log.try_clone().while_doing("sharing a log")?)
            .stderr(log)
            .spawn()
            .while_doing(format!("starting {}", command.join(" ")))?;
        Ok(Self {
            child,
            cores: cores.to_vec(),
            address,
            directory,
        })
    }

    /// A meter on its processes: it and the children it has now.
    pub fn meter(&self) -> Result<Meter> {
        Meter::new(self.child.id(), self.cores.clone())
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        let ended = self.child.try_wait();
        Ok(ended.while_doing("asking for a process")?.is_some())
    }

    /// The last lines that it logged.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for Launched {
    // A process offers nothing to wait on but its id; nothing else runs meanwhile.
    #[allow(clippy::disallowed_methods)]
    fn drop(&mut self) {
        let children = children(self.child.id()).unwrap_or_default();
        // TERM first: nginx's master ends its worker on it.
        signal(self.child.id(), Signal::TERM);
        let step = Duration::from_millis(20);
        let is_over = |child: &mut Child| {
            !matches!(child.try_wait(), Ok(None)) && !children.iter().any(process::Child::is_alive)
        };
        for _ in 0..END_LIMIT.as_millis() / step.as_millis() {
            if is_over(&mut self.child) {
                return;
            }
            std::thread::sleep(step);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        // What it left behind would take part in the next measurement.
        for child in children.iter().filter(|child| child.is_alive()) {
            signal(child.pid, Signal::KILL);
        }
    }
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// `launch`: become another program, pinned, ended by the kernel when the caller dies.
#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// A core to stay on; may be repeated.
    #[arg(long, required = true)]
    core: Vec<usize>,
    /// The program and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Becomes the program; returns only when that failed.
pub fn launch(args: &LaunchArgs) -> Result<()> {
    pin(&args.core)?;
    set_parent_process_death_signal(Some(Signal::TERM)).while_doing("asking for a signal")?;
    let [program, arguments @ ..] = args.command.as_slice() else {
        return Err(LoadError::Usage("launch needs a program".into()));
    };
    Err(Command::new(program).args(arguments).exec()).while_doing(format!("starting {program}"))
}

/// The path of this program, for the parts of it that run as processes of their own.
pub fn own_program() -> Result<String> {
    let own = std::env::current_exe().while_doing("finding this program")?;
    Ok(own.display().to_string())
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

//! Where and with what a measurement was made: machine, versions, date, command.
//!
//! Invariant: nothing here is typed in by hand. Versions are what the programs themselves say, and what
//! cannot be found out is told as unknown.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

/// The circumstances of a measurement.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Environment {
    /// The processor, as its maker calls it.
    pub processor: String,
    /// Cores that this program may see.
    pub cores: usize,
    /// Memory in MB.
    pub memory_mb: u64,
    /// The kernel's release.
    pub kernel: String,
    /// The distribution.
    pub system: String,
    /// When the measurement began, in UTC.
    pub date: String,
    /// The command that measures again.
    pub command: String,
    /// What was measured, and in which version.
    pub versions: BTreeMap<String, String>,
}

const UNKNOWN: &str = "unknown";

impl Environment {
    /// The circumstances now; `versions` are the contenders'.
    pub fn now(versions: impl IntoIterator<Item = (&'static str, Option<String>)>) -> Self {
        let own = Some(env!("CARGO_PKG_VERSION").to_owned());
        let versions = versions
            .into_iter()
            .chain([("load tool", own), ("commit", commit())]);
        let known = |version: Option<String>| version.unwrap_or_else(|| UNKNOWN.into());
        let memory = field("/proc/meminfo", "MemTotal:").and_then(|text| {
            let kilobytes: u64 = text.split_whitespace().next()?.parse().ok()?;
            Some(kilobytes / 1024)
        });
        let date = httpdate::fmt_http_date(SystemTime::now());
        Self {
            processor: processor(),
            cores: fs::read_to_string("/proc/cpuinfo").map_or(0, |text| {
                let is_core = |line: &&str| line.starts_with("processor");
                text.lines().filter(is_core).count()
            }),
            memory_mb: memory.unwrap_or(0),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| UNKNOWN.into(), |text| own_part(text.trim()).to_owned()),
            system: known(
                field("/etc/os-release", "PRETTY_NAME=")
                    .map(|name| name.trim_matches('"').to_owned()),
            ),
            date: date
                .split_once(", ")
                .map_or_else(|| date.clone(), |(_, date)| date.to_owned()),
            command: command(),
            versions: versions
                .map(|(name, version)| (name.to_owned(), known(version)))
                .collect(),
        }
    }
}

/// The processor's name, family and model; some virtual machines tell no more than the numbers.
fn processor() -> String {
    let told = |name| {
        field("/proc/cpuinfo", name).map(|text| text.trim_matches([':', ' ', '\t']).to_owned())
    };
    let name = told("model name").unwrap_or_else(|| UNKNOWN.into());
    match (told("cpu family"), told("cpu MHz")) {
        (Some(family), Some(rate)) => format!("{name} (family {family}, {rate} MHz)"),
        _ => name,
    }
}

/// A kernel's release without what its builder put behind it.
fn own_part(release: &str) -> &str {
    release.split('-').next().unwrap_or(release)
}

/// What follows a name at the start of a line of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(rest.trim().to_owned())
}

fn command() -> String {
    // What cargo adds is not part of it.
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    words.retain(|word| word != "--bench");
    format!("cargo bench --bench load -- {}", words.join(" "))
}

fn commit() -> Option<String> {
    let commit = output("git", ["describe", "--always", "--dirty", "--exclude=*"])?;
    Some(commit.trim().to_owned())
}

/// The version that a program tells when it is asked with these arguments.
pub fn version_of(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Option<String> {
    output(program, arguments).and_then(|text| version_in(&text))
}

/// The version of Debian's package that a file is from.
pub fn package_version(path: &str) -> Option<String> {
    let owner = output("dpkg-query", ["--search", path])?;
    let package = owner.split([':', ',']).next()?;
    version_of("dpkg-query", ["--show", "--showformat=${Version}", package])
}

fn output(
    program: impl AsRef<OsStr>,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Option<String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    // nginx tells its version where others tell their errors.
    let told = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&told).into_owned())
}

/// The first word that begins with a digit and has a point in it.
pub fn version_in(text: &str) -> Option<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "._+-~".contains(c);
    let words = text.split(|c| !is_part(c));
    let mut versions = words.filter(|word| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word
                .split_once('.')
                .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
    });
    versions.next().map(str::to_owned)
}

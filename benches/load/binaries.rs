//! Which binaries are measured, and on which cores.
//!
//! Invariant: a gateway that nobody named is built as it is released, never taken as it happens to lie.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{LoadError, Result, While};

/// The binaries and cores of what is measured.
#[derive(Debug, Clone, clap::Args)]
pub struct Binaries {
    /// The gateway's binary; without it `cargo build --release` makes target/release/deltaway.
    #[arg(long, value_name = "PATH")]
    gateway_bin: Option<PathBuf>,
    /// nginx's binary.
    #[arg(long, value_name = "PATH", default_value = "nginx")]
    pub nginx_bin: PathBuf,
    /// The core of the program under test.
    #[arg(long, default_value_t = 0)]
    pub proxy_core: usize,
    /// The core of backend and clients.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
}

impl Binaries {
    /// The gateway's binary, built if nobody named one.
    pub fn gateway(&self) -> Result<PathBuf> {
        match &self.gateway_bin {
            Some(path) => Ok(path.clone()),
            None => build_gateway(),
        }
    }
}

/// Builds the gateway as it is released. `cargo bench` itself has just put a less optimised one in the
/// same place, so this runs even when a file is there.
fn build_gateway() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    // What cargo tells the programs that it runs is an input of some crates' builds: with it, they and all that
    // depends on them would be compiled once more.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        if told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_") {
            build.env_remove(&name);
        }
    }
    let build = build
        .args(["build", "--release", "--bin", "deltaway"])
        .current_dir(root)
        .status()
        .while_doing("starting cargo")?;
    if !build.success() {
        return Err(LoadError::Contender("cargo build --release failed".into()));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release/deltaway"))
}

//! What a configuration takes from outside its own text: variables and files.
//!
//! Behind a trait, so that reading a configuration is a pure function of its inputs and tests touch
//! neither the process environment (which all tests of a process share) nor the disk.

use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read, in bytes: more is no configuration but a mistake.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Where `${NAME}` and `{ file = "…" }` are looked up.
pub trait Environment {
    /// The value of the variable `name`; none if it is not set, or not UTF-8.
    fn variable(&self, name: &str) -> Option<String>;

    /// The whole text of the file at `path`.
    ///
    /// # Errors
    ///
    /// Whatever kept it from being read, also that it is not UTF-8.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The process environment and the file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Environment for System {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        std::fs::File::open(path)?
            .take(LARGEST + 1)
            .read_to_string(&mut text)?;
        if text.len() as u64 > LARGEST {
            let message = "it is larger than 16 MiB";
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        Ok(text)
    }
}

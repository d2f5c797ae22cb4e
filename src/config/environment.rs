//! What a configuration takes from outside its own text: variables and files.
//!
//! Behind a trait, so that reading a configuration is a pure function of its inputs and tests touch
//! neither the process environment (which all tests of a process share) nor the disk.

use std::io;
use std::path::Path;

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
        std::fs::read_to_string(path)
    }
}

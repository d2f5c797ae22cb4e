//! The room as a whole: files in, configurations or faults out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;

mod bad;
mod bad_failures;
mod bad_routes;
mod bad_streams;
mod good;
mod good_failures;
mod good_streams;
mod shipped;
mod tokens;

/// An environment that is a table.
#[derive(Debug, Default)]
pub(super) struct Fixed {
    variables: HashMap<String, String>,
    files: HashMap<PathBuf, String>,
}

impl Fixed {
    /// With this variable set.
    pub(super) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this file.
    pub(super) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.to_owned());
        self
    }
}

impl Environment for Fixed {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let text = self.files.get(path).cloned();
        text.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }
}

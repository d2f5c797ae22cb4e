//! A measurement as it is kept: its circumstances, its loads, and every round's raw values.
//!
//! Invariant: what the tables and plots of a document show is computed from nothing else, so that whoever
//! has the file can make them again.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::environment::Environment;
use crate::error::{LoadError, Result, While};
use crate::report::Run;

/// One run of a command.
#[derive(Debug, Serialize, Deserialize)]
pub struct Record {
    /// Where and with what.
    pub environment: Environment,
    /// One for each load, or group of loads, that has a table of its own.
    pub sheets: Vec<Sheet>,
}

/// What a table is made from.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sheet {
    /// The load, in words.
    pub title: String,
    /// The load, in numbers.
    pub load: serde_json::Value,
    /// What must be known of the runs: whether the machine was quiet, who met a smaller load.
    pub notes: String,
    /// Every contender in every round.
    pub runs: Vec<Run>,
}

impl Record {
    /// Writes the file, and makes the folder for it.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_json(path, self)
    }

    /// Reads one; none where there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let what = || format!("reading {}", path.display());
        let text = fs::read_to_string(path).while_doing(what())?;
        let record = serde_json::from_str(&text);
        record
            .map(Some)
            .map_err(|error| LoadError::Usage(format!("{}: {error}", what())))
    }
}

impl Sheet {
    /// The contenders, in the order of the first round's table.
    pub fn contenders(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for run in &self.runs {
            if !names.contains(&run.contender.as_str()) {
                names.push(run.contender.as_str());
            }
        }
        names
    }

    /// How many rounds there were.
    pub fn rounds(&self) -> usize {
        self.runs.iter().map(|run| run.round).max().unwrap_or(0)
    }
}

/// Writes numbers as JSON.
pub fn write_json(path: &Path, numbers: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(numbers).map_err(std::io::Error::other);
    write(path, &(text.while_doing("writing JSON")? + "\n"))
}

/// Writes a file, and makes the folder for it.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).while_doing(format!("making {}", directory.display()))?;
    }
    fs::write(path, text).while_doing(format!("writing {}", path.display()))
}

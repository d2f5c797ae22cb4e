//! The configuration: TOML in, checked values out.
//!
//! Two shapes: as written (the document with the places of its values, walked once so that every
//! fault is reported together) and as compiled ([`Config`]). One table of keys drives the walk, the
//! JSON Schema and the reference.
//!
//! ```text
//! text ── toml ── document ── walk ── as written ── compile ── Config
//!                              └─── faults, all of them ───┘
//! ```

mod clocks;
mod compile;
mod environment;
mod faults;
mod interpolate;
mod keys;
mod nearest;
mod reference;
mod schema;
mod secret;
mod topic;
mod units;
mod values;
mod walk;
mod written;

#[cfg(test)]
mod tests;

use std::path::Path;

use toml::de::DeTable;

pub use clocks::{DEFAULT_CLOCKS, DEFAULT_PLAIN_CLOCKS, ResolvedClocks};
pub use compile::Overrides;
pub use environment::{Environment, System};
pub use faults::{Fault, Faults, Malformed};
pub use reference::reference;
pub use schema::json_schema;
pub use secret::{MissingSecret, Secret};
pub use topic::{BadTopic, LONGEST_TOPIC, Topic, TopicPattern};
pub use units::{LONGEST, parse_duration, parse_size, show_duration, show_size};
pub use values::*;

use faults::Gathered;
use keys::root::ROOT;
use walk::Walk;

/// The configuration that is served where none is given: `config/deltaway.toml`.
pub const EMBEDDED: &str = include_str!("../../config/deltaway.toml");

/// What [`EMBEDDED`] is called in faults.
pub const EMBEDDED_NAME: &str = "<embedded>";

/// Reads the configuration in the file at `path`.
///
/// # Errors
///
/// Everything that is wrong with it, also that it cannot be read.
pub fn load(path: &Path, env: &dyn Environment) -> Result<Config, Faults> {
    load_with(path, env, Overrides::default())
}

/// [`load`], with what the command line decides over the head of the file.
///
/// # Errors
///
/// As [`load`].
pub fn load_with(
    path: &Path,
    env: &dyn Environment,
    overrides: Overrides,
) -> Result<Config, Faults> {
    let file = path.display().to_string();
    match env.read(path) {
        Ok(source) => parse_with(&source, &file, env, overrides),
        Err(error) => {
            let place = Place {
                file: file.into(),
                line: 1,
                column: 1,
            };
            let message = format!("the configuration cannot be read: {error}");
            let help = "name a file with --config";
            Err(Fault::new(place, "", message, help).into())
        }
    }
}

/// Reads the configuration in `source`. `file` is its name in faults, and its folder is what paths
/// in it are relative to.
///
/// # Errors
///
/// Everything that is wrong with it.
pub fn parse(source: &str, file: &str, env: &dyn Environment) -> Result<Config, Faults> {
    parse_with(source, file, env, Overrides::default())
}

/// [`parse`], with what the command line decides over the head of the file.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_with(
    source: &str,
    file: &str,
    env: &dyn Environment,
    overrides: Overrides,
) -> Result<Config, Faults> {
    let mut gathered = Gathered::new(file, source);
    let (document, errors) = DeTable::parse_recoverable(source);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        gathered.syntax(at, not_toml(error.message()));
    }
    let folder = Path::new(file).parent().unwrap_or(Path::new("")).to_owned();
    let mut walk = Walk {
        env,
        folder,
        gathered: &mut gathered,
    };
    let written = walk.section(&ROOT, document.get_ref(), "", 0);
    match compile::compile(&written, overrides, &mut gathered) {
        Some(config) => Ok(config),
        None => Err(gathered.into_faults()),
    }
}

/// What the parser says, in the words of this room. Its messages hold no text of the file.
fn not_toml(message: &str) -> Malformed {
    let message = message
        .strip_suffix(", expected nothing")
        .unwrap_or(message);
    let help = match message {
        "duplicate key" => "a key is written once: take one out",
        _ => "text stands in quotes; the rules of TOML are at https://toml.io",
    };
    Malformed::new(message, help)
}

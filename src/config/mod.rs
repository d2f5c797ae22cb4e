//! The configuration: TOML in, checked values out.
//!
//! Two shapes: as written (the TOML document with its spans, walked once so that every fault is
//! reported together) and as compiled ([`values`]).

mod secret;
mod values;

pub use secret::{MissingSecret, Secret};
pub use values::*;

//! A secret that cannot be printed by accident.

use std::fmt;
use std::sync::Arc;

/// A secret value, or the knowledge of which variable failed to give one.
///
/// `Debug` shows neither; only [`Secret::reveal`] does, and it is called where a request is written.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    value: Arc<str>,
    source: Arc<str>,
}

/// A secret that was allowed to be empty, and is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{source_name} is not set")]
pub struct MissingSecret {
    /// What should have given it: a variable's name, or a file's.
    pub source_name: Arc<str>,
}

impl Secret {
    /// Wraps `value`, which came from `source` (a variable's name, a file's, or a key path).
    pub fn new(value: impl Into<Arc<str>>, source: impl Into<Arc<str>>) -> Self {
        Self {
            value: value.into(),
            source: source.into(),
        }
    }

    /// The secret itself.
    ///
    /// # Errors
    ///
    /// [`MissingSecret`] when it is empty, naming what should have given it.
    pub fn reveal(&self) -> Result<&str, MissingSecret> {
        if self.value.is_empty() {
            return Err(MissingSecret {
                source_name: self.source.clone(),
            });
        }
        Ok(&self.value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(from {})", self.source)
    }
}

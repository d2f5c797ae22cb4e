//! What can stop a measurement. A wrong number is worse than none: nothing here is passed over.

use std::io;

/// Result with a [`LoadError`].
pub type Result<T> = std::result::Result<T, LoadError>;

/// Why a measurement could not be made, or does not count.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The peer broke HTTP, or the stream was cut.
    #[error("{0}")]
    Wire(String),
    /// The proxy under test could not be started, or died.
    #[error("{0}")]
    Contender(String),
    /// The run itself showed lost events or failed requests.
    #[error("{0}")]
    Failed(String),
    /// The arguments do not make sense.
    #[error("{0}")]
    Usage(String),
}

/// Says what was being done when the system refused.
pub trait While<T> {
    /// Adds `what` to an I/O error.
    fn while_doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> While<T> for std::result::Result<T, E> {
    fn while_doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|source| LoadError::Io {
            what: what.into(),
            source: source.into(),
        })
    }
}

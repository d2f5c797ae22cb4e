//! How the end is told.

/// What a worker is told about the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Go on.
    No,
    /// Accept nothing more; let what runs come to its end.
    Drain,
    /// Drop what still runs.
    Now,
}

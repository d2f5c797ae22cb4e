//! Assembly: from a configuration to a running gateway, and to its end.
//!
//! The process has one thread for each worker, each with a runtime, a pool and connections of its own,
//! and one more for the admin listener and the demo. They share the listening sockets, the plane and the
//! metrics, and nothing else.

mod check;
mod descriptors;
mod run;
mod workers;

pub use check::{check, check_source, explain};
pub use run::run;
pub use workers::{Running, StartFault, start};

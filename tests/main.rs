//! The integration tests: one binary, so that the servers and clients in `support` compile once.
//!
//! Every test runs over real sockets. A test waits on what can be observed, with a limit, and never
//! on a guess of how long something takes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod flows;
mod golden;
mod house;
mod regressions;
mod support;

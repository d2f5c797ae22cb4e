//! Deltaway: a gateway for event streams.

pub mod config;
pub mod dialect;
pub mod sse;

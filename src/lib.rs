//! Deltaway: a gateway for event streams.

pub mod config;
pub mod delivery;
pub mod metrics;
pub mod upstream;

//! Deltaway: a gateway for event streams.

pub mod admin;
pub mod app;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod dialect;
pub mod edge;
pub mod metrics;
pub mod relay;
pub mod router;
pub mod server;
pub mod sse;
pub mod upstream;

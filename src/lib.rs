//! Deltaway: a gateway for event streams.

pub mod config;
pub mod demo;

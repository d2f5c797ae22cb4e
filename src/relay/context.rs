//! What the steps of one request hand on to each other.

use std::sync::Arc;

use http::Method;
use hyper::upgrade::OnUpgrade;

use super::plane::LiveRoute;
use crate::config::{Dialect, ResolvedClocks};
use crate::upstream::Asked;

/// An entry of the route's chain that has answered.
pub(super) struct Reached {
    /// Who, and the answer.
    pub(super) asked: Asked,
    /// Its place in the chain.
    pub(super) entry: usize,
    /// The clocks that run for it.
    pub(super) clocks: ResolvedClocks,
}

/// What is known of a request besides its body, for building its answer.
pub(super) struct Context {
    /// Its route.
    pub(super) route: Arc<LiveRoute>,
    /// The model API it speaks.
    pub(super) dialect: Dialect,
    /// Its method.
    pub(super) method: Method,
    /// The client's connection, should both sides switch to another protocol.
    pub(super) upgrade: Option<OnUpgrade>,
}

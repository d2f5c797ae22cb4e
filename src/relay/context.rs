//! What the steps of one request hand on to each other.

use std::sync::Arc;

use http::{HeaderValue, Method};
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use super::attempts::{Question, Trail};
use super::order::Order;
use super::plane::LiveRoute;
use crate::config::{Dialect, ResolvedClocks, Trouble};
use crate::edge::hop;
use crate::upstream::{Asked, Turn};

/// An entry of the route's chain that has answered.
pub(super) struct Reached {
    /// Who, and the answer.
    pub(super) asked: Asked,
    /// Its place in the chain.
    pub(super) entry: usize,
    /// The clocks that run for it.
    pub(super) clocks: ResolvedClocks,
    /// When it was asked.
    pub(super) began: Instant,
    /// What is wrong with it, where it is an error.
    pub(super) trouble: Option<Trouble>,
    /// Its place at the endpoint; none where the attempt was judged already.
    pub(super) turn: Option<Turn>,
    /// What was tried before.
    pub(super) trail: Trail,
    /// What was asked, where the answer is to be continued if it is cut.
    pub(super) question: Option<Box<Question>>,
}

impl Reached {
    /// An answer that counts.
    pub(super) fn good(
        asked: Asked,
        entry: usize,
        clocks: ResolvedClocks,
        turn: Turn,
    ) -> Box<Self> {
        Box::new(Self {
            began: turn.began(),
            asked,
            entry,
            clocks,
            trouble: None,
            turn: Some(turn),
            trail: Trail::default(),
            question: None,
        })
    }
}

/// What is known of a request besides its body, for building its answer.
pub(super) struct Context {
    /// Its route.
    pub(super) route: Arc<LiveRoute>,
    /// The model API it speaks.
    pub(super) dialect: Dialect,
    /// Its method.
    pub(super) method: Method,
    /// The protocol the client asks to switch to, and its connection for that case.
    pub(super) upgrade: Option<(HeaderValue, OnUpgrade)>,
    /// Whether the caller takes trailers.
    pub(super) takes_trailers: bool,
}

impl Context {
    /// What is known of `order`, from whose head what concerns only the hop to us is taken out.
    pub(super) fn of(order: &mut Order) -> Self {
        let hop = hop::strip_request(&mut order.parts.headers);
        // Only who asked for another protocol can be switched to it.
        let upgrade = order.parts.extensions.remove::<OnUpgrade>();
        Self {
            route: order.route.clone(),
            dialect: order.dialect,
            method: order.parts.method.clone(),
            takes_trailers: hop.te_trailers,
            upgrade: hop.upgrade.zip(upgrade),
        }
    }
}

//! A subscription over a WebSocket: text frames of JSON.

use http::{Response, StatusCode};

use super::{Offer, Reading};
use crate::hub::Subscription;
use crate::relay::body::Body;
use crate::relay::context::Context;
use crate::relay::record::Record;
use crate::relay::refusal::Refusal;

/// Switches protocols and delivers from then on.
pub(super) fn answer(
    _context: Context,
    _subscription: Subscription,
    _reading: Reading,
    _offer: Offer,
    _record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    Err(Some(Refusal::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_implemented",
        "no WebSocket yet",
    )))
}

//! Keeps a route from lending its operator's credentials and topics to strangers unawares.
//!
//! The rule does not look at whether a secret is set at this moment: a configuration that passes on
//! one machine must not fail on the next, or worse, the other way round.

use std::net::SocketAddr;

use super::headers::holds_credentials;
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::ROUTE_OPEN;
use crate::config::values::{Allow, Route};
use crate::config::written::Section;

/// Gathers a fault if anybody beyond this machine could use the credentials that `route` puts in, tell its
/// readers anything, or listen to what was told to others.
pub(super) fn guard(
    route: &Route,
    section: &Section,
    listen: SocketAddr,
    gathered: &mut Gathered<'_>,
) {
    let asks = matches!(route.allow, Allow::Callers(..)) || section.flag(&ROUTE_OPEN);
    if asks || listen.ip().to_canonical().is_loopback() {
        return;
    }
    let gives = if puts_in_credentials(route) {
        "puts in credentials"
    } else if route.publish.is_some() {
        "publishes what it is sent"
    } else if route.patterns {
        "lets its readers name `patterns` of topics"
    } else {
        return;
    };
    let message =
        format!("{gives}, asks no caller for a key, and listens beyond this machine ({listen})");
    let help = "name the keys that are let in (`allow`), or state it with `open = true`";
    gathered.wrong(section.at, &section.path, Malformed::new(message, help));
}

fn puts_in_credentials(route: &Route) -> bool {
    let set = &route.request_headers.set;
    route
        .to
        .iter()
        .any(|target| target.upstream.credential.is_some())
        || set.iter().any(|(name, _)| holds_credentials(name))
}

//! From the configuration as written to the configuration as compiled.
//!
//! One file a table. Each reads what the walk has left, checks the forms of texts and the names that
//! are referred to, and goes on after a fault. What is handed out while there are faults is thrown
//! away.

mod callers;
mod cors;
mod endpoint;
mod failures;
mod guard;
mod headers;
mod needs;
mod pattern;
mod route;
mod server;
mod spki;
mod streams;
mod template;
mod tokens;
mod upstream;

use std::net::SocketAddr;
use std::str::FromStr;

use super::faults::{Gathered, Malformed};
use super::keys::{
    CLOCK_CONNECT, CLOCK_FIRST_BYTE, CLOCK_FIRST_EVENT, CLOCK_IDLE, CLOCK_STALL, CLOCK_TOTAL,
    CLOCKS, Key, root,
};
use super::values::{Clocks, Config};
use super::written::{Node, Section};

/// What the command line decides over the heads of the file.
#[derive(Debug, Clone, Copy, Default)]
pub struct Overrides {
    /// In place of `server.listen`; also where it is checked who can reach an open route.
    pub listen: Option<SocketAddr>,
}

/// Compiles the file; the result counts only if nothing was gathered.
pub(super) fn compile(
    file: &Section,
    overrides: Overrides,
    gathered: &mut Gathered<'_>,
) -> Option<Config> {
    let nothing = Section::default();
    let mut server = server::server(file.section(&root::SERVER).unwrap_or(&nothing), gathered);
    if let Some(listen) = overrides.listen {
        server.listen = listen;
    }
    let admin = file
        .section(&root::ADMIN)
        .and_then(|admin| server::admin(admin, gathered));
    let log = server::log(file.section(&root::LOG).unwrap_or(&nothing), gathered);
    let keys = callers::callers(file, gathered);
    let issuers = tokens::issuers(file, &keys, gathered);
    let upstreams = upstream::upstreams(file, gathered);
    let names = route::Names {
        keys: &keys,
        issuers: &issuers,
        upstreams: &upstreams,
    };
    let routes = route::routes(file, &names, gathered);
    for (route, section) in &routes {
        guard::guard(route, section, server.listen, gathered);
        needs::check(route, section, gathered);
    }
    let hub = streams::hub(file.section(&root::HUB).unwrap_or(&nothing), gathered);
    let topics = streams::topics(file, gathered);
    needs::room_for_hub(&hub, &routes, gathered);
    let routes = routes.into_iter().map(|(route, _)| route.into()).collect();
    let keys = keys
        .into_iter()
        .filter_map(|(name, key)| Some((name, key?)))
        .collect();
    let issuers = issuers
        .into_iter()
        .filter_map(|(name, issuer)| Some((name, issuer?)))
        .collect();
    let upstreams = upstreams
        .into_iter()
        .filter_map(|(name, upstream)| Some((name, upstream?)))
        .collect();
    gathered.is_empty().then_some(Config {
        server,
        admin,
        log,
        keys,
        issuers,
        hub,
        topics,
        upstreams,
        routes,
    })
}

/// The text of `node` read as a `T`; what is wrong with it is gathered.
fn parsed<T>(node: &Node, gathered: &mut Gathered<'_>) -> Option<T>
where
    T: FromStr<Err = Malformed>,
{
    checked(node, T::from_str, gathered)
}

/// The text of `node` read by `read`; what is wrong with it is gathered.
fn checked<T>(
    node: &Node,
    read: impl FnOnce(&str) -> Result<T, Malformed>,
    gathered: &mut Gathered<'_>,
) -> Option<T> {
    match read(&node.text()?.value) {
        Ok(value) => Some(value),
        Err(error) => {
            gathered.wrong(node.at, &node.path, error);
            None
        }
    }
}

/// Every text of the list at `key`, read by `read`.
fn each<T>(
    section: &Section,
    key: &Key,
    read: fn(&str) -> Result<T, Malformed>,
    gathered: &mut Gathered<'_>,
) -> Vec<T> {
    section
        .list(key)
        .iter()
        .filter_map(|node| checked(node, read, gathered))
        .collect()
}

/// `clocks` of an upstream or a route; all unset where the table is not there.
fn clocks(section: Option<&Section>) -> Clocks {
    let limit = |key| {
        section
            .map(|section| section.limit(key))
            .unwrap_or_default()
    };
    debug_assert_eq!(CLOCKS.keys.len(), 6, "each clock is read below");
    Clocks {
        connect: limit(&CLOCK_CONNECT),
        first_byte: limit(&CLOCK_FIRST_BYTE),
        first_event: limit(&CLOCK_FIRST_EVENT),
        idle: limit(&CLOCK_IDLE),
        stall: limit(&CLOCK_STALL),
        total: limit(&CLOCK_TOTAL),
    }
}

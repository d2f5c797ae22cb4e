//! File descriptors: a gateway that runs out of them serves nobody.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but clients and the connections made for them.
const BESIDES: u64 = 128;

/// Raises the limit to what `connections` clients may need, each with a connection of its own to an
/// upstream, as far as the system allows it; warns where that is not enough.
pub(super) fn raise(connections: usize) {
    let wanted = (connections as u64)
        .saturating_mul(2)
        .saturating_add(BESIDES);
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return;
    }
    let reachable = limit.maximum.map_or(wanted, |most| most.min(wanted));
    let raised = Rlimit {
        current: Some(reachable.max(current)),
        maximum: limit.maximum,
    };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => reachable.max(current),
        Err(_) => current,
    };
    if now < wanted {
        tracing::warn!(
            limit = now,
            wanted,
            "too few file descriptors for server.max_connections: raise the limit (ulimit -Hn) or lower it"
        );
    }
}

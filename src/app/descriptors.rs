//! File descriptors: a gateway that runs out of them serves nobody.

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors for everything but clients and the connections made for them.
const BESIDES: u64 = 128;

/// Makes room for what `connections` clients may need, each with a connection of its own to an upstream, as far as
/// the system allows it; warns where that is not enough.
pub(super) fn make_room(connections: usize) {
    let wanted = (connections as u64)
        .saturating_mul(2)
        .saturating_add(BESIDES);
    fill_table(raise(wanted).min(wanted));
}

/// Has the kernel make its table of our descriptors as large as it will be. It doubles the table when that is full, and
/// in a process of several threads waits for all processors then: whoever opens the 256th, 512th, 1,024th descriptor
/// would wait for 10 to 20 ms, and all streams of its worker too.
fn fill_table(descriptors: u64) {
    let Ok(last) = i32::try_from(descriptors.saturating_sub(1)) else {
        return;
    };
    // It is closed at once; the table does not shrink. Without it everything works, but for those waits.
    if let Err(error) = fcntl_dupfd_cloexec(std::io::stderr(), last) {
        tracing::debug!(%error, "the table of file descriptors grows when it is needed");
    }
}

/// Raises the limit to `wanted`; what it is now.
fn raise(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
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
    now
}

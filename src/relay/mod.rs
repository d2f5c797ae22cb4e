//! The life of one request after it was routed: to an endpoint, and its answer back.
//!
//! ```text
//! order ─┬─ attempts (outgoing head, entry, endpoint) ─┬─ direct  (answer's body → client, watched)
//!        │                                          ├─ early   (head sent before the upstream's)
//!        │                                          └─ tunnel  (101: bytes both ways)
//!        ├─ feed        (one upstream connection for all readers)   ─┐
//!        ├─ generation  (an answer that outlives its connection)    ─┼─ hub ─ watch (a subscription → client)
//!        └─ topic       (POST publishes, GET subscribes)            ─┘
//! ```
//!
//! Whatever happens, exactly one [`Record`] is closed with exactly one ending: the access log, the
//! metrics and the client are told the same.

mod answer;
mod attempts;
mod body;
mod context;
mod direct;
mod early;
mod error_frame;
mod feed;
mod fingerprint;
mod generation;
mod head;
mod incoming;
mod order;
mod outgoing;
mod parting;
mod plane;
mod record;
mod refusal;
mod rescued;
mod source;
mod streams;
mod tail;
mod told;
mod took;
mod topic;
mod tunnel;
mod unfit;
mod upload;
mod watch;

pub use attempts::Trail;
pub use body::Body;
pub use direct::Aborted;
pub use generation::Visit;
pub use order::{Order, relay};
pub use outgoing::accepts_events;
pub use plane::{Entry, LiveRoute, Plane, PlaneFault, Registry};
pub use record::{Outcome, Record};
pub use refusal::Refusal;
pub use streams::{Here, Streams};
pub use upload::{Inbound, collect};

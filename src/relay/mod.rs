//! The life of one request after it was routed: to an endpoint, and its answer back.
//!
//! ```text
//! order ─ outgoing (head for the upstream) ─ ask ─┬─ direct  (answer's body → client, watched)
//!                                                 ├─ early   (head sent before the upstream's)
//!                                                 └─ tunnel  (101: bytes both ways)
//! ```
//!
//! Whatever happens, exactly one [`Record`] is closed with exactly one ending: the access log, the
//! metrics and the client are told the same.

mod answer;
mod body;
mod context;
mod direct;
mod early;
mod head;
mod order;
mod outgoing;
mod plane;
mod record;
mod refusal;
mod source;
mod tunnel;
mod upload;

pub use body::Body;
pub use direct::Aborted;
pub use order::{Order, relay};
pub use outgoing::accepts_events;
pub use plane::{Entry, LiveRoute, Plane, PlaneFault, Registry};
pub use record::{Outcome, Record};
pub use refusal::Refusal;
pub use upload::{Inbound, collect};

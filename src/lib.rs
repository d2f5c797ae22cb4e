//! Deltaway: a gateway for event streams. This page is the map.
//!
//! # The way of one request
//!
//! ```text
//! client ─ listener ─ pipeline ─ router ─ relay ─ upstream
//!          server/    server/    router/  relay/   upstream/
//!                     (edge/: callers, cross-origin rules, forwarding, trace ids)
//!
//! upstream's body ─ direct ─ client          polled by the server that writes it
//!                   relay/   delivery/       (dialect/ watches the bytes go by: sse/)
//!
//! upstream's body ─ log ─ cursors ─ clients  streams that are shared, kept or published
//!          relay/    store/  hub/   delivery/
//! ```
//!
//! A relayed event is one read of the upstream's socket and one write of the client's: no task, no
//! channel and no queue stands between the two. `server::pipeline` shows every step before that on one
//! screen; `relay::direct` is the path of the bytes; `dialect::ending` says how a stream ended, and the
//! client, the access log and the metrics are told the same. Where a stream has several readers, or outlives
//! its connection, a log stands between: see [`hub`].
//!
//! # Levels
//!
//! A room imports from lower levels only; `tests/house.rs` holds the table, exact in both directions.
//! A line lives in the lowest room whose words suffice to say it.
//!
//! | level | rooms |
//! |---|---|
//! | 5 | [`app`]: assembly, check, signals, drain |
//! | 4 | [`server`]: sockets, connections, the pipeline · [`admin`]: health, metrics · [`demo`]: the backend inside |
//! | 3 | [`relay`]: the life of one request |
//! | 2 | [`edge`]: callers, forwarding · [`upstream`]: endpoints, connections, the HTTP/1.1 client · [`hub`]: streams, cursors, topics |
//! | 1 | [`dialect`]: model APIs · [`router`]: request head → route · [`store`]: the log of a stream · [`delivery`]: the client's socket, transports |
//! | 0 | [`sse`]: bytes → events · [`metrics`]: registry · [`config`]: TOML → checked values |
//!
//! # Words
//!
//! *Route*: what requests are like and where they go. *Upstream*: a named group of *endpoints*. *Head*:
//! status and fields. *Chunk*: bytes as read. *Event*: one Server-Sent Event. *Ending*: how a stream ended.
//! *Plane*: everything a configuration compiles to. *Dialect*: a model API's shape. *Principal*: who calls.
//! `ARCHITECTURE.md` has them all, and the decisions.

pub mod admin;
pub mod app;
pub mod config;
pub mod delivery;
pub mod demo;
pub mod dialect;
pub mod edge;
pub mod hub;
pub mod metrics;
pub mod relay;
pub mod router;
pub mod server;
pub mod sse;
pub mod store;
pub mod upstream;

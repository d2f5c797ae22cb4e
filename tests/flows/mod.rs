//! What users do, one file a subject: each test is named by what somebody needs.

mod binary;
mod callers;
mod chains;
mod commands;
mod connections;
mod crates;
mod cuts;
mod demo;
mod feed_sources;
mod feeds;
mod fields;
mod generations;
mod heartbeat;
mod http2_upstreams;
mod kept;
mod ordinary;
mod refusals;
mod resumed;
mod routing;
mod streams;
mod tokens;
mod topics;
mod unbuffered;
mod uploads;
mod upstreams;
mod websocket;

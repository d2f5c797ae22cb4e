//! What users do, one file a subject: each test is named by what somebody needs.

mod binary;
mod callers;
mod connections;
mod crates;
mod demo;
mod fields;
mod heartbeat;
mod ordinary;
mod refusals;
mod routing;
mod unbuffered;
mod uploads;
mod websocket;

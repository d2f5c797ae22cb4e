//! One address of an upstream, and what is known of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::HeaderValue;
use rustls::pki_types::ServerName;

use super::connect::Place;

/// One endpoint, alive: it outlives the configuration that names it.
#[derive(Debug)]
pub struct Endpoint {
    /// Its number, unique in the process.
    pub number: u64,
    /// How it is named in logs and metrics, `http://host:port/base`.
    pub name: Arc<str>,
    /// The value of `Host` for it.
    pub authority: HeaderValue,
    /// What is put before every path: empty, or `/…` without a slash at the end.
    pub base: Arc<str>,
    /// Where it is reached.
    pub place: Place,
    /// The name TLS checks; none without TLS.
    pub server_name: Option<ServerName<'static>>,
    /// Whether checks find it well; true until they know otherwise, and where there are none.
    pub checked: AtomicBool,
}

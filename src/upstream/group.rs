//! An upstream at work: its endpoints in turn, and the attempts a request makes.
//!
//! A request goes to the next endpoint only while no connection could be made. It is sent again, once,
//! when a kept connection turns out to have been closed between two requests: any request if not a byte
//! of it was written, and otherwise those that may be repeated. Everything else is the caller's to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::attempt::{Ask, attempt};
use super::endpoint::Endpoint;
use super::fault::{Reason, UpstreamFault};
use super::body::Answer;
use super::h1::Upload;
use crate::config::HttpVersion;

/// In place of a limit where there is none: the future is the same, and no larger for it.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A named group of endpoints.
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints; at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// TLS for those of them that speak it.
    pub tls: Option<TlsConnector>,
    /// The version of HTTP spoken to them.
    pub http: HttpVersion,
    /// Most idle connections kept for an endpoint by a worker.
    pub pool_idle: usize,
    /// How long an idle connection is kept.
    pub pool_keep: Duration,
    /// Whose turn it is.
    pub turn: AtomicUsize,
}

/// An answer, and who gave it.
#[derive(Debug)]
pub struct Asked {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its answer.
    pub answer: Answer,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .field("endpoints", &self.endpoints)
            .finish_non_exhaustive()
    }
}

impl Group {
    /// Sends a request to the endpoint whose turn it is, and on to the next ones while no
    /// connection can be made. `upload` stays with the caller while it was not used.
    ///
    /// # Errors
    ///
    /// The last endpoint's [`UpstreamFault`].
    pub async fn ask(
        &self,
        ask: &Ask<'_>,
        upload: &mut Option<Upload>,
    ) -> Result<Asked, UpstreamFault> {
        let started = Instant::now();
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut tries = 0;
        loop {
            let endpoint = &self.endpoints[first.wrapping_add(tries) % self.endpoints.len()];
            tries += 1;
            let limit = ask.clocks.first_byte.unwrap_or(FOREVER);
            let outcome = timeout_at(started + limit, attempt(self, endpoint, ask, upload))
                .await
                .unwrap_or(Err(Reason::FirstByteTimeout(limit)));
            match outcome {
                Ok(answer) => {
                    let endpoint = endpoint.clone();
                    return Ok(Asked { endpoint, answer });
                }
                Err(reason) if reason.before_request() && tries < self.endpoints.len() => {
                    tracing::warn!(endpoint = %endpoint.name, %reason, "endpoint not reached, trying the next");
                }
                Err(reason) => {
                    let endpoint = endpoint.name.clone();
                    return Err(UpstreamFault { endpoint, reason });
                }
            }
        }
    }
}

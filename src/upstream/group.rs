//! An upstream at work: its endpoints in turn, and the attempts a request makes.
//!
//! A request goes to the next endpoint only while no connection could be made. It is sent again, once,
//! when a kept connection turns out to have been closed between two requests: any request if not a byte
//! of it was written, and otherwise those that may be repeated. Everything else is the caller's to know.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method};
use rustls::pki_types::ServerName;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::connect::{Place, connect};
use super::fault::{Reason, UpstreamFault};
use super::h1::{Announced, Answer, Connection, Upload, exchange};
use super::pool::{Home, Pool};
use crate::config::ResolvedClocks;

/// In place of a limit where there is none: the future is the same, and no larger for it.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

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
}

/// A named group of endpoints.
pub struct Group {
    /// Its name.
    pub name: Arc<str>,
    /// Its endpoints; at least one.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// TLS for those of them that speak it.
    pub tls: Option<TlsConnector>,
    /// Most idle connections kept for an endpoint by a worker.
    pub pool_idle: usize,
    /// How long an idle connection is kept.
    pub pool_keep: Duration,
    /// Whose turn it is.
    pub turn: AtomicUsize,
}

/// Writes a request's head for an endpoint.
pub trait BuildHead {
    /// The method.
    fn method(&self) -> &Method;
    /// The head for `endpoint`, with `body` announced.
    fn build(&self, endpoint: &Endpoint, body: Announced) -> BytesMut;
}

/// A request to a group, but for its body.
pub struct Ask<'a> {
    /// The worker's connections.
    pub pool: &'a Arc<Pool>,
    /// How long things may take.
    pub clocks: &'a ResolvedClocks,
    /// Whether the request may be sent again when it is not known whether a backend has acted on it:
    /// methods that RFC 9110 §9.2.2 calls idempotent, and questions to a model.
    pub resend: bool,
    /// Writes the head.
    pub request: &'a (dyn BuildHead + Sync),
}

/// An answer, and who gave it.
#[derive(Debug)]
pub struct Asked {
    /// The endpoint.
    pub endpoint: Arc<Endpoint>,
    /// Its answer.
    pub answer: Answer,
}

impl std::fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("clocks", &self.clocks)
            .finish_non_exhaustive()
    }
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
            let outcome = timeout_at(started + limit, self.attempt(endpoint, ask, upload))
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

    async fn attempt(
        &self,
        endpoint: &Arc<Endpoint>,
        ask: &Ask<'_>,
        upload: &mut Option<Upload>,
    ) -> Result<Answer, Reason> {
        // A body that can be sent only once is not risked on a connection that may be closed.
        let kept = match upload {
            Some(Upload::Kept(body)) => Some(body.clone()),
            _ => None,
        };
        let reused = kept.as_ref().and_then(|_| ask.pool.take(endpoint.number));
        let home = Home {
            pool: ask.pool.clone(),
            endpoint: endpoint.number,
            room: self.pool_idle,
            keep: self.pool_keep,
        };
        if let (Some(connection), Some(body)) = (reused, kept) {
            match send(connection, ask.request, endpoint, Upload::Kept(body)).await {
                Ok(answer) => return Ok(answer_from(answer, home)),
                Err(fault) if fault.stale && (ask.resend || fault.unsent) => {}
                Err(fault) => return Err(fault.reason),
            }
        }
        // Boxed: rare, and large beside what a kept connection needs.
        let connection = Box::pin(self.open(endpoint, ask.clocks.connect)).await?;
        let upload = upload.take().unwrap_or(Upload::Kept(Bytes::new()));
        match send(connection, ask.request, endpoint, upload).await {
            Ok(answer) => Ok(answer_from(answer, home)),
            Err(fault) => Err(fault.reason),
        }
    }

    async fn open(
        &self,
        endpoint: &Endpoint,
        limit: Option<Duration>,
    ) -> Result<Connection, Reason> {
        let tls = self.tls.clone().zip(endpoint.server_name.clone());
        let opening = connect(&endpoint.place, tls.as_ref());
        let transport = match limit {
            Some(limit) => timeout(limit, opening)
                .await
                .unwrap_or(Err(Reason::ConnectTimeout(limit)))?,
            None => opening.await?,
        };
        Ok(Connection::new(transport))
    }
}

fn answer_from(mut answer: Answer, home: Home) -> Answer {
    answer.body.return_to(home);
    answer
}

async fn send(
    connection: Connection,
    request: &(dyn BuildHead + Sync),
    endpoint: &Endpoint,
    upload: Upload,
) -> Result<Answer, super::h1::ExchangeFault> {
    let announced = match &upload {
        Upload::Kept(body) if body.is_empty() && !expects_body(request.method()) => {
            Announced::Nothing
        }
        Upload::Kept(body) => Announced::Length(body.len() as u64),
        Upload::Streaming(_, Some(length)) => Announced::Length(*length),
        Upload::Streaming(_, None) => Announced::Chunked,
    };
    let head = request.build(endpoint, announced);
    exchange(connection, request.method(), head, upload).await
}

/// Methods whose empty body is announced all the same (RFC 9110 §8.6).
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

//! One attempt: a request to one endpoint, and the head of its answer.
//!
//! A request is sent again, once, when a kept connection turns out to have been closed between two requests: any
//! request if not a byte of it was written, and otherwise those that may be repeated.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Method;
use tokio::time::timeout;

use super::connect::connect;
use super::endpoint::Endpoint;
use super::fault::Reason;
use super::group::Group;
use super::h1::{Announced, Answer, Connection, ExchangeFault, Upload, exchange};
use super::pool::{Home, Pool};
use crate::config::ResolvedClocks;

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

impl std::fmt::Debug for Ask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask")
            .field("clocks", &self.clocks)
            .finish_non_exhaustive()
    }
}

/// Asks `endpoint` once, on a kept connection or a new one. A kept connection that turns out to have been closed
/// between two requests does not count. `upload` stays with the caller while it was not used.
pub(super) async fn attempt(
    group: &Group,
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
        room: group.config.pool_idle,
        keep: group.config.pool_keep,
    };
    if let (Some(connection), Some(body)) = (reused, kept) {
        match send(connection, ask.request, endpoint, Upload::Kept(body)).await {
            Ok(answer) => return Ok(answer_from(answer, home)),
            Err(fault) if fault.stale && (ask.resend || fault.unsent) => {}
            Err(fault) => return Err(fault.reason),
        }
    }
    // Boxed: rare, and large beside what a kept connection needs.
    let connection = Box::pin(open(group, endpoint, ask.clocks.connect)).await?;
    let upload = upload.take().unwrap_or(Upload::Kept(Bytes::new()));
    match send(connection, ask.request, endpoint, upload).await {
        Ok(answer) => Ok(answer_from(answer, home)),
        Err(fault) => Err(fault.reason),
    }
}

async fn open(
    group: &Group,
    endpoint: &Endpoint,
    limit: Option<Duration>,
) -> Result<Connection, Reason> {
    let tls = group.tls.clone().zip(endpoint.server_name.clone());
    let opening = connect(&endpoint.place, group.config.lookup, tls.as_ref());
    let transport = match limit {
        Some(limit) => timeout(limit, opening)
            .await
            .unwrap_or(Err(Reason::ConnectTimeout(limit)))?,
        None => opening.await?,
    };
    Ok(Connection::new(transport))
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
) -> Result<Answer, ExchangeFault> {
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

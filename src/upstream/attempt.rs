//! One attempt: a request to one endpoint, and the head of its answer.
//!
//! By HTTP/1.1, a request is sent again, once, when a kept connection turns out to have been closed between two requests: any
//! request if not a byte of it was written, and otherwise those that may be repeated. By HTTP/2 the server tells what it
//! did nothing for, and any such request is sent again (RFC 9113 §8.7).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use tokio::time::timeout;

use super::body::{Answer, AnswerBody};
use super::connect::{HTTP_1, Secure, connect};
use super::endpoint::Endpoint;
use super::fault::Reason;
use super::group::Group;
use super::h1::{Announced, Body, Connection, ExchangeFault, Head, Upload, exchange};
use super::h2::{self, Given, Opening};
use super::pool::{Home, Pool};
use crate::config::{HttpVersion, ResolvedClocks};

/// Writes a request's head for an endpoint.
pub trait BuildHead {
    /// The method.
    fn method(&self) -> &Method;
    /// The head for `endpoint`, with `body` announced.
    fn build(&self, endpoint: &Endpoint, body: Announced) -> Vec<u8>;
    /// The head for `endpoint` as HTTP/2 has it, without framing.
    ///
    /// # Errors
    ///
    /// [`http::Error`] where HTTP/2 has no way to write it.
    fn parts(&self, endpoint: &Endpoint) -> Result<Request<()>, http::Error>;
    /// Whether it asks for another protocol on its connection (RFC 9110 §7.8).
    fn upgrades(&self) -> bool;
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

/// Most connections by HTTP/2 that a request is tried on, while each says that it did nothing for it.
const TRIES: usize = 3;

/// Asks `endpoint` once, on a connection that is there or a new one. A connection that turns out to have been closed
/// between two requests does not count. `upload` stays with the caller while it was not used.
pub(super) async fn attempt(
    group: &Group,
    endpoint: &Arc<Endpoint>,
    ask: &Ask<'_>,
    upload: &mut Option<Upload>,
) -> Result<Answer, Reason> {
    let secure = group.tls.is_some() && endpoint.server_name.is_some();
    match group.config.http {
        HttpVersion::Two if ask.request.upgrades() => Err(Reason::Upgrade),
        // Boxed: large beside what HTTP/1.1 needs.
        HttpVersion::Two => Box::pin(shared(group, endpoint, ask, upload)).await,
        // Only a connection by HTTP/1.1 can speak another protocol afterwards.
        HttpVersion::Auto if secure && !ask.request.upgrades() => {
            Box::pin(shared(group, endpoint, ask, upload)).await
        }
        HttpVersion::One | HttpVersion::Auto => alone(group, endpoint, ask, upload).await,
    }
}

/// Asks on a stream of a connection by HTTP/2, or as the server has chosen.
async fn shared(
    group: &Group,
    endpoint: &Arc<Endpoint>,
    ask: &Ask<'_>,
    upload: &mut Option<Upload>,
) -> Result<Answer, Reason> {
    let opening = Opening {
        endpoint: endpoint.clone(),
        keep: group.config.lookup,
        tls: group.tls.clone(),
        or_one: group.config.http == HttpVersion::Auto,
    };
    let sessions = ask.pool.sessions(endpoint.number);
    sessions.keep(group.config.pool_idle, group.config.pool_keep);
    let mut refused = None;
    for tried in 1.. {
        let limit = ask.clocks.connect;
        let lease = match sessions.place(&opening, limit, refused.as_ref()).await? {
            Given::Stream(lease) => lease,
            // Another upstream with the same endpoint may do with less.
            Given::One(_) | Given::Own if !opening.or_one => {
                return Err(Reason::NoHttp2("it chose HTTP/1.1".into()));
            }
            Given::One(connection) => {
                return on_connection(group, endpoint, ask, (connection, upload)).await;
            }
            Given::Own => break,
            Given::Failed(reason) => return Err(reason),
        };
        let request = ask.request.parts(endpoint)?;
        let body = upload.take().unwrap_or(Upload::Kept(Bytes::new()));
        let announced = announced(ask.request.method(), &body);
        refused = Some(lease.life());
        let fault = match h2::exchange(lease, request, announced, body).await {
            Ok((head, body)) => {
                let body = Box::new(AnswerBody::Two(body));
                return Ok(Answer { head, body });
            }
            Err(fault) => fault,
        };
        // What was read from the client cannot be sent twice, whatever the server says.
        let Some(whole) = fault.upload else {
            return Err(fault.reason);
        };
        *upload = Some(whole);
        let again = fault.unsent || (fault.stale && ask.resend);
        // Who refuses streams has too many of them.
        let refused_stream = matches!(fault.reason, Reason::Reset(_));
        let again = again && (!refused_stream || group.may_retry());
        match fault.reason {
            _ if again && tried < TRIES => {}
            Reason::Reset(code) | Reason::GoneAway(code) if fault.unsent => {
                return Err(Reason::Refused(code));
            }
            reason => return Err(reason),
        }
    }
    alone(group, endpoint, ask, upload).await
}

/// Asks on a connection by HTTP/1.1 that nobody else uses meanwhile, a kept one if there is one.
async fn alone(
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
    let reused = kept
        .as_ref()
        .and_then(|_| ask.pool.take(endpoint, group.config.lookup));
    if let (Some(connection), Some(body)) = (reused, kept) {
        match send(connection, ask.request, endpoint, Upload::Kept(body)).await {
            Ok(answer) => return Ok(answer_from(answer, home(group, endpoint, ask))),
            Err(fault) if fault.stale && (ask.resend || fault.unsent) => {}
            Err(fault) => return Err(fault.reason),
        }
    }
    // Boxed: rare, and large beside what a kept connection needs.
    let connection = Box::pin(open(group, endpoint, ask.clocks.connect)).await?;
    on_connection(group, endpoint, ask, (connection, upload)).await
}

/// Asks on a new connection by HTTP/1.1.
async fn on_connection(
    group: &Group,
    endpoint: &Arc<Endpoint>,
    ask: &Ask<'_>,
    (connection, upload): (Box<Connection>, &mut Option<Upload>),
) -> Result<Answer, Reason> {
    let upload = upload.take().unwrap_or(Upload::Kept(Bytes::new()));
    match send(connection, ask.request, endpoint, upload).await {
        Ok(answer) => Ok(answer_from(answer, home(group, endpoint, ask))),
        Err(fault) => Err(fault.reason),
    }
}

fn home(group: &Group, endpoint: &Endpoint, ask: &Ask<'_>) -> Home {
    Home {
        pool: ask.pool.clone(),
        endpoint: endpoint.number,
        room: group.config.pool_idle,
        keep: group.config.pool_keep,
    }
}

async fn open(
    group: &Group,
    endpoint: &Endpoint,
    limit: Option<Duration>,
) -> Result<Box<Connection>, Reason> {
    let tls = group.tls.as_ref().zip(endpoint.server_name.as_ref());
    let secure = tls.map(|(connector, name)| Secure {
        connector,
        name,
        versions: &[HTTP_1],
    });
    let opening = connect(&endpoint.place, group.config.lookup, secure);
    let transport = match limit {
        Some(limit) => timeout(limit, opening)
            .await
            .unwrap_or(Err(Reason::ConnectTimeout(limit)))?,
        None => opening.await?,
    };
    let peer = endpoint.place.peer_of(&transport);
    let mut connection = Connection::new(transport);
    connection.peer = peer;
    Ok(connection)
}

fn answer_from((head, mut body): (Head, Body), home: Home) -> Answer {
    body.return_to(home);
    let body = Box::new(AnswerBody::One(body));
    Answer { head, body }
}

async fn send(
    connection: Box<Connection>,
    request: &(dyn BuildHead + Sync),
    endpoint: &Endpoint,
    upload: Upload,
) -> Result<(Head, Body), ExchangeFault> {
    let head = request.build(endpoint, announced(request.method(), &upload));
    exchange(connection, request.method(), head, upload).await
}

fn announced(method: &Method, upload: &Upload) -> Announced {
    match upload {
        Upload::Kept(body) if body.is_empty() && !expects_body(method) => Announced::Nothing,
        Upload::Kept(body) => Announced::Length(body.len() as u64),
        Upload::Streaming(_, Some(length)) => Announced::Length(*length),
        Upload::Streaming(_, None) => Announced::Chunked,
    }
}

/// Methods whose empty body is announced all the same (RFC 9110 §8.6).
fn expects_body(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

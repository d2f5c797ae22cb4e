//! An upgraded connection: bytes both ways until both sides have ended, or have been silent for too
//! long (RFC 9110 §7.8).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy_bidirectional};

use super::body::Body;
use super::context::{Context as RequestContext, Reached};
use super::head::finish;
use super::record::{Outcome, Record};
use super::refusal::Refusal;
use crate::edge::hop;
use crate::upstream::Transport;

/// Passes a 101 on and copies bytes both ways from then on.
///
/// # Errors
///
/// A [`Refusal`] when an upstream switches protocols though nobody asked for it.
pub(super) fn answer(
    mut context: RequestContext,
    mut reached: Box<Reached>,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Refusal> {
    let asked = &mut reached.asked;
    let mut headers = std::mem::take(&mut asked.answer.head.headers);
    let protocol = headers.get(UPGRADE).cloned();
    let connection = asked.answer.body.take_connection();
    let offered = context
        .upgrade
        .take()
        .filter(|(asked, _)| protocol.as_ref().is_some_and(|taken| names(asked, taken)));
    let (Some((_, upgrade)), Some(protocol), Some(connection)) = (offered, protocol, connection)
    else {
        let upstream = &context.route.chain[reached.entry].upstream.name;
        return Err(Refusal::switched(&asked.endpoint.name, upstream));
    };
    let mut record = record.take().ok_or_else(Refusal::internal)?;
    hop::strip_response(&mut headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    finish(&mut headers, &context, &record);
    record.adopt(&context.route, &mut reached);
    record.status = Some(StatusCode::SWITCHING_PROTOCOLS);
    record.outcome = Outcome::Upgraded;
    let (transport, read_ahead) = connection.into_parts();
    let socket = record.socket().clone();
    let tunnel = Tunnel {
        transport,
        read_ahead,
        idle: reached.clocks.idle,
        record,
    };
    // The client's connection waits for it, and ends it when it is ended itself.
    socket.set_tunnel(tokio::spawn(tunnel.run(upgrade)));
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Ok(response)
}

/// Whether the protocol that was `taken` is among those that were `asked` for.
fn names(asked: &HeaderValue, taken: &HeaderValue) -> bool {
    let list = asked.as_bytes().split(|byte| *byte == b',');
    list.into_iter().any(|protocol| {
        protocol
            .trim_ascii()
            .eq_ignore_ascii_case(taken.as_bytes().trim_ascii())
    })
}

/// Two connections whose bytes belong to each other.
struct Tunnel {
    transport: Transport,
    read_ahead: Bytes,
    idle: Option<Duration>,
    record: Box<Record>,
}

impl Tunnel {
    async fn run(mut self, upgrade: OnUpgrade) {
        let active = Arc::new(AtomicBool::new(true));
        let copied = copy(upgrade, self.transport, self.read_ahead, active.clone());
        let ended = tokio::select! {
            copied = copied => copied.map_err(|error| error.to_string()),
            limit = silent(self.idle, &active) => Err(format!("no byte passed for {limit:?}")),
        };
        match ended {
            Ok(to_client) => {
                self.record
                    .add_bytes(usize::try_from(to_client).unwrap_or(usize::MAX));
            }
            Err(reason) => self.record.reason = Some(reason.into()),
        }
    }
}

/// Copies until both sides have ended, or one has failed; the bytes that went to the client.
async fn copy(
    upgrade: OnUpgrade,
    transport: Transport,
    read_ahead: Bytes,
    active: Arc<AtomicBool>,
) -> io::Result<u64> {
    let client = TokioIo::new(upgrade.await.map_err(io::Error::other)?);
    let mut client = Watched {
        inner: client,
        active: active.clone(),
    };
    let mut upstream = Watched {
        inner: transport,
        active,
    };
    client.write_all(&read_ahead).await?;
    let (_, to_client) = copy_bidirectional(&mut client, &mut upstream).await?;
    Ok(to_client + read_ahead.len() as u64)
}

/// Ends when nothing has passed for at least `limit`, and at most twice that.
async fn silent(limit: Option<Duration>, active: &AtomicBool) -> Duration {
    let Some(limit) = limit else {
        return std::future::pending().await;
    };
    while active.swap(false, Ordering::Relaxed) {
        tokio::time::sleep(limit).await;
    }
    limit
}

/// A connection that tells when something came from it.
struct Watched<T> {
    inner: T,
    active: Arc<AtomicBool>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if read.is_ready() {
            self.active.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

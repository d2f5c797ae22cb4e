//! Accepting connections, on each worker from the same listening socket.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::connection;
use super::pipeline::Gateway;
use super::shutdown::Shutdown;

/// Connections the kernel keeps for us while we are not accepting.
const BACKLOG: i32 = 4096;
/// How long accepting rests after an error that is not the connection's own (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket on `address`, to be shared by all workers.
///
/// # Errors
///
/// When the address cannot be bound.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Serves connections of `listener` until the shutdown; at most `most` at once.
///
/// # Errors
///
/// When the listener cannot be used with this runtime.
pub async fn serve(
    listener: TcpListener,
    gateway: Arc<Gateway>,
    most: usize,
    mut shutdown: watch::Receiver<Shutdown>,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    while *shutdown.borrow() == Shutdown::No {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < most => match accepted {
                Ok((tcp, peer)) => {
                    let shutdown = shutdown.clone();
                    connections.spawn(connection::run(tcp, peer, gateway.clone(), shutdown));
                }
                Err(error) if is_of_connection(&error) => {}
                Err(error) => {
                    tracing::error!(%error, "accepting connections failed, trying again");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            // Keeps the set as small as what is open.
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            _ = shutdown.changed() => {}
        }
    }
    drop(listener);
    loop {
        tokio::select! {
            ended = connections.join_next() => if ended.is_none() { return Ok(()) },
            asked = now(&mut shutdown) => {
                if asked {
                    tracing::warn!(open = connections.len(), "the time to drain is over: connections are closed");
                }
                connections.shutdown().await;
                return Ok(());
            }
        }
    }
}

/// Waits until everything is to be dropped; false when nobody is left to ask for it.
async fn now(shutdown: &mut watch::Receiver<Shutdown>) -> bool {
    shutdown
        .wait_for(|told| *told == Shutdown::Now)
        .await
        .is_ok()
}

/// Whether only the connection that was to be accepted is concerned.
fn is_of_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

//! One client connection: hyper's HTTP/1, and the clocks hyper does not have.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::listener::Shutdown;
use super::pipeline::Gateway;
use crate::delivery::{ClientIo, Phase, Socket};
use crate::relay::{Aborted, Body};

/// The shortest time between two looks.
const LEAST_LOOK: Duration = Duration::from_millis(10);

/// Serves `tcp` until it ends.
pub(super) async fn run(
    tcp: TcpStream,
    peer: SocketAddr,
    gateway: Arc<Gateway>,
    mut shutdown: watch::Receiver<Shutdown>,
) {
    let Ok(socket) = Socket::new(tcp, peer) else {
        return;
    };
    let socket = Arc::new(socket);
    let _open = gateway.count_connection();
    let requests = Requests {
        gateway: gateway.clone(),
        socket: socket.clone(),
    };
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(gateway.limits().max_head)
            .serve_connection(ClientIo::new(socket.clone()), requests)
            .with_upgrades()
    );
    let mut watchdog = pin!(sleep_until(next_look(&socket, &gateway).into()));
    let mut draining = *shutdown.borrow_and_update() != Shutdown::No;
    if draining {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        tokio::select! {
            biased;
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(peer = %peer, %error, "connection ended");
                }
                return;
            }
            () = &mut watchdog => {
                let due = due(&socket, &gateway);
                if due <= Instant::now() {
                    match socket.phase() {
                        // Nothing is half-way: hyper closes as soon as it can.
                        Phase::Idle(_) if !draining => {
                            draining = true;
                            connection.as_mut().graceful_shutdown();
                        }
                        Phase::Idle(_) | Phase::Head(_) => return,
                        Phase::Busy => {}
                    }
                }
                watchdog.as_mut().reset(next_look(&socket, &gateway).into());
            }
            changed = shutdown.changed(), if !draining => {
                draining = true;
                if changed.is_ok() {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// When to look at the connection again: when something is due, and often enough to see a head that
/// began in the meantime.
fn next_look(socket: &Socket, gateway: &Gateway) -> Instant {
    let soonest = Instant::now() + LEAST_LOOK;
    due(socket, gateway)
        .min(Instant::now() + gateway.limits().watch)
        .max(soonest)
}

/// The moment at which the connection has rested, or its head has taken, too long.
fn due(socket: &Socket, gateway: &Gateway) -> Instant {
    let limits = gateway.limits();
    match socket.phase() {
        Phase::Idle(since) => since + limits.keep_alive,
        Phase::Head(since) => since + limits.head_timeout,
        Phase::Busy => Instant::now() + limits.watch,
    }
}

/// The requests of one connection, as hyper hands them over.
struct Requests {
    gateway: Arc<Gateway>,
    socket: Arc<Socket>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Aborted;
    // Boxed: hyper keeps room for the future in the connection also while it rests.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Aborted>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        Box::pin(self.gateway.clone().handle(self.socket.clone(), request))
    }
}

//! One client connection: hyper's HTTP/1, and the clocks hyper does not have.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep_until};

use super::pipeline::Gateway;
use super::shutdown::Shutdown;
use crate::delivery::{ClientIo, Phase, Socket};
use crate::relay::{Aborted, Body};

/// The shortest time between two looks at a connection.
const LEAST_LOOK: Duration = Duration::from_millis(10);

/// Serves `tcp` until it ends.
pub(super) async fn run(
    tcp: TcpStream,
    peer: SocketAddr,
    gateway: Arc<Gateway>,
    shutdown: watch::Receiver<Shutdown>,
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
    let mut supervisor = Supervisor::new(socket.clone(), gateway, shutdown);
    std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = connection.as_mut().poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return Poll::Ready(());
            }
            match supervisor.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Order::Close) => return Poll::Ready(()),
                Poll::Ready(Order::Drain) => connection.as_mut().graceful_shutdown(),
            }
        }
    })
    .await;
    if let Some(tunnel) = socket.take_tunnel() {
        Tunnel(tunnel).await;
    }
}

/// What an upgraded connection lives on as; ended with this connection's own task.
struct Tunnel(JoinHandle<()>);

impl Future for Tunnel {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // A tunnel that panicked has ended like any other.
        Pin::new(&mut self.0).poll(cx).map(|_| ())
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a supervisor has decided.
enum Order {
    /// Close at once: nothing of an answer is under way.
    Close,
    /// Close as soon as the running request, if any, has ended.
    Drain,
}

/// Watches over one connection: its clocks, and the shutdown.
///
/// It is asked at every turn of the connection, which is at every event of a stream. Both things it
/// waits for wake the same task, so that most of the time a look at two flags is enough.
struct Supervisor {
    socket: Arc<Socket>,
    gateway: Arc<Gateway>,
    look: Pin<Box<Sleep>>,
    shutdown: watch::Receiver<Shutdown>,
    told: Pin<Box<dyn Future<Output = ()> + Send>>,
    draining: bool,
    waiting: bool,
}

impl Supervisor {
    fn new(
        socket: Arc<Socket>,
        gateway: Arc<Gateway>,
        shutdown: watch::Receiver<Shutdown>,
    ) -> Self {
        let look = Box::pin(sleep_until(next_look(&socket, &gateway).into()));
        let mut receiver = shutdown.clone();
        let told = Box::pin(async move {
            // An error means that nobody is left to tell: that is an end as well.
            let _ = receiver.wait_for(|told| *told != Shutdown::No).await;
        });
        Self {
            socket,
            gateway,
            look,
            shutdown,
            told,
            draining: false,
            waiting: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Order> {
        let told = !self.draining && self.shutdown.has_changed().unwrap_or(true);
        if self.waiting && !told && !self.look.is_elapsed() {
            return Poll::Pending;
        }
        self.waiting = true;
        if !self.draining && self.told.as_mut().poll(cx).is_ready() {
            self.draining = true;
            return Poll::Ready(Order::Drain);
        }
        while self.look.as_mut().poll(cx).is_ready() {
            if due(&self.socket, &self.gateway) <= Instant::now() {
                match self.socket.phase() {
                    // Nothing is half-way: hyper closes as soon as it can.
                    Phase::Idle(_) if !self.draining => {
                        self.draining = true;
                        return Poll::Ready(Order::Drain);
                    }
                    Phase::Idle(_) | Phase::Head(_) => return Poll::Ready(Order::Close),
                    Phase::Busy => {}
                }
            }
            let next = next_look(&self.socket, &self.gateway);
            self.look.as_mut().reset(next.into());
        }
        Poll::Pending
    }
}

/// When to look at the connection again: when something is due, and often enough to see a head that
/// began in the meantime.
fn next_look(socket: &Socket, gateway: &Gateway) -> Instant {
    let now = Instant::now();
    let due = due(socket, gateway).min(now + gateway.limits().watch);
    due.max(now + LEAST_LOOK)
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

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
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use super::pipeline::Gateway;
use super::shutdown::Shutdown;
use crate::delivery::{ClientIo, Phase, Socket, doorbell};
use crate::edge::forwarded::Peer;
use crate::relay::{Aborted, Body};

/// The shortest time between two looks at a connection.
const LEAST_LOOK: Duration = Duration::from_millis(10);

/// How long past its deadline an answer may still be on its way out.
const GRACE: Duration = Duration::from_secs(1);
/// How much of an upload nobody wants any more is read, and for how long, so that its sender gets to
/// the answer.
const LINGER: (usize, Duration) = (1024 * 1024, Duration::from_secs(2));

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
        peer: Arc::new(Peer::new(peer.ip())),
        socket: socket.clone(),
    };
    let mut connection = pin!(
        http1::Builder::new()
            .max_buf_size(gateway.limits().max_head)
            .serve_connection(ClientIo::new(socket.clone()), requests)
            .with_upgrades()
    );
    let mut supervisor = Supervisor::new(socket.clone(), gateway, shutdown);
    let mut bell = None;
    std::future::poll_fn(|task| {
        // A task has one waker for all its life.
        let bell = bell.get_or_insert_with(|| doorbell(task.waker().clone()));
        let cx = &mut Context::from_waker(bell);
        let mut pumped = socket.pump(cx);
        loop {
            // Most turns of a running stream need no more than that.
            if !std::mem::take(&mut pumped)
                && let Poll::Ready(ended) = connection.as_mut().poll(cx)
            {
                if let Err(error) = ended {
                    tracing::debug!(%peer, %error, "connection ended");
                }
                return Poll::Ready(());
            }
            match supervisor.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Command::Close) => return Poll::Ready(()),
                Poll::Ready(Command::Drain) => connection.as_mut().graceful_shutdown(),
                Poll::Ready(Command::Resume) => {}
            }
        }
    })
    .await;
    match socket.take_tunnel() {
        Some(tunnel) => Tunnel(tunnel).await,
        None => socket.linger(LINGER.0, LINGER.1).await,
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
enum Command {
    /// Close at once.
    Close,
    /// Close as soon as the running request, if any, has ended.
    Drain,
    /// Look again: the running answer has been told to end.
    Resume,
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
    /// Wakes the task when the shutdown changes.
    told: Told,
    /// Wakes the task when the client hangs up, once, on behalf of every request: they only look at a flag.
    hung_up: Option<Told>,
    draining: bool,
    waiting: bool,
}

type Told = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Supervisor {
    fn new(
        socket: Arc<Socket>,
        gateway: Arc<Gateway>,
        mut shutdown: watch::Receiver<Shutdown>,
    ) -> Self {
        // What was told before this connection came counts as new to it.
        shutdown.mark_changed();
        let look = Box::pin(sleep_until(next_look(&socket, &gateway).into()));
        Self {
            gateway,
            look,
            told: told(&shutdown),
            hung_up: Some(Box::pin(socket.clone().hung_up())),
            shutdown,
            socket,
            draining: false,
            waiting: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Command> {
        let changed = self.shutdown.has_changed().unwrap_or(false);
        // The notice of one change may come late and use up the wait for the next: while the end is
        // near, that wait is looked at every time.
        if self.waiting && !self.draining && !changed && !self.look.is_elapsed() {
            return Poll::Pending;
        }
        // What is set anew below has to be asked once before it wakes anybody.
        self.waiting = false;
        if changed && let Some(command) = self.obey() {
            return Poll::Ready(command);
        }
        // Refused for want of budget, they would not be set, and never be asked again.
        while pin!(unconstrained(self.told.as_mut())).poll(cx).is_ready() {
            if let Some(command) = self.obey() {
                return Poll::Ready(command);
            }
        }
        if let Some(hung_up) = &mut self.hung_up
            && pin!(unconstrained(hung_up.as_mut())).poll(cx).is_ready()
        {
            self.hung_up = None;
            return Poll::Ready(Command::Resume);
        }
        while pin!(unconstrained(self.look.as_mut())).poll(cx).is_ready() {
            let next = next_look(&self.socket, &self.gateway);
            self.look.as_mut().reset(next.into());
            if let Some(command) = self.look_at() {
                return Poll::Ready(command);
            }
        }
        self.waiting = true;
        Poll::Pending
    }

    /// What the shutdown asks for.
    fn obey(&mut self) -> Option<Command> {
        let asked = *self.shutdown.borrow_and_update();
        self.told = told(&self.shutdown);
        match asked {
            Shutdown::No => None,
            Shutdown::Drain => {
                self.draining = true;
                Some(Command::Drain)
            }
            Shutdown::Now => {
                self.socket.stop();
                Some(Command::Resume)
            }
        }
    }

    /// What is due.
    fn look_at(&mut self) -> Option<Command> {
        if due(&self.socket, &self.gateway) > Instant::now() {
            return None;
        }
        match self.socket.phase() {
            // The client still takes the end of an answer; the clock of a stalled one runs.
            Phase::Idle(_) if self.socket.is_blocked() => None,
            // Nothing is half-way: hyper closes as soon as it can.
            Phase::Idle(_) if !self.draining => {
                self.draining = true;
                Some(Command::Drain)
            }
            Phase::Idle(_) | Phase::Head(_) => Some(Command::Close),
            // Past its deadline, and the answer's own clock was not asked: the client holds it back.
            Phase::Busy => {
                self.socket.reset_on_close();
                Some(Command::Close)
            }
        }
    }
}

/// Waits for the next change of the shutdown.
fn told(shutdown: &watch::Receiver<Shutdown>) -> Told {
    let mut shutdown = shutdown.clone();
    Box::pin(async move {
        if shutdown.changed().await.is_err() {
            // Nobody is left to tell.
            std::future::pending::<()>().await;
        }
    })
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
        // The answer's own clock comes first, and ends it in its dialect.
        Phase::Busy => socket.deadline().map_or_else(
            || Instant::now() + limits.watch,
            |deadline| deadline + GRACE,
        ),
    }
}

/// The requests of one connection, as hyper hands them over.
struct Requests {
    gateway: Arc<Gateway>,
    /// The client as fields name it, for all its requests.
    peer: Arc<Peer>,
    socket: Arc<Socket>,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = Aborted;
    // Boxed: hyper keeps room for the future in the connection also while it rests.
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Aborted>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let client = (self.socket.clone(), self.peer.clone());
        Box::pin(self.gateway.handle(client, request))
    }
}

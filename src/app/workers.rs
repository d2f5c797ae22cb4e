//! The threads of a running gateway.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::config::{Config, Endpoint};
use crate::demo;
use crate::metrics::Metrics;
use crate::relay::{Here, Plane, PlaneFault, Registry, Streams};
use crate::server::{self, Gateway, Shutdown};
use crate::upstream::{Pool, check_all};

/// How often idle connections to upstreams are looked through.
const SWEEP: Duration = Duration::from_secs(1);

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFault {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration cannot be put to work on this machine.
    #[error(transparent)]
    Plane(#[from] PlaneFault),
    /// The system gave no thread or no reactor.
    #[error("cannot start a worker: {0}")]
    Worker(#[from] io::Error),
}

/// A gateway that runs. Dropping it ends it at once; [`Running::stop`] drains it.
#[derive(Debug)]
pub struct Running {
    /// Where clients are served.
    pub address: SocketAddr,
    /// Where operators are served.
    pub admin: Option<SocketAddr>,
    ready: Arc<AtomicBool>,
    shutdown: watch::Sender<Shutdown>,
    streams: Arc<Streams>,
    drain: Duration,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a gateway; it serves when this returns.
///
/// # Errors
///
/// [`StartFault`]; nothing runs then.
pub fn start(config: Config) -> Result<Running, StartFault> {
    let listener = listen(config.server.listen)?;
    let address = listener.local_addr()?;
    let admin_listener = config
        .admin
        .as_ref()
        .map(|admin| listen(admin.listen))
        .transpose()?;
    let admin = admin_listener
        .as_ref()
        .map(TcpListener::local_addr)
        .transpose()?;
    let demo_listener = if has_demo(&config) {
        Some(listen(SocketAddr::from(([127, 0, 0, 1], 0)))?)
    } else {
        None
    };
    let demo = demo_listener
        .as_ref()
        .map(TcpListener::local_addr)
        .transpose()?;
    let server = config.server.clone();
    let metrics = Arc::new(Metrics::new());
    let plane = Plane::build(Arc::new(config), &Registry::new(demo), &metrics)?;
    let plane = Arc::new(ArcSwap::from_pointee(plane));
    let ready = Arc::new(AtomicBool::new(true));
    let (shutdown, told) = watch::channel(Shutdown::No);
    let workers = server
        .workers
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let streams = Streams::new(&plane.load().config, workers, &metrics);
    // From here on a failure drops it, and so ends what runs already.
    let mut running = Running {
        address,
        admin,
        ready: ready.clone(),
        shutdown,
        streams: streams.clone(),
        drain: server.drain,
        threads: Vec::with_capacity(workers + 1),
    };
    for worker in 0..workers {
        let pool = Arc::new(Pool::default());
        let here = Here {
            streams: streams.clone(),
            worker,
        };
        let herald = streams.hub.clone().herald(worker);
        let gateway = Gateway::new(plane.clone(), pool.clone(), here, metrics.clone());
        let gateway = Arc::new(gateway);
        let share = server.max_connections.div_ceil(workers).max(1);
        let serving = server::serve(listener.try_clone()?, gateway, share, told.clone());
        let work = async move {
            tokio::select! {
                ended = serving => log_end(ended),
                () = sweep(pool) => {}
                () = herald => {}
            }
        };
        running
            .threads
            .push(thread(format!("worker-{worker}"), work)?);
    }
    let groups = plane.load().groups();
    let service = Arc::new(Admin {
        metrics,
        ready,
        groups,
    });
    let beside = beside(admin_listener, demo_listener, service, streams, told);
    running.threads.push(thread("admin".to_owned(), beside)?);
    Ok(running)
}

impl Running {
    /// Takes no more requests, lets what runs come to its end for as long as the configuration gives
    /// it, and closes the rest.
    pub fn stop(mut self) {
        self.ready.store(false, Ordering::Relaxed);
        // First, so that whoever is woken by the other finds it.
        self.streams.drain();
        self.shutdown.send_replace(Shutdown::Drain);
        let limiter = Limiter::start(self.drain, self.shutdown.clone());
        // The last one serves operators, who may ask for as long as anything runs.
        let last = self.threads.pop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        limiter.end();
        self.shutdown.send_replace(Shutdown::Now);
        if let Some(last) = last {
            let _ = last.join();
        }
    }
}

/// Keeps the drain's limit in a thread of its own, which ends early when all workers have.
struct Limiter {
    thread: JoinHandle<()>,
    over: Arc<AtomicBool>,
}

impl Limiter {
    fn start(limit: Duration, shutdown: watch::Sender<Shutdown>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = std::thread::spawn(move || {
            let until = Instant::now() + limit;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if told.load(Ordering::Acquire) {
                    return;
                }
                std::thread::park_timeout(left);
            }
            shutdown.send_replace(Shutdown::Now);
        });
        Self { thread, over }
    }

    fn end(self) {
        self.over.store(true, Ordering::Release);
        self.thread.thread().unpark();
        let _ = self.thread.join();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.send_replace(Shutdown::Now);
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartFault> {
    server::bind(address).map_err(|source| StartFault::Listen { address, source })
}

fn has_demo(config: &Config) -> bool {
    config
        .upstreams
        .values()
        .flat_map(|upstream| &upstream.endpoints)
        .any(|weighted| weighted.endpoint == Endpoint::Demo)
}

/// A thread with a runtime of its own that ends with `work`.
fn thread(
    name: String,
    work: impl Future<Output = ()> + Send + 'static,
) -> Result<JoinHandle<()>, io::Error> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(work);
        // A look-up of a name may hang in the system for longer than anybody wants to wait.
        runtime.shutdown_background();
    })
}

/// What runs beside the workers: the admin listener, the demo and the checks of endpoints, until all is over.
async fn beside(
    admin: Option<TcpListener>,
    demo: Option<TcpListener>,
    service: Arc<Admin>,
    streams: Arc<Streams>,
    mut told: watch::Receiver<Shutdown>,
) {
    let checks = check_all(service.groups.clone());
    let admin = async {
        match admin {
            Some(listener) => log_end(admin::serve(listener, service).await),
            None => std::future::pending().await,
        }
    };
    let demo = async {
        match demo.map(tokio::net::TcpListener::from_std) {
            Some(Ok(listener)) => match demo::serve(listener).await {},
            Some(Err(error)) => tracing::error!(%error, "the demo cannot be served"),
            None => {}
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = admin => {}
        () = demo => {}
        () = checks => {}
        () = sweep_streams(streams) => {}
        _ = told.wait_for(|told| *told == Shutdown::Now) => {}
    }
}

fn log_end(ended: io::Result<()>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a listener ended");
    }
}

async fn sweep_streams(streams: Arc<Streams>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        streams.sweep();
    }
}

async fn sweep(pool: Arc<Pool>) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        pool.sweep();
    }
}

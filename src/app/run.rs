//! A gateway from its start to the signal that ends it.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::descriptors;
use super::workers::{StartFault, start};
use crate::config::Config;

/// Serves until SIGTERM or SIGINT, then drains. A second signal ends it at once.
///
/// # Errors
///
/// [`StartFault`] when it could not start.
pub fn run(config: Config) -> Result<(), StartFault> {
    let routes = config.routes.len();
    for key in config.keys.values().filter(|key| key.hashes.is_empty()) {
        tracing::warn!(key = %key.name, "the key has no value: it lets nobody in");
    }
    let issuers = config.issuers.values();
    for issuer in issuers.filter(|issuer| issuer.keys.is_empty()) {
        tracing::warn!(issuer = %issuer.name, "the issuer has no secret: its tokens let nobody in");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut signals = runtime.block_on(async { Signals::register() })?;
    descriptors::make_room(config.server.max_connections);
    let running = start(config)?;
    tracing::info!(
        address = %running.address,
        admin = running.admin.map(tracing::field::display),
        routes,
        "serving"
    );
    let name = runtime.block_on(signals.ending());
    tracing::info!(signal = name, "draining: running streams may finish");
    let stopping = std::thread::spawn(move || running.stop());
    let second = runtime.block_on(async {
        let done = tokio::task::spawn_blocking(move || stopping.join());
        tokio::select! {
            _ = done => None,
            again = signals.ending() => Some(again),
        }
    });
    if let Some(name) = second {
        tracing::warn!(signal = name, "asked twice: ending at once");
    }
    runtime.shutdown_background();
    tracing::info!("stopped");
    Ok(())
}

/// The signals that mean something, or must not mean the process's death.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// From now on they are ours.
    fn register() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for one that asks for the end; the others would end the process at once, and have no
    /// meaning here yet.
    async fn ending(&mut self) -> &'static str {
        loop {
            let ignored = tokio::select! {
                _ = self.terminate.recv() => return "SIGTERM",
                _ = self.interrupt.recv() => return "SIGINT",
                _ = self.quit.recv() => return "SIGQUIT",
                _ = self.hangup.recv() => "SIGHUP",
                _ = self.user1.recv() => "SIGUSR1",
                _ = self.user2.recv() => "SIGUSR2",
            };
            tracing::warn!(signal = ignored, "ignored: it has no meaning here");
        }
    }
}

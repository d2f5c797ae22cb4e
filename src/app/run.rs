//! A gateway from its start to the signal that ends it.

use std::io;

use tokio::signal::unix::{SignalKind, signal};

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
    let running = start(config)?;
    tracing::info!(
        address = %running.address,
        admin = running.admin.map(tracing::field::display),
        routes,
        "serving"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let name = runtime.block_on(ending())?;
    tracing::info!(signal = name, "draining: running streams may finish");
    let stopping = std::thread::spawn(move || running.stop());
    let second = async {
        let done = tokio::task::spawn_blocking(move || stopping.join());
        tokio::select! {
            _ = done => Ok(None),
            again = ending() => again.map(Some),
        }
    };
    if let Some(name) = runtime.block_on(second)? {
        tracing::warn!(signal = name, "asked twice: ending at once");
    }
    runtime.shutdown_background();
    tracing::info!("stopped");
    Ok(())
}

/// Waits for a signal that asks for the end.
async fn ending() -> io::Result<&'static str> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

//! The load tool: what an event costs on its way through a proxy.
//!
//! `cargo bench --bench load -- compare` measures the gateway beside nginx and a bare TCP relay, on one core,
//! in the same run, and beside other proxies (`--only`) that install-peers.sh installs; `fanout` measures its hub
//! beside nchan, pushpin and a bare writer; `workers` measures two workers beside one; `report` writes docs/benchmarks.md
//! from what was measured, and run-all.sh does all of it. `client` loads any server as any kind of its clients would.
//! `smoke` is all of these in a few seconds for CI; `backend`, `relay` and `writer` are their parts, usable alone.
//! Invariant: a run in which an event was lost, repeated or reordered, or a request failed (unless faults were expected),
//! exits with an error, whatever its numbers.
//!
//! The map: `plan` is what a client orders and `event` what it gets; `wire` is the HTTP of both;
//! `backend` (with its `faults`) and `client` are the two ends, `tally` and `process` what is measured on them;
//! `workload` puts them together, `contender` and `peers` configure a proxy and `launch` starts it, `compare` and
//! `workers` run rounds and `report` makes tables; `record` keeps the raw values and `environment` where they are from;
//! `document` writes docs/benchmarks.md, `plots` and `plot` what it shows. `fanout` has its own ends: one thread of
//! subscribers on the kernel's own readiness queue; so has `standalone`, which is the command `client`.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod backend;
mod binaries;
mod client;
mod clock;
mod compare;
mod contender;
mod document;
mod environment;
mod error;
mod event;
mod fanout;
mod faults;
mod launch;
mod peers;
mod plan;
mod plot;
mod plots;
mod process;
mod record;
mod relay;
mod report;
mod self_check;
mod standalone;
mod tally;
mod wire;
mod workers;
mod workload;

/// Measures a proxy for event streams: CPU and memory per stream, latency, nothing lost.
#[derive(Debug, Parser)]
#[command(name = "load", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Option<Cmd>,
    /// Passed by `cargo bench`; means nothing here.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Debug, Subcommand)]
enum Cmd {
    /// Measure the gateway beside nginx and a bare TCP relay, or others by --only (about five minutes)
    Compare(compare::CompareArgs),
    /// Measure one stream to many subscribers: the gateway beside nchan and a bare writer (five minutes)
    Fanout(fanout::FanoutArgs),
    /// Measure the gateway's CPU time with one worker and with two (two minutes)
    Workers(workers::WorkersArgs),
    /// Write tables and plots of what was measured into docs/benchmarks.md
    Report(document::ReportArgs),
    /// Try every workload for a moment: nothing may be lost (a few seconds)
    Smoke(compare::SmokeArgs),
    /// Serve the paced backend alone, which may fail as often as it is told
    ///
    /// A POST gets what its body orders (as `client` does it). One that orders nothing gets a stream of --events after
    /// --first-token if it says `"stream": true`, else a short answer. A GET with `Accept: text/event-stream` gets the
    /// feed: endless numbered events with ids, the same for everybody, from `Last-Event-ID` on if there is one.
    Backend(backend::BackendArgs),
    /// Load a server that runs already, as any kind of its clients would
    ///
    /// Works with any server of event streams. The events that this tool itself sends (its `backend`, its publisher)
    /// bear a number and the time they were due: they are checked, and their latency is told, which includes what was
    /// held back on the way (open loop, no coordinated omission). Of other events the first and the gaps are timed.
    /// The run fails if an event was lost, repeated or out of order, or if a stream failed (see --expect-faults).
    ///
    /// "Gap here against gap at sending" is how far the time between two events differs from the time between their
    /// stamps; "sent apart, came together" is the share of neighbours that were sent a millisecond or more apart and came in
    /// one read.
    Client(standalone::ClientArgs),
    /// Copy bytes between clients and one address
    Relay(relay::RelayArgs),
    /// Pass each POST's body on to everyone who sent a GET, as one event
    Writer(fanout::writer::WriterArgs),
    /// Answer each request of a Pushpin with the order to hold it open
    #[command(hide = true)]
    Origin(fanout::origin::OriginArgs),
    /// Become another program, pinned to a core
    #[command(hide = true)]
    Launch(launch::LaunchArgs),
}

fn main() -> ExitCode {
    let Some(command) = Cli::parse().command else {
        // Also what `cargo test --benches` runs.
        let _ = Cli::command().print_help();
        return ExitCode::SUCCESS;
    };
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Cmd) -> error::Result<()> {
    use error::While as _;
    // One thread: everything here shares one core.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .while_doing("starting the runtime")?
        .block_on(async {
            match command {
                Cmd::Compare(args) => compare::compare(args).await,
                Cmd::Fanout(args) => fanout::fanout(args).await,
                Cmd::Workers(args) => workers::workers(args).await,
                Cmd::Report(args) => document::report(&args),
                Cmd::Smoke(args) => compare::smoke(args).await,
                Cmd::Backend(args) => backend::run(args).await,
                Cmd::Client(args) => standalone::run(args).await,
                Cmd::Relay(args) => {
                    process::raise_file_limit();
                    relay::run(args).await
                }
                Cmd::Writer(args) => {
                    process::raise_file_limit();
                    fanout::writer::run(&args)
                }
                Cmd::Origin(args) => {
                    process::raise_file_limit();
                    fanout::origin::run(args).await
                }
                Cmd::Launch(args) => launch::launch(&args),
            }
        })
}

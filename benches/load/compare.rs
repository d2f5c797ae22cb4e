//! `compare`: the same load on each proxy in turn, several rounds. `smoke`: the same, tiny.
//!
//! Invariant: the proxy has one core, backend and clients another; each contender is started fresh
//! in each round, and the order rotates, so that neither warmth nor drift favours one of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::backend;
use crate::binaries::Binaries;
use crate::contender::{Choice, Contender, Kind, Setup};
use crate::error::{LoadError, Result, While};
use crate::fanout;
use crate::peers::Peers;
use crate::plan::Plan;
use crate::process::{pin, raise_file_limit};
use crate::report::{COMPARE, Run, faults, weather, write_json};
use crate::self_check::self_check;
use crate::standalone;
use crate::workload::{self, Sizes, Values};

/// `compare`: nginx, a bare relay, the gateway and its peers under the same load.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// The proxies to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["relay", "nginx", "deltaway"])]
    only: Vec<Choice>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Paced streams at once.
    #[arg(long, default_value_t = Sizes::FULL.streams, value_parser = clap::value_parser!(u64).range(1..=8_000))]
    streams: u64,
    /// Events per second of each stream.
    #[arg(long, default_value_t = Sizes::FULL.rate, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rate: u64,
    /// Paced streams at once for gateways made for models (litellm, portkey), no more than --streams.
    #[arg(long, default_value_t = Sizes::FULL.streams_for_models, value_parser = clap::value_parser!(u64).range(1..=8_000))]
    streams_for_models: u64,
    /// Seconds that the paced streams are measured for.
    #[arg(long, default_value_t = Sizes::FULL.stream_seconds)]
    seconds: f64,
    /// Silent streams at once.
    #[arg(long, default_value_t = Sizes::FULL.idle, value_parser = clap::value_parser!(u64).range(1..=8_000))]
    idle: u64,
    /// Connections for short answers.
    #[arg(long, default_value_t = Sizes::FULL.connections, value_parser = clap::value_parser!(u64).range(1..=8_000))]
    connections: u64,
    /// Where the raw numbers go.
    #[arg(long, default_value = "target/load/compare.json")]
    json: PathBuf,
    #[command(flatten)]
    binaries: Binaries,
    #[command(flatten)]
    peers: Peers,
}

/// `smoke`: every workload, tiny; nothing may be lost, no time is judged.
#[derive(Debug, clap::Args)]
pub struct SmokeArgs {
    /// The proxies to try.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["relay", "deltaway"])]
    only: Vec<Kind>,
    #[command(flatten)]
    binaries: Binaries,
    #[command(flatten)]
    peers: Peers,
}

/// Measures and prints the table.
pub async fn compare(args: CompareArgs) -> Result<()> {
    let sizes = Sizes {
        streams: args.streams,
        streams_for_models: args.streams_for_models.min(args.streams),
        rate: args.rate,
        stream_seconds: args.seconds.clamp(0.1, 600.0),
        idle: args.idle,
        connections: args.connections,
        ..Sizes::FULL
    };
    let kinds = Choice::kinds(&args.only);
    let setup = prepare((&args.binaries, &args.peers), &kinds, &sizes)?;
    let mut runs = Vec::new();
    for round in 1..=usize::from(args.rounds) {
        for place in 0..kinds.len() {
            let kind = kinds[(place + round - 1) % kinds.len()];
            eprint!("round {round} of {}: {:<10}\r", args.rounds, kind.name());
            runs.push(measure(round, kind, &setup.0, &sizes).await);
        }
        // Written after each round: what was measured outlives an interruption.
        write_json(&args.json, &json!({ "sizes": sizes, "runs": runs }))?;
    }
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    println!("{}", COMPARE.table(&runs, &names));
    print!("{}", smaller_loads(&kinds, &sizes));
    println!("{}", weather(&runs, &names));
    println!("raw numbers: {}", args.json.display());
    faults(&runs)
}

/// Runs everything once, tiny.
pub async fn smoke(args: SmokeArgs) -> Result<()> {
    let sizes = Sizes::SMOKE;
    self_check()?;
    let setup = prepare((&args.binaries, &args.peers), &args.only, &sizes)?;
    let mut runs = Vec::new();
    for kind in args.only {
        runs.push(measure(1, kind, &setup.0, &sizes).await);
        println!(
            "{}: {}",
            kind.name(),
            runs.last()
                .and_then(|run| run.fault.as_deref())
                .unwrap_or("nothing lost, nothing failed")
        );
    }
    runs.extend(fanout::smoke(&args.binaries).await?);
    faults(&runs)?;
    standalone::smoke(&args.binaries).await
}

/// Pins this process, starts the backend in it, and finds the gateway.
fn prepare(
    (args, peers): (&Binaries, &Peers),
    kinds: &[Kind],
    sizes: &Sizes,
) -> Result<(Setup, tokio::task::JoinHandle<Result<()>>)> {
    for kind in kinds {
        peers.check(*kind)?;
    }
    let gateway = match kinds.contains(&Kind::Deltaway) {
        true => args.gateway()?,
        false => PathBuf::new(),
    };
    // Each stream has two sockets here and two in the proxy.
    let (files, wanted) = (
        raise_file_limit(),
        2 * sizes.idle.max(sizes.streams).max(sizes.connections) + 200,
    );
    if files < wanted {
        return Err(LoadError::Usage(format!(
            "{wanted} open files are needed, the limit is {files} (ulimit -Hn)"
        )));
    }
    pin(args.load_core)?;
    let listener = backend::listen(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr().while_doing("listening")?;
    let backend = tokio::spawn(backend::serve(listener, Plan::Hold));
    let setup = Setup {
        gateway,
        nginx: args.nginx_bin.clone(),
        peers: peers.clone(),
        backend: address,
        proxy_core: args.proxy_core,
    };
    Ok((setup, backend))
}

/// A line that tells who met a smaller load than the others.
fn smaller_loads(kinds: &[Kind], sizes: &Sizes) -> String {
    let for_models = kinds.iter().filter(|kind| kind.is_for_models());
    let names: Vec<_> = for_models.map(|kind| kind.name()).collect();
    let fewer = sizes.streams_for_models;
    if names.is_empty() || fewer == sizes.streams {
        return String::new();
    }
    format!(
        "{}: {fewer} paced streams instead of {}; give --streams {fewer} for the same load on all\n",
        names.join(", "),
        sizes.streams
    )
}

async fn measure(round: usize, kind: Kind, setup: &Setup, sizes: &Sizes) -> Run {
    let mut values = BTreeMap::new();
    let fault = all_workloads(kind, setup, sizes, &mut values)
        .await
        .err()
        .map(|error| error.to_string());
    Run {
        round,
        contender: kind.name(),
        values,
        fault,
    }
}

async fn all_workloads(
    kind: Kind,
    setup: &Setup,
    sizes: &Sizes,
    values: &mut BTreeMap<&'static str, f64>,
) -> Result<()> {
    let contender = Contender::start(kind, setup).await?;
    let target = contender.target();
    let fewer;
    let sizes = if kind.is_for_models() {
        // They load and compile much only when the first streams come; others' first streams are measured.
        workload::paced(&target, &Sizes::WARM_UP, None).await?;
        fewer = sizes.for_models();
        &fewer
    } else {
        sizes
    };
    let meter = contender.meter()?;
    let explain = |result: Result<Values>| {
        result.map_err(|error| {
            LoadError::Failed(
                format!("{error}\n{}", contender.log())
                    .trim_end()
                    .to_owned(),
            )
        })
    };
    values.extend(explain(
        workload::paced(&target, sizes, Some(&meter)).await,
    )?);
    values.extend(explain(
        workload::answers(&target, sizes, Some(&meter)).await,
    )?);
    if kind.is_for_models() {
        return Ok(());
    }
    values.extend(explain(workload::bulk(&target, sizes, Some(&meter)).await)?);
    drop(contender);
    // Memory that earlier loads left with the allocator would hide the cost of a stream.
    let contender = Contender::start(kind, setup).await?;
    let idle = workload::idle(&contender.target(), sizes, Some(&contender.meter()?)).await;
    values
        .extend(idle.map_err(|error| LoadError::Failed(format!("{error}\n{}", contender.log())))?);
    Ok(())
}

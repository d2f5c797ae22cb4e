//! `compare`: the same load on each proxy in turn, several rounds. `smoke`: the same, tiny.
//!
//! Invariant: the proxy has one core, backend and clients another; each contender is started fresh
//! in each round, and the order rotates, so that neither warmth nor drift favours one of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::backend;
use crate::binaries::Binaries;
use crate::contender::{Choice, Contender, Kind, Setup, versions};
use crate::environment::Environment;
use crate::error::{LoadError, Result, While};
use crate::fanout;
use crate::peers::Peers;
use crate::plan::Plan;
use crate::process::{pin, raise_file_limit};
use crate::record::{Record, Sheet};
use crate::report::{COMPARE, Run, faults, weather};
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
    /// Paced streams at once that say little, a second load; not for gateways made for models. 0 leaves it out.
    #[arg(long, default_value_t = Sizes::MANY.streams, value_parser = clap::value_parser!(u64).range(0..=8_000))]
    many_streams: u64,
    /// Events per second of each of those.
    #[arg(long, default_value_t = Sizes::MANY.rate, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    many_rate: u64,
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

/// What each contender meets.
#[derive(Debug, serde::Serialize)]
pub struct Loads {
    /// All of them but the second of paced streams.
    pub sizes: Sizes,
    /// A second load of paced streams; its metrics have `many_` in front.
    pub many: Option<Sizes>,
}

impl Loads {
    /// The paced loads, in words.
    fn title(&self) -> String {
        let words = |sizes: &Sizes| format!("{} streams × {} events/s", sizes.streams, sizes.rate);
        let many = self.many.as_ref().map(words);
        many.map_or_else(
            || words(&self.sizes),
            |many| format!("{}, and many streams: {many}", words(&self.sizes)),
        )
    }
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
    let many = Sizes {
        streams: args.many_streams,
        rate: args.many_rate,
        stream_seconds: sizes.stream_seconds,
        ..Sizes::MANY
    };
    let loads = Loads {
        many: (many.streams > 0).then_some(many),
        sizes,
    };
    let kinds = Choice::kinds(&args.only);
    let setup = prepare((&args.binaries, &args.peers), &kinds, &loads)?;
    let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
    let mut record = Record {
        environment: Environment::now(versions(&kinds, &setup.0)),
        sheets: vec![Sheet {
            title: loads.title(),
            load: json!(loads),
            notes: String::new(),
            runs: Vec::new(),
        }],
    };
    for round in 1..=usize::from(args.rounds) {
        for place in 0..kinds.len() {
            let kind = kinds[(place + round - 1) % kinds.len()];
            eprint!("round {round} of {}: {:<10}\r", args.rounds, kind.name());
            let run = measure(round, kind, &setup.0, &loads).await;
            record.sheets[0].runs.push(run);
        }
        let sheet = &mut record.sheets[0];
        sheet.notes = smaller_loads(&kinds, &loads.sizes) + &weather(&sheet.runs, &names);
        // Written after each round: what was measured outlives an interruption.
        record.write(&args.json)?;
    }
    let sheet = &record.sheets[0];
    println!("{}", COMPARE.table(&sheet.runs, &names));
    println!("{}", sheet.notes);
    println!("raw numbers: {}", args.json.display());
    faults(&sheet.runs)
}

/// Runs everything once, tiny.
pub async fn smoke(args: SmokeArgs) -> Result<()> {
    let loads = Loads {
        sizes: Sizes::SMOKE,
        many: Some(Sizes::SMOKE),
    };
    self_check()?;
    let setup = prepare((&args.binaries, &args.peers), &args.only, &loads)?;
    let mut runs = Vec::new();
    for kind in args.only {
        runs.push(measure(1, kind, &setup.0, &loads).await);
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
pub fn prepare(
    (args, peers): (&Binaries, &Peers),
    kinds: &[Kind],
    Loads { sizes, many }: &Loads,
) -> Result<(Setup, tokio::task::JoinHandle<Result<()>>)> {
    for kind in kinds {
        peers.check(*kind)?;
    }
    let gateway = match kinds.contains(&Kind::Deltaway) {
        true => args.gateway()?,
        false => PathBuf::new(),
    };
    // Each stream has two sockets here and two in the proxy.
    let many = many.as_ref().map_or(0, |many| many.streams);
    let most = sizes.idle.max(sizes.streams).max(sizes.connections);
    let (files, wanted) = (raise_file_limit(), 2 * most.max(many) + 200);
    if files < wanted {
        return Err(LoadError::Usage(format!(
            "{wanted} open files are needed, the limit is {files} (ulimit -Hn)"
        )));
    }
    pin(&[args.load_core])?;
    let listener = backend::listen(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr().while_doing("listening")?;
    let backend = tokio::spawn(backend::serve(listener, Plan::Hold));
    let setup = Setup {
        gateway,
        nginx: args.nginx_bin.clone(),
        peers: peers.clone(),
        backend: address,
        proxy_cores: vec![args.proxy_core],
        workers: 1,
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

async fn measure(round: usize, kind: Kind, setup: &Setup, loads: &Loads) -> Run {
    let mut values = BTreeMap::new();
    let fault = all_workloads(kind, setup, loads, &mut values)
        .await
        .err()
        .map(|error| error.to_string());
    Run {
        round,
        contender: kind.name().to_owned(),
        values,
        fault,
    }
}

async fn all_workloads(
    kind: Kind,
    setup: &Setup,
    Loads { sizes, many }: &Loads,
    values: &mut BTreeMap<String, f64>,
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
    let paced = workload::paced(&target, sizes, Some(&meter)).await;
    add(values, "", contender.explain(paced)?);
    let answers = workload::answers(&target, sizes, Some(&meter)).await;
    add(values, "", contender.explain(answers)?);
    if kind.is_for_models() {
        return Ok(());
    }
    let bulk = workload::bulk(&target, sizes, Some(&meter)).await;
    add(values, "", contender.explain(bulk)?);
    drop(contender);
    if let Some(many) = many {
        let contender = Contender::start(kind, setup).await?;
        let paced = workload::paced(&contender.target(), many, Some(&contender.meter()?)).await;
        add(values, "many_", contender.explain(paced)?);
    }
    // Memory that earlier loads left with the allocator would hide the cost of a stream.
    let contender = Contender::start(kind, setup).await?;
    let idle = workload::idle(&contender.target(), sizes, Some(&contender.meter()?)).await;
    add(values, "", contender.explain(idle)?);
    Ok(())
}

/// Adds what was found to the values, each key with `before` in front.
pub fn add(values: &mut BTreeMap<String, f64>, before: &str, found: Values) {
    let named = found.into_iter();
    values.extend(named.map(|(key, value)| (format!("{before}{key}"), value)));
}

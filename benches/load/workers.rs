//! `workers`: what an event costs a gateway of two workers, beside one of one.
//!
//! Invariant: only the gateway's own CPU time is compared. Two workers need two cores, and on a machine that
//! has no more, backend and clients share them; the third contender, one worker under that same sharing, tells what
//! the sharing itself does.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::json;

use crate::binaries::Binaries;
use crate::compare::{Loads, add, prepare};
use crate::contender::{Contender, Kind, Setup, versions};
use crate::environment::Environment;
use crate::error::Result;
use crate::peers::Peers;
use crate::process::pin;
use crate::record::{Record, Sheet};
use crate::report::{Goal, Layout, Run, count, faults, metric, weather};
use crate::workload::{self, Sizes};

/// `workers`: the gateway with one worker on one core, and with two on two.
#[derive(Debug, clap::Args)]
pub struct WorkersArgs {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Paced streams at once.
    #[arg(long, default_value_t = Sizes::FULL.streams, value_parser = clap::value_parser!(u64).range(1..=8_000))]
    streams: u64,
    /// Events per second of each stream.
    #[arg(long, default_value_t = Sizes::FULL.rate, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rate: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = Sizes::FULL.stream_seconds)]
    seconds: f64,
    /// Where the raw numbers go.
    #[arg(long, default_value = "target/load/workers.json")]
    json: PathBuf,
    #[command(flatten)]
    binaries: Binaries,
}

const ONE: &str = "1 worker";
const ONE_SHARED: &str = "1 worker, shared cores";
const TWO: &str = "2 workers, shared cores";

/// The table of `workers`.
pub const WORKERS: Layout = Layout {
    metrics: &[
        metric(
            "cpu_per_event_us",
            "CPU per event, µs",
            &[Goal::Of(ONE, 1.10)],
        ),
        count("stream_cpu_s", "CPU of the window, s"),
        count("stream_events", "events in the window"),
        count("latency_p50_us", "event latency p50, µs (not comparable)"),
        count("latency_p99_us", "event latency p99, µs (not comparable)"),
    ],
    held: TWO,
    ratios: &[(TWO, ONE), (TWO, ONE_SHARED), (ONE_SHARED, ONE)],
};

const NOTE: &str = "Latencies are not comparable: with shared cores, backend and clients run on the gateway's cores too. \
Compare the CPU time, which is the gateway's alone.\n";

/// A gateway, and where it and the load run.
struct Variant {
    name: &'static str,
    workers: usize,
    /// Whether gateway and load run on both cores, else each on its own.
    is_shared: bool,
}

const VARIANTS: [Variant; 3] = [
    Variant {
        name: ONE,
        workers: 1,
        is_shared: false,
    },
    Variant {
        name: ONE_SHARED,
        workers: 1,
        is_shared: true,
    },
    Variant {
        name: TWO,
        workers: 2,
        is_shared: true,
    },
];

/// Measures and prints the table.
pub async fn workers(args: WorkersArgs) -> Result<()> {
    let sizes = Sizes {
        streams: args.streams,
        rate: args.rate,
        stream_seconds: args.seconds.clamp(0.1, 600.0),
        ..Sizes::FULL
    };
    let loads = Loads { sizes, many: None };
    let kinds = [Kind::Deltaway];
    let (setup, _backend) = prepare((&args.binaries, &Peers::default()), &kinds, &loads)?;
    let sizes = &loads.sizes;
    let mut record = Record {
        environment: Environment::now(versions(&kinds, &setup)),
        sheets: vec![Sheet {
            title: format!("{} streams × {} events/s", sizes.streams, sizes.rate),
            load: json!({ "streams": sizes.streams, "rate": sizes.rate, "stream_seconds": sizes.stream_seconds }),
            notes: String::new(),
            runs: Vec::new(),
        }],
    };
    let names = VARIANTS.map(|variant| variant.name);
    let cores = (args.binaries.proxy_core, args.binaries.load_core);
    for round in 1..=usize::from(args.rounds) {
        for place in 0..VARIANTS.len() {
            let variant = &VARIANTS[(place + round - 1) % VARIANTS.len()];
            eprint!("round {round} of {}: {:<26}\r", args.rounds, variant.name);
            let run = measure(round, variant, (&setup, cores), sizes).await;
            record.sheets[0].runs.push(run);
        }
        let sheet = &mut record.sheets[0];
        sheet.notes = format!("{NOTE}{}", weather(&sheet.runs, &names));
        // Written after each round: what was measured outlives an interruption.
        record.write(&args.json)?;
    }
    let sheet = &record.sheets[0];
    println!("{}", WORKERS.table(&sheet.runs, &names));
    println!("{}", sheet.notes);
    println!("raw numbers: {}", args.json.display());
    faults(&sheet.runs)
}

async fn measure(
    round: usize,
    variant: &Variant,
    (setup, cores): (&Setup, (usize, usize)),
    sizes: &Sizes,
) -> Run {
    let mut values = BTreeMap::new();
    let fault = paced(variant, (setup, cores), sizes, &mut values)
        .await
        .err();
    Run {
        round,
        contender: variant.name.to_owned(),
        values,
        fault: fault.map(|error| error.to_string()),
    }
}

async fn paced(
    variant: &Variant,
    (setup, (own, load)): (&Setup, (usize, usize)),
    sizes: &Sizes,
    values: &mut BTreeMap<String, f64>,
) -> Result<()> {
    let (proxy_cores, load_cores) = match variant.is_shared {
        true => (vec![own, load], vec![own, load]),
        false => (vec![own], vec![load]),
    };
    pin(&load_cores)?;
    let setup = Setup {
        proxy_cores,
        workers: variant.workers,
        ..setup.clone()
    };
    let contender = Contender::start(Kind::Deltaway, &setup).await?;
    let meter = contender.meter()?;
    let found = workload::paced(&contender.target(), sizes, Some(&meter)).await;
    add(values, "", contender.explain(found)?);
    Ok(())
}

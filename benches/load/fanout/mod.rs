//! `fanout`: one stream, many subscribers, each hub in turn, several rounds.
//!
//! Invariant: the hub has one core, publisher and subscribers another; each hub is started fresh for each
//! measurement, and the order rotates. CPU time is taken from just before the first measured event until
//! all of them have arrived, and divided by what arrived in between.
//!
//! The map: `hub` starts what is measured, `writer` is the floor among them, `pushpin` has its configuration
//! and `origin` what it asks; `crowd` is the subscribers
//! and their `publisher`, `reception` what one of them is sent, and `poll` what they wait on.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::binaries::Binaries;
use crate::clock::{now_ns, sleep_until_ns};
use crate::environment::{Environment, version_of};
use crate::error::{LoadError, Result};
use crate::process::{Reading, pin, raise_file_limit};
use crate::record::{Record, Sheet};
use crate::report::{Goal, Layout, Metric, Run, count, faults, median, metric, of};
use crate::tally::quantile_us;

mod crowd;
mod hub;
pub mod origin;
mod poll;
mod publisher;
mod pushpin;
mod reception;
pub mod writer;

use crowd::Crowd;
use hub::{Hub, Place, RunningHub, versions};
pub use reception::{Order, Reception};

/// `fanout`: the gateway, nchan and a bare writer, each with the same subscribers.
#[derive(Debug, clap::Args)]
pub struct FanoutArgs {
    /// The hubs to measure.
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["writer", "nchan", "deltaway"])]
    only: Vec<Hub>,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Subscribers of the one stream; with --every, in place of the two published sizes.
    #[arg(long, requires = "every", value_parser = clap::value_parser!(u64).range(1..=25_000))]
    subscribers: Option<u64>,
    /// Milliseconds from one event to the next.
    #[arg(long, value_name = "MS", requires = "subscribers", value_parser = clap::value_parser!(u64).range(1..=60_000))]
    every: Option<u64>,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 6.0)]
    seconds: f64,
    /// nginx's module.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/usr/lib/nginx/modules/ngx_nchan_module.so"
    )]
    nchan_module: PathBuf,
    /// Where the raw numbers go.
    #[arg(long, default_value = "target/load/fanout.json")]
    json: PathBuf,
    #[command(flatten)]
    binaries: Binaries,
}

/// One workload.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Size {
    subscribers: u64,
    /// From one event to the next, in milliseconds.
    every_ms: u64,
    /// Events before the first that is measured.
    warm_up: u64,
    /// Events that are measured.
    measured: u64,
}

/// The published workloads: subscribers, and milliseconds from one event to the next.
const PUBLISHED: [(u64, u64); 2] = [(1_000, 20), (5_000, 200)];
const WARM_UP_MS: u64 = 1_000;
/// The one stream.
const TOPIC: &str = "load";
/// Who takes part in `smoke`.
const SMOKE_HUBS: &[Hub] = &[Hub::Writer, Hub::Deltaway];
const SMOKE: Size = Size {
    subscribers: 20,
    every_ms: 20,
    warm_up: 5,
    measured: 25,
};

/// The goals of the first size.
const FEW_OFTEN: Layout = Layout {
    metrics: &metrics(&[Goal::Of("writer", 1.2)]),
    ..LAYOUT
};

/// The goals of the second.
const MANY_SELDOM: Layout = Layout {
    metrics: &metrics(&[Goal::Of("writer", 1.25)]),
    ..LAYOUT
};

const LAYOUT: Layout = Layout {
    metrics: &metrics(&[]),
    held: "deltaway",
    ratios: &[
        ("nchan", "writer"),
        ("pushpin", "writer"),
        ("deltaway", "writer"),
        ("deltaway", "nchan"),
        ("deltaway", "pushpin"),
    ],
};

const fn metrics(cpu: &'static [Goal]) -> [Metric; 17] {
    [
        metric("cpu_per_delivery_us", "CPU per delivery, µs", cpu),
        count("cpu_s", "CPU of the window, s"),
        count("deliveries", "deliveries in the window"),
        metric("last_p50_us", "last subscriber p50, µs", &[]),
        metric(
            "last_p99_us",
            "last subscriber p99, µs",
            &[Goal::Of("nchan", 1.0)],
        ),
        metric("last_max_us", "last subscriber max, µs", &[]),
        metric("delivery_p50_us", "every delivery p50, µs", &[]),
        metric("delivery_p99_us", "every delivery p99, µs", &[]),
        metric("kb_per_subscriber", "KB per subscriber at rest", &[]),
        metric(
            "kb_per_subscriber_after",
            "KB per subscriber at the end",
            &[Goal::Most(14.0)],
        ),
        metric("deliveries_per_second", "deliveries per s", &[]),
        count("wrong_deliveries", "lost, repeated, out of order"),
        count("connection_errors", "connection errors"),
        count("processes", "processes"),
        metric("hub_percent", "hub: % of its core", &[]),
        metric(
            "load_us_per_delivery",
            "load tool: CPU per delivery, µs",
            &[],
        ),
        metric("load_percent", "load tool: % of its core", &[]),
    ]
}

const SECOND_NS: u64 = 1_000_000_000;
const MILLISECOND_NS: u64 = 1_000_000;
/// Between the last subscription and the first event.
const SETTLE_NS: u64 = SECOND_NS;
/// How long subscribers may gather, and how long the last events may take.
const GRACE_NS: u64 = 20 * SECOND_NS;
/// Files that this tool and the hub need beside the subscribers' connections.
const SPARE_FILES: u64 = 200;
/// The load tool's share of its core, in percent, above which it is called the limit.
const BUSY_PERCENT: f64 = 80.0;

/// The share of its core, in percent, above which a hub is called overloaded.
const SATURATED_PERCENT: f64 = 95.0;

/// Others' share of the time in which hub or load tool were ready to run, in percent of all time, above
/// which latencies are not to be believed.
const QUIET_PERCENT: f64 = 2.0;

/// Measures and prints the tables.
pub async fn fanout(args: FanoutArgs) -> Result<()> {
    let sizes: Vec<Size> = match (args.subscribers, args.every) {
        (Some(subscribers), Some(every_ms)) => vec![(subscribers, every_ms)],
        _ => PUBLISHED.to_vec(),
    }
    .into_iter()
    .map(|(subscribers, every_ms)| Size::new(subscribers, every_ms, args.seconds))
    .collect();
    let mut hubs = args.only;
    hubs.sort_unstable();
    hubs.dedup();
    let most = sizes.iter().map(|size| size.subscribers).max();
    let place = prepare(&args.binaries, &hubs, most.unwrap_or(0), args.nchan_module)?;
    let names: Vec<_> = hubs.iter().map(|hub| hub.name()).collect();
    let mut record = Record {
        environment: Environment::now(versions(&hubs, &place)),
        sheets: sizes.iter().map(Size::sheet).collect(),
    };
    for round in 1..=usize::from(args.rounds) {
        for (size, sheet) in sizes.iter().zip(&mut record.sheets) {
            for turn in 0..hubs.len() {
                let hub = hubs[(turn + round - 1) % hubs.len()];
                eprint!("round {round} of {}: {:<10}\r", args.rounds, hub.name());
                sheet.runs.push(measure(round, hub, &place, *size).await);
            }
            sheet.notes = weather(&sheet.runs, &names);
        }
        // Written after each round: what was measured outlives an interruption.
        record.write(&args.json)?;
    }
    for sheet in &record.sheets {
        println!("{}\n", sheet.title);
        println!("{}", layout(&sheet.load).table(&sheet.runs, &names));
        println!("{}", sheet.notes);
    }
    println!("raw numbers: {}", args.json.display());
    let sheets = record.sheets.iter();
    sheets
        .map(|sheet| &sheet.runs)
        .try_for_each(|runs| faults(runs))
}

/// A moment of it; nothing may be lost, no time is judged.
pub async fn smoke(binaries: &Binaries) -> Result<Vec<Run>> {
    let place = prepare(binaries, SMOKE_HUBS, SMOKE.subscribers, PathBuf::new())?;
    let mut runs = Vec::new();
    for hub in SMOKE_HUBS {
        let run = measure(1, *hub, &place, SMOKE).await;
        let fault = run.fault.as_deref();
        println!(
            "{} (fan-out): {}",
            hub.name(),
            fault.unwrap_or("nothing lost, nothing failed")
        );
        runs.push(run);
    }
    Ok(runs)
}

impl Size {
    /// Nothing measured yet.
    fn sheet(&self) -> Sheet {
        Sheet {
            title: format!(
                "{} subscribers, an event every {} ms",
                self.subscribers, self.every_ms
            ),
            load: json!(self),
            notes: String::new(),
            runs: Vec::new(),
        }
    }

    fn new(subscribers: u64, every_ms: u64, seconds: f64) -> Self {
        let measured_ms = (seconds.clamp(0.1, 600.0) * 1_000.0) as u64;
        Self {
            subscribers,
            every_ms,
            warm_up: (WARM_UP_MS / every_ms).max(1),
            measured: (measured_ms / every_ms).max(1),
        }
    }
}

/// The table with the goals that are set for a load.
pub fn layout(load: &serde_json::Value) -> &'static Layout {
    let size = Size::deserialize(load).map(|size| (size.subscribers, size.every_ms));
    match size {
        Ok(size) if size == PUBLISHED[0] => &FEW_OFTEN,
        Ok(size) if size == PUBLISHED[1] => &MANY_SELDOM,
        _ => &LAYOUT,
    }
}

/// Pins this process and finds the gateway.
fn prepare(args: &Binaries, hubs: &[Hub], subscribers: u64, nchan: PathBuf) -> Result<Place> {
    if hubs.contains(&Hub::Pushpin) && version_of("pushpin", ["--version"]).is_none() {
        return Err(LoadError::Usage(
            "pushpin is not installed; this installs it: benches/load/install-peers.sh pushpin"
                .into(),
        ));
    }
    let gateway = match hubs.contains(&Hub::Deltaway) {
        true => args.gateway()?,
        false => PathBuf::new(),
    };
    let (files, wanted) = (raise_file_limit(), subscribers + SPARE_FILES);
    if files < wanted {
        return Err(LoadError::Usage(format!(
            "{wanted} open files are needed, the limit is {files} (ulimit -Hn)"
        )));
    }
    pin(&[args.load_core])?;
    Ok(Place {
        gateway,
        nginx: args.nginx_bin.clone(),
        nchan,
        core: args.proxy_core,
        load_core: args.load_core,
        // nginx closes kept connections, the publisher's too, once few are left.
        connections: wanted + subscribers / 2,
    })
}

async fn measure(round: usize, hub: Hub, place: &Place, size: Size) -> Run {
    let mut values = BTreeMap::new();
    let fault = match RunningHub::start(hub, place).await {
        Err(error) => Some(error.to_string()),
        Ok(running) => workload(&running, size, &mut values)
            .await
            .err()
            .map(|error| format!("{error}\n{}", running.log()).trim_end().to_owned()),
    };
    Run {
        round,
        contender: hub.name().to_owned(),
        values,
        fault,
    }
}

/// Gathers the subscribers, publishes, and adds what was measured.
async fn workload(hub: &RunningHub, size: Size, values: &mut BTreeMap<String, f64>) -> Result<()> {
    let meter = hub.meter()?;
    let at_rest = meter.memory()?;
    let planned = size.warm_up + size.measured;
    let mut crowd = Crowd::new(hub.door(TOPIC), planned, size.warm_up)?;
    crowd.gather(hub.address(), size.subscribers, now_ns() + GRACE_NS)?;
    // Comments may come, no events: there is nothing to miss.
    sleep_until_ns(now_ns() + SETTLE_NS).await;
    let gathered = meter.memory()?;

    let begin = now_ns();
    let due = |sequence: u64| begin + sequence * size.every_ms * MILLISECOND_NS;
    let deadline = due(planned) + GRACE_NS;
    for sequence in 0..size.warm_up {
        crowd.publish(sequence, due(sequence), deadline)?;
    }
    crowd.receive_until(due(size.warm_up))?;
    let (from, before) = (meter.read()?, crowd.seen.deliveries);
    for sequence in size.warm_up..planned {
        crowd.publish(sequence, due(sequence), deadline)?;
    }
    crowd.finish(deadline)?;
    // The pause after the last event belongs to it, as the others' do to them.
    crowd.receive_until(due(planned))?;
    let (to, deliveries) = (meter.read()?, crowd.seen.deliveries - before);
    let loaded = meter.memory()?;

    for (key, value) in costs(from, to, deliveries as f64) {
        values.insert(key.into(), value);
    }
    let mut note = |key: &str, value| {
        values.insert(key.to_owned(), value);
    };
    note("processes", meter.processes() as f64);
    let per_subscriber =
        |memory: u64| memory.saturating_sub(at_rest) as f64 / 1024.0 / size.subscribers as f64;
    note("kb_per_subscriber", per_subscriber(gathered));
    note("kb_per_subscriber_after", per_subscriber(loaded));
    let (last, every) = (crowd.seen.last_arrivals()?, &crowd.seen.latency);
    for (histogram, keys) in [(&last, LAST), (every, DELIVERY)] {
        for (key, quantile) in keys {
            note(key, quantile_us(histogram, quantile));
        }
    }
    verdict(&crowd, values)
}

/// The last subscriber of an event: metrics and their quantiles.
const LAST: [(&str, f64); 5] = [
    ("last_p50_us", 0.5),
    ("last_p90_us", 0.9),
    ("last_p99_us", 0.99),
    ("last_p999_us", 0.999),
    ("last_max_us", 1.0),
];
/// The same for every subscriber.
const DELIVERY: [(&str, f64); 5] = [
    ("delivery_p50_us", 0.5),
    ("delivery_p90_us", 0.9),
    ("delivery_p99_us", 0.99),
    ("delivery_p999_us", 0.999),
    ("delivery_max_us", 1.0),
];

fn costs(from: Reading, to: Reading, deliveries: f64) -> [(&'static str, f64); 9] {
    let elapsed_ns = (to.at_ns - from.at_ns) as f64;
    let cpu_ns = (to.cpu_ns - from.cpu_ns) as f64;
    let percent = |ns: u64| 100.0 * ns as f64 / elapsed_ns;
    let load_ns = (to.load_cpu_ns - from.load_cpu_ns) as f64;
    [
        ("cpu_s", cpu_ns / 1e9),
        ("deliveries", deliveries),
        ("cpu_per_delivery_us", cpu_ns / 1_000.0 / deliveries),
        ("load_us_per_delivery", load_ns / 1_000.0 / deliveries),
        (
            "deliveries_per_second",
            deliveries * SECOND_NS as f64 / elapsed_ns,
        ),
        ("hub_percent", percent(to.cpu_ns - from.cpu_ns)),
        ("load_percent", percent(to.load_cpu_ns - from.load_cpu_ns)),
        ("wait_percent", percent(to.wait_ns - from.wait_ns)),
        (
            "load_wait_percent",
            percent(to.load_wait_ns - from.load_wait_ns),
        ),
    ]
}

/// An error unless every event came to everyone, once, in order.
fn verdict(crowd: &Crowd, values: &mut BTreeMap<String, f64>) -> Result<()> {
    let Order {
        missing,
        out_of_turn,
        foreign,
        ..
    } = crowd.wrong_deliveries();
    let wrong = missing + out_of_turn + foreign;
    values.insert("wrong_deliveries".into(), wrong as f64);
    values.insert("connection_errors".into(), crowd.seen.failures as f64);
    if wrong == 0 && crowd.seen.failures == 0 {
        return Ok(());
    }
    Err(LoadError::Failed(format!(
        "{} connections failed, {missing} deliveries missing, {out_of_turn} out of turn, {foreign} foreign: {}",
        crowd.seen.failures,
        crowd.seen.errors.join("; ")
    )))
}

/// Whether a hub had no more of its core to use in some round: what it costs then says little.
pub fn is_overloaded(runs: &[Run], name: &str) -> bool {
    let worst = |key| of(runs, name, key).fold(0.0, f64::max);
    worst("hub_percent") > SATURATED_PERCENT
}

/// Whether the numbers are the hubs' own: not this tool's, and not a neighbour's on the machine.
fn weather(runs: &[Run], names: &[&str]) -> String {
    let mut text = String::new();
    let measured = |name: &&&str| of(runs, name, "load_percent").next().is_some();
    for name in names.iter().filter(measured) {
        let middle = |key| median(of(runs, name, key)).unwrap_or(0.0);
        let worst = |key| of(runs, name, key).fold(0.0, f64::max);
        let (load, wait, load_wait) = (
            worst("load_percent"),
            worst("wait_percent"),
            worst("load_wait_percent"),
        );
        let _ = writeln!(
            text,
            "{name}: the load tool used up to {load:.0} % of its core; {name} waited for its core up to {wait:.1} % of the time, the load tool {load_wait:.1} %"
        );
        if load > BUSY_PERCENT {
            let _ = writeln!(
                text,
                "WARNING: the load tool was at its limit; {name}'s latencies are partly its own."
            );
        } else if middle("load_us_per_delivery") > middle("cpu_per_delivery_us") {
            let _ = writeln!(
                text,
                "WARNING: the load tool takes longer for a delivery than {name} does; the last subscriber's latency is partly its own."
            );
        }
        if is_overloaded(runs, name) {
            let _ = writeln!(
                text,
                "WARNING: {name} did not keep up: events waited in it, and several of them left in one write, which makes each cheaper."
            );
        }
        // Several processes on one core wait for each other, too.
        let own_wait = if middle("processes") > 2.0 { 0.0 } else { wait };
        if own_wait.max(load_wait) > QUIET_PERCENT {
            text.push_str("WARNING: the machine was not quiet; measure again when it is, or put `chrt -r 1` in front.\n");
        }
    }
    text
}

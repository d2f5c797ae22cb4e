//! `client`: one workload against any address, for a deployment of one's own.
//!
//! Invariant: works without this tool's backend too: events that carry no number are counted and
//! their gaps timed, and nothing is claimed about what cannot be seen.
//!
//! The map: `address` is a URL; `streams` asks for answers, `kept` for ones that it cuts and resumes; `audience`
//! is many `subscriber`s and a `publisher`; a `follower` checks each client's events into the one `account`, and
//! `outcome` tells what it holds after the `window`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::error::{LoadError, Result};
use crate::faults::parse_duration;
use crate::process::{Meter, raise_file_limit};
use crate::record::write_json;
use crate::workload::{self, Sizes};

mod account;
mod address;
mod audience;
mod follower;
mod kept;
mod outcome;
mod publisher;
mod self_check;
mod smoke;
mod streams;
mod subscriber;
mod window;

use account::Account;
use address::Address;
use kept::Cuts;
use outcome::Outcome;
use subscriber::Transport;
use window::Window;

pub use self_check::self_check;
pub use smoke::smoke;

/// `client`: load a server that runs already.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub struct ClientArgs {
    /// Where to send requests, http:// or https://.
    #[arg(long, default_value = "http://127.0.0.1:8080/v1/chat/completions")]
    url: String,
    /// The kind of client.
    #[arg(long, value_enum, default_value = "paced")]
    workload: Workload,
    /// A request body of one's own, from a file, in place of an order for this tool's backend.
    #[arg(long, value_name = "FILE", required_if_eq("workload", "own"))]
    body: Option<PathBuf>,
    /// Headers such as `Authorization: Bearer …`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    #[serde(skip)]
    headers: Vec<String>,
    /// Streams, users or subscribers at once, or connections for short and large answers.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    count: u64,
    /// Events per second of each stream, or of the publisher.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rate: u64,
    /// Streams opened per second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    opening_rate: u64,
    /// Seconds measured; for `own` the longest wait for all streams to end.
    #[arg(long, default_value_t = 10.0, value_parser = parse_seconds)]
    seconds: f64,
    /// `arrivals`: streams that begin per second.
    #[arg(long, default_value_t = 20.0, value_name = "PER_SECOND", value_parser = parse_arrivals)]
    arrivals: f64,
    /// `arrivals`, `users`: events of each stream.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    events: u64,
    /// The time that the backend waits before the first event.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    #[serde(serialize_with = "as_seconds")]
    first_token: Duration,
    /// Length of each event that the backend or the publisher sends, in bytes, no less than what its numbers take.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1 << 20))]
    event_bytes: u64,
    /// `feed`, `publish`, `resume-feed`: how events come.
    #[arg(long, value_enum, default_value = "sse")]
    transport: Transport,
    /// `publish`, `resume-feed`: where the publisher sends its POSTs.
    #[arg(long, value_name = "URL", required_if_eq("workload", "publish"))]
    publish_url: Option<String>,
    /// `resume`, `resume-feed`: bytes between two cuts of a connection, in the mean.
    #[arg(long, default_value_t = 10_000, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(500..))]
    cut_after: u64,
    /// Streams that fail honestly (an error status, an error told, a broken connection) are no failure of
    /// the run; what is lost, repeated, out of order or cut so that it looks whole still is.
    #[arg(long)]
    expect_faults: bool,
    /// The sender of numbered events has this machine's clock, though no answer says so.
    #[arg(long)]
    same_clock: bool,
    /// A process of the server, for CPU per event and memory per stream; may be repeated.
    #[arg(long)]
    pid: Vec<u32>,
    /// Where all counts and percentiles go.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draws the places of cuts.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The kind of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Workload {
    /// Streams that all stand at once; needs this tool's backend behind the server
    Paced,
    /// Streams that begin --arrivals times a second, whether or not earlier ones have ended
    Arrivals,
    /// --count users, each of whom begins the next stream when the last one has ended
    Users,
    /// The body from --body, once on each of --count streams, each followed to its end
    Own,
    /// Kept answers: each client cuts its connection again and again and goes on after the last event
    Resume,
    /// --count subscribers of one URL (GET), whatever it sends
    Feed,
    /// The same over WebSocket
    Websocket,
    /// --count subscribers of one URL, and a publisher that POSTs --rate events a second to --publish-url
    Publish,
    /// A feed, or a topic with --publish-url, whose subscribers cut their connections and come back
    ResumeFeed,
    /// Short answers back to back; needs this tool's backend
    Answers,
    /// Silent streams; needs this tool's backend
    Idle,
    /// Large answers; needs this tool's backend
    Bulk,
}

impl ClientArgs {
    fn window_ns(&self) -> u64 {
        (self.seconds * 1e9) as u64
    }

    /// How many events the publisher sends.
    fn publications(&self) -> u64 {
        ((self.seconds * self.rate as f64) as u64).max(1)
    }

    fn transport(&self) -> Transport {
        match self.workload {
            Workload::Websocket => Transport::Websocket,
            _ => self.transport,
        }
    }

    /// Where client number `place` cuts.
    fn cuts(&self, place: u64) -> Cuts {
        Cuts::new(self.cut_after, self.seed.wrapping_mul(1 << 20) + place)
    }
}

fn as_seconds<S: serde::Serializer>(
    time: &Duration,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn parse_seconds(text: &str) -> std::result::Result<f64, String> {
    parse_number(text, 0.1..=86_400.0)
}

fn parse_arrivals(text: &str) -> std::result::Result<f64, String> {
    parse_number(text, 0.001..=10_000.0)
}

fn parse_number(
    text: &str,
    range: std::ops::RangeInclusive<f64>,
) -> std::result::Result<f64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| format!("not a number from {} to {}", range.start(), range.end()))
}

/// Runs the workload and prints what was seen.
pub async fn run(args: ClientArgs) -> Result<()> {
    raise_file_limit();
    if let Workload::Answers | Workload::Idle | Workload::Bulk = args.workload {
        return of_all_commands(&args).await;
    }
    let (account, window) = measure(&args).await?;
    let outcome = Outcome {
        args: &args,
        account: &account,
        window,
    };
    print!("{}", outcome.text()?);
    if let Some(path) = &args.json {
        outcome.write(path)?;
    }
    account.check(args.expect_faults)
}

/// Runs a workload of streams or subscribers.
async fn measure(args: &ClientArgs) -> Result<(Arc<Account>, Window)> {
    let address = Arc::new(Address::of(&args.url, &args.headers)?);
    let meter = Meter::of(&args.pid);
    let published = args.publish_url.as_ref().map_or(0, |_| args.publications());
    let account = Arc::new(Account::new(args.count, published)?);
    let window = match args.workload {
        Workload::Feed | Workload::Websocket | Workload::Publish | Workload::ResumeFeed => {
            audience::run(args, address, &account, &meter).await
        }
        _ => streams::run(args, address, &account, &meter).await,
    };
    let window = window.map_err(|error| explained(error, &account))?;
    Ok((account, window))
}

/// The error, and what its clients met before it.
fn explained(error: LoadError, account: &Account) -> LoadError {
    match account.counts().errors.as_slice() {
        [] => error,
        errors => LoadError::Failed(format!("{error}: {}", errors.join("; "))),
    }
}

/// The workloads that other commands have too.
async fn of_all_commands(args: &ClientArgs) -> Result<()> {
    let target = Arc::new(Address::of(&args.url, &args.headers)?.target()?);
    let sizes = Sizes {
        opening_rate: args.opening_rate,
        connections: args.count,
        answer_seconds: args.seconds,
        idle: args.count,
        bulk_connections: args.count,
        bulk_seconds: args.seconds,
        ..Sizes::FULL
    };
    let meter = Meter::of(&args.pid);
    let meter = (!args.pid.is_empty()).then_some(&meter);
    let mut values = match args.workload {
        Workload::Idle => workload::idle(&target, &sizes, meter).await?,
        Workload::Bulk => workload::bulk(&target, &sizes, meter).await?,
        _ => workload::answers(&target, &sizes, meter).await?,
    };
    // Shares of cores mean something only where this tool has chosen the cores.
    values.retain(|(metric, _)| !metric.ends_with("_percent"));
    for (metric, value) in &values {
        println!("{metric:<26}{value:>14.1}");
    }
    if let Some(path) = &args.json {
        let values: serde_json::Map<_, _> = values
            .into_iter()
            .map(|(metric, value)| (metric.to_owned(), value.into()))
            .collect();
        write_json(
            path,
            &serde_json::json!({ "arguments": args, "values": values }),
        )?;
    }
    Ok(())
}

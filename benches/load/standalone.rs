//! `client`: one workload against any address, for a deployment of one's own.
//!
//! Invariant: works without this tool's backend too: events that carry no number are counted and
//! their gaps timed, and nothing is claimed about what cannot be seen.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::client::{self, Target};
use crate::clock::now_ns;
use crate::error::{LoadError, Result, While};
use crate::process::raise_file_limit;
use crate::tally::{Tally, quantile_us};
use crate::workload::{self, Sizes};

/// `client`: load a server that runs already.
#[derive(Debug, clap::Args)]
pub struct ClientArgs {
    /// Where to send requests (http only).
    #[arg(long, default_value = "http://127.0.0.1:8080/v1/chat/completions")]
    url: String,
    /// What to send; all but `own` need this tool's backend behind the server.
    #[arg(long, value_enum, default_value = "paced")]
    workload: Workload,
    /// A request body of one's own, from a file; sent by workload `own`.
    #[arg(long, value_name = "FILE", required_if_eq("workload", "own"))]
    body: Option<std::path::PathBuf>,
    /// Headers such as `Authorization: Bearer …`; may be repeated.
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Streams, or connections for short and large answers.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=30_000))]
    count: u64,
    /// Events per second of each paced stream.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    rate: u64,
    /// Streams opened per second.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    opening_rate: u64,
    /// Seconds measured; for `own` the longest wait for all streams to end.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Workload {
    /// Paced event streams.
    Paced,
    /// Short answers back to back.
    Answers,
    /// Silent streams.
    Idle,
    /// Large answers.
    Bulk,
    /// The body from --body, once on each of --count streams, each followed to its end.
    Own,
}

/// Runs the workload and prints what was seen.
pub async fn run(args: ClientArgs) -> Result<()> {
    raise_file_limit();
    let target = Arc::new(target(&args)?);
    let seconds = args.seconds.clamp(0.1, 3_600.0);
    let sizes = Sizes {
        streams: args.count,
        streams_for_models: args.count,
        rate: args.rate,
        stream_seconds: seconds,
        opening_rate: args.opening_rate,
        connections: args.count,
        answer_seconds: seconds,
        idle: args.count,
        bulk_connections: args.count,
        bulk_seconds: seconds,
    };
    let values = match args.workload {
        Workload::Paced => workload::paced(&target, &sizes, None).await?,
        Workload::Answers => workload::answers(&target, &sizes, None).await?,
        Workload::Idle => workload::idle(&target, &sizes, None).await?,
        Workload::Bulk => workload::bulk(&target, &sizes, None).await?,
        Workload::Own => own(&target, &args, seconds).await?,
    };
    for (metric, value) in values {
        println!("{metric:<26}{value:>14.1}");
    }
    Ok(())
}

async fn own(target: &Arc<Target>, args: &ClientArgs, seconds: f64) -> Result<workload::Values> {
    let path = args
        .body
        .as_deref()
        .ok_or_else(|| LoadError::Usage("--body is missing".into()))?;
    let body = std::fs::read_to_string(path).while_doing(format!("reading {}", path.display()))?;
    let tally = Arc::new(Tally::new()?);
    tally.counts().measuring = true;
    let begin = now_ns();
    let mut clients = JoinSet::new();
    for number in 0..args.count {
        let due = begin + number * 1_000_000_000 / args.opening_rate;
        let request = target.request(&body);
        let (target, tally) = (Arc::clone(target), Arc::clone(&tally));
        clients.spawn(async move {
            let result = client::stream(target, request, 0, due, &tally).await;
            tally.ended(result);
        });
    }
    let all = async { while clients.join_next().await.is_some() {} };
    let ended = tokio::time::timeout(Duration::from_secs_f64(seconds), all).await;
    tally.check()?;
    let counts = tally.counts();
    if ended.is_err() {
        eprintln!("some streams had not ended after {seconds} s");
    }
    Ok(vec![
        ("events", counts.events as f64),
        ("first_event_p50_us", quantile_us(&counts.first_event, 0.5)),
        ("first_event_p99_us", quantile_us(&counts.first_event, 0.99)),
        ("gap_p50_us", quantile_us(&counts.gaps, 0.5)),
        ("gap_p99_us", quantile_us(&counts.gaps, 0.99)),
    ])
}

fn target(args: &ClientArgs) -> Result<Target> {
    let bad = |why: &str| LoadError::Usage(format!("{}: {why}", args.url));
    let url: http::Uri = args.url.parse().map_err(|_| bad("not a URL"))?;
    if url.scheme_str() != Some("http") {
        return Err(bad("only http:// is spoken"));
    }
    let host = url.host().ok_or_else(|| bad("no host"))?;
    let address = format!("{host}:{}", url.port_u16().unwrap_or(80));
    let path = url
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let mut headers = String::new();
    for header in &args.headers {
        if !header.contains(':') || header.contains(['\r', '\n']) {
            return Err(LoadError::Usage(format!("{header:?} is no header")));
        }
        headers.push_str(header);
        headers.push_str("\r\n");
    }
    Ok(Target::new(address, path.to_owned(), headers))
}

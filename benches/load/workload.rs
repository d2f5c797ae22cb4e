//! The workloads, against any address, metered or not.
//!
//! Invariant: CPU time is taken over a window in the middle of steady load, and divided by what the
//! clients received in that same window; opening and closing are outside of it. A workload fails
//! as a whole when anything was lost.

use std::sync::Arc;
use std::time::Duration;

use hdrhistogram::Histogram;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::client::{self, Target};
use crate::clock::{now_ns, sleep_until_ns};
use crate::error::{LoadError, Result};
use crate::plan::Plan;
use crate::process::{Meter, Reading};
use crate::tally::{Tally, quantile_us};

/// What was measured: metric and value (units are in the report's table of metrics).
pub type Values = Vec<(&'static str, f64)>;

/// How much load each workload makes.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Sizes {
    /// Paced streams at once.
    pub streams: u64,
    /// Paced streams at once for gateways made for models: some do not keep up with many more on one core.
    pub streams_for_models: u64,
    /// Events per second of each.
    pub rate: u64,
    /// The measured window of the paced streams, in seconds.
    pub stream_seconds: f64,
    /// Streams opened per second.
    pub opening_rate: u64,
    /// Connections of short answers and of large ones.
    pub connections: u64,
    /// The measured window of short answers, in seconds.
    pub answer_seconds: f64,
    /// Silent streams at once.
    pub idle: u64,
    /// Large answers at once, and the measured window in seconds.
    pub bulk_connections: u64,
    /// The measured window of large answers, in seconds.
    pub bulk_seconds: f64,
}

impl Sizes {
    /// The published measurement.
    pub const FULL: Self = Self {
        streams: 300,
        streams_for_models: 8,
        rate: 50,
        stream_seconds: 5.0,
        opening_rate: 200,
        connections: 64,
        answer_seconds: 3.0,
        idle: 4_000,
        bulk_connections: 4,
        bulk_seconds: 1.0,
    };

    /// A few seconds in all, to see that everything works.
    pub const SMOKE: Self = Self {
        streams: 20,
        streams_for_models: 2,
        rate: 20,
        stream_seconds: 0.5,
        opening_rate: 200,
        connections: 8,
        answer_seconds: 0.3,
        idle: 100,
        bulk_connections: 2,
        bulk_seconds: 0.2,
    };

    /// Enough that nothing is done for the first time afterwards.
    pub const WARM_UP: Self = Self {
        streams: 4,
        stream_seconds: 1.0,
        ..Self::SMOKE
    };

    /// The second published load of paced streams: many that say little. Opened faster, as there are so many.
    pub const MANY: Self = Self {
        streams: 2_000,
        rate: 5,
        opening_rate: 400,
        ..Self::FULL
    };

    /// The same with fewer paced streams, for gateways made for models.
    pub fn for_models(&self) -> Self {
        Self {
            streams: self.streams_for_models,
            ..self.clone()
        }
    }
}

/// How long a workload may outlast its plan before it is given up.
const GRACE: Duration = Duration::from_secs(20);
const SETTLE_NS: u64 = 500_000_000;
const SECOND_NS: u64 = 1_000_000_000;
const LARGE: u64 = 16 * 1024 * 1024;

/// Paced streams: CPU per event, latency of events, time to the first event.
pub async fn paced(target: &Arc<Target>, sizes: &Sizes, meter: Option<&Meter>) -> Result<Values> {
    let tally = Arc::new(Tally::new()?);
    let begin = now_ns() + SETTLE_NS / 10;
    let spacing = SECOND_NS / sizes.opening_rate;
    let open = begin + spacing * sizes.streams + SETTLE_NS;
    let close = open + (sizes.stream_seconds * SECOND_NS as f64) as u64;
    let interval_us = 1_000_000 / sizes.rate;
    let mut clients = JoinSet::new();
    for number in 0..sizes.streams {
        let due = begin + spacing * number;
        // The golden ratio spreads the streams evenly over the interval, however many there are.
        let phase_us = (number * 618_034 % 1_000_000) * interval_us / 1_000_000;
        let events = 2 + (close + SETTLE_NS / 5 - due) / 1_000 / interval_us;
        let request = target.order(&Plan::Paced {
            events,
            interval_us,
            phase_us,
        });
        let (target, tally) = (Arc::clone(target), Arc::clone(&tally));
        clients.spawn(async move {
            let result = client::stream(target, request, events, due, &tally).await;
            tally.ended(result);
        });
    }
    let (from, to, events) =
        window(&tally, meter, open, close, |tally| tally.counts().events).await?;
    join(clients).await?;
    tally.check()?;
    let mut values = seen(&tally);
    values.push(("stream_events", events as f64));
    values.push(("events_per_second", per_second(events, from, to)));
    if meter.is_some() {
        values.push(("stream_cpu_s", cpu_us(from, to) / 1e6));
        values.push(("cpu_per_event_us", cpu_us(from, to) / events as f64));
        values.extend(cores(
            ["stream_load_percent", "stream_others_percent"],
            from,
            to,
        ));
    }
    Ok(values)
}

/// Times of events, of first events, and from one event to the next.
fn seen(tally: &Tally) -> Values {
    let counts = tally.counts();
    let mut values = quantiles(
        [
            "latency_p50_us",
            "latency_p90_us",
            "latency_p99_us",
            "latency_p999_us",
            "latency_max_us",
        ],
        &counts.latency,
    );
    values.extend(quantiles(
        [
            "first_event_p50_us",
            "first_event_p90_us",
            "first_event_p99_us",
            "first_event_p999_us",
            "first_event_max_us",
        ],
        &counts.first_event,
    ));
    values.extend(quantiles(
        [
            "gap_p50_us",
            "gap_p90_us",
            "gap_p99_us",
            "gap_p999_us",
            "gap_max_us",
        ],
        &counts.gaps,
    ));
    // How even the backend was, and how far arrivals strayed from that.
    values.extend(quantiles(
        [
            "sent_gap_p50_us",
            "sent_gap_p90_us",
            "sent_gap_p99_us",
            "sent_gap_p999_us",
            "sent_gap_max_us",
        ],
        &counts.sent_gaps,
    ));
    values.extend(quantiles(
        [
            "unevenness_p50_us",
            "unevenness_p90_us",
            "unevenness_p99_us",
            "unevenness_p999_us",
            "unevenness_max_us",
        ],
        &counts.unevenness,
    ));
    values
}

/// Short answers in a closed loop on kept connections: CPU per request, requests per second.
pub async fn answers(target: &Arc<Target>, sizes: &Sizes, meter: Option<&Meter>) -> Result<Values> {
    let request = target.order(&Plan::Answer { bytes: 300 });
    let seconds = sizes.answer_seconds;
    let (from, to, tally, done) = closed_loop(
        target,
        request,
        (sizes.connections, seconds),
        meter,
        |tally| tally.counts().answers,
    )
    .await?;
    let mut values = quantiles(
        [
            "answer_p50_us",
            "answer_p90_us",
            "answer_p99_us",
            "answer_p999_us",
            "answer_max_us",
        ],
        &tally.counts().answer_time,
    );
    values.push(("requests", done as f64));
    values.push(("requests_per_second", per_second(done, from, to)));
    if meter.is_some() {
        values.push(("answer_cpu_s", cpu_us(from, to) / 1e6));
        values.push(("cpu_per_request_us", cpu_us(from, to) / done as f64));
        values.extend(cores(
            ["answer_load_percent", "answer_others_percent"],
            from,
            to,
        ));
    }
    Ok(values)
}

/// Large answers in a closed loop: CPU per megabyte, megabytes per second.
pub async fn bulk(target: &Arc<Target>, sizes: &Sizes, meter: Option<&Meter>) -> Result<Values> {
    let request = target.order(&Plan::Bulk { bytes: LARGE });
    let (from, to, _, bytes) = closed_loop(
        target,
        request,
        (sizes.bulk_connections, sizes.bulk_seconds),
        meter,
        |tally| tally.counts().bytes,
    )
    .await?;
    let megabytes = bytes as f64 / 1e6;
    let mut values = vec![
        ("bulk_mb", megabytes),
        ("bulk_mb_per_second", per_second(bytes, from, to) / 1e6),
    ];
    if meter.is_some() {
        values.push(("bulk_cpu_s", cpu_us(from, to) / 1e6));
        values.push(("cpu_per_mb_us", cpu_us(from, to) / megabytes));
    }
    Ok(values)
}

/// Silent streams: memory per stream.
pub async fn idle(target: &Arc<Target>, sizes: &Sizes, meter: Option<&Meter>) -> Result<Values> {
    let before = meter.map(Meter::memory).transpose()?;
    let tally = Arc::new(Tally::new()?);
    let (release, released) = watch::channel(false);
    let begin = now_ns() + SETTLE_NS / 10;
    let mut clients = JoinSet::new();
    for number in 0..sizes.idle {
        let due = begin + number * SECOND_NS / (sizes.opening_rate * 10);
        let request = target.order(&Plan::Hold);
        let (target, tally, released) = (Arc::clone(target), Arc::clone(&tally), released.clone());
        clients.spawn(async move {
            let result = client::hold(target, request, due, released, &tally).await;
            tally.ended(result);
        });
    }
    let begun = tokio::time::timeout(GRACE, async {
        while tally.begun_or_failed() < sizes.idle {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let begun = begun.await;
    tally.check()?;
    begun.map_err(|_| LoadError::Failed("not every silent stream got its first event".into()))?;
    sleep_until_ns(now_ns() + 2 * SETTLE_NS).await;
    let after = meter.map(Meter::memory).transpose()?;
    let _ = release.send(true);
    join(clients).await?;
    tally.check()?;
    let mut values = vec![(
        "idle_first_event_p99_us",
        quantile_us(&tally.counts().first_event, 0.99),
    )];
    if let (Some(before), Some(after)) = (before, after) {
        let kilobytes = after.saturating_sub(before) as f64 / 1024.0;
        values.push(("kb_per_idle_stream", kilobytes / sizes.idle as f64));
        values.push(("kb_at_rest", before as f64 / 1024.0));
    }
    Ok(values)
}

async fn closed_loop(
    target: &Arc<Target>,
    request: Vec<u8>,
    (connections, seconds): (u64, f64),
    meter: Option<&Meter>,
    count: fn(&Tally) -> u64,
) -> Result<(Reading, Reading, Arc<Tally>, u64)> {
    let tally = Arc::new(Tally::new()?);
    let open = now_ns() + SETTLE_NS;
    let close = open + (seconds * SECOND_NS as f64) as u64;
    let mut clients = JoinSet::new();
    for _ in 0..connections {
        let (target, tally, request) = (Arc::clone(target), Arc::clone(&tally), request.clone());
        clients.spawn(async move {
            let result =
                client::answers(target, request, 64 * 1024, close + SETTLE_NS / 5, &tally).await;
            tally.ended(result);
        });
    }
    let (from, to, done) = window(&tally, meter, open, close, count).await?;
    join(clients).await?;
    tally.check()?;
    if done == 0 {
        return Err(LoadError::Failed("no answer in the measured window".into()));
    }
    Ok((from, to, tally, done))
}

/// Measures from `open` to `close`: the readings at both ends, and what was counted between them.
async fn window(
    tally: &Tally,
    meter: Option<&Meter>,
    open: u64,
    close: u64,
    count: fn(&Tally) -> u64,
) -> Result<(Reading, Reading, u64)> {
    sleep_until_ns(open).await;
    let from = read(meter)?;
    let before = count(tally);
    tally.counts().measuring = true;
    sleep_until_ns(close).await;
    tally.counts().measuring = false;
    let to = read(meter)?;
    Ok((from, to, count(tally) - before))
}

fn read(meter: Option<&Meter>) -> Result<Reading> {
    let nothing = Reading {
        at_ns: now_ns(),
        cpu_ns: 0,
        proxy_core_ns: 0,
        wait_ns: 0,
        load_cpu_ns: 0,
        load_wait_ns: 0,
    };
    meter.map_or(Ok(nothing), Meter::read)
}

fn cpu_us(from: Reading, to: Reading) -> f64 {
    (to.cpu_ns - from.cpu_ns) as f64 / 1_000.0
}

fn per_second(count: u64, from: Reading, to: Reading) -> f64 {
    count as f64 * SECOND_NS as f64 / (to.at_ns - from.at_ns) as f64
}

/// The median, 90, 99 and 99.9 percent and the longest, by these five keys.
fn quantiles(keys: [&'static str; 5], histogram: &Histogram<u64>) -> Values {
    let wanted = [0.5, 0.9, 0.99, 0.999, 1.0];
    let values = wanted.map(|quantile| quantile_us(histogram, quantile));
    keys.into_iter().zip(values).collect()
}

/// How much of their core backend and clients used, and how much of the proxy's core somebody else
/// took, in percent; named by the two keys.
fn cores(keys: [&'static str; 2], from: Reading, to: Reading) -> Values {
    let percent = |ns: u64| 100.0 * ns as f64 / (to.at_ns - from.at_ns) as f64;
    let others_ns = (to.proxy_core_ns - from.proxy_core_ns).saturating_sub(to.cpu_ns - from.cpu_ns);
    let load_ns = to.load_cpu_ns - from.load_cpu_ns;
    vec![(keys[0], percent(load_ns)), (keys[1], percent(others_ns))]
}

async fn join(mut clients: JoinSet<()>) -> Result<()> {
    let all = async { while clients.join_next().await.is_some() {} };
    let ended = tokio::time::timeout(GRACE, all).await;
    ended.map_err(|_| LoadError::Failed("streams or answers did not end in time".into()))
}

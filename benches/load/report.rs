//! Medians, ratios and the table.
//!
//! Invariant: a ratio is taken within a round, where both proxies met the same weather, and the
//! median is taken over the rounds' ratios; the spread stands beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use crate::contender::Kind;

/// A metric in the table.
struct Metric {
    key: &'static str,
    title: &'static str,
    /// What the gateway is held to, for the reader.
    goal: &'static str,
}

const METRICS: &[Metric] = &[
    metric(
        "cpu_per_event_us",
        "CPU per event, us",
        "<= 0.85 nginx, 1.15 relay",
    ),
    metric("latency_p50_us", "event latency p50, us", ""),
    metric("latency_p99_us", "event latency p99, us", "<= nginx"),
    metric("first_event_p50_us", "first event p50, us", "<= nginx"),
    metric("first_event_p99_us", "first event p99, us", "<= nginx"),
    metric("cpu_per_request_us", "CPU per short answer, us", "<= nginx"),
    metric("requests_per_second", "short answers per s", ""),
    metric("answer_p99_us", "short answer p99, us", ""),
    metric("kb_per_idle_stream", "KB per idle stream", "<= 20 KB"),
    metric("bulk_mb_per_second", "large answers, MB/s", ""),
    metric("cpu_per_mb_us", "CPU per MB, us", ""),
];

const fn metric(key: &'static str, title: &'static str, goal: &'static str) -> Metric {
    Metric { key, title, goal }
}

/// The ratios shown: who over whom.
const RATIOS: &[(Kind, Kind)] = &[
    (Kind::Nginx, Kind::Relay),
    (Kind::Deltaway, Kind::Nginx),
    (Kind::Deltaway, Kind::Relay),
];

/// One contender in one round.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The round, from 1.
    pub round: usize,
    /// The contender's name.
    pub contender: &'static str,
    /// Metric and value.
    pub values: BTreeMap<&'static str, f64>,
    /// Why it has no values, or not all.
    pub fault: Option<String>,
}

/// The table of medians and ratios, as Markdown.
pub fn table(runs: &[Run], kinds: &[Kind]) -> String {
    let ratios: Vec<_> = RATIOS
        .iter()
        .filter(|(over, under)| kinds.contains(over) && kinds.contains(under))
        .collect();
    let mut header = vec!["median of the rounds".to_owned()];
    header.extend(kinds.iter().map(|kind| kind.name().to_owned()));
    header.extend(
        ratios
            .iter()
            .map(|(over, under)| format!("{}/{} (min-max)", over.name(), under.name())),
    );
    if kinds.contains(&Kind::Deltaway) {
        header.push("goal".into());
    }
    let columns = header.len();
    let mut rows = vec![header];
    for metric in METRICS {
        let mut row = vec![metric.title.to_owned()];
        row.extend(
            kinds
                .iter()
                .map(|kind| number(median(of(runs, *kind, metric.key)))),
        );
        for (over, under) in &ratios {
            row.push(ratio(runs, *over, *under, metric.key));
        }
        row.push(metric.goal.to_owned());
        row.truncate(columns);
        rows.push(row);
    }
    aligned(&rows)
}

/// Others' share of the proxy's core, in percent, above which the numbers are not to be believed: a
/// proxy that waits for its core finds several events at once, and looks cheaper than it is.
const QUIET_PERCENT: f64 = 10.0;

/// Whether the machine was quiet, in one line for each contender.
pub fn weather(runs: &[Run], kinds: &[Kind]) -> String {
    let mut text = String::new();
    let mut noisiest = 0.0_f64;
    for kind in kinds {
        let worst = |key| of(runs, *kind, key).fold(0.0, f64::max);
        let others = worst("stream_others_percent").max(worst("answer_others_percent"));
        noisiest = noisiest.max(others);
        let _ = writeln!(
            text,
            "{}: backend and clients used {:.0} % (streams) and {:.0} % (short answers) of their core; others took up to {others:.0} % of the proxy's core",
            kind.name(),
            median(of(runs, *kind, "stream_load_percent")).unwrap_or(0.0),
            median(of(runs, *kind, "answer_load_percent")).unwrap_or(0.0),
        );
    }
    if noisiest > QUIET_PERCENT {
        text.push_str("WARNING: the machine was not quiet; measure again when it is.\n");
    }
    text
}

fn of<'a>(runs: &'a [Run], kind: Kind, key: &'a str) -> impl Iterator<Item = f64> + 'a {
    runs.iter()
        .filter(move |run| run.contender == kind.name())
        .filter_map(move |run| run.values.get(key).copied())
}

fn ratio(runs: &[Run], over: Kind, under: Kind, key: &str) -> String {
    let value = |round: usize, kind: Kind| {
        let run = runs
            .iter()
            .find(|run| run.round == round && run.contender == kind.name())?;
        run.values.get(key).copied()
    };
    let rounds = runs.iter().map(|run| run.round).max().unwrap_or(0);
    let ratios: Vec<f64> = (1..=rounds)
        .filter_map(|round| Some(value(round, over)? / value(round, under)?))
        .filter(|ratio| ratio.is_finite())
        .collect();
    let Some(middle) = median(ratios.iter().copied()) else {
        return "-".into();
    };
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    format!("{middle:.2} ({least:.2}-{most:.2})")
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        count if count % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

fn number(value: Option<f64>) -> String {
    match value {
        None => "-".into(),
        Some(value) if value >= 1_000.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.1}"),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if at == 0 {
            widths
                .iter()
                .for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

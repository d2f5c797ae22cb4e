//! Medians, ratios and the table.
//!
//! Invariant: a ratio is taken within a round, where both proxies met the same weather, and the
//! median is taken over the rounds' ratios; the spread stands beside it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::error::{LoadError, Result, While};

/// A metric in the table.
pub struct Metric {
    key: &'static str,
    title: &'static str,
    /// What the gateway is held to, for the reader.
    goal: &'static str,
}

/// A metric by its key in [`Run::values`].
pub const fn metric(key: &'static str, title: &'static str, goal: &'static str) -> Metric {
    Metric { key, title, goal }
}

/// What a table shows.
pub struct Layout {
    /// The rows.
    pub metrics: &'static [Metric],
    /// The ratios beside them: who over whom.
    pub ratios: &'static [(&'static str, &'static str)],
}

/// The table of `compare`.
pub const COMPARE: Layout = Layout {
    metrics: METRICS,
    ratios: &[
        ("nginx", "relay"),
        ("deltaway", "nginx"),
        ("deltaway", "relay"),
        ("deltaway", "haproxy"),
        ("deltaway", "envoy"),
    ],
};

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

impl Layout {
    /// The table of medians and ratios, as Markdown; `names` are the contenders.
    pub fn table(&self, runs: &[Run], names: &[&str]) -> String {
        let ratios: Vec<_> = self
            .ratios
            .iter()
            .filter(|(over, under)| names.contains(over) && names.contains(under))
            .collect();
        let has_goals = names.contains(&"deltaway")
            && self.metrics.iter().any(|metric| !metric.goal.is_empty());
        let mut header = vec!["median of the rounds".to_owned()];
        header.extend(names.iter().map(|name| (*name).to_owned()));
        header.extend(
            ratios
                .iter()
                .map(|(over, under)| format!("{over}/{under} (min-max)")),
        );
        if has_goals {
            header.push("goal".into());
        }
        let columns = header.len();
        let mut rows = vec![header];
        for metric in self.metrics {
            let mut row = vec![metric.title.to_owned()];
            row.extend(
                names
                    .iter()
                    .map(|name| number(median(of(runs, name, metric.key)))),
            );
            for (over, under) in &ratios {
                row.push(ratio(runs, over, under, metric.key));
            }
            row.push(metric.goal.to_owned());
            row.truncate(columns);
            rows.push(row);
        }
        aligned(&rows)
    }
}

/// Others' share of the proxy's core, in percent, above which the numbers are not to be believed: a
/// proxy that waits for its core finds several events at once, and looks cheaper than it is.
const QUIET_PERCENT: f64 = 10.0;

/// Whether the machine was quiet, in one line for each contender.
pub fn weather(runs: &[Run], names: &[&str]) -> String {
    let mut text = String::new();
    let mut noisiest = 0.0_f64;
    for name in names {
        let worst = |key| of(runs, name, key).fold(0.0, f64::max);
        let others = worst("stream_others_percent").max(worst("answer_others_percent"));
        noisiest = noisiest.max(others);
        let _ = writeln!(
            text,
            "{}: backend and clients used {:.0} % (streams) and {:.0} % (short answers) of their core; others took up to {others:.0} % of the proxy's core",
            name,
            median(of(runs, name, "stream_load_percent")).unwrap_or(0.0),
            median(of(runs, name, "answer_load_percent")).unwrap_or(0.0),
        );
    }
    if noisiest > QUIET_PERCENT {
        text.push_str("WARNING: the machine was not quiet; measure again when it is.\n");
    }
    text
}

/// A contender's values of one metric, round by round.
pub fn of<'a>(runs: &'a [Run], name: &'a str, key: &'a str) -> impl Iterator<Item = f64> + 'a {
    runs.iter()
        .filter(move |run| run.contender == name)
        .filter_map(move |run| run.values.get(key).copied())
}

/// Below it a number is as good as zero, in every metric: no ratio to it says anything.
const LEAST: f64 = 0.1;

fn ratio(runs: &[Run], over: &str, under: &str, key: &str) -> String {
    let value = |round: usize, name: &str| {
        let run = runs
            .iter()
            .find(|run| run.round == round && run.contender == name)?;
        run.values.get(key).copied()
    };
    let rounds = runs.iter().map(|run| run.round).max().unwrap_or(0);
    let ratios: Vec<f64> = (1..=rounds)
        .filter_map(|round| Some((value(round, over)?, value(round, under)?)))
        .filter(|(_, under)| *under >= LEAST)
        .map(|(over, under)| over / under)
        .collect();
    let Some(middle) = median(ratios.iter().copied()) else {
        return "-".into();
    };
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    format!("{middle:.2} ({least:.2}-{most:.2})")
}

/// The median, if there is any value.
pub fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
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

/// Writes the raw numbers, and makes the folder for them.
pub fn write_json(path: &Path, numbers: &serde_json::Value) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).while_doing(format!("making {}", directory.display()))?;
    }
    fs::write(path, format!("{numbers:#}\n")).while_doing(format!("writing {}", path.display()))
}

/// An error if any run has a fault.
pub fn faults(runs: &[Run]) -> Result<()> {
    let faults: Vec<String> = runs
        .iter()
        .filter_map(|run| {
            Some(format!(
                "{} in round {}: {}",
                run.contender,
                run.round,
                run.fault.as_ref()?
            ))
        })
        .collect();
    if faults.is_empty() {
        Ok(())
    } else {
        Err(LoadError::Failed(faults.join("\n")))
    }
}

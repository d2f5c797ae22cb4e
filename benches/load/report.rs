//! Medians, ratios, goals and the tables.
//!
//! Invariant: a ratio is taken within a round, where both proxies met the same weather, and the
//! median is taken over the rounds' ratios; the spread stands beside it. A goal is judged by the
//! ratio of the medians themselves, which is what a reader of the table can check.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::error::{LoadError, Result};

/// A metric in the table.
pub struct Metric {
    /// Its key in [`Run::values`].
    pub key: &'static str,
    /// What it is, with its unit.
    pub title: &'static str,
    /// The contender that it is told as a difference from, within each round.
    over: Option<&'static str>,
    /// What the gateway is held to.
    goals: &'static [Goal],
    /// Whether it says how much was measured, and not how well: no ratio is taken.
    is_count: bool,
}

/// What a metric of the gateway is held to.
pub enum Goal {
    /// At most so many times that of another contender.
    Of(&'static str, f64),
    /// At most so much, in the metric's own unit.
    Most(f64),
}

/// A metric by its key in [`Run::values`].
pub const fn metric(key: &'static str, title: &'static str, goals: &'static [Goal]) -> Metric {
    Metric {
        key,
        title,
        over: None,
        goals,
        is_count: false,
    }
}

/// How much was measured.
pub const fn count(key: &'static str, title: &'static str) -> Metric {
    Metric {
        key,
        title,
        over: None,
        goals: &[],
        is_count: true,
    }
}

/// A metric's difference from that of another contender.
const fn difference(
    (key, over): (&'static str, &'static str),
    title: &'static str,
    goals: &'static [Goal],
) -> Metric {
    Metric {
        key,
        title,
        over: Some(over),
        goals,
        is_count: false,
    }
}

/// What a table shows.
pub struct Layout {
    /// The rows.
    pub metrics: &'static [Metric],
    /// The contender that the goals are for.
    pub held: &'static str,
    /// The ratios beside them: who over whom.
    pub ratios: &'static [(&'static str, &'static str)],
}

/// The table of `compare`.
pub const COMPARE: Layout = Layout {
    metrics: METRICS,
    held: "deltaway",
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
        "CPU per event, µs",
        &[Goal::Of("relay", 1.10), Goal::Of("nginx", 0.82)],
    ),
    count("stream_cpu_s", "CPU of the window, s"),
    count("stream_events", "events in the window"),
    metric("latency_p50_us", "event latency p50, µs", &[]),
    metric("latency_p90_us", "event latency p90, µs", &[]),
    metric(
        "latency_p99_us",
        "event latency p99, µs",
        &[Goal::Of("nginx", 1.0)],
    ),
    metric("latency_p999_us", "event latency p99.9, µs", &[]),
    metric("latency_max_us", "event latency max, µs", &[]),
    metric("sent_gap_p99_us", "gap between events as sent p99, µs", &[]),
    metric("gap_p99_us", "gap between events on arrival p99, µs", &[]),
    metric(
        "unevenness_p50_us",
        "gap on arrival off that sent p50, µs",
        &[],
    ),
    metric(
        "unevenness_p99_us",
        "gap on arrival off that sent p99, µs",
        &[],
    ),
    metric("first_event_p50_us", "first event p50, µs", &[]),
    metric("first_event_p99_us", "first event p99, µs", &[]),
    difference(
        ("first_event_p50_us", "relay"),
        "first event p50 over the bare relay, µs",
        &[Goal::Most(30.0)],
    ),
    metric(
        "many_cpu_per_event_us",
        "many streams: CPU per event, µs",
        &[],
    ),
    count("many_stream_cpu_s", "many streams: CPU of the window, s"),
    count("many_stream_events", "many streams: events in the window"),
    metric(
        "many_latency_p50_us",
        "many streams: event latency p50, µs",
        &[],
    ),
    metric(
        "many_latency_p90_us",
        "many streams: event latency p90, µs",
        &[],
    ),
    metric(
        "many_latency_p99_us",
        "many streams: event latency p99, µs",
        &[],
    ),
    metric(
        "many_latency_p999_us",
        "many streams: event latency p99.9, µs",
        &[],
    ),
    metric(
        "many_latency_max_us",
        "many streams: event latency max, µs",
        &[],
    ),
    metric(
        "cpu_per_request_us",
        "CPU per short answer, µs",
        &[Goal::Of("nginx", 1.0)],
    ),
    count("answer_cpu_s", "short answers: CPU of the window, s"),
    count("requests", "short answers in the window"),
    metric("requests_per_second", "short answers per s", &[]),
    metric("answer_p50_us", "short answer p50, µs", &[]),
    metric("answer_p99_us", "short answer p99, µs", &[]),
    metric("answer_p999_us", "short answer p99.9, µs", &[]),
    metric(
        "kb_per_idle_stream",
        "KB per idle stream",
        &[Goal::Most(16.0)],
    ),
    metric("kb_at_rest", "KB at rest", &[]),
    metric("bulk_mb_per_second", "large answers, MB/s", &[]),
    metric("cpu_per_mb_us", "CPU per MB, µs", &[]),
];

/// One contender in one round.
#[derive(Debug, Serialize, Deserialize)]
pub struct Run {
    /// The round, from 1.
    pub round: usize,
    /// The contender's name.
    pub contender: String,
    /// Metric and value.
    pub values: BTreeMap<String, f64>,
    /// Why it has no values, or not all.
    pub fault: Option<String>,
}

impl Layout {
    /// The tables of medians and of ratios, as Markdown; `names` are the contenders.
    pub fn table(&self, runs: &[Run], names: &[&str]) -> String {
        let mut text = aligned(&self.medians(runs, names));
        if let Some(ratios) = self.ratios_within_rounds(runs, names) {
            let _ = write!(text, "\n{}", aligned(&ratios));
        }
        text
    }

    fn medians(&self, runs: &[Run], names: &[&str]) -> Vec<Vec<String>> {
        let shown: Vec<&Metric> = self.shown(runs);
        let has_goals =
            names.contains(&self.held) && shown.iter().any(|metric| !metric.goals.is_empty());
        let mut header = vec!["median of the rounds".to_owned()];
        header.extend(names.iter().map(|name| (*name).to_owned()));
        header.extend(has_goals.then(|| format!("goal for {}", self.held)));
        let mut rows = vec![header];
        for metric in shown {
            let mut row = vec![metric.title.to_owned()];
            row.extend(names.iter().map(|name| metric.cell(runs, name)));
            row.extend(has_goals.then(|| metric.verdict(runs, self.held)));
            // A difference from somebody who was not measured.
            if row[1..=names.len()].iter().any(|cell| cell != NOTHING) {
                rows.push(row);
            }
        }
        rows
    }

    /// None where there is nobody to take a ratio to.
    fn ratios_within_rounds(&self, runs: &[Run], names: &[&str]) -> Option<Vec<Vec<String>>> {
        let pairs = self.ratios.iter();
        let is_there = |name| names.contains(name);
        let pairs: Vec<_> = pairs.filter(|(a, b)| is_there(a) && is_there(b)).collect();
        if pairs.is_empty() {
            return None;
        }
        let mut header = vec!["median ratio within a round (min-max)".to_owned()];
        header.extend(pairs.iter().map(|(over, under)| format!("{over}/{under}")));
        let mut rows = vec![header];
        for metric in self.shown(runs) {
            let mut row = vec![metric.title.to_owned()];
            let ratios = pairs.iter();
            row.extend(ratios.map(|(over, under)| ratio(runs, over, under, metric.key)));
            if metric.over.is_none()
                && !metric.is_count
                && row[1..].iter().any(|cell| cell != NOTHING)
            {
                rows.push(row);
            }
        }
        Some(rows)
    }

    /// The metrics that somebody has a value of.
    fn shown(&self, runs: &[Run]) -> Vec<&Metric> {
        let is_measured =
            |metric: &&Metric| runs.iter().any(|run| run.values.contains_key(metric.key));
        self.metrics.iter().filter(is_measured).collect()
    }
}

impl Metric {
    /// The median, or that of the differences.
    fn value(&self, runs: &[Run], name: &str) -> Option<f64> {
        match self.over {
            None => median(of(runs, name, self.key)),
            Some(over) if over == name => None,
            Some(over) => median(
                pairs(runs, (name, over), self.key)
                    .into_iter()
                    .map(|(value, floor)| value - floor),
            ),
        }
    }

    fn cell(&self, runs: &[Run], name: &str) -> String {
        match (self.over, self.value(runs, name)) {
            (Some(_), Some(value)) => format!("{value:+.0}"),
            (_, value) => number(value),
        }
    }

    /// Each goal, and whether it was reached.
    fn verdict(&self, runs: &[Run], held: &str) -> String {
        let judged = self.goals.iter().map(|goal| goal.judge(self, runs, held));
        judged.collect::<Vec<_>>().join("; ")
    }
}

impl Goal {
    fn judge(&self, metric: &Metric, runs: &[Run], held: &str) -> String {
        let value = metric.value(runs, held);
        let (goal, found, most) = match self {
            Self::Most(most) => (format!("≤ {most}"), value, *most),
            Self::Of(other, most) => {
                let other_value = metric.value(runs, other).filter(|value| *value >= LEAST);
                let found = value.zip(other_value).map(|(value, other)| value / other);
                (format!("≤ {most:.2} of {other}"), found, *most)
            }
        };
        let told = number(found);
        match found {
            None => format!("{goal}: not measured"),
            Some(found) if found <= most => format!("{goal}: met ({told})"),
            Some(_) => format!("{goal}: missed ({told})"),
        }
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
        let others = [
            "stream_others_percent",
            "many_stream_others_percent",
            "answer_others_percent",
        ];
        let others = others.map(worst).into_iter().fold(0.0, f64::max);
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

/// The values of two contenders, for each round that has both.
fn pairs(runs: &[Run], (first, second): (&str, &str), key: &str) -> Vec<(f64, f64)> {
    let value = |round: usize, name: &str| {
        let run = runs
            .iter()
            .find(|run| run.round == round && run.contender == name)?;
        run.values.get(key).copied()
    };
    let rounds = runs.iter().map(|run| run.round).max().unwrap_or(0);
    (1..=rounds)
        .filter_map(|round| Some((value(round, first)?, value(round, second)?)))
        .collect()
}

fn ratio(runs: &[Run], over: &str, under: &str, key: &str) -> String {
    let ratios: Vec<f64> = pairs(runs, (over, under), key)
        .into_iter()
        .filter(|(_, under)| *under >= LEAST)
        .map(|(over, under)| over / under)
        .collect();
    let Some(middle) = median(ratios.iter().copied()) else {
        return NOTHING.into();
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

/// What stands where nothing was measured.
const NOTHING: &str = "-";

fn number(value: Option<f64>) -> String {
    match value {
        None => NOTHING.into(),
        Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) if value >= 1_000.0 => format!("{value:.0}"),
        Some(value) if value >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
    }
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let lengths = rows.iter().map(|row| row[column].chars().count());
        lengths.max().unwrap_or(0)
    };
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

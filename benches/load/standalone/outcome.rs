//! What a run found, for people and as JSON.
//!
//! Invariant: a distribution that nothing was recorded in is left out, and why there is no latency is
//! said; nothing is claimed about what could not be seen.

use std::fmt::Write as _;
use std::path::Path;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::ClientArgs;
use super::account::{Account, Counts};
use super::window::Window;
use crate::error::Result;
use crate::record::write_json;
use crate::tally::quantile_us;

/// The quantiles of the table.
const QUANTILES: &[(&str, f64)] = &[
    ("p50", 0.5),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("max", 1.0),
];
/// Above this share of its core the tool's own delays count.
const BUSY_PERCENT: f64 = 70.0;
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// A run that is over.
pub struct Outcome<'a> {
    /// How it was called.
    pub args: &'a ClientArgs,
    /// What was counted.
    pub account: &'a Account,
    /// What was measured.
    pub window: Window,
}

/// Key, title, and what was recorded.
type Distribution<'a> = (&'static str, &'static str, &'a Histogram<u64>);
/// Key, title, and the number.
type Figure = (&'static str, &'static str, f64);

impl Outcome<'_> {
    /// The text.
    pub fn text(&self) -> Result<String> {
        let counts = self.account.counts();
        let last = last_arrivals(&counts)?;
        let mut text = format!("{:<36}", "microseconds");
        for (name, _) in QUANTILES {
            let _ = write!(text, "{name:>12}");
        }
        text.push('\n');
        for (_, title, histogram) in distributions(&counts, &last) {
            let _ = write!(text, "{title:<36}");
            for (_, quantile) in QUANTILES {
                let _ = write!(text, "{:>12.0}", quantile_us(histogram, *quantile));
            }
            text.push('\n');
        }
        text.push('\n');
        for (_, title, value) in self.values(&counts) {
            let _ = writeln!(text, "{title:<36}{value:>12.1}");
        }
        text.push('\n');
        text.push_str(&endings(&counts));
        for note in self.notes(&counts) {
            let _ = writeln!(text, "{note}");
        }
        Ok(text)
    }

    /// Writes everything to a file as JSON.
    pub fn write(&self, path: &Path) -> Result<()> {
        let counts = self.account.counts();
        let last = last_arrivals(&counts)?;
        let mut quantiles = serde_json::Map::new();
        for (key, _, histogram) in distributions(&counts, &last) {
            quantiles.insert(key.to_owned(), percentiles(histogram));
        }
        let values: serde_json::Map<_, _> = self
            .values(&counts)
            .into_iter()
            .map(|(key, _, value)| (key.to_owned(), json!(value)))
            .collect();
        let all = json!({
            "arguments": self.args,
            "open_loop": "events are stamped with the time they were due: waiting counts as latency",
            "counts": {
                "events": counts.events,
                "numbered": counts.numbered,
                "lost": counts.lost,
                "repeated": counts.repeated,
                "out_of_order": counts.out_of_order,
                "gaps_told": counts.gaps_told,
                "begun": counts.begun,
                "whole": counts.whole,
                "refused": counts.refused,
                "told": counts.told,
                "cut": counts.cut,
                "disguised": counts.disguised,
                "unreached": counts.unreached,
                "endless": counts.endless,
                "compared": counts.compared,
                "open_at_the_end": counts.open(),
                "own_cuts": counts.own_cuts,
            },
            "errors": counts.errors,
            "values": values,
            "us": quantiles,
        });
        write_json(path, &all)
    }

    fn values(&self, counts: &Counts) -> Vec<Figure> {
        let window = &self.window;
        let (events, streams) = (window.events() as f64, window.streams() as f64);
        let mut values = vec![
            ("seconds", "seconds measured", window.seconds()),
            (
                "events_per_second",
                "events per second",
                events / window.seconds(),
            ),
        ];
        if streams > 0.0 {
            values.push((
                "streams_per_second",
                "streams ended per second",
                streams / window.seconds(),
            ));
        }
        if counts.sent_apart > 0 {
            let share = counts.came_together as f64 / counts.sent_apart as f64;
            values.push((
                "came_together_percent",
                "sent apart, came together, percent",
                share * 100.0,
            ));
        }
        if !self.args.pid.is_empty() {
            if events > 0.0 {
                let each = window.cpu_us() / events;
                values.push(("cpu_per_event_us", "CPU per event, us", each));
            }
            if streams > 0.0 {
                let each = window.cpu_us() / streams;
                values.push(("cpu_per_stream_us", "CPU per stream, us", each));
            }
            values.push(("kb_at_rest", "memory at rest, KB", window.rest_kb()));
            let each = window.kb_per_stream();
            values.extend(each.map(|kb| ("kb_per_stream", "memory per stream, KB", kb)));
        }
        let own = window.own_percent();
        values.push((
            "own_core_percent",
            "this tool's share of a core, percent",
            own,
        ));
        values
    }

    fn notes(&self, counts: &Counts) -> Vec<String> {
        let mut notes = Vec::new();
        if counts.compared > 0 {
            notes.push(format!(
                "{} answers were read once more without cuts and compared with what had come.",
                counts.compared
            ));
        } else if counts.numbered == 0 {
            notes.push(
                "No event bears a number of this tool's: none was checked, none has a latency."
                    .into(),
            );
        } else if counts.latency.is_empty() {
            notes.push(
                "No latency: no answer says that the sender's clock is this machine's (--same-clock says so).".into(),
            );
        } else {
            notes.push(
                "Events are sent in open loop and stamped with the time they were due, so waiting counts as latency\n\
                 (no coordinated omission)."
                    .into(),
            );
        }
        if self.window.own_percent() > BUSY_PERCENT {
            notes.push("WARNING: this tool was at its limit; the times are partly its own.".into());
        }
        notes
    }
}

/// How long each published event took to its last subscriber.
fn last_arrivals(counts: &Counts) -> Result<Histogram<u64>> {
    let mut last = crate::tally::histogram()?;
    for worst in counts.worst.iter().filter(|worst| **worst > 0) {
        last.saturating_record(*worst);
    }
    Ok(last)
}

fn distributions<'a>(counts: &'a Counts, last: &'a Histogram<u64>) -> Vec<Distribution<'a>> {
    let all: [Distribution<'a>; 7] = [
        ("latency", "latency of events", &counts.latency),
        ("last_subscriber", "an event's last subscriber", last),
        ("first_event", "first event", &counts.first_event),
        (
            "resumption",
            "first event after coming back",
            &counts.resumption,
        ),
        (
            "publication",
            "answer to a publication",
            &counts.publication,
        ),
        ("gap", "gap between events", &counts.gaps),
        (
            "unevenness",
            "gap here against gap at sending",
            &counts.unevenness,
        ),
    ];
    let filled = |(_, _, histogram): &Distribution<'a>| !histogram.is_empty();
    all.into_iter().filter(filled).collect()
}

fn endings(counts: &Counts) -> String {
    let mut text = format!(
        "events: {} in all, {} numbered: {} lost, {} repeated, {} out of order",
        counts.events, counts.numbered, counts.lost, counts.repeated, counts.out_of_order
    );
    if counts.gaps_told > 0 {
        let _ = write!(
            text,
            "; {} times the server told of a gap",
            counts.gaps_told
        );
    }
    let _ = write!(
        text,
        "\nstreams: {} begun; {} whole, {} refused",
        counts.begun,
        counts.whole,
        counts.refused.values().sum::<u64>()
    );
    if !counts.refused.is_empty() {
        let each = counts.refused.iter();
        let each: Vec<_> = each
            .map(|(status, count)| format!("{status}: {count}"))
            .collect();
        let _ = write!(text, " ({})", each.join(", "));
    }
    let _ = writeln!(
        text,
        ", {} told of an error, {} cut, {} cut that look whole, {} without an answer, {} open at the end",
        counts.told,
        counts.cut,
        counts.disguised,
        counts.unreached,
        counts.open()
    );
    if counts.endless > 0 {
        let _ = writeln!(
            text,
            "streams that should have ended and had not: {}",
            counts.endless
        );
    }
    if counts.own_cuts > 0 {
        let _ = writeln!(
            text,
            "connections cut by the clients themselves: {}",
            counts.own_cuts
        );
    }
    if !counts.errors.is_empty() {
        let _ = writeln!(text, "such as: {}", counts.errors.join("; "));
    }
    text
}

/// The table of all percentiles.
fn percentiles(histogram: &Histogram<u64>) -> Value {
    let table: Vec<_> = histogram
        .iter_quantiles(TICKS_PER_HALF_DISTANCE)
        .map(|step| {
            json!([
                step.quantile_iterated_to() * 100.0,
                step.value_iterated_to() as f64 / 1_000.0,
                step.count_since_last_iteration(),
            ])
        })
        .collect();
    let mut named = serde_json::Map::new();
    for (name, quantile) in QUANTILES {
        named.insert((*name).to_owned(), json!(quantile_us(histogram, *quantile)));
    }
    named.insert("count".into(), json!(histogram.len()));
    named.insert("mean".into(), json!(histogram.mean() / 1_000.0));
    named.insert("percentile_value_count".into(), json!(table));
    Value::Object(named)
}

//! Which plots are made of which measurements.
//!
//! Invariant: one plot shows metrics of one unit; a metric that nobody has a value of is left out, and so is a
//! plot without any.

use serde_json::Value;

use crate::fanout::is_overloaded;
use crate::plot::{Bar, Panel, Plot, Scale};
use crate::record::{Record, Sheet};
use crate::report::{median, of};

/// A plot's file, without its end, and the plot.
type Named = (&'static str, Plot);

/// How much longer the longest bar may be than the shortest on an axis that begins with zero.
const WIDEST: f64 = 30.0;

/// The plots of `compare`.
pub fn compare_plots(record: &Record) -> Vec<Named> {
    let Some(sheet) = record.sheets.first() else {
        return Vec::new();
    };
    let mut plots = stream_plots(sheet);
    plots.extend(other_plots(sheet));
    plots
}

fn stream_plots(sheet: &Sheet) -> Vec<Named> {
    let few = load(&sheet.load["sizes"]);
    let many = load(&sheet.load["many"]);
    let panel = |key: &str, title: &str| panel(sheet, key, title, None);
    let streams = |key: &str, title: &str| panel_of_streams(sheet, key, title);
    let wanted = [
        (
            "cpu-per-event",
            "CPU time of the proxy for each event",
            "µs for each event",
            None,
            vec![
                without_models(streams("cpu_per_event_us", &few)),
                panel("many_cpu_per_event_us", &many),
            ],
        ),
        (
            "cpu-per-event-models",
            "CPU time for each event, gateways made for models",
            "µs for each event",
            Some(Scale::Log),
            for_models(streams("cpu_per_event_us", &few)),
        ),
        (
            "event-latency",
            &*format!("From an event's sending to its arrival, {few}"),
            "µs",
            Some(Scale::Log),
            quantile_panels(&streams, "latency"),
        ),
        (
            "event-latency-many",
            &format!("From an event's sending to its arrival, {many}"),
            "µs",
            Some(Scale::Log),
            quantile_panels(&panel, "many_latency"),
        ),
        (
            "event-evenness",
            "How far the gap between two events on arrival was from the gap as sent",
            "µs",
            Some(Scale::Log),
            vec![
                streams("unevenness_p50_us", &format!("p50, {few}")),
                streams("unevenness_p99_us", &format!("p99, {few}")),
                panel("many_unevenness_p50_us", &format!("p50, {many}")),
                panel("many_unevenness_p99_us", &format!("p99, {many}")),
            ],
        ),
        (
            "first-event",
            "From a stream's request to its first event",
            "µs",
            Some(Scale::Log),
            vec![
                streams("first_event_p50_us", "p50"),
                streams("first_event_p99_us", "p99"),
            ],
        ),
    ];
    drawn(wanted)
}

fn other_plots(sheet: &Sheet) -> Vec<Named> {
    let panel = |key: &str, title: &str| panel(sheet, key, title, None);
    let idle = number(&sheet.load["sizes"]["idle"]);
    let wanted = [
        (
            "cpu-per-answer",
            "CPU time of the proxy for each short answer",
            "µs for each request",
            None,
            vec![without_models(panel(
                "cpu_per_request_us",
                "short answers on kept connections",
            ))],
        ),
        (
            "cpu-per-answer-models",
            "CPU time for each short answer, gateways made for models",
            "µs for each request",
            Some(Scale::Log),
            for_models(panel(
                "cpu_per_request_us",
                "short answers on kept connections",
            )),
        ),
        (
            "answer-time",
            "From a request to the end of its short answer, back to back",
            "µs",
            Some(Scale::Log),
            quantile_panels(&panel, "answer"),
        ),
        (
            "memory-per-stream",
            "Memory of the proxy for each silent stream",
            "KB for each stream",
            None,
            vec![panel(
                "kb_per_idle_stream",
                &format!("{idle} silent streams"),
            )],
        ),
        (
            "cpu-per-megabyte",
            "CPU time of the proxy for each megabyte of a large answer",
            "µs for each MB",
            None,
            vec![panel("cpu_per_mb_us", "large answers")],
        ),
    ];
    drawn(wanted)
}

/// A file's name, a title, the axis, its scale if it is not to be found, and the panels.
type Wanted<'a> = (
    &'static str,
    &'a str,
    &'static str,
    Option<Scale>,
    Vec<Panel>,
);

fn drawn<'a>(wanted: impl IntoIterator<Item = Wanted<'a>>) -> Vec<Named> {
    let plots = wanted.into_iter();
    plots
        .filter_map(|(name, title, axis, scale, panels)| plot((name, title, axis), scale, panels))
        .collect()
}

/// The plot of `workers`.
pub fn workers_plots(record: &Record) -> Vec<Named> {
    let panels = record.sheets.iter();
    let panels = panels.map(|sheet| {
        let held = sheet.contenders().last().copied().map(str::to_owned);
        panel(sheet, "cpu_per_event_us", &sheet.title, held.as_deref())
    });
    let text = (
        "workers",
        "CPU time of the gateway for each event, by workers",
        "µs for each event",
    );
    plot(text, Some(Scale::Linear), panels.collect())
        .into_iter()
        .collect()
}

/// The plots of `fanout`.
pub fn fanout_plots(record: &Record) -> Vec<Named> {
    let each = |keys: &[(&str, &str)]| {
        let sheets = record.sheets.iter();
        let panels = sheets.flat_map(|sheet| {
            keys.iter().map(move |(key, what)| {
                let title = format!("{what}{}", sheet.title);
                let mut panel = panel(sheet, key, &title, None);
                for bar in &mut panel.bars {
                    if is_overloaded(&sheet.runs, &bar.label) {
                        bar.label.push_str(", overloaded");
                    }
                }
                panel
            })
        });
        panels.collect::<Vec<_>>()
    };
    let wanted = [
        plot(
            (
                "fanout-cpu",
                "CPU time of the hub for each delivery",
                "µs for each delivery",
            ),
            None,
            each(&[("cpu_per_delivery_us", "")]),
        ),
        plot(
            (
                "fanout-latency",
                "From an event's publishing to its last subscriber",
                "µs",
            ),
            Some(Scale::Log),
            each(&[
                ("last_p50_us", "p50, "),
                ("last_p99_us", "p99, "),
                ("last_max_us", "longest, "),
            ]),
        ),
        plot(
            (
                "fanout-memory",
                "Memory of the hub for each subscriber",
                "KB for each subscriber",
            ),
            None,
            each(&[
                ("kb_per_subscriber", "at rest, "),
                ("kb_per_subscriber_after", "at the end, "),
            ]),
        ),
    ];
    wanted.into_iter().flatten().collect()
}

fn plot(
    (name, title, axis): (&'static str, &str, &str),
    scale: Option<Scale>,
    mut panels: Vec<Panel>,
) -> Option<Named> {
    panels.retain(|panel| !panel.bars.is_empty());
    if panels.is_empty() {
        return None;
    }
    let medians = || panels.iter().flat_map(|panel| &panel.bars);
    let most = medians().map(|bar| bar.median).fold(0.0, f64::max);
    let least = medians().map(|bar| bar.median);
    let least = least.fold(f64::INFINITY, f64::min);
    let fitting = match most > WIDEST * least && least > 0.0 {
        true => Scale::Log,
        false => Scale::Linear,
    };
    let plot = Plot {
        title: title.to_owned(),
        axis: axis.to_owned(),
        scale: scale.unwrap_or(fitting),
        panels,
    };
    Some((name, plot))
}

/// `p50` to the longest of a metric.
fn quantile_panels(panel: &dyn Fn(&str, &str) -> Panel, metric: &str) -> Vec<Panel> {
    let quantiles = [
        ("p50", "p50"),
        ("p90", "p90"),
        ("p99", "p99"),
        ("p999", "p99.9"),
        ("max", "longest"),
    ];
    let panels = quantiles.into_iter();
    panels
        .map(|(key, title)| panel(&format!("{metric}_{key}_us"), title))
        .collect()
}

/// The same as [`panel`], with the load of those that met a smaller one in their label.
fn panel_of_streams(sheet: &Sheet, key: &str, title: &str) -> Panel {
    let (all, fewer) = (
        &sheet.load["sizes"]["streams"],
        &sheet.load["sizes"]["streams_for_models"],
    );
    let mut panel = panel(sheet, key, title, None);
    for bar in &mut panel.bars {
        if all != fewer && is_for_models(bar) {
            bar.label = format!("{}, {} streams", bar.label, number(fewer));
        }
    }
    panel
}

fn is_for_models(bar: &Bar) -> bool {
    let names = ["litellm", "portkey"];
    names.iter().any(|name| bar.label.starts_with(name))
}

/// Proxies alone: beside the others, they would be told apart by nothing.
fn without_models(mut panel: Panel) -> Panel {
    panel.bars.retain(|bar| !is_for_models(bar));
    panel
}

/// Gateways made for models, beside the one that the plot is about; no panel where there are none.
fn for_models(mut panel: Panel) -> Vec<Panel> {
    panel.bars.retain(|bar| bar.is_held || is_for_models(bar));
    let is_any = panel.bars.iter().any(is_for_models);
    is_any.then_some(panel).into_iter().collect()
}

/// A metric of every contender that has it; `held` (the gateway, if it is not named) is the one that stands out.
fn panel(sheet: &Sheet, key: &str, title: &str, held: Option<&str>) -> Panel {
    let held = held.unwrap_or("deltaway");
    let contenders = sheet.contenders().into_iter();
    let bars = contenders.filter_map(|name| {
        let values = || of(&sheet.runs, name, key);
        Some(Bar {
            label: name.to_owned(),
            median: median(values())?,
            least: values().fold(f64::INFINITY, f64::min),
            most: values().fold(0.0, f64::max),
            is_held: name == held,
        })
    });
    Panel {
        title: title.to_owned(),
        bars: bars.collect(),
    }
}

fn load(sizes: &Value) -> String {
    format!(
        "{} streams × {} events/s",
        number(&sizes["streams"]),
        number(&sizes["rate"])
    )
}

/// With its thousands apart.
fn number(value: &Value) -> String {
    let number = value.as_u64().unwrap_or(0);
    match number {
        1_000.. => format!("{},{:03}", number / 1_000, number % 1_000),
        _ => number.to_string(),
    }
}

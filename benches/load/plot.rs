//! Plots as SVG: a median as a bar, the rounds' spread as a whisker over it.
//!
//! Invariant: all panels of a plot share one axis, so that bars can be compared across them; a plot is legible
//! on light and on dark pages, since it brings its own background for either.

use std::fmt::Write as _;

use crate::error::{LoadError, Result};

/// A plot.
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What the axis counts, with its unit.
    pub axis: String,
    /// How the axis counts.
    pub scale: Scale,
    /// One below the other.
    pub panels: Vec<Panel>,
}

/// How an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten.
    Log,
}

/// The bars of one metric.
pub struct Panel {
    /// The metric.
    pub title: String,
    /// One for each contender.
    pub bars: Vec<Bar>,
}

/// One contender.
pub struct Bar {
    /// Its name.
    pub label: String,
    /// The length of the bar.
    pub median: f64,
    /// Where the whisker begins.
    pub least: f64,
    /// Where it ends.
    pub most: f64,
    /// Whether it is the one that the plot is about.
    pub is_held: bool,
}

const WIDTH: f64 = 760.0;
/// Where the axis begins; the labels stand before it.
const LEFT: f64 = 180.0;
/// Where it ends; the values stand behind it.
const RIGHT: f64 = WIDTH - 90.0;
const TOP: f64 = 44.0;
const PANEL_TITLE: f64 = 26.0;
const BAR: f64 = 15.0;
const ROW: f64 = 21.0;
const AFTER_PANEL: f64 = 10.0;
const BELOW: f64 = 50.0;

/// From how far apart the ends of a logarithmic axis are, only powers of ten are marked.
const WIDE: f64 = 300.0;

const STYLE: &str = "text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;font-size:12px;fill:#1f2328}\
.title{font-size:15px;font-weight:600}.panel{font-weight:600;paint-order:stroke;stroke:#ffffff;stroke-width:5px}.soft{fill:#59636e}\
.page{fill:#ffffff}.grid{stroke:#d1d9e0}.whisker{stroke:#1f2328;stroke-width:1.3}\
.bar{fill:#a3adb8}.held{fill:#2f81f7}\
@media (prefers-color-scheme:dark){text{fill:#f0f6fc}.panel{stroke:#0d1117}.soft{fill:#9198a1}.page{fill:#0d1117}\
.grid{stroke:#30363d}.whisker{stroke:#f0f6fc}.bar{fill:#656c76}.held{fill:#388bfd}}";

impl Plot {
    /// The whole file.
    pub fn svg(&self) -> String {
        let axis = Axis::over(self);
        let height = TOP + self.panels.iter().map(Panel::height).sum::<f64>() + BELOW;
        let mut text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
             height=\"{height}\" role=\"img\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <rect class=\"page\" width=\"{WIDTH}\" height=\"{height}\"/>\n\
             <text class=\"title\" x=\"16\" y=\"26\">{title}</text>\n",
            title = escaped(&self.title),
        );
        let bottom = height - BELOW;
        for tick in &axis.ticks {
            let at = axis.place(*tick);
            let _ = writeln!(
                text,
                "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\
                 <text class=\"soft\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 16.0,
                short(*tick),
            );
        }
        let how = match self.scale {
            Scale::Linear => "",
            Scale::Log => ", logarithmic",
        };
        let _ = writeln!(
            text,
            "<text class=\"soft\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}{how}</text>",
            f64::midpoint(LEFT, RIGHT),
            bottom + 36.0,
            escaped(&self.axis),
        );
        let mut top = TOP;
        for panel in &self.panels {
            panel.draw(&axis, top, &mut text);
            top += panel.height();
        }
        text.push_str("</svg>\n");
        text
    }
}

impl Panel {
    fn height(&self) -> f64 {
        PANEL_TITLE + ROW * self.bars.len() as f64 + AFTER_PANEL
    }

    fn draw(&self, axis: &Axis, top: f64, text: &mut String) {
        let _ = writeln!(
            text,
            "<text class=\"panel\" x=\"16\" y=\"{:.1}\">{}</text>",
            top + 17.0,
            escaped(&self.title)
        );
        for (row, bar) in self.bars.iter().enumerate() {
            bar.draw(axis, top + PANEL_TITLE + ROW * row as f64, text);
        }
    }
}

impl Bar {
    fn draw(&self, axis: &Axis, top: f64, text: &mut String) {
        let middle = top + BAR / 2.0;
        let [end, least, most] = [self.median, self.least, self.most].map(|at| axis.place(at));
        let class = if self.is_held { "bar held" } else { "bar" };
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>",
            LEFT - 8.0,
            middle + 4.0,
            escaped(&self.label),
            end - LEFT,
        );
        let (high, low) = (middle - 4.0, middle + 4.0);
        let _ = writeln!(
            text,
            "<path class=\"whisker\" d=\"M{least:.1} {high:.1}V{low:.1}M{least:.1} {middle:.1}H{most:.1}M{most:.1} {high:.1}V{low:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            most.max(end) + 6.0,
            middle + 4.0,
            short(self.median),
        );
    }
}

/// From where to where the axis goes.
struct Axis {
    scale: Scale,
    first: f64,
    last: f64,
    ticks: Vec<f64>,
}

impl Axis {
    fn over(plot: &Plot) -> Self {
        let bars = || plot.panels.iter().flat_map(|panel| &panel.bars);
        let most = bars().fold(0.0, |most: f64, bar| most.max(bar.most).max(bar.median));
        let least = bars()
            .map(|bar| bar.least.min(bar.median))
            .filter(|least| *least > 0.0);
        let least = least.fold(f64::INFINITY, f64::min).min(most);
        match plot.scale {
            _ if most <= 0.0 => Self::linear(1.0),
            Scale::Linear => Self::linear(most),
            Scale::Log => Self::log(least, most),
        }
    }

    fn linear(most: f64) -> Self {
        let step = step_over(most / 5.0);
        let count = (most / step).ceil();
        Self {
            scale: Scale::Linear,
            first: 0.0,
            last: step * count,
            ticks: (0..=count as u32)
                .map(|tick| f64::from(tick) * step)
                .collect(),
        }
    }

    fn log(least: f64, most: f64) -> Self {
        // A bar that is the shortest still has a length.
        let (low, high) = (least * 0.9, most.log10().ceil() as i32);
        let powers = (low.log10().floor() as i32)..=high;
        let steps: Vec<f64> = powers
            .flat_map(|power| [1.0, 2.0, 5.0].map(|times| times * 10_f64.powi(power)))
            .collect();
        let first = steps.iter().rfind(|step| **step <= low);
        let first = first.copied().unwrap_or(low);
        let last = steps.iter().find(|step| **step >= most && **step > first);
        let last = last.copied().unwrap_or(10_f64.powi(high + 1));
        let is_wide = last > first * WIDE;
        let is_power = |step: f64| (step.log10() - step.log10().round()).abs() < 1e-6;
        let inside = |step: &f64| (first..=last).contains(step) && (!is_wide || is_power(*step));
        Self {
            scale: Scale::Log,
            first,
            last,
            ticks: steps.into_iter().filter(inside).collect(),
        }
    }

    fn place(&self, value: f64) -> f64 {
        let value = value.clamp(self.first, self.last);
        let share = match self.scale {
            Scale::Linear => (value - self.first) / (self.last - self.first),
            Scale::Log => (value / self.first).log10() / (self.last / self.first).log10(),
        };
        LEFT + share * (RIGHT - LEFT)
    }
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that is no less.
fn step_over(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    let steps = [1.0, 2.0, 2.5, 5.0].map(|times| times * power);
    let step = steps.into_iter().find(|step| *step >= least);
    step.unwrap_or(10.0 * power)
}

/// Three digits that count, thousands apart.
fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    let whole = text.split('.').next().unwrap_or_default();
    let mut apart = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart + &text[whole.len()..]
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// An error unless bars have the length of their values, on either axis, and text cannot break the file.
pub fn check() -> Result<()> {
    let bar = |median, is_held| Bar {
        label: "a < b & c".into(),
        median,
        least: median / 2.0,
        most: median * 2.0,
        is_held,
    };
    let plot = |scale| Plot {
        title: "t".into(),
        axis: "µs".into(),
        scale,
        panels: vec![Panel {
            title: "p".into(),
            bars: vec![bar(10.0, false), bar(100.0, true)],
        }],
    };
    let span = RIGHT - LEFT;
    // To 200 in steps of 50; from 2 to 200.
    for (scale, lengths) in [
        (Scale::Linear, [span / 20.0, span / 2.0]),
        (
            Scale::Log,
            [5.0, 50.0_f64].map(|times| span * times.log10() / 2.0),
        ),
    ] {
        let svg = plot(scale).svg();
        let has = |part: &str| svg.contains(part);
        let holds = lengths.map(|length| has(&format!("width=\"{length:.1}\" height=\"{BAR}\"")));
        if !(holds == [true; 2] && has("a &lt; b &amp; c") && !has("a < b") && has("bar held")) {
            return Err(LoadError::Failed(format!("a plot is drawn wrongly: {svg}")));
        }
    }
    let numbers = [0.0, 0.123, 9.5, 48.25, 1_234_567.0].map(short);
    match numbers.join(" ").as_str() {
        "0 0.12 9.5 48.2 1,234,567" => Ok(()),
        wrong => Err(LoadError::Failed(format!(
            "a plot writes numbers wrongly: {wrong}"
        ))),
    }
}

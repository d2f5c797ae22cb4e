//! What the backend does wrong, and how often: `cut=2%,503=1%,late=5%:2s`.
//!
//! Invariant: one request meets one fault at most, and the same seed and order of requests meet the
//! same ones. What makes no sense is refused with the reason, never rounded to something that does.

use std::str::FromStr;
use std::time::Duration;

use fastrand::Rng;

/// Faults and the share of requests that meets each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    list: Vec<(Fault, f64)>,
}

/// One way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection is closed in the middle of the answer, inside an event or between two.
    Cut,
    /// The same by a TCP reset.
    Reset,
    /// The connection is closed in place of an answer.
    Close,
    /// A stream tells of an error in an event of its own and ends cleanly.
    Error,
    /// A stream says nothing for so long in its middle, without a time until the client leaves.
    Stall(Option<Duration>),
    /// The head of the answer comes so much later.
    Late(Duration),
    /// An error status and a short body in place of the answer.
    Status(u16),
}

/// Where in an answer its fault lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// What goes wrong.
    pub fault: Fault,
    /// Before the rest of an event has been sent, and not between two.
    pub is_inside: bool,
    /// A number drawn for the place, to be taken modulo the events that there are.
    pub place: u64,
}

const LATE: Duration = Duration::from_secs(1);

impl Faults {
    /// What the next request meets.
    pub fn draw(&self, rng: &mut Rng) -> Option<Strike> {
        if self.list.is_empty() {
            return None;
        }
        let (mut drawn, is_inside, place) = (rng.f64(), rng.bool(), rng.u64(..));
        let struck = self.list.iter().find(|(_, share)| {
            drawn -= share;
            drawn < 0.0
        });
        struck.map(|(fault, _)| Strike {
            fault: *fault,
            is_inside,
            place,
        })
    }
}

impl FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let items = text
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty());
        let list = items.map(parse_fault).collect::<Result<Vec<_>, _>>()?;
        let sum: f64 = list.iter().map(|(_, share)| share).sum();
        // A hair more than 1 is what a sum of decimal fractions may be.
        if sum > 1.000_001 {
            return Err(format!(
                "the shares are {:.1} % in all: a request meets one fault at most",
                sum * 100.0
            ));
        }
        Ok(Self { list })
    }
}

fn parse_fault(item: &str) -> Result<(Fault, f64), String> {
    let (name, value) = item
        .split_once('=')
        .ok_or_else(|| format!("{item:?} has no share: write {item}=1%"))?;
    let (share, time) = match value.split_once(':') {
        Some((share, time)) => (share, Some(parse_duration(time)?)),
        None => (value, None),
    };
    let fault = match (name.trim(), time) {
        ("cut", None) => Fault::Cut,
        ("reset", None) => Fault::Reset,
        ("close", None) => Fault::Close,
        ("error", None) => Fault::Error,
        ("stall", time) => Fault::Stall(time),
        ("late", time) => Fault::Late(time.unwrap_or(LATE)),
        ("cut" | "reset" | "close" | "error", Some(_)) => {
            return Err(format!("{item:?}: only stall and late take a time"));
        }
        (name, None) => Fault::Status(parse_status(name)?),
        (_, Some(_)) => return Err(format!("{item:?}: only stall and late take a time")),
    };
    Ok((fault, parse_share(share.trim())?))
}

fn parse_status(name: &str) -> Result<u16, String> {
    let status = name
        .parse()
        .ok()
        .filter(|status| (400..600).contains(status));
    status.ok_or_else(|| {
        format!(
            "{name:?} is no fault: there are cut, reset, close, error, stall, late, and statuses from 400 to 599"
        )
    })
}

fn parse_share(share: &str) -> Result<f64, String> {
    let percent = share
        .strip_suffix('%')
        .and_then(|number| number.trim().parse::<f64>().ok())
        .filter(|percent| (0.0..=100.0).contains(percent));
    let percent =
        percent.ok_or_else(|| format!("{share:?} is no share: write 0% to 100%, such as 0.5%"))?;
    Ok(percent / 100.0)
}

/// A time such as `200ms`, `1.5s` or `2m`; a day at most.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: &[(&str, f64)] = &[("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    const DAY: f64 = 86_400.0;
    let text = text.trim();
    let seconds = UNITS.iter().find_map(|(unit, seconds)| {
        let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
        Some(number * seconds)
    });
    seconds
        .filter(|seconds| (0.0..=DAY).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text:?} is no time: write 50us, 200ms, 1.5s or 2m"))
}

//! How long a failed answer asks to wait before it is asked again.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::{HeaderName, RETRY_AFTER};
use serde_json::Value;

/// The longest pause that is believed.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// OpenAI's and Azure's, in milliseconds.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");
/// Azure's and Cosmos', in milliseconds.
const MS_RETRY_AFTER_MS: HeaderName = HeaderName::from_static("x-ms-retry-after-ms");

/// How long the answer asks to wait, by its headers; at most a day.
///
/// The first that can be read of `retry-after-ms`, `retry-after` (RFC 9110 §10.2.3: seconds, of
/// which some send fractions, or a date in one of the forms of §5.6.7) and `x-ms-retry-after-ms`.
/// A date that has passed is zero.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &HeaderName| Some(headers.get(name)?.to_str().ok()?.trim());
    let millis = |name: &HeaderName| text(name).and_then(|number| seconds(number, 1000.0));
    millis(&RETRY_AFTER_MS)
        .or_else(|| text(&RETRY_AFTER).and_then(|value| seconds_or_date(value, now)))
        .or_else(|| millis(&MS_RETRY_AFTER_MS))
}

/// How long Google's errors ask to wait: the `retryDelay` of the `RetryInfo` in their details, in
/// an answer's body or an event's data; at most a day.
pub fn retry_delay(body: &[u8]) -> Option<Duration> {
    memchr::memmem::find(body, b"retryDelay")?;
    let document: Value = serde_json::from_slice(body).ok()?;
    let error = document.get("error").or_else(|| document[0].get("error"))?;
    let details = error["details"].as_array()?;
    let delay = details
        .iter()
        .find_map(|detail| detail["retryDelay"].as_str())?;
    seconds(delay.strip_suffix('s')?, 1.0)
}

fn seconds_or_date(value: &str, now: SystemTime) -> Option<Duration> {
    seconds(value, 1.0).or_else(|| {
        let date = httpdate::parse_http_date(value).ok()?;
        Some(date.duration_since(now).unwrap_or_default().min(LONGEST))
    })
}

/// A decimal number of which `unit` make a second; no sign, no exponent.
fn seconds(number: &str, unit: f64) -> Option<Duration> {
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let number: f64 = number.parse().ok().filter(|_| plain)?;
    let seconds = (number / unit).min(LONGEST.as_secs_f64());
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
#[path = "wait_tests.rs"]
mod tests;

//! How long failed answers ask to wait.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::{LONGEST, retry_after, retry_delay};

/// 1994-11-06 08:49:00 UTC, 37 seconds before the date of RFC 9110's examples.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_740)
}

fn wait(headers: &[(&'static str, &str)]) -> Option<Duration> {
    let headers: HeaderMap = headers
        .iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
            (HeaderName::from_static(name), value)
        })
        .collect();
    retry_after(&headers, now())
}

#[test]
fn seconds_and_dates() {
    let millis = |n| Some(Duration::from_millis(n));
    let cases = [
        ("0", millis(0)),
        ("47", millis(47_000)),
        (" 3 ", millis(3000)),
        ("0.5", millis(500)),
        ("2.25", millis(2250)),
        ("Sun, 06 Nov 1994 08:49:37 GMT", millis(37_000)),
        ("Sunday, 06-Nov-94 08:49:37 GMT", millis(37_000)),
        ("Sun Nov  6 08:49:37 1994", millis(37_000)),
        ("Sun, 06 Nov 1994 08:48:00 GMT", millis(0)),
        ("Fri, 31 Dec 1999 23:59:59 GMT", Some(LONGEST)),
        ("99999999999999999999999999", Some(LONGEST)),
        ("", None),
        (".", None),
        ("-1", None),
        ("+1", None),
        ("1e3", None),
        ("inf", None),
        ("NaN", None),
        ("1.2.3", None),
        ("3s", None),
        ("soon", None),
        ("Sun, 06 Nov 1994 08:49:37", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
        ("zwölf", None),
    ];
    for (value, expected) in cases {
        assert_eq!(wait(&[("retry-after", value)]), expected, "{value}");
    }
    assert_eq!(wait(&[]), None);
}

#[test]
fn the_finer_header_counts() {
    let both = [("retry-after", "1"), ("retry-after-ms", "250")];
    assert_eq!(wait(&both), Some(Duration::from_millis(250)));
    let nonsense = [("retry-after", "1"), ("retry-after-ms", "soon")];
    assert_eq!(wait(&nonsense), Some(Duration::from_secs(1)));
    let azure = [("x-ms-retry-after-ms", "1500")];
    assert_eq!(wait(&azure), Some(Duration::from_millis(1500)));
    let last = [("x-ms-retry-after-ms", "1500"), ("retry-after", "2")];
    assert_eq!(wait(&last), Some(Duration::from_secs(2)));
}

#[test]
fn google_says_it_in_the_body() {
    let recorded =
        include_bytes!("../../../tests/recordings/gemini/generate-429-4ac4/response.json");
    assert_eq!(retry_delay(recorded), Some(Duration::from_secs(30)));
    let body = |delay: &str| {
        let error = format!(
            r#"{{"error":{{"details":[{{"@type":"Help"}},{{"@type":"RetryInfo","retryDelay":{delay}}}]}}}}"#
        );
        (
            retry_delay(error.as_bytes()),
            retry_delay(format!("[{error}]").as_bytes()),
        )
    };
    let both = |millis| {
        (
            Some(Duration::from_millis(millis)),
            Some(Duration::from_millis(millis)),
        )
    };
    assert_eq!(body("\"17s\""), both(17_000));
    assert_eq!(body("\"0.847655010s\""), {
        let exact = Some(Duration::from_nanos(847_655_010));
        (exact, exact)
    });
    assert_eq!(body("\"9999999s\""), (Some(LONGEST), Some(LONGEST)));
    for nonsense in ["\"17\"", "\"-1s\"", "\"s\"", "17", "null", "{}"] {
        assert_eq!(body(nonsense), (None, None), "{nonsense}");
    }
    assert_eq!(retry_delay(b"retryDelay"), None);
}

proptest! {
    #[test]
    fn any_value_is_bounded(value: Vec<u8>, number in "[0-9.]{0,40}") {
        for bytes in [&value[..], number.as_bytes()] {
            if let Ok(value) = HeaderValue::from_bytes(bytes) {
                for name in ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"] {
                    let headers = HeaderMap::from_iter([(HeaderName::from_static(name), value.clone())]);
                    prop_assert!(retry_after(&headers, now()).is_none_or(|wait| wait <= LONGEST));
                }
            }
        }
        retry_delay(&value);
    }
}

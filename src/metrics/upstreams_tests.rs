//! The exposition of what is counted of upstreams.

use super::*;
use crate::metrics::Metrics;

fn name(text: &str) -> Arc<str> {
    text.into()
}

/// The value in the line that begins with `series`, which comes once.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = metrics.exposition();
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix("deltaway_")?.strip_prefix(series))
        .map(|value| value.trim().parse().unwrap());
    let first = values.next();
    assert_eq!(values.next(), None, "{series} comes twice in\n{text}");
    first
}

#[test]
fn attempts_are_counted_by_what_they_came_to() {
    let metrics = Metrics::new();
    let series = metrics.upstream(&name("model"), &["closed", "silent"]);
    series.answered.inc_by(3);
    series.trouble("silent").unwrap().inc();
    assert!(series.trouble("bored").is_none());
    let attempts = |outcome| {
        let labels = format!("attempts_total{{upstream=\"model\",outcome=\"{outcome}\"}}");
        value(&metrics, &labels)
    };
    assert_eq!(attempts("answered"), Some(3.0));
    assert_eq!(attempts("silent"), Some(1.0));
    assert_eq!(attempts("closed"), Some(0.0), "there before the first");
    assert_eq!(attempts("bored"), None);
}

#[test]
fn what_is_done_about_failures_is_counted_for_each_upstream() {
    let metrics = Metrics::new();
    let one = metrics.upstream(&name("one"), &[]);
    let again = metrics.upstream(&name("one"), &[]);
    metrics.upstream(&name("two"), &[]);
    one.retries.inc();
    again.retries.inc();
    one.retries_refused.inc();
    one.hedges_won.inc_by(2);
    one.hedges_lost.inc_by(5);
    let of = |series| value(&metrics, series);
    assert_eq!(of("retries_total{upstream=\"one\"}"), Some(2.0));
    assert_eq!(of("retries_total{upstream=\"two\"}"), Some(0.0));
    assert_eq!(of("retries_refused_total{upstream=\"one\"}"), Some(1.0));
    assert_eq!(of("hedges_total{upstream=\"one\",won=\"yes\"}"), Some(2.0));
    assert_eq!(of("hedges_total{upstream=\"one\",won=\"no\"}"), Some(5.0));
}

#[test]
fn endpoints_are_up_until_they_are_not() {
    let metrics = Metrics::new();
    let series = metrics.endpoint(&name("model"), &name("http://10.0.0.1:80"));
    let of = |word: &str| {
        let labels = "{upstream=\"model\",endpoint=\"http://10.0.0.1:80\"}";
        value(&metrics, &format!("{word}{labels}"))
    };
    assert_eq!(of("endpoint_up"), Some(1.0));
    assert_eq!(of("endpoint_in_flight"), Some(0.0));
    series.up.set(0);
    series.in_flight.inc();
    series.ejections.inc();
    assert_eq!(of("endpoint_up"), Some(0.0));
    assert_eq!(of("endpoint_in_flight"), Some(1.0));
    assert_eq!(of("ejections_total"), Some(1.0));
}

#[test]
fn rescues_are_counted_for_each_route() {
    let metrics = Metrics::new();
    let series = metrics.rescues(&name("chat"));
    series.whole.inc_by(4);
    series.failed.inc();
    let of = |outcome| {
        let labels = format!("rescues_total{{route=\"chat\",outcome=\"{outcome}\"}}");
        value(&metrics, &labels)
    };
    assert_eq!((of("whole"), of("failed")), (Some(4.0), Some(1.0)));
}

#[test]
fn every_kind_of_token_has_a_series_of_its_own() {
    let metrics = Metrics::new();
    let series = metrics.tokens(&name("chat"), &name("model"));
    let mut expected = Vec::new();
    for kind in TokenKind::ALL {
        for counted in Counted::ALL {
            let count = 10 * (expected.len() as u64 + 1);
            series.of(kind, counted).inc_by(count);
            expected.push((kind.word(), counted.word(), count));
        }
    }
    let words: Vec<_> = expected
        .iter()
        .map(|(kind, counted, _)| (*kind, *counted))
        .collect();
    assert_eq!(words[1], ("prompt", "estimated"));
    assert_eq!(words[4], ("cached", "reported"));
    for (kind, counted, count) in expected {
        let labels = format!(
            "tokens_total{{route=\"chat\",upstream=\"model\",kind=\"{kind}\",counted=\"{counted}\"}}"
        );
        assert_eq!(value(&metrics, &labels), Some(count as f64), "{labels}");
    }
}

//! The registry: what is counted, under which name, and its exposition as text.
//!
//! Labels come from the configuration and from closed sets of words, never from a request: their
//! number is bounded by the configuration.

mod upstreams;

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use upstreams::UpstreamFamilies;
pub use upstreams::{
    Counted, EndpointSeries, RescueSeries, TokenKind, TokenSeries, UpstreamSeries,
};

/// Upper bounds of the buckets for times, in seconds: from a cached token to a model that thinks.
const SECONDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

/// A name from the configuration, shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Name(pub Arc<str>);

impl EncodeLabelValue for Name {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&&*self.0, encoder)
    }
}

/// What a finished request is counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The route's name, or empty when none matched.
    pub route: Name,
    /// The upstream's name, or empty when none was asked.
    pub upstream: Name,
    /// The status class: `2xx`.
    pub status: &'static str,
    /// How it ended.
    pub ending: &'static str,
}

/// What times and amounts are counted under.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RouteLabels {
    /// The route's name.
    pub route: Name,
    /// The upstream's name.
    pub upstream: Name,
}

/// The series of one route and upstream.
#[derive(Debug, Clone)]
pub struct RouteSeries {
    /// What they are counted under.
    pub labels: RouteLabels,
    /// See [`Metrics`].
    pub first_byte: Histogram,
    /// See [`Metrics`].
    pub first_event: Histogram,
    /// See [`Metrics`].
    pub events: Counter,
    /// See [`Metrics`].
    pub bytes: Counter,
    /// See [`Metrics`].
    pub heartbeats: Counter,
    /// Requests that ended as nearly all do: complete, with a status of the 200s. Found when the first one does.
    pub complete: OnceLock<Counter>,
}

/// What is counted of the hub.
#[derive(Debug, Clone, Default)]
pub struct HubSeries {
    /// Streams there are.
    pub streams: Gauge,
    /// Bytes of events kept.
    pub bytes: Gauge,
    /// Open subscriptions.
    pub subscribers: Gauge,
    /// Events appended to streams.
    pub appended: Counter,
    /// Gaps that readers were told of.
    pub gaps: Counter,
    /// Readers that were too slow and were disconnected.
    pub lagged: Counter,
    /// Streams refused because there were too many.
    pub full_streams: Counter,
    /// Events refused because too many bytes were kept.
    pub full_bytes: Counter,
    /// Connections to upstreams that feeds have opened.
    pub feed_connections: Counter,
}

impl HubSeries {
    fn register(&self, to: &mut Registry) {
        to.register("streams", "Streams there are", self.streams.clone());
        to.register("stream_bytes", "Bytes of events kept", self.bytes.clone());
        to.register(
            "subscribers",
            "Open subscriptions",
            self.subscribers.clone(),
        );
        to.register(
            "appended",
            "Events appended to streams",
            self.appended.clone(),
        );
        to.register("gaps", "Gaps that readers were told of", self.gaps.clone());
        to.register(
            "lagged",
            "Readers disconnected because they were too slow",
            self.lagged.clone(),
        );
        to.register(
            "streams_refused",
            "Streams refused because there were too many",
            self.full_streams.clone(),
        );
        to.register(
            "events_refused",
            "Events refused because too many bytes were kept",
            self.full_bytes.clone(),
        );
        to.register(
            "feed_connections",
            "Connections to upstreams that feeds have opened",
            self.feed_connections.clone(),
        );
    }
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Finished requests.
    pub requests: Family<RequestLabels, Counter>,
    /// Requests in flight.
    pub in_flight: Gauge,
    /// Open client connections.
    pub connections: Gauge,
    /// From a request's arrival to the first byte of its body, in seconds.
    first_byte: Family<RouteLabels, Histogram>,
    /// From a request's arrival to its first whole event, in seconds.
    first_event: Family<RouteLabels, Histogram>,
    /// Events passed on.
    events: Family<RouteLabels, Counter>,
    /// Bytes of bodies passed on to clients.
    bytes: Family<RouteLabels, Counter>,
    /// Streams and their subscribers.
    pub hub: HubSeries,
    /// Heartbeats sent into silent streams.
    heartbeats: Family<RouteLabels, Counter>,
    upstreams: UpstreamFamilies,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry in which nothing was counted yet.
    pub fn new() -> Self {
        let times =
            || Family::new_with_constructor((|| Histogram::new(SECONDS)) as fn() -> Histogram);
        let mut metrics = Self {
            registry: Registry::with_prefix("deltaway"),
            requests: Family::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            first_byte: times(),
            first_event: times(),
            events: Family::default(),
            bytes: Family::default(),
            heartbeats: Family::default(),
            hub: HubSeries::default(),
            upstreams: UpstreamFamilies::default(),
        };
        metrics.register();
        metrics.hub.register(&mut metrics.registry);
        metrics.upstreams.register(&mut metrics.registry);
        metrics
    }

    fn register(&mut self) {
        let to = &mut self.registry;
        to.register("requests", "Finished requests", self.requests.clone());
        to.register(
            "requests_in_flight",
            "Requests in flight",
            self.in_flight.clone(),
        );
        to.register(
            "connections",
            "Open client connections",
            self.connections.clone(),
        );
        to.register(
            "first_byte_seconds",
            "From a request's arrival to the first byte of its answer's body",
            self.first_byte.clone(),
        );
        to.register(
            "first_event_seconds",
            "From a request's arrival to the first whole event of its answer",
            self.first_event.clone(),
        );
        to.register("events", "Events passed on to clients", self.events.clone());
        to.register(
            "body_bytes",
            "Bytes of bodies passed on to clients",
            self.bytes.clone(),
        );
        to.register(
            "heartbeats",
            "Heartbeats sent into silent streams",
            self.heartbeats.clone(),
        );
    }

    /// The series of one route and upstream, found once and then at hand.
    pub fn route(&self, route: Arc<str>, upstream: Arc<str>) -> RouteSeries {
        let labels = RouteLabels {
            route: Name(route),
            upstream: Name(upstream),
        };
        RouteSeries {
            first_byte: self.first_byte.get_or_create(&labels).clone(),
            first_event: self.first_event.get_or_create(&labels).clone(),
            events: self.events.get_or_create(&labels).clone(),
            bytes: self.bytes.get_or_create(&labels).clone(),
            heartbeats: self.heartbeats.get_or_create(&labels).clone(),
            complete: OnceLock::new(),
            labels,
        }
    }

    /// The series of an upstream, found once and then at hand. `troubles` are the words for all the ways in which
    /// an attempt can fail.
    pub fn upstream(&self, name: &Arc<str>, troubles: &[&'static str]) -> UpstreamSeries {
        self.upstreams.upstream(name, troubles)
    }

    /// The series of an endpoint of an upstream, which is up from now on.
    pub fn endpoint(&self, upstream: &Arc<str>, endpoint: &Arc<str>) -> EndpointSeries {
        self.upstreams.endpoint(upstream, endpoint)
    }

    /// The series of a route's answers that are continued elsewhere.
    pub fn rescues(&self, route: &Arc<str>) -> RescueSeries {
        self.upstreams.rescues(route)
    }

    /// The tokens of one route and upstream.
    pub fn tokens(&self, route: &Arc<str>, upstream: &Arc<str>) -> TokenSeries {
        self.upstreams.tokens(route, upstream)
    }

    /// The exposition in the OpenMetrics text format.
    pub fn exposition(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// The class of a status code as a label.
pub fn status_class(status: u16) -> &'static str {
    match status / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exposition_holds_what_was_counted() {
        let metrics = Metrics::new();
        let name = |text: &str| Name(Arc::from(text));
        let labels = RequestLabels {
            route: name("chat"),
            upstream: name("model \"x\""),
            status: status_class(200),
            ending: "complete",
        };
        metrics.requests.get_or_create(&labels).inc();
        metrics.in_flight.set(3);
        metrics
            .route(Arc::from("chat"), Arc::from("model"))
            .first_event
            .observe(0.2);
        let text = metrics.exposition();
        let line = "deltaway_requests_total{route=\"chat\",upstream=\"model \\\"x\\\"\",status=\"2xx\",ending=\"complete\"} 1";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("deltaway_requests_in_flight 3"), "{text}");
        assert!(
            text.contains(
                "deltaway_first_event_seconds_count{route=\"chat\",upstream=\"model\"} 1"
            )
        );
        assert!(text.ends_with("# EOF\n"));
    }
}

//! The clocks where nobody wrote any, and which of three places has the last word.
//!
//! A route outweighs its upstream, an upstream outweighs the defaults here, each clock by itself.
//! The defaults of a model API are those of something that is waited for by a person. A plain
//! event stream may have nothing to say for an hour, so there only a dead peer is looked for.

use std::time::Duration;

use super::values::{Clocks, Dialect, Limit};

/// The clocks of a model API where neither route nor upstream says otherwise.
pub const DEFAULT_CLOCKS: Clocks = Clocks {
    connect: Limit::After(Duration::from_secs(5)),
    first_byte: Limit::After(Duration::from_secs(5 * 60)),
    first_event: Limit::After(Duration::from_secs(5 * 60)),
    idle: Limit::After(Duration::from_secs(5 * 60)),
    stall: Limit::After(Duration::from_secs(60)),
    total: Limit::Off,
};

/// The same for everything else ([`Dialect::Plain`]): a stream of rare events is not a fault.
pub const DEFAULT_PLAIN_CLOCKS: Clocks = Clocks {
    first_event: Limit::After(Duration::from_secs(60 * 60)),
    idle: Limit::After(Duration::from_secs(60 * 60)),
    ..DEFAULT_CLOCKS
};

/// The clocks one request runs under; `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResolvedClocks {
    /// See [`Clocks::connect`].
    pub connect: Option<Duration>,
    /// See [`Clocks::first_byte`].
    pub first_byte: Option<Duration>,
    /// See [`Clocks::first_event`].
    pub first_event: Option<Duration>,
    /// See [`Clocks::idle`].
    pub idle: Option<Duration>,
    /// See [`Clocks::stall`].
    pub stall: Option<Duration>,
    /// See [`Clocks::total`].
    pub total: Option<Duration>,
}

impl Clocks {
    /// The clocks of a request: those of its `route`, else those of its `upstream`, else the
    /// defaults of its `dialect`.
    pub fn resolve(route: &Self, upstream: &Self, dialect: Dialect) -> ResolvedClocks {
        let default = match dialect {
            Dialect::Plain => DEFAULT_PLAIN_CLOCKS,
            _ => DEFAULT_CLOCKS,
        };
        let limit = |of: fn(&Self) -> Limit| of(route).or(of(upstream)).or(of(&default)).duration();
        ResolvedClocks {
            connect: limit(|clocks| clocks.connect),
            first_byte: limit(|clocks| clocks.first_byte),
            first_event: limit(|clocks| clocks.first_event),
            idle: limit(|clocks| clocks.idle),
            stall: limit(|clocks| clocks.stall),
            total: limit(|clocks| clocks.total),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_is_taken_from_the_first_that_has_it() {
        let seconds = |n| Limit::After(Duration::from_secs(n));
        let route = Clocks {
            idle: Limit::Off,
            total: seconds(9),
            ..Clocks::default()
        };
        let upstream = Clocks {
            idle: seconds(1),
            connect: seconds(2),
            ..Clocks::default()
        };
        let clocks = Clocks::resolve(&route, &upstream, Dialect::OpenaiChat);
        assert_eq!(clocks.idle, None, "off on the route outweighs the upstream");
        assert_eq!(clocks.total, Some(Duration::from_secs(9)));
        assert_eq!(clocks.connect, Some(Duration::from_secs(2)));
        assert_eq!(clocks.first_byte, DEFAULT_CLOCKS.first_byte.duration());
        assert_eq!(clocks.stall, DEFAULT_CLOCKS.stall.duration());
    }

    #[test]
    fn plain_streams_may_be_silent_for_long() {
        let none = Clocks::default();
        let plain = Clocks::resolve(&none, &none, Dialect::Plain);
        let model = Clocks::resolve(&none, &none, Dialect::Gemini);
        assert_eq!(plain.idle, Some(Duration::from_secs(3600)));
        assert_eq!(plain.first_event, Some(Duration::from_secs(3600)));
        assert_eq!(model.idle, Some(Duration::from_secs(300)));
        assert_eq!(plain.total, None);
    }
}

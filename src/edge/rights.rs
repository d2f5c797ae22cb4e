//! What a caller may publish to and subscribe to.

use super::auth::Principal;
use crate::config::{Topic, TopicPattern};

/// Whether the caller may publish to `topic`. Where a route asks nobody who they are there is no
/// principal, and whatever the route leads to is everybody's.
pub fn may_publish(principal: Option<&Principal>, topic: &Topic) -> bool {
    let allowed = principal.and_then(|principal| principal.rights.publish.as_deref());
    allowed.is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(topic)))
}

/// Whether the caller may subscribe to all topics that `pattern` means: one of its own patterns has to
/// cover it whole.
pub fn may_subscribe(principal: Option<&Principal>, pattern: &TopicPattern) -> bool {
    let allowed = principal.and_then(|principal| principal.rights.subscribe.as_deref());
    allowed.is_none_or(|patterns| patterns.iter().any(|own| own.covers(pattern)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::TopicRights;

    fn caller(publish: Option<&[&str]>, subscribe: Option<&[&str]>) -> Principal {
        let patterns = |names: &[&str]| {
            let pattern = |name: &&str| TopicPattern::new(name).unwrap();
            names.iter().map(pattern).collect()
        };
        let rights = TopicRights {
            publish: publish.map(patterns),
            subscribe: subscribe.map(patterns),
        };
        Principal::new("ann".into(), rights)
    }

    #[test]
    fn whoever_is_not_asked_may_do_what_the_route_does() {
        let (topic, pattern) = (Topic::new("a").unwrap(), TopicPattern::new("*").unwrap());
        let unbound = caller(None, None);
        for principal in [None, Some(&unbound)] {
            assert!(may_publish(principal, &topic));
            assert!(may_subscribe(principal, &pattern));
        }
    }

    #[test]
    fn each_right_by_itself() {
        let ann = caller(Some(&["room/*", "log"]), Some(&["user/1", "room/*"]));
        for (name, publish, subscribe) in [
            ("room/7", true, true),
            ("room/7/x", true, true),
            ("room", false, false),
            ("log", true, false),
            ("user/1", false, true),
            ("user/2", false, false),
        ] {
            let topic = Topic::new(name).unwrap();
            let pattern = TopicPattern::new(name).unwrap();
            assert_eq!(may_publish(Some(&ann), &topic), publish, "{name}");
            assert_eq!(may_subscribe(Some(&ann), &pattern), subscribe, "{name}");
        }
        for (pattern, expected) in [("room/*", true), ("user/*", false), ("*", false)] {
            let pattern = TopicPattern::new(pattern).unwrap();
            assert_eq!(may_subscribe(Some(&ann), &pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn no_right_is_not_every_right() {
        let ann = caller(Some(&[]), Some(&[]));
        let (topic, pattern) = (Topic::new("a").unwrap(), TopicPattern::new("a").unwrap());
        assert!(!may_publish(Some(&ann), &topic));
        assert!(!may_subscribe(Some(&ann), &pattern));
    }
}

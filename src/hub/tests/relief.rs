//! What gives way when all streams together keep too much.

use futures_util::FutureExt;

use super::stage::{Stage, bounds, frame};
use crate::config::{self, Topic};
use crate::hub::{Full, PublishFault, Unnumbered};

const EVENT: usize = 1000;

fn stage(most: usize) -> Stage {
    let bounds = config::Hub {
        bytes: most,
        ..bounds(100)
    };
    Stage::new(&bounds, Vec::new())
}

fn publish(stage: &Stage, topic: &str, size: usize) -> Result<(), PublishFault> {
    let topic = Topic::new(topic).unwrap();
    let event = Unnumbered {
        frame: frame("x", size),
        alias: None,
    };
    stage.on(|hub| {
        let published = hub.topics().publish(&topic, vec![event], None);
        published.now_or_never().unwrap().map(|_| ())
    })
}

#[test]
fn a_topic_that_holds_everything_gives_way_to_others() {
    let stage = stage(50 * EVENT);
    for _ in 0..200 {
        publish(&stage, "greedy", EVENT).unwrap();
    }
    for number in 0..20 {
        publish(&stage, &format!("small/{number}"), EVENT).unwrap();
    }
    let kept = stage.series.bytes.get();
    assert!(kept <= 50 * EVENT as i64, "{kept} bytes are kept");
    assert_eq!(stage.series.full_bytes.get(), 0);
}

#[test]
fn what_is_larger_than_the_bound_is_refused() {
    let stage = stage(10 * EVENT);
    publish(&stage, "a", EVENT).unwrap();
    let refused = publish(&stage, "b", 20 * EVENT);
    assert_eq!(refused, Err(PublishFault::Full(Full::Bytes(10 * EVENT))));
    publish(&stage, "b", EVENT).unwrap();
    assert_eq!(stage.series.full_bytes.get(), 1);
}

//! What becomes of a place at an endpoint.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::config::Balance;
use crate::upstream::fixtures::{endpoint, group};
use crate::upstream::{Group, Wish};

const ANYWHERE: Wish<'_> = Wish {
    key: None,
    tried: &[],
    elsewhere: true,
};

fn two(eject: Option<Eject>) -> Group {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let endpoints = vec![endpoint(address(1), ""), endpoint(address(2), "")];
    group(endpoints, |upstream| {
        upstream.balance = Balance::FirstEvent;
        upstream.eject = eject;
    })
}

#[tokio::test(start_paused = true)]
async fn who_fails_at_once_is_not_the_fastest_even_where_nobody_is_left_out() {
    for eject in [None, Some(Eject::default())] {
        let group = two(eject);
        let bad = group.members[0].endpoint.number;
        let mut failed = 0;
        for _ in 0..20 {
            let mut turn = group.pick(&ANYWHERE).unwrap();
            if turn.endpoint().number == bad {
                failed += 1;
                turn.end(Some(false));
            } else {
                tokio::time::advance(Duration::from_millis(10)).await;
                turn.first_event();
            }
        }
        assert!(failed <= 2, "{failed} of 20 went to it, {eject:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trial_is_over_when_an_answer_begins() {
    let rules = Eject {
        after: 1,
        probes: 1,
        ..Eject::default()
    };
    let group = group(
        vec![endpoint(SocketAddr::from(([127, 0, 0, 1], 1)), "")],
        |upstream| upstream.eject = Some(rules),
    );
    group.pick(&ANYWHERE).unwrap().end(Some(false));
    assert!(group.pick(&ANYWHERE).is_none(), "it is left out");
    tokio::time::advance(rules.pause).await;
    let mut long = group.pick(&ANYWHERE).unwrap();
    assert!(group.pick(&ANYWHERE).is_none(), "one probe");
    long.answered();
    assert!(group.pick(&ANYWHERE).is_some());
    long.end(Some(false));
    assert!(group.pick(&ANYWHERE).is_none(), "a cut counts as ever");
}

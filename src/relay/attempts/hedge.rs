//! A second entry asked beside one that takes long; the first content wins.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::sleep;

use super::outcome::Until;
use super::question::Question;
use super::{Run, Trail};
use crate::config::{self, Dialect};
use crate::relay::context::Reached;
use crate::relay::refusal::Refusal;

/// Keeps a run where it is, once somebody else asks the other entries.
#[derive(Debug, Clone, Default)]
pub(in crate::relay) struct Leash(Arc<AtomicBool>);

impl Leash {
    /// From now on the run stays at its entry.
    pub(super) fn hold(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_held(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The route's rules, where a request may be asked twice.
pub(super) fn of(question: &Question) -> Option<config::Hedge> {
    let next = next(question).is_some();
    let may = question.resend && next && question.dialect != Dialect::Plain;
    question.route.config.hedge.filter(|_| may)
}

fn next(question: &Question) -> Option<usize> {
    let mut others = question.route.config.to.iter().enumerate().skip(1);
    others
        .find(|(_, target)| !target.larger)
        .map(|(index, _)| index)
}

/// Asks, and asks the next entry too when no content has come in time. Whoever is not heard is let go at once.
pub(super) async fn ask(question: Question, rules: config::Hedge) -> Result<Reached, Refusal> {
    let Some(next) = next(&question) else {
        return Err(Refusal::no_upstream());
    };
    let first = Run::new(question.clone(), None, 0, Until::Content);
    let leash = first.leash.clone();
    let mut first = pin!(first.ask());
    tokio::select! {
        biased;
        reached = &mut first => return reached,
        () = sleep(rules.after) => {}
    }
    let route = question.route.clone();
    let slow = &route.chain[0].group;
    if !slow.may_hedge(rules.percent) {
        return first.await;
    }
    leash.hold();
    tracing::debug!(upstream = %slow.name, "no content yet: the next entry is asked too");
    let name = slow.name.clone();
    let second = Run::new(question, None, next, Until::Content);
    let mut second = pin!(second.ask());
    let asked = &route.chain[next].attempts;
    let (outcome, lost) = tokio::select! {
        biased;
        outcome = &mut first => match is_good(&outcome) {
            true => (outcome, "not_needed"),
            false => (second.await, "failed"),
        },
        outcome = &mut second => match is_good(&outcome) {
            true => (outcome, "slow"),
            false => (first.await, "not_needed"),
        },
    };
    let won = lost == "slow";
    match won {
        true => asked.hedges_won.inc(),
        false => asked.hedges_lost.inc(),
    };
    outcome.map(|mut reached| {
        if won {
            let mut trail = Trail::default();
            trail.note(&name, lost);
            trail.join(std::mem::take(&mut reached.trail));
            reached.trail = trail;
        }
        reached
    })
}

/// Whether it is an answer, and no error.
fn is_good(outcome: &Result<Reached, Refusal>) -> bool {
    outcome.as_ref().is_ok_and(|reached| reached.turn.is_some())
}

//! A second entry asked beside one that takes long; the first content wins.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::time::sleep;

use super::outcome::Until;
use super::question::Question;
use super::{Run, Trail};
use crate::config::{self, Dialect};
use crate::relay::context::Reached;
use crate::relay::refusal::Refusal;

/// Keeps a run where it is, once somebody else asks the other entries.
#[derive(Debug, Clone, Default)]
pub(in crate::relay) struct Leash(Arc<Place>);

/// Where a run is.
#[derive(Debug, Default)]
struct Place {
    entry: AtomicUsize,
    is_held: AtomicBool,
}

impl Leash {
    /// The run has come to this entry.
    pub(super) fn comes_to(&self, entry: usize) {
        self.0.entry.store(entry, Ordering::Relaxed);
    }

    /// The entry that the run is at.
    fn entry(&self) -> usize {
        self.0.entry.load(Ordering::Relaxed)
    }

    /// From now on the run stays at its entry.
    pub(super) fn hold(&self) {
        self.0.is_held.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_held(&self) -> bool {
        self.0.is_held.load(Ordering::Relaxed)
    }
}

/// The route's rules, where a request may be asked twice.
pub(super) fn of(question: &Question) -> Option<config::Hedge> {
    let next = behind(question, 0).is_some();
    let may = question.resend && next && question.dialect != Dialect::Plain;
    question.route.config.hedge.filter(|_| may)
}

/// The next entry behind `entry` that is asked beside another.
fn behind(question: &Question, entry: usize) -> Option<usize> {
    let targets = &question.route.config.to;
    (entry + 1..targets.len()).find(|&index| !targets[index].larger)
}

/// Asks, and asks the next entry too when no content has come in time. Whoever is not heard is let go at once.
pub(super) async fn ask(question: Question, rules: config::Hedge) -> Result<Reached, Refusal> {
    let first = Run::new(question.clone(), None, 0, Until::Content);
    let leash = first.leash.clone();
    let mut first = pin!(first.ask());
    tokio::select! {
        biased;
        reached = &mut first => return reached,
        () = sleep(rules.after) => {}
    }
    let route = question.route.clone();
    // It may have moved on by itself; who is asked already is not asked twice.
    let slow = &route.chain[leash.entry()].group;
    let Some(next) = behind(&question, leash.entry()) else {
        return first.await;
    };
    if !slow.may_hedge(rules.percent) {
        return first.await;
    }
    leash.hold();
    tracing::debug!(upstream = %slow.name, "no content yet: the next entry is asked too");
    let second = Run::new(question, None, next, Until::Content);
    let mut second = pin!(second.ask());
    let asked = &route.chain[next].attempts;
    let (outcome, won) = tokio::select! {
        biased;
        outcome = &mut first => match is_good(&outcome) {
            true => (outcome, false),
            false => {
                let other = second.await;
                let won = is_good(&other);
                (better(other, outcome), won)
            }
        },
        outcome = &mut second => match is_good(&outcome) {
            true => (overtaken(outcome, &slow.name), true),
            false => (better(first.await, outcome), false),
        },
    };
    match won {
        true => asked.hedges_won.inc(),
        false => asked.hedges_lost.inc(),
    };
    outcome
}

/// Of two outcomes the one that the caller gets: `last`, unless only the other holds a backend's own words. What was
/// tried on either way is told with it.
fn better(
    mut last: Result<Reached, Refusal>,
    mut before: Result<Reached, Refusal>,
) -> Result<Reached, Refusal> {
    let mut trail = std::mem::take(trail_of(&mut before));
    trail.join(std::mem::take(trail_of(&mut last)));
    let mut outcome = match last.is_err() && before.is_ok() {
        true => before,
        false => last,
    };
    *trail_of(&mut outcome) = trail;
    outcome
}

/// `outcome` has come before that of `slow`.
fn overtaken(mut outcome: Result<Reached, Refusal>, slow: &Arc<str>) -> Result<Reached, Refusal> {
    let mut trail = Trail::default();
    trail.note(slow, "slow");
    trail.join(std::mem::take(trail_of(&mut outcome)));
    *trail_of(&mut outcome) = trail;
    outcome
}

fn trail_of(outcome: &mut Result<Reached, Refusal>) -> &mut Trail {
    match outcome {
        Ok(reached) => &mut reached.trail,
        Err(refusal) => &mut refusal.trail,
    }
}

/// Whether it is an answer, and no error.
fn is_good(outcome: &Result<Reached, Refusal>) -> bool {
    outcome.as_ref().is_ok_and(|reached| reached.turn.is_some())
}

//! A second entry asked beside one that takes long; the first content wins.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::Method;
use tokio::time::sleep;

use super::outcome::Until;
use super::question::Question;
use super::{Run, Trail};
use crate::config::{self, Dialect};
use crate::relay::context::Reached;
use crate::relay::plane::LiveRoute;
use crate::relay::refusal::Refusal;

/// Keeps a run where it is, once somebody else asks the other entries.
#[derive(Debug, Clone, Default)]
pub(in crate::relay) struct Leash(Arc<Held>);

#[derive(Debug, Default)]
struct Held {
    is_held: AtomicBool,
    /// The entry that the run asks.
    entry: AtomicUsize,
}

impl Leash {
    /// From now on the run stays at its entry.
    pub(super) fn hold(&self) {
        self.0.is_held.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_held(&self) -> bool {
        self.0.is_held.load(Ordering::Relaxed)
    }

    /// The run asks this entry from now on.
    pub(super) fn enter(&self, entry: usize) {
        self.0.entry.store(entry, Ordering::Relaxed);
    }

    fn entry(&self) -> usize {
        self.0.entry.load(Ordering::Relaxed)
    }
}

/// The route's rules, where a request may be asked twice.
pub(super) fn of(question: &Question) -> Option<config::Hedge> {
    let next = behind(question, 0).is_some();
    let streams = question.dialect != Dialect::Plain && question.method != Method::HEAD;
    let may = question.resend && next && streams;
    question.route.config.hedge.filter(|_| may)
}

/// The entry to ask beside `entry`.
fn behind(question: &Question, entry: usize) -> Option<usize> {
    let targets = question.route.config.to.iter().enumerate();
    let mut others = targets.skip(entry + 1);
    others
        .find(|(_, target)| !target.larger)
        .map(|(index, _)| index)
}

/// Asks, and asks the next entry too when no content has come in time. Whoever is not heard is let go at once.
pub(super) async fn ask(
    question: Box<Question>,
    rules: config::Hedge,
) -> Result<Box<Reached>, Refusal> {
    let first = Run::new(question.clone(), None, 0, Until::Content);
    let leash = first.leash.clone();
    let mut first = pin!(first.ask());
    tokio::select! {
        biased;
        reached = &mut first => return reached,
        () = sleep(rules.after) => {}
    }
    let route = question.route.clone();
    // It may have failed over meanwhile: nobody is asked beside itself.
    let entry = leash.entry();
    let Some(next) = behind(&question, entry) else {
        return first.await;
    };
    let slow = &route.chain[entry].group;
    if !slow.may_hedge(rules.percent) {
        return first.await;
    }
    leash.hold();
    tracing::debug!(upstream = %slow.name, "no content yet: the next entry is asked too");
    let name = slow.name.clone();
    let second = Run::new(question, None, next, Until::Content);
    let mut second = pin!(second.ask());
    let asked = &route.chain[next].attempts;
    let (outcome, won) = tokio::select! {
        biased;
        outcome = &mut first => match is_good(&outcome) {
            true => (outcome, false),
            false => last_of(&route, outcome, second.await),
        },
        outcome = &mut second => match is_good(&outcome) {
            true => {
                let mut trail = Trail::default();
                trail.note(&name, "slow");
                (behind_trail(trail, outcome), true)
            }
            false => match first.await {
                first if is_good(&first) => (first, false),
                first => last_of(&route, first, outcome),
            },
        },
    };
    match won {
        true => asked.hedges_won.inc(),
        false => asked.hedges_lost.inc(),
    };
    outcome
}

/// What the caller gets where the first, by this `name`, has failed, and whether that is the second's. A backend's own
/// error is better than one of ours.
fn last_of(
    route: &LiveRoute,
    mut first: Result<Box<Reached>, Refusal>,
    second: Result<Box<Reached>, Refusal>,
) -> (Result<Box<Reached>, Refusal>, bool) {
    if first.is_ok() && second.is_err() {
        return (first, false);
    }
    let trail = match &mut first {
        Ok(reached) => {
            let mut trail = std::mem::take(&mut reached.trail);
            if let Some(trouble) = reached.trouble {
                trail.failed(&route.chain[reached.entry].group.name, trouble);
            }
            trail
        }
        Err(refusal) => std::mem::take(&mut refusal.trail),
    };
    let won = is_good(&second);
    (behind_trail(trail, second), won)
}

/// `outcome`, with what was tried before it.
fn behind_trail(
    mut trail: Trail,
    mut outcome: Result<Box<Reached>, Refusal>,
) -> Result<Box<Reached>, Refusal> {
    let own = match &mut outcome {
        Ok(reached) => &mut reached.trail,
        Err(refusal) => &mut refusal.trail,
    };
    trail.join(std::mem::take(own));
    *own = trail;
    outcome
}

/// Whether it is an answer, and no error.
fn is_good(outcome: &Result<Box<Reached>, Refusal>) -> bool {
    outcome.as_ref().is_ok_and(|reached| reached.turn.is_some())
}

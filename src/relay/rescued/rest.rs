//! Who goes on with an answer that was cut: the entries behind it are asked, one after the other.

use std::sync::Arc;

use http::StatusCode;

use crate::config::Prefill;
use crate::dialect::{BodyKind, body_kind, prefilled};
use crate::relay::attempts::{Question, Trail, ask_entry};
use crate::relay::context::Reached;
use crate::relay::refusal::Refusal;

/// What the search came to.
pub(super) struct Rest {
    /// Who goes on, and whether it was given the beginning.
    pub(super) next: Option<(Box<Reached>, bool)>,
    /// Who was asked before.
    pub(super) trail: Trail,
}

/// Where an answer was cut.
pub(super) struct Cut {
    /// The entry of the chain.
    pub(super) entry: usize,
    /// The endpoints that have cut it, by number: rather not they are asked again.
    pub(super) spent: Vec<u64>,
    /// What was delivered.
    pub(super) text: Arc<str>,
}

/// Asks the entries behind the cut, or the same one where there is no other, for the rest.
pub(super) async fn ask_for_the_rest(question: Question, cut: Cut) -> Rest {
    let mut trail = Trail::default();
    for index in candidates(&question, cut.entry) {
        let mut minds = true;
        if takes_a_beginning(&question, index, &cut.text) {
            let begun = question.continued(cut.text.clone());
            let outcome = ask_entry(begun, index, cut.spent.clone()).await;
            minds = may_mind_beginnings(&outcome);
            if let Some(reached) = good(outcome, &question, &mut trail) {
                let next = Some((reached, true));
                return Rest { next, trail };
            }
        }
        if minds {
            let outcome = ask_entry(question.clone(), index, cut.spent.clone()).await;
            if let Some(reached) = good(outcome, &question, &mut trail) {
                let next = Some((reached, false));
                return Rest { next, trail };
            }
        }
    }
    Rest { next: None, trail }
}

/// The entries to ask: those behind `entry`; where there is none, the same one, as far as its budget allows that.
fn candidates(question: &Question, entry: usize) -> Vec<usize> {
    let targets = &question.route.config.to;
    let behind = (entry + 1..targets.len()).filter(|&index| !targets[index].larger);
    let candidates: Vec<usize> = behind.collect();
    if !candidates.is_empty() {
        return candidates;
    }
    let same = &question.route.chain[entry];
    // It is sent again, like any retry.
    if !same.group.may_retry() {
        same.attempts.retries_refused.inc();
        return candidates;
    }
    same.attempts.retries.inc();
    vec![entry]
}

fn takes_a_beginning(question: &Question, index: usize, text: &str) -> bool {
    let how = question.route.chain[index].upstream.prefill;
    let takes = |body| prefilled(question.dialect, body, text, how).is_some();
    how != Prefill::No && !text.is_empty() && question.body().is_some_and(takes)
}

/// Whether a backend may have refused because it was given a beginning: not one that is busy, or did not answer. It
/// would do the same to the question without one.
fn may_mind_beginnings(outcome: &Result<Box<Reached>, Refusal>) -> bool {
    let status = outcome
        .as_ref()
        .map(|reached| reached.asked.answer.head.status);
    status.is_ok_and(|status| !matches!(status.as_u16(), 429 | 502..=504 | 529))
}

/// The answer, if it is an event stream; else it is one of those that were tried in vain.
fn good(
    outcome: Result<Box<Reached>, Refusal>,
    question: &Question,
    trail: &mut Trail,
) -> Option<Box<Reached>> {
    let mut reached = match outcome {
        Ok(reached) => reached,
        Err(refusal) => {
            trail.join(refusal.trail);
            return None;
        }
    };
    trail.join(std::mem::take(&mut reached.trail));
    let head = &reached.asked.answer.head;
    let stream = head.status == StatusCode::OK && body_kind(&head.headers) == BodyKind::Sse;
    if stream && reached.turn.is_some() {
        return Some(reached);
    }
    let upstream = &question.route.chain[reached.entry].group.name;
    let word = reached
        .trouble
        .map_or("no_stream", |trouble| trouble.word());
    trail.note(upstream, word);
    None
}

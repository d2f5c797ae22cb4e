//! From a question to an answer that can be passed on: attempts, one after the other or two at once.
//!
//! Everything here happens before the commit: nothing of an answer has gone to the caller yet. Which attempt follows
//! a failed one is decided in `plan`; what an attempt came to, in `outcome`; `hedge` asks a second entry beside
//! one that takes long; `trail` remembers it all for the log.

mod hedge;
mod outcome;
mod plan;
mod question;
mod trail;

use std::pin::pin;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::sleep;
use tracing::Instrument;

use self::hedge::Leash;
pub(super) use outcome::is_no_fault;
pub(super) use question::Question;
pub use trail::Trail;

use self::outcome::{Bad, Until, What, is_at_hand, judge, of_reason};
use self::plan::{Failed, Plan, Step};
use super::context::Reached;
use super::order::clocks_of;
use super::outgoing::Outgoing;
use super::plane::Entry;
use super::refusal::Refusal;
use crate::config::{Dialect, ResolvedClocks, Trouble};
use crate::dialect::{BodyKind, body_kind, can_be_rescued};
use crate::upstream::{Answer, Ask, Asked, Group, Head, Reason, Turn, Upload, UpstreamFault, Wish};

/// In place of a limit where there is none: the future is the same, and no larger for it.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Gets an answer to `question`, whose body is in `upload` where it is not held.
///
/// # Errors
///
/// A [`Refusal`] when no endpoint gave an answer. An answer that is an error is an answer.
pub(super) async fn ask(question: Box<Question>, upload: Upload) -> Result<Box<Reached>, Refusal> {
    match hedge::of(&question) {
        // Boxed: what most requests do not take must not make their future larger.
        Some(rules) => Box::pin(hedge::ask(question, rules)).await,
        None => {
            let until = until_of(&question);
            Run::new(question, Some(upload), 0, until).ask().await
        }
    }
}

/// Asks entry `index` alone, for the rest of an answer; of its endpoints, rather one that is not in `avoid`.
pub(super) async fn ask_entry(
    question: Question,
    index: usize,
    avoid: Vec<u64>,
) -> Result<Box<Reached>, Refusal> {
    let mut run = Run::new(Box::new(question), None, index, Until::Event);
    run.avoid = avoid;
    run.leash.hold();
    run.ask().await
}

/// Up to where answers are read before they count: where nobody else could be asked, nothing is waited for.
fn until_of(question: &Question) -> Until {
    let route = &question.route;
    let next = route.config.to.iter().skip(1).any(|target| !target.larger);
    let again = route.config.retry.is_some_and(|retry| retry.times > 0);
    let endpoints = route
        .chain
        .first()
        .map_or(0, |entry| entry.group.members.len());
    // The answer to a HEAD has no events (RFC 9110 §9.3.2).
    let may = question.resend && question.method != Method::HEAD;
    match may && (next || (again && endpoints > 1)) {
        true => Until::Event,
        false => Until::Head,
    }
}

/// One way through a route's chain.
struct Run {
    question: Box<Question>,
    /// The body, where it is not held.
    upload: Option<Upload>,
    until: Until,
    leash: Leash,
    trail: Trail,
    /// An error that a backend gave: better than one of ours.
    spare: Option<Box<Reached>>,
    /// The first entry none of whose endpoints could be asked.
    left_out: Option<usize>,
    start: usize,
    /// Endpoints, by number, that are asked only where there is no other.
    avoid: Vec<u64>,
}

/// What became of an entry.
enum Entered {
    Answered(Box<Reached>),
    /// The next one is asked.
    Moved,
    /// There is no next one.
    Ended(Last),
    /// Another one would do no better.
    Over(Last),
}

/// What the last attempt has left.
enum Last {
    Answer(Box<Reached>),
    Refusal(Refusal),
}

impl Run {
    fn new(question: Box<Question>, upload: Option<Upload>, start: usize, until: Until) -> Self {
        Self {
            question,
            upload,
            until,
            leash: Leash::default(),
            trail: Trail::default(),
            spare: None,
            left_out: None,
            start,
            avoid: Vec::new(),
        }
    }

    async fn ask(mut self) -> Result<Box<Reached>, Refusal> {
        let route = self.question.route.clone();
        let mut plan = Plan::new(&route.config, self.start, self.question.resend);
        loop {
            if self.leash.is_held() {
                plan.stay();
            }
            let index = plan.entry();
            self.leash.enter(index);
            let key = self.question.key(&route.chain[index]);
            // One that was left out may be come back to.
            let last = plan.is_last() && self.left_out.is_none() && !route.config.rescue;
            let entered = match self.question.outgoing(index, last) {
                Ok(outgoing) => self.on_entry(&mut plan, (&outgoing, key)).await?,
                Err(refusal) => self.without_credential(&mut plan, refusal),
            };
            match entered {
                Entered::Answered(reached) => return Ok(self.finish(reached)),
                Entered::Moved => {}
                Entered::Over(last) => return self.give_up(last),
                Entered::Ended(last) => match self.left_out.take() {
                    // Rather asked in vain than not at all.
                    Some(index) if !self.leash.is_held() => {
                        if let Last::Answer(reached) = &last
                            && let Some(trouble) = reached.trouble
                        {
                            // Its last word goes to nobody now.
                            self.trail
                                .failed(&route.chain[reached.entry].group.name, trouble);
                        }
                        self.keep(last).await;
                        plan.back_to(index);
                    }
                    _ => return self.give_up(last),
                },
            }
        }
    }

    /// An entry whose credential cannot be put in is not asked.
    fn without_credential(&mut self, plan: &mut Plan<'_>, mut refusal: Refusal) -> Entered {
        refusal.entry = u32::try_from(plan.entry()).ok();
        let upstream = &self.question.route.chain[plan.entry()].group.name;
        tracing::warn!(%upstream, reason = refusal.message, "an upstream is not asked");
        self.trail.note(upstream, "no_credential");
        match plan.skip() {
            Step::Move(_) => Entered::Moved,
            _ => Entered::Ended(Last::Refusal(refusal)),
        }
    }

    /// Asks the entry that `plan` stands at, until it has answered or is given up.
    async fn on_entry(
        &mut self,
        plan: &mut Plan<'_>,
        (outgoing, key): (&Outgoing, Option<u64>),
    ) -> Result<Entered, Refusal> {
        let route = self.question.route.clone();
        let index = plan.entry();
        let entry = &route.chain[index];
        let clocks = clocks_of(&route, index, self.question.dialect);
        let mut tried = self.avoid.clone();
        let mut ready = None;
        entry.group.count();
        if route.config.hedge.is_some() {
            entry.group.count_for_hedges();
        }
        loop {
            let picked = ready.take().or_else(|| {
                entry.group.pick(&Wish {
                    key,
                    tried: &tried,
                    elsewhere: plan.has_next(),
                })
            });
            let Some(turn) = picked else {
                self.trail.note(&entry.group.name, "ejected");
                self.left_out.get_or_insert(index);
                // Where there is no other entry, an endpoint is always given.
                plan.skip();
                return Ok(Entered::Moved);
            };
            let span = self.question.span(entry, turn.endpoint());
            let attempted = {
                // Pinned before it is wrapped, here and below: the wrapper would move all of it.
                let attempt = pin!(self.attempt(entry, turn, outgoing, &clocks));
                attempt.instrument(span.clone()).await?
            };
            let (bad, turn) = match attempted {
                Ok((asked, turn)) => {
                    span.record("status", asked.answer.head.status.as_u16());
                    entry.attempts.answered.inc();
                    let reached = Reached::good(asked, index, clocks, turn);
                    return Ok(Entered::Answered(reached));
                }
                Err(failed) => *failed,
            };
            span.record("trouble", bad.trouble.word());
            drop(span);
            tried.push(turn.endpoint().number);
            let mut failed = self.look_at(&bad);
            self.note(&bad, &turn, entry);
            let trouble = bad.trouble;
            let last = self.last_of(bad, turn, index, clocks);
            if self.leash.is_held() {
                plan.stay();
            }
            ready = untried(&entry.group, key, &tried, plan);
            failed.untried = ready.is_some();
            let decided = decide(plan, &failed, &entry.group, fastrand::f64());
            if decided.refused {
                entry.attempts.retries_refused.inc();
            }
            // The last answer is the caller's, whatever it says; what it gives no answer for was an attempt.
            let goes_on = matches!(decided.step, Step::Again(_) | Step::Move(_));
            if goes_on || matches!(last, Last::Refusal(_)) {
                self.trail.failed(&entry.group.name, trouble);
            }
            match decided.step {
                Step::Again(pause) => {
                    // The answer is closed before its endpoint is left alone.
                    self.keep(last).await;
                    if failed.sent {
                        entry.attempts.retries.inc();
                    }
                    if !pause.is_zero() {
                        sleep(pause).await;
                    }
                }
                Step::Move(_) => {
                    self.keep(last).await;
                    return Ok(Entered::Moved);
                }
                Step::End => return Ok(Entered::Ended(last)),
                Step::GiveUp => return Ok(Entered::Over(last)),
            }
        }
    }

    /// One attempt. The outer error is the caller's own: nobody else is asked.
    async fn attempt(
        &mut self,
        entry: &Entry,
        mut turn: Turn,
        outgoing: &Outgoing,
        clocks: &ResolvedClocks,
    ) -> Result<Result<(Asked, Turn), Box<(Bad, Turn)>>, Refusal> {
        let endpoint = turn.endpoint().clone();
        let ask = Ask {
            pool: &self.question.pool,
            clocks,
            resend: self.question.resend,
            request: outgoing,
        };
        let held = self.question.body_for(entry).map(Upload::Kept);
        let mut upload = held.or_else(|| self.upload.take());
        let began = turn.began();
        let limit = clocks.first_byte.unwrap_or(FOREVER);
        let mut clock = self.question.pool.clock();
        let head = {
            let asking = pin!(entry.group.attempt(&endpoint, &ask, &mut upload));
            clock.within(began + limit, asking).await
        };
        self.question.pool.keep_clock(clock);
        let head = head.unwrap_or(Err(Reason::FirstByteTimeout(limit)));
        if self.question.body().is_none() {
            self.upload = upload;
        }
        let answer = match head {
            Ok(answer) => answer,
            Err(reason) => {
                let Some(trouble) = of_reason(&reason) else {
                    let endpoint = endpoint.name.clone();
                    let fault = UpstreamFault { endpoint, reason };
                    return Err(Refusal::upstream(&fault, &entry.upstream.name));
                };
                let what = What::Nothing(reason);
                let rest = None;
                return Ok(Err(Box::new((
                    Bad {
                        trouble,
                        rest,
                        what,
                    },
                    turn,
                ))));
            }
        };
        let judged = match self.until == Until::Head && answer.head.status.as_u16() < 400 {
            // Nothing about it is waited for.
            true => Ok(answer),
            false => {
                let dialect = self.question.dialect;
                Box::pin(judge(answer, dialect, self.until, clocks, began)).await
            }
        };
        Ok(match judged {
            Ok(answer) => {
                // One without events is judged by its end only, and may last for hours.
                if is_open(&answer, self.question.dialect) {
                    turn.answered();
                }
                Ok((Asked { endpoint, answer }, turn))
            }
            Err(bad) => Err(Box::new((bad, turn))),
        })
    }

    fn look_at(&self, bad: &Bad) -> Failed {
        let before = matches!(&bad.what, What::Nothing(reason) if reason.before_request());
        let answered = matches!(&bad.what, What::Answer(_));
        Failed {
            trouble: bad.trouble,
            rest: bad.rest,
            sent: !before,
            untried: false,
            ordinary: answered && self.question.dialect == Dialect::Plain,
        }
    }

    /// Tells the log, the endpoint's health and the trail.
    fn note(&mut self, bad: &Bad, turn: &Turn, entry: &Entry) {
        let endpoint = &turn.endpoint().name;
        let trouble = bad.trouble.word();
        let request_id = self.question.request_id();
        match &bad.what {
            What::Nothing(reason) => {
                tracing::warn!(%endpoint, trouble, %reason, request_id, "an attempt failed");
            }
            What::Answer(answer) => {
                let status = answer.head.status.as_u16();
                tracing::info!(%endpoint, trouble, status, request_id, "an attempt failed");
            }
        }
        if let Some(rest) = bad.rest.filter(|_| self.is_for_all(bad, entry)) {
            turn.rest(rest.min(LONGEST_REST));
        }
        if let Some(counter) = entry.attempts.trouble(trouble) {
            counter.inc();
        }
    }

    /// Whether a wish to be left alone is meant for every caller: an endpoint that is too busy, or the limit of a
    /// credential that all of them share.
    fn is_for_all(&self, bad: &Bad, entry: &Entry) -> bool {
        match bad.trouble {
            Trouble::RateLimited | Trouble::Quota => !self.question.is_by_own_key(entry),
            _ => bad.blames_endpoint(self.question.is_owed()),
        }
    }

    /// What the caller gets if nothing better comes.
    fn last_of(&self, bad: Bad, turn: Turn, entry: usize, clocks: ResolvedClocks) -> Last {
        let endpoint = turn.endpoint().clone();
        let began = turn.began();
        let blamed = bad.blames_endpoint(self.question.is_owed());
        turn.end(blamed.then_some(false));
        match bad.what {
            What::Answer(answer) => Last::Answer(Box::new(Reached {
                asked: Asked {
                    endpoint,
                    answer: *answer,
                },
                entry,
                clocks,
                trouble: Some(bad.trouble),
                turn: None,
                began,
                trail: Trail::default(),
                question: None,
            })),
            What::Nothing(reason) => {
                let fault = UpstreamFault {
                    endpoint: endpoint.name.clone(),
                    reason,
                };
                let upstream = &self.question.route.chain[entry].upstream.name;
                let mut refusal = Refusal::upstream(&fault, upstream);
                refusal.entry = u32::try_from(entry).ok();
                Last::Refusal(refusal)
            }
        }
    }

    /// Keeps a backend's own error, if it costs no connection.
    async fn keep(&mut self, last: Last) {
        if let Last::Answer(mut reached) = last
            && is_at_hand(&mut reached.asked.answer).await
        {
            self.spare = Some(reached);
        }
    }

    fn give_up(mut self, last: Last) -> Result<Box<Reached>, Refusal> {
        match (last, self.spare.take()) {
            (Last::Answer(reached), _) => Ok(self.finish(reached)),
            (Last::Refusal(_), Some(mut spare)) => {
                // It is in the trail already.
                spare.trouble = None;
                Ok(self.finish(spare))
            }
            (Last::Refusal(mut refusal), None) => {
                refusal.trail = self.trail;
                Err(refusal)
            }
        }
    }

    fn finish(self, mut reached: Box<Reached>) -> Box<Reached> {
        let good = self.question.route.config.rescue && reached.turn.is_some();
        let rescuable = good && self.can_be_rescued(&reached);
        reached.trail = self.trail;
        if rescuable {
            reached.question = Some(self.question);
        }
        reached
    }
}

impl Run {
    fn can_be_rescued(&self, reached: &Reached) -> bool {
        let head = &reached.asked.answer.head;
        let stream = head.status == StatusCode::OK && body_kind(&head.headers) == BodyKind::Sse;
        let body = self.question.body().filter(|_| self.question.resend);
        stream && body.is_some_and(|body| can_be_rescued(self.question.dialect, body))
    }
}

/// Whether `answer` has begun what may last without an event: another protocol, or an ordinary stream.
fn is_open(answer: &Answer, dialect: Dialect) -> bool {
    let Head {
        status, headers, ..
    } = &answer.head;
    let is_stream = || status.is_success() && body_kind(headers) != BodyKind::Opaque;
    *status == StatusCode::SWITCHING_PROTOCOLS || (dialect == Dialect::Plain && is_stream())
}

/// A place at an endpoint of `group` that was not asked yet. Asked ones are no answer here, though they may be asked
/// again: that takes a pause.
fn untried(group: &Group, key: Option<u64>, tried: &[u64], plan: &Plan<'_>) -> Option<Turn> {
    if group.members.len() == 1 {
        return None;
    }
    let elsewhere = plan.has_next();
    let turn = group.pick(&Wish {
        key,
        tried,
        elsewhere,
    })?;
    (!tried.contains(&turn.endpoint().number)).then_some(turn)
}

/// What is done about an attempt that failed.
struct Decided {
    step: Step,
    /// Whether it would have been sent again, had the budget allowed it.
    refused: bool,
}

/// What is done about `failed`, as the plan has it and as `group` allows. `chance` is a number between 0 and 1.
fn decide(plan: &mut Plan<'_>, failed: &Failed, group: &Group, chance: f64) -> Decided {
    let mut step = plan.after(failed, chance);
    let mut refused = false;
    if let Step::Again(pause) = step {
        // Who waits here would be sent on afterwards.
        let leads_nowhere = !pause.is_zero() && plan.has_next() && !group.has_able();
        refused = !leads_nowhere && failed.sent && !group.may_retry();
        if leads_nowhere || refused {
            step = plan.skip();
        }
    }
    Decided { step, refused }
}

/// The longest that an endpoint is left alone because it asked for it.
const LONGEST_REST: Duration = Duration::from_secs(60);

//! Active checks: each endpoint is asked now and then whether it is well.
//!
//! A check is a plain GET on a connection of its own, as a new caller would make it: what a kept connection still
//! answers says nothing about a server that accepts no more of them. It carries no credentials, so that what is
//! asked for must be open; an endpoint that answers 401 is not well.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::attempt::{Ask, BuildHead, attempt};
use super::body::{AnswerBody, Piece};
use super::endpoint::Endpoint;
use super::fault::Reason;
use super::group::{Group, Member};
use super::h1::{Announced, Upload, encode};
use super::h2::compose;
use super::pool::Pool;
use crate::config::{Check, ResolvedClocks};

/// Most bytes of an answer's body that are read; the rest is not waited for.
const MOST_BODY: usize = 64 * 1024;
/// How this program names itself (RFC 9110 §10.1.5).
const AGENT: &str = concat!("deltaway/", env!("CARGO_PKG_VERSION"));

/// What the answers to an endpoint's checks come to: it takes some in a row to change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    up: u32,
    down: u32,
    well: bool,
    /// Answers in a row that speak against `well`.
    against: u32,
}

impl Checked {
    /// An endpoint that is `well`, and changes after `up` good or `down` bad answers in a row.
    pub fn new(up: u32, down: u32, well: bool) -> Self {
        Self {
            up,
            down,
            well,
            against: 0,
        }
    }

    /// Takes one answer; tells whether the endpoint is well, if that has changed.
    pub fn take(&mut self, good: bool) -> Option<bool> {
        if good == self.well {
            self.against = 0;
            return None;
        }
        self.against += 1;
        let enough = if self.well { self.down } else { self.up };
        if self.against < enough {
            return None;
        }
        self.well = good;
        self.against = 0;
        Some(good)
    }
}

/// Why an answer to a check is not a good one.
#[derive(Debug, thiserror::Error)]
enum Ill {
    /// There was none, or no whole one.
    #[error(transparent)]
    Reason(#[from] Reason),
    /// Its status is not one of the 200s.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// It took too long.
    #[error("no whole answer within {0:?}")]
    Late(Duration),
}

/// Checks the endpoints of all `groups` that want it, for ever: dropping the future ends all of it. An endpoint
/// that several upstreams share is checked as the first of them says.
pub async fn check_all(groups: Vec<Arc<Group>>) {
    let mut running = JoinSet::new();
    let mut asked: HashMap<u64, Check> = HashMap::new();
    for group in groups {
        let Some(check) = &group.config.check else {
            continue;
        };
        for Member { endpoint, .. } in &group.members {
            if let Some(first) = asked.get(&endpoint.number) {
                if first != check {
                    let (upstream, endpoint) = (&group.name, &endpoint.name);
                    tracing::warn!(%upstream, %endpoint, "another upstream already checks this endpoint, in another way");
                }
                continue;
            }
            asked.insert(endpoint.number, check.clone());
            running.spawn(keep_checking(
                group.clone(),
                endpoint.clone(),
                check.clone(),
            ));
        }
    }
    while let Some(ended) = running.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "an endpoint is not checked any more");
        }
    }
    std::future::pending().await
}

async fn keep_checking(group: Arc<Group>, endpoint: Arc<Endpoint>, check: Check) {
    let well = endpoint.health.is_checked();
    let mut checked = Checked::new(check.up, check.down, well);
    loop {
        let next = Instant::now() + jittered(check.every);
        let question = question(group.clone(), endpoint.clone(), check.clone());
        if let Some(outcome) = apart(question).await {
            if let Err(reason) = &outcome {
                tracing::debug!(endpoint = %endpoint.name, %reason, "a check was not answered well");
            }
            if let Some(well) = checked.take(outcome.is_ok()) {
                endpoint.health.set_checked(well);
                log_turn(&group, &endpoint, outcome.err());
            }
        }
        sleep_until(next).await;
    }
}

fn log_turn(group: &Group, endpoint: &Endpoint, ill: Option<Ill>) {
    let (upstream, endpoint) = (&group.name, &endpoint.name);
    match ill {
        None => tracing::info!(%upstream, %endpoint, "checks find an endpoint well again"),
        Some(reason) => {
            tracing::info!(%upstream, %endpoint, %reason, "checks find that an endpoint is not well");
        }
    }
}

/// What `work` comes to, in a task of its own: a panic in it is logged, and no more. It ends with this future.
async fn apart<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let mut one = JoinSet::new();
    one.spawn(work);
    match one.join_next().await? {
        Ok(outcome) => Some(outcome),
        Err(error) => {
            tracing::error!(%error, "a check of an endpoint failed for a reason of our own");
            None
        }
    }
}

/// Asks once.
async fn question(group: Arc<Group>, endpoint: Arc<Endpoint>, check: Check) -> Result<(), Ill> {
    let asking = async {
        let ask = Ask {
            // It goes with its connection when the answer has ended.
            pool: &Arc::default() as &Arc<Pool>,
            clocks: &ResolvedClocks {
                connect: Some(check.within),
                ..UNLIMITED
            },
            resend: false,
            request: &Question { path: &check.path },
        };
        let mut upload = Some(Upload::Kept(Bytes::new()));
        let mut answer = attempt(&group, &endpoint, &ask, &mut upload).await?;
        if !answer.head.status.is_success() {
            return Err(Ill::Status(answer.head.status));
        }
        Ok(throw_away(&mut answer.body).await?)
    };
    let asked = timeout(check.within, asking).await;
    asked.unwrap_or(Err(Ill::Late(check.within)))
}

/// The limit of a check is around all of it. Its connection has the same one for itself: one by HTTP/2 is opened in a
/// task that outlives who asked for it.
const UNLIMITED: ResolvedClocks = ResolvedClocks {
    connect: None,
    first_byte: None,
    first_event: None,
    idle: None,
    stall: None,
    total: None,
};

/// Reads a body to its end, if that is near.
async fn throw_away(body: &mut AnswerBody) -> Result<(), Reason> {
    let mut read = 0;
    while read < MOST_BODY {
        match poll_fn(|cx| body.poll_piece(cx)).await {
            Some(piece) => {
                if let Piece::Data(data) = piece? {
                    read += data.len();
                }
            }
            None => break,
        }
    }
    Ok(())
}

/// `every`, more or less a tenth by chance: the checks of many endpoints, and of many gateways, drift apart.
fn jittered(every: Duration) -> Duration {
    every.mul_f64(0.9 + 0.2 * fastrand::f64())
}

/// The request of a check.
struct Question<'a> {
    path: &'a str,
}

impl BuildHead for Question<'_> {
    fn method(&self) -> &Method {
        &Method::GET
    }

    fn build(&self, endpoint: &Endpoint, body: Announced) -> Vec<u8> {
        let target = (&*endpoint.base, self.path);
        let host = &endpoint.authority;
        encode(&Method::GET, target, host, (&[], &headers()), body)
    }

    fn parts(&self, endpoint: &Endpoint) -> Result<Request<()>, http::Error> {
        let host = &endpoint.authority;
        compose(&Method::GET, endpoint, self.path, host, headers())
    }

    fn upgrades(&self) -> bool {
        false
    }
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(1);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;

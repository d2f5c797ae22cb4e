//! A subscription over a WebSocket: each event a text message of JSON.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::watch;
use tokio::task::coop::unconstrained;
use tokio::time::{Sleep, sleep_until};

use super::body::SPREAD;
use super::{Offer, Reading, gap, is_welcome};
use crate::delivery;
use crate::delivery::websocket::{self, Clocks, Close, End, Source};
use crate::dialect::Ending;
use crate::hub::{Next, Subscription};
use crate::relay::body::Body;
use crate::relay::context::Context;
use crate::relay::head::finish;
use crate::relay::record::{Outcome, Record};
use crate::relay::refusal::Refusal;
use crate::sse::Frame;

/// A client that answers none of so many pings is gone.
const PINGS: u32 = 3;

type Drained = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Switches protocols and delivers from then on.
pub(super) fn answer(
    mut context: Context,
    subscription: Subscription,
    reading: Reading,
    offer: Offer,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    if !is_welcome(&reading, &context.route.config) {
        let message = "pages of this origin may not open a WebSocket here: name it in the route's `cors.origins`";
        return Err(Some(Refusal::new(
            StatusCode::FORBIDDEN,
            "bad_origin",
            message,
        )));
    }
    let upgrade = context.upgrade.take().map(|(_, upgrade)| upgrade);
    let (Some(upgrade), Some(mut headers)) = (upgrade, reading.accepted) else {
        return Err(Some(Refusal::internal()));
    };
    let mut record = record.take().ok_or(None)?;
    finish(&mut headers, &context, &record);
    record.status = Some(StatusCode::SWITCHING_PROTOCOLS);
    // How long the upstream may be silent says nothing of the client, which is asked.
    let ping = context.route.config.heartbeat;
    let clocks = Clocks {
        ping,
        silence: ping.map(|ping| ping.saturating_mul(PINGS)),
    };
    let counted = Arc::new(Counted::default());
    let source = Texts {
        greeting: greeting(&offer),
        subscription,
        until: offer.until.map(|until| Box::pin(sleep_until(until))),
        drained: drained(offer.drain),
        counted: counted.clone(),
    };
    let socket = record.socket().clone();
    // The client's connection waits for it, and ends it when it is ended itself.
    socket.set_tunnel(tokio::spawn(run(upgrade, source, clocks, counted, record)));
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Ok(response)
}

fn greeting(offer: &Offer) -> Option<String> {
    let greeting = offer.greeting.as_ref()?;
    let frame = Frame::new(greeting.event.as_deref(), &greeting.data, None).ok()?;
    Some(delivery::object(None, &frame))
}

/// Ends some time after the process was told to drain, not at once for everybody.
fn drained(mut drain: watch::Receiver<Option<Duration>>) -> Drained {
    Box::pin(async move {
        let told = drain.wait_for(Option::is_some).await;
        // Nobody left to tell is an end as well.
        let patience = told.ok().and_then(|told| *told).unwrap_or_default();
        tokio::time::sleep(SPREAD.min(patience).mul_f64(fastrand::f64())).await;
    })
}

async fn run(
    upgrade: OnUpgrade,
    source: Texts,
    clocks: Clocks,
    counted: Arc<Counted>,
    mut record: Box<Record>,
) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let end = websocket::serve(TokioIo::new(upgraded), source, clocks).await;
    record.add_bytes(usize::try_from(counted.bytes.load(Ordering::Relaxed)).unwrap_or(usize::MAX));
    record.set_events(counted.events.load(Ordering::Relaxed));
    record.outcome = match end {
        End::Closed(Close::Complete | Close::Stopping) => Outcome::Ended(Ending::Complete),
        End::Closed(Close::Trouble) | End::Stalled => Outcome::Stalled,
        End::Left | End::Silent | End::Violated => Outcome::Ended(Ending::Left),
    };
    record.reason = Some(format!("WebSocket: {end:?}").into());
}

/// What was delivered.
#[derive(Debug, Default)]
struct Counted {
    events: AtomicU64,
    bytes: AtomicU64,
}

/// The texts of a subscription.
struct Texts {
    greeting: Option<String>,
    subscription: Subscription,
    until: Option<Pin<Box<Sleep>>>,
    /// Ends when the process is about to.
    drained: Drained,
    counted: Arc<Counted>,
}

impl Texts {
    fn text(&self, id: &str, frame: &Frame) -> String {
        let text = delivery::object(Some(id), frame);
        self.counted.events.fetch_add(1, Ordering::Relaxed);
        self.counted
            .bytes
            .fetch_add(text.len() as u64, Ordering::Relaxed);
        text
    }

    /// Whether it is over for a reason of ours.
    fn poll_over(&mut self, cx: &mut TaskContext<'_>) -> Option<Close> {
        // Refused for want of budget, they would not be set, and never be asked again.
        if pin!(unconstrained(self.drained.as_mut()))
            .poll(cx)
            .is_ready()
        {
            self.drained = Box::pin(std::future::ready(()));
            return Some(Close::Stopping);
        }
        let until = self.until.as_mut()?;
        let over = pin!(unconstrained(until.as_mut())).poll(cx).is_ready();
        over.then_some(Close::Complete)
    }
}

impl Source for Texts {
    fn poll_next(&mut self, cx: &mut TaskContext<'_>) -> Poll<websocket::Next> {
        if let Some(greeting) = self.greeting.take() {
            return Poll::Ready(websocket::Next::Texts(vec![greeting]));
        }
        if let Some(close) = self.poll_over(cx) {
            return Poll::Ready(websocket::Next::End(close));
        }
        Poll::Ready(match std::task::ready!(self.subscription.poll_next(cx)) {
            Next::Events(entries) => {
                let texts = entries.iter().map(|entry| {
                    let id = self.subscription.shown(entry);
                    self.text(&id, &entry.frame)
                });
                websocket::Next::Texts(texts.collect())
            }
            Next::Gap(missing) => {
                let text = self.text(&missing.id.to_string(), &gap::frame(&missing));
                websocket::Next::Texts(vec![text])
            }
            Next::End(end) if end.abort => websocket::Next::End(Close::Trouble),
            Next::End(_) => websocket::Next::End(Close::Complete),
            Next::Lagged => websocket::Next::End(Close::Trouble),
        })
    }
}

//! Feeds: streams shared from an upstream, one connection for all readers of one URL.
//!
//! The first reader opens the feed; a task of its own then keeps the upstream's connection, opens it again when it
//! drops, and ends when nobody reads any more. An upstream that gives something else than a stream is not
//! asked again for a moment, and all who wait get that answer.

mod shared_answer;
mod source;

use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use http::header::{
    ACCEPT, AUTHORIZATION, COOKIE, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, USER_AGENT, VIA,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use tokio::sync::watch;

use super::body::Body;
use super::context::Context;
use super::fingerprint::{self, Digest};
use super::order::Order;
use super::record::Record;
use super::refusal::Refusal;
use super::streams::Here;
use super::watch::{self as delivering, Offer, Reading};
use crate::config::{Share, Start};
use crate::edge::auth::Principal;
use crate::edge::forwarded::X_FORWARDED_HOST;
use crate::hub::{Full, Stream, StreamRules};
use shared_answer::SharedAnswer;
use source::Template;

/// How long an answer that is no stream stands for those who come later.
pub(super) const ANSWER_STANDS: Duration = Duration::from_secs(1);

/// The id of the last event a client has (WHATWG HTML, §9.2.3).
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// All feeds.
#[derive(Debug, Default)]
pub(super) struct Feeds(DashMap<Digest, Arc<Feed>>);

/// What is known of the upstream.
#[derive(Debug, Clone)]
enum State {
    /// It has not answered yet.
    Opening,
    /// It sends, or did and will again.
    Live,
    /// It gave something that is no stream.
    Answered(Arc<SharedAnswer>),
}

/// One stream from an upstream.
#[derive(Debug)]
struct Feed {
    pub(super) stream: Arc<Stream>,
    pub(super) state: watch::Sender<State>,
}

impl Feeds {
    pub(super) fn sweep(&self) {
        let open: Vec<_> = self.0.iter().map(|feed| feed.stream.clone()).collect();
        open.iter().for_each(|stream| stream.evict_old());
    }

    /// Forgets the feed if nobody reads it; whether it did.
    fn forget_unread(&self, key: &Digest) -> bool {
        self.0
            .remove_if(key, |_, feed| feed.stream.readers() == 0)
            .is_some()
    }

    /// Forgets `feed`, whoever reads it.
    fn forget(&self, key: &Digest, feed: &Arc<Feed>) {
        self.0.remove_if(key, |_, known| Arc::ptr_eq(known, feed));
    }
}

/// Joins the feed that `order` asks for, opening it where nobody has yet.
///
/// # Errors
///
/// A [`Refusal`], or `None` when the client has left meanwhile.
pub(super) async fn join(
    mut order: Box<Order>,
    share: &Share,
    here: &Here,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let Some(open) = record.as_mut() else {
        return Err(None);
    };
    open.enter(&order.route, 0);
    let socket = open.socket().clone();
    let reading = Reading::of(&order.parts).map_err(Some)?;
    let expires = order.principal.as_ref().and_then(Principal::expires_at);
    let context = Context::of(&mut order);
    own_query_removed(&mut order.parts);
    let key = fingerprint::feed(&order, share);
    let (feed, subscription) = {
        let feeds = &here.streams.feeds;
        match feeds.0.entry(key) {
            Entry::Occupied(known) => {
                let feed = known.get().clone();
                let subscription = feed.stream.subscribe(here.worker, &reading.from);
                (feed, subscription)
            }
            Entry::Vacant(place) => {
                let stream = open_stream(share, here).map_err(|full| Some(Refusal::full(&full)))?;
                let feed = Arc::new(Feed {
                    stream,
                    state: watch::Sender::new(State::Opening),
                });
                place.insert(feed.clone());
                let subscription = feed.stream.subscribe(here.worker, &reading.from);
                let template = template(order, share);
                tokio::spawn(source::run(
                    feed.clone(),
                    key,
                    template,
                    share.clone(),
                    here.clone(),
                ));
                (feed, subscription)
            }
        }
    };
    let mut state = feed.state.subscribe();
    let opened = async {
        let state = state
            .wait_for(|state| !matches!(state, State::Opening))
            .await;
        state.map(|state| state.clone())
    };
    match super::order::unless_gone(&socket, opened).await? {
        Ok(State::Answered(answer)) => answer.give(&context, record),
        Ok(State::Live | State::Opening) => {
            let offer = Offer::subscription(&context, here, expires);
            delivering::deliver(context, subscription, reading, offer, record).await
        }
        // The feed that it belongs to is held here.
        Err(_) => Err(Some(Refusal::internal())),
    }
}

fn open_stream(share: &Share, here: &Here) -> Result<Arc<Stream>, Full> {
    here.streams.open(StreamRules {
        history: share.history,
        slow: share.slow,
        // What is polled has a state, and a late reader wants to know it.
        start: match share.start {
            Start::Live if share.poll.is_some() => Start::Latest,
            start => start,
        },
        ids: share.ids,
    })
}

/// What the upstream is asked, by whoever came first and again when it dropped.
fn template(order: Box<Order>, share: &Share) -> Template {
    let Order {
        route,
        parts,
        dialect,
        pool,
        ..
    } = *order;
    let mut headers = common(&parts.headers, share);
    for name in [LAST_EVENT_ID, IF_NONE_MATCH, IF_MODIFIED_SINCE, RANGE] {
        headers.remove(name);
    }
    let accepts = match share.poll {
        None => HeaderValue::from_static("text/event-stream"),
        Some(_) => HeaderValue::from_static("application/json, */*;q=0.5"),
    };
    headers.insert(ACCEPT, accepts);
    Template {
        route,
        method: parts.method,
        uri: parts.uri,
        headers,
        dialect,
        pool,
    }
}

/// Fields by which the upstream could know the caller. They are part of what a feed is found by.
const CREDENTIALS: [HeaderName; 5] = [
    AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Fields that decide nothing about what is in the answer, or are the same for all.
const HARMLESS: [HeaderName; 7] = [
    USER_AGENT,
    VIA,
    X_FORWARDED_HOST,
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
];

/// What of its first reader's head the upstream is shown of a feed: what all its readers have in common. By anything
/// else that one reader says, all the others could get what is for that one alone.
fn common(headers: &HeaderMap, share: &Share) -> HeaderMap {
    let is_common = |name: &HeaderName| match CREDENTIALS.contains(name) {
        true => !share.public,
        false => HARMLESS.contains(name) || share.key_headers.contains(name),
    };
    let common = headers.iter().filter(|(name, _)| is_common(name));
    let mut shown = HeaderMap::new();
    for (name, value) in common {
        shown.append(name, value.clone());
    }
    shown
}

/// Query parameters that are for us and not for the upstream.
fn own_query_removed(parts: &mut Parts) {
    const OURS: [&str; 4] = ["transport", "cursor", "last_event_id", "after"];
    let Some(query) = parts.uri.query() else {
        return;
    };
    let kept: Vec<&str> = query
        .split('&')
        .filter(|pair| !OURS.contains(&pair.split('=').next().unwrap_or_default()))
        .collect();
    let target = if kept.is_empty() {
        parts.uri.path().to_owned()
    } else {
        format!("{}?{}", parts.uri.path(), kept.join("&"))
    };
    if let Ok(uri) = target.parse() {
        parts.uri = uri;
    }
}

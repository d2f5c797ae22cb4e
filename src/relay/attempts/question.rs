//! What upstreams are asked on behalf of a caller.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::config::{Balance, Dialect, HashBy, Prefill};
use crate::dialect::{Facts, prefilled, rename_model};
use crate::edge::added::Added;
use crate::edge::auth;
use crate::edge::hop::Hop;
use crate::edge::trace::REQUEST_ID;
use crate::relay::order::Order;
use crate::relay::outgoing::Outgoing;
use crate::relay::plane::{Entry, LiveRoute};
use crate::relay::refusal::Refusal;
use crate::upstream::{Endpoint, Pool, Upload, hash_of};

/// Who is asking, as the trusted proxies before us have told it.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What tells a request that is sent twice from two requests.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What upstreams are asked: everything but a body that can be sent only once.
#[derive(Clone)]
pub(in crate::relay) struct Question {
    pub(in crate::relay) route: Arc<LiveRoute>,
    pub(in crate::relay) dialect: Dialect,
    pub(in crate::relay) method: Method,
    uri: Uri,
    headers: HeaderMap,
    added: Added,
    hop: Hop,
    facts: Option<Facts>,
    pub(in crate::relay) pool: Arc<Pool>,
    /// The body, where it is held whole.
    body: Option<Bytes>,
    /// Whether all of a body that streams through was read.
    whole: Option<Arc<AtomicBool>>,
    /// Whether the caller shows credentials that are not ours, which pass through where nothing takes their place.
    by_own_key: bool,
    /// Whether the answer is wanted as it is, uncompressed.
    plain: bool,
    /// Whether it may be sent a second time.
    pub(in crate::relay) resend: bool,
    /// What it is told apart by, where that decides which endpoint is asked.
    caller: Option<u64>,
    /// The request's id, as it goes out.
    request_id: Option<HeaderValue>,
    /// The beginning of the answer, where it is to be continued.
    begun: Option<Arc<str>>,
}

impl Question {
    /// What `order` asks, and its body. `events` tells whether an event stream is wanted.
    pub(in crate::relay) fn of(order: Box<Order>, hop: Hop, events: bool) -> (Box<Self>, Upload) {
        let plain = events || (order.dialect != Dialect::Plain && order.facts.is_none());
        let by_key = order
            .route
            .chain
            .iter()
            .any(|entry| entry.group.is_by_key());
        let caller = by_key.then(|| caller_of(&order)).flatten();
        let by_own_key = order.principal.is_none() && auth::shows_any(&order.parts.headers);
        let mut whole = None;
        let (body, upload) = match (order.kept, order.body) {
            (Some(whole), _) => (Some(whole.clone()), Upload::Kept(whole)),
            (None, body) if body.is_over() => (Some(Bytes::new()), Upload::Kept(Bytes::new())),
            (None, mut body) => {
                whole = Some(body.watch());
                let length = body.announced();
                (None, Upload::Streaming(Box::pin(body), length))
            }
        };
        let request_id = field(&order.added, &order.parts.headers, &REQUEST_ID).cloned();
        let method = order.parts.method;
        let retry = order.route.config.retry.unwrap_or_default();
        let may = method.is_idempotent() || order.dialect != Dialect::Plain;
        let is_held = |body: &Bytes| body.len() as u64 <= retry.body;
        let resend = may && body.as_ref().is_some_and(is_held);
        let question = Box::new(Self {
            route: order.route,
            dialect: order.dialect,
            method,
            uri: order.parts.uri,
            headers: order.parts.headers,
            added: order.added,
            hop,
            facts: order.facts,
            pool: order.pool,
            body,
            whole,
            by_own_key,
            plain,
            resend,
            caller,
            request_id,
            begun: None,
        });
        (question, upload)
    }

    /// The body, where it is held.
    pub(in crate::relay) fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// Whether the caller still owes a part of the body.
    pub(super) fn is_owed(&self) -> bool {
        let whole = self.whole.as_ref();
        whole.is_some_and(|whole| !whole.load(Ordering::Relaxed))
    }

    /// Whether what `entry` says of the caller's credentials holds for this caller alone.
    pub(super) fn is_by_own_key(&self, entry: &Entry) -> bool {
        self.by_own_key && entry.upstream.credential.is_none()
    }

    /// The same question for the rest of an answer of which `text` was delivered.
    pub(in crate::relay) fn continued(&self, text: Arc<str>) -> Self {
        let mut continued = self.clone();
        continued.begun = Some(text);
        // It stands for the body as it came: another one under it would be refused, or answered with the first.
        continued.headers.remove(IDEMPOTENCY_KEY);
        continued
    }

    /// The request's head for entry `index`. For the last entry the headers are given away.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when the upstream's credential cannot be put in.
    pub(super) fn outgoing(&mut self, index: usize, last: bool) -> Result<Outgoing, Refusal> {
        let fields = match last {
            true => (
                std::mem::take(&mut self.headers),
                std::mem::take(&mut self.added),
            ),
            false => (self.headers.clone(), self.added.clone()),
        };
        let entry = &self.route.chain[index];
        let outgoing = Outgoing::new(&self.method, &self.uri, fields, &self.route.config, entry)
            .map_err(|error| Refusal::credential(&error, &entry.upstream.name))?;
        let outgoing = match self.plain {
            true => outgoing.uncompressed(),
            false => outgoing,
        };
        Ok(outgoing.for_hop(&self.hop))
    }

    /// The body for `entry`, where it is held: as it came, or with the model's name replaced, or with the beginning
    /// of the answer put in.
    pub(super) fn body_for(&self, entry: &Entry) -> Option<Bytes> {
        let body = self.body.as_ref()?;
        let model = self.facts.as_ref().and_then(|facts| facts.model.as_ref());
        let named = match (model, &entry.model) {
            (Some(model), Some(name)) => rename_model(body, model, name),
            _ => body.clone(),
        };
        let how = entry.upstream.prefill;
        let begun = self.begun.as_ref().filter(|_| how != Prefill::No);
        let prefilled = begun.and_then(|text| prefilled(self.dialect, &named, text, how));
        Some(prefilled.unwrap_or(named))
    }

    /// The request's id, as it goes out.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref()?.to_str().ok()
    }

    /// The span of one attempt, for whoever follows a request by its ids.
    pub(super) fn span(&self, entry: &Entry, endpoint: &Endpoint) -> tracing::Span {
        tracing::debug_span!(
            target: "deltaway::attempt",
            "attempt",
            request_id = self.request_id(),
            upstream = &*entry.upstream.name,
            endpoint = &*endpoint.name,
            status = tracing::field::Empty,
            trouble = tracing::field::Empty,
        )
    }

    /// What decides which endpoint of `entry` is asked, where that goes by the request.
    pub(super) fn key(&self, entry: &Entry) -> Option<u64> {
        let Balance::Hash(by) = &entry.upstream.balance else {
            return None;
        };
        let named = match by {
            HashBy::Caller => None,
            HashBy::Header(name) => field(&self.added, &self.headers, name),
        };
        named
            .map(HeaderValue::as_bytes)
            .map(hash_of)
            .or(self.caller)
    }
}

/// The value of a field, ours or the caller's.
fn field<'f>(
    added: &'f Added,
    headers: &'f HeaderMap,
    name: &HeaderName,
) -> Option<&'f HeaderValue> {
    added.get(name).or_else(|| headers.get(name))
}

/// The caller's key or token, or the address it is known by.
fn caller_of(order: &Order) -> Option<u64> {
    let headers = &order.parts.headers;
    if let Some(identity) = auth::identity(order.principal.as_ref(), headers) {
        return Some(hash_of(identity.as_ref()));
    }
    let first = field(&order.added, headers, &FORWARDED_FOR)?
        .to_str()
        .ok()?
        .split(',')
        .next();
    let address: IpAddr = first?.trim().parse().ok()?;
    Some(hash_of(address.to_string().as_bytes()))
}

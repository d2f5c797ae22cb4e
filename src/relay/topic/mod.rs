//! Topics: a `POST` publishes, a `GET` subscribes.

mod publication;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::body::Body;
use super::context::Context;
use super::fingerprint;
use super::head::finish;
use super::order::Order;
use super::record::{Outcome, Record};
use super::refusal::Refusal;
use super::streams::Here;
use super::upload::collect;
use super::watch::{self as delivering, Offer, Reading};
use crate::config::{Route, Topic, TopicPattern, TopicPiece, TopicSource, TopicTemplate};
use crate::dialect::Ending;
use crate::edge::auth::{self, Principal};
use crate::edge::rights;
use crate::hub::Producer;
use crate::router::{parameters, query_values};
use crate::sse::EventId;
use publication::Publication;

/// Names a publication that is sent again.
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Most topics and patterns of one subscription.
const MOST_TOPICS: usize = 64;

/// Publishes or subscribes, as the method says.
///
/// # Errors
///
/// A [`Refusal`], or `None` when the client has left meanwhile.
pub(super) async fn serve(
    mut order: Box<Order>,
    here: &Here,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    if let Some(record) = record {
        record.enter(&order.route, 0);
    }
    let route = order.route.config.clone();
    match order.parts.method {
        Method::POST if route.publish.is_some() => publish(order, here, record).await,
        Method::GET | Method::HEAD if !route.subscribe.is_empty() => {
            let topics =
                subscribed(&route, &order.parts, order.principal.as_ref()).map_err(Some)?;
            let reading = Reading::of(&order.parts).map_err(Some)?;
            let expires = order.principal.as_ref().and_then(Principal::expires_at);
            let context = Context::of(&mut order);
            let subscribed =
                here.streams
                    .hub
                    .topics()
                    .subscribe(here.worker, &topics, &reading.from);
            let subscription = subscribed.map_err(|full| Some(Refusal::full(&full)))?;
            let offer = Offer::subscription(&context, here, expires);
            delivering::deliver(context, subscription, reading, offer, record).await
        }
        _ => Err(Some(wrong_method(&route, &order.parts.method))),
    }
}

fn wrong_method(route: &Route, method: &Method) -> Refusal {
    let allowed = match (route.publish.is_some(), route.subscribe.is_empty()) {
        (true, true) => "POST",
        (true, false) => "GET, HEAD, POST",
        (false, _) => "GET, HEAD",
    };
    let message = format!("{method} is not served here; {allowed} is");
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        message,
    )
    .with(http::header::ALLOW, HeaderValue::from_static(allowed))
}

async fn publish(
    mut order: Box<Order>,
    here: &Here,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let route = order.route.config.clone();
    let topic = published(&route, &order.parts, order.principal.as_ref()).map_err(Some)?;
    let hub = &here.streams.hub;
    let body = match order.kept.take() {
        Some(body) => body,
        None => {
            let socket = record.as_ref().ok_or(None)?.socket().clone();
            let collected = collect(&mut order.body, route.max_body).await;
            match collected {
                Ok(body) => body,
                Err(_) if socket.is_hung_up() => return Err(None),
                Err(fault) => return Err(Some(Refusal::upload(&fault))),
            }
        }
    };
    let events = publication::read(&Publication {
        headers: &order.parts.headers,
        query: order.parts.uri.query(),
        body: &body,
        most: hub.largest_event(),
    })
    .map_err(Some)?;
    let key = order.parts.headers.get(IDEMPOTENCY_KEY).map(|key| {
        let owner = auth::identity(order.principal.as_ref(), &order.parts.headers);
        let place = format!("{}\n{topic}", route.name);
        Producer {
            key: fingerprint::named(&place, owner.as_ref(), key.as_bytes()),
            content: fingerprint::published(&events),
        }
    });
    let count = events.len() as u64;
    let ids = hub
        .topics()
        .publish(&topic, events, key)
        .await
        .map_err(|fault| Some(Refusal::unpublished(&fault)))?;
    let context = Context::of(&mut order);
    if let Some(record) = record {
        record.set_events(count);
    }
    answer_ids(&context, &ids, record)
}

fn answer_ids(
    context: &Context,
    ids: &[EventId],
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Option<Refusal>> {
    let mut record = record.take().ok_or(None)?;
    record.status = Some(StatusCode::OK);
    record.outcome = Outcome::Ended(Ending::Complete);
    let ids: Vec<String> = ids.iter().map(EventId::to_string).collect();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    finish(&mut headers, context, &record);
    let body = json!({ "ids": ids }).to_string();
    let mut response = Response::new(Body::whole(body.into(), record));
    *response.headers_mut() = headers;
    Ok(response)
}

/// The topic that is published to.
fn published(
    route: &Route,
    parts: &Parts,
    principal: Option<&Principal>,
) -> Result<Topic, Refusal> {
    let template = route.publish.as_ref().ok_or_else(Refusal::internal)?;
    let names = render(template, route, parts, principal)?;
    let [name] = names.as_slice() else {
        return Err(bad_topic("names more than one topic", &names.join(", ")));
    };
    let topic = Topic::new(name).map_err(|bad| bad_topic(&bad.to_string(), name))?;
    if !rights::may_publish(principal, &topic) {
        return Err(forbidden(&format!("may not publish to `{topic}`")));
    }
    Ok(topic)
}

/// The topics and patterns that are subscribed to.
fn subscribed(
    route: &Route,
    parts: &Parts,
    principal: Option<&Principal>,
) -> Result<Vec<TopicPattern>, Refusal> {
    let mut patterns = Vec::new();
    for template in &route.subscribe {
        for name in render(template, route, parts, principal)? {
            let pattern =
                TopicPattern::new(&name).map_err(|bad| bad_topic(&bad.to_string(), &name))?;
            if !rights::may_subscribe(principal, &pattern) {
                return Err(forbidden(&format!("may not subscribe to `{pattern}`")));
            }
            patterns.push(pattern);
        }
    }
    if patterns.len() > MOST_TOPICS {
        return Err(bad_topic(
            &format!("names more than {MOST_TOPICS} topics"),
            "the request",
        ));
    }
    Ok(patterns)
}

/// The names that a template makes of a request: one, or one for each value of a repeated query parameter.
fn render(
    template: &TopicTemplate,
    route: &Route,
    parts: &Parts,
    principal: Option<&Principal>,
) -> Result<Vec<String>, Refusal> {
    let mut names = vec![String::new()];
    for piece in &template.pieces {
        let (source, rest) = match piece {
            TopicPiece::Literal(text) => {
                names.iter_mut().for_each(|name| name.push_str(text));
                continue;
            }
            TopicPiece::Taken { source, rest } => (source, *rest),
        };
        let values = taken(source, route, parts, principal)?;
        // A token says who its holder is, and never asks for a pattern: a `*` there would be everybody.
        let patterns = route.patterns && !matches!(source, TopicSource::Claim(_));
        for value in &values {
            check_taken(value, rest, patterns)?;
        }
        names = names
            .iter()
            .flat_map(|name| values.iter().map(move |value| format!("{name}{value}")))
            .take(MOST_TOPICS + 1)
            .collect();
    }
    Ok(names)
}

/// What a request says for one piece of a name.
fn taken(
    source: &TopicSource,
    route: &Route,
    parts: &Parts,
    principal: Option<&Principal>,
) -> Result<Vec<String>, Refusal> {
    match source {
        TopicSource::Path(name) => {
            let found = parameters(&route.matches.path, parts.uri.path());
            let found = found.map_err(|bad| bad_topic(&bad.to_string(), parts.uri.path()))?;
            found
                .get(name)
                .map(|value| vec![value.to_owned()])
                .ok_or_else(Refusal::internal)
        }
        TopicSource::Query(name) => {
            let values = query_values(parts.uri.query(), name);
            if values.is_empty() {
                let message =
                    format!("the query parameter `{name}` is missing: it names the topic");
                return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_topic", message));
            }
            Ok(values)
        }
        TopicSource::Claim(name) => {
            let claim = principal.and_then(|principal| principal.claim(name));
            claim.map(|claim| vec![claim]).ok_or_else(|| {
                forbidden(&format!(
                    "shows no token with the claim `{name}`, which names the topic here"
                ))
            })
        }
    }
}

/// What comes from outside must not reach beyond its place: no slash where one segment is meant, and no wildcard
/// unless the route offers patterns.
fn check_taken(value: &str, rest: bool, patterns: bool) -> Result<(), Refusal> {
    if value.contains('/') && !rest {
        return Err(bad_topic("holds a slash where one segment is meant", value));
    }
    if value.contains('*') && !patterns {
        return Err(bad_topic(
            "holds a `*`, and this route takes no patterns",
            value,
        ));
    }
    Ok(())
}

fn bad_topic(what: &str, name: &str) -> Refusal {
    let shown: String = name
        .chars()
        .take(128)
        .flat_map(char::escape_default)
        .collect();
    let message = format!("the topic `{shown}` {what}");
    Refusal::new(StatusCode::BAD_REQUEST, "bad_topic", message)
}

fn forbidden(what: &str) -> Refusal {
    let challenge =
        HeaderValue::from_static(r#"Bearer realm="deltaway", error="insufficient_scope""#);
    Refusal::new(
        StatusCode::FORBIDDEN,
        "not_allowed",
        format!("the caller {what}"),
    )
    .with(WWW_AUTHENTICATE, challenge)
}

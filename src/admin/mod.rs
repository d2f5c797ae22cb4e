//! The listener for operators: whether the process lives, whether it takes requests, its metrics, and how its upstreams
//! stand.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::upstream::{Group, UpstreamReport};

/// How long a request's head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last: one that is not read would keep its place for ever.
const LONGEST: Duration = Duration::from_secs(60);
/// Connections at once; an operator needs few.
const MOST_CONNECTIONS: usize = 256;

/// What operators can ask about.
#[derive(Debug)]
pub struct Admin {
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Whether requests are taken; false from the first moment of a drain.
    pub ready: Arc<AtomicBool>,
    /// Every upstream.
    pub groups: Vec<Arc<Group>>,
}

/// Serves operators on `listener` until it is dropped.
///
/// # Errors
///
/// When the listener cannot be used with this runtime.
pub async fn serve(listener: TcpListener, admin: Arc<Admin>) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => {
                let Ok((tcp, _)) = accepted else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let admin = admin.clone();
                let answer = service_fn(move |request| {
                    let response = admin.answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(tcp), answer);
                connections.spawn(tokio::time::timeout(LONGEST, connection));
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
        }
    }
}

impl Admin {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" if self.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            "/metrics" => self.exposition(),
            "/upstreams" => self.upstreams(),
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /livez, /readyz, /metrics and /upstreams\n",
            ),
        }
    }

    fn exposition(&self) -> Response<Full<Bytes>> {
        let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        for group in &self.groups {
            group.measure();
        }
        typed(format, self.metrics.exposition())
    }

    fn upstreams(&self) -> Response<Full<Bytes>> {
        let now = Instant::now();
        let upstreams = self.groups.iter().map(|group| group.report(now)).collect();
        match serde_json::to_string_pretty(&Upstreams { upstreams }) {
            Ok(json) => {
                let mut response = typed("application/json", json + "\n");
                let headers = response.headers_mut();
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
            Err(error) => {
                tracing::error!(%error, "upstreams could not be written as JSON");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "a fault of the gateway\n",
                )
            }
        }
    }
}

/// The answer to `/upstreams`.
#[derive(Debug, Serialize)]
struct Upstreams {
    upstreams: Vec<UpstreamReport>,
}

fn typed(content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

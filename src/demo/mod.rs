//! The demo backend: a small server inside the process, so that a newcomer sees tokens arrive with
//! no key and no other program.
//!
//! It is a real HTTP server on a real socket and the gateway reaches it like any other backend:
//! what the demo shows is the relay's own way and no short cut past it. It reads no configuration
//! and shares no state with the gateway.
//!
//! | request | answer |
//! |---|---|
//! | `POST /v1/chat/completions` | an OpenAI-style completion, streamed word by word if asked (`chat.rs`) |
//! | `GET /v1/models` | the one model there is |
//! | `GET /events` | a reading a second for an `EventSource`, resumable (`readings.rs`) |
//! | `GET /` | a page that shows both live, and measures them (`page.rs`) |
//!
//! The query parameter `pace` sets how many tokens or readings leave in a second; `/events` takes
//! `count` as well, after which its stream ends.

mod answer;
mod chat;
mod paced;
mod page;
mod readings;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use answer::{Answer, Refusal};

/// How long to wait before accepting again when the process is out of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the demo backend on `listener` until the future is dropped.
///
/// Every connection is a task owned by this future: dropping it ends them all. A failed `accept`
/// is logged and tried again, so that a shortage of file descriptors does not end the demo.
pub async fn serve(listener: TcpListener) -> Infallible {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream));
                }
                Err(error) => {
                    tracing::warn!(%error, "the demo backend could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(ended) = connections.join_next() => if let Err(error) = ended {
                tracing::error!(%error, "a connection of the demo backend failed");
            },
        }
    }
}

/// One connection, to its end. That a peer left early is its own affair and worth no warning.
async fn connection(stream: TcpStream) {
    // Without it the kernel holds small writes back, and tokens would arrive in pairs.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the demo backend could not set TCP_NODELAY");
    }
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // This clock would also close connections that rest in the gateway's pool.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service_fn(respond))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the demo backend ended early");
    }
}

/// One request to its answer; a refusal becomes its answer here and nowhere else.
async fn respond(request: Request<Incoming>) -> Result<Answer, Infallible> {
    Ok(dispatch(request).await.unwrap_or_else(Refusal::into_answer))
}

async fn dispatch(request: Request<Incoming>) -> Result<Answer, Refusal> {
    let allowed = match request.uri().path() {
        "/v1/chat/completions" => "POST",
        "/v1/models" | "/events" | "/" => "GET, HEAD",
        path => return Err(Refusal::NoSuchPath(path.to_owned())),
    };
    let fits = match *request.method() {
        Method::POST => allowed == "POST",
        Method::GET | Method::HEAD => allowed != "POST",
        _ => false,
    };
    if !fits {
        return Err(Refusal::Method { allowed });
    }
    match request.uri().path() {
        "/v1/chat/completions" => chat::complete(request).await,
        "/v1/models" => Ok(chat::models()),
        "/events" => readings::stream(request.uri(), request.headers()),
        _ => Ok(page::answer()),
    }
}

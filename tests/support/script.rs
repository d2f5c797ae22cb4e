//! Backends that answer by a script, and the configuration of chains of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::backend::{Backend, Request};
use super::limit::until;
use super::wire;

/// What a backend does with one request.
#[derive(Debug, Clone)]
pub enum Line {
    /// Sends this; the connection stays.
    Say(Vec<u8>),
    /// Sends this and closes.
    Close(Vec<u8>),
    /// Sends this, then nothing more until the gateway leaves.
    Hold(Vec<u8>),
}

/// A backend that says one line for each request, and the last one for all that follow.
pub struct Script {
    /// The backend.
    pub backend: Backend,
    times: Arc<Mutex<Vec<Instant>>>,
    left: Arc<AtomicUsize>,
}

impl Script {
    /// Listens.
    pub async fn of(lines: impl Into<Vec<Line>>) -> Self {
        let lines: Arc<Vec<Line>> = Arc::new(lines.into());
        let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let left: Arc<AtomicUsize> = Arc::default();
        let (log, leaving) = (times.clone(), left.clone());
        let backend = Backend::playing(move |mut peer| {
            let (lines, log, leaving) = (lines.clone(), log.clone(), leaving.clone());
            async move {
                while peer.request().await.is_some() {
                    let number = {
                        let mut log = log.lock().unwrap();
                        log.push(Instant::now());
                        log.len() - 1
                    };
                    match &lines[number.min(lines.len() - 1)] {
                        Line::Say(bytes) => drop(peer.send(bytes).await),
                        Line::Close(bytes) => {
                            peer.send(bytes).await;
                            return peer.close();
                        }
                        Line::Hold(bytes) => {
                            peer.send(bytes).await;
                            peer.left().await;
                            leaving.fetch_add(1, Ordering::SeqCst);
                            return;
                        }
                    }
                }
            }
        })
        .await;
        Self {
            backend,
            times,
            left,
        }
    }

    /// Says this to every request.
    pub async fn saying(bytes: Vec<u8>) -> Self {
        Self::of([Line::Say(bytes)]).await
    }

    /// Answers every request with an error of this status, in JSON.
    pub async fn failing(status: u16) -> Self {
        Self::saying(error(status, "it does not go", &[])).await
    }

    /// How many requests came.
    pub fn count(&self) -> usize {
        self.backend.requests().len()
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        self.backend.requests()
    }

    /// The request bodies so far, as text.
    pub fn bodies(&self) -> Vec<String> {
        let text = |request: Request| String::from_utf8_lossy(&request.body).into_owned();
        self.requests().into_iter().map(text).collect()
    }

    /// The time between the requests `index` and the one after it.
    pub fn gap(&self, index: usize) -> Duration {
        let times = self.times.lock().unwrap();
        times[index + 1] - times[index]
    }

    /// Waits until the gateway has left so many answers that are held.
    pub async fn is_left(&self, count: usize) {
        until("the gateway to leave a held answer", || {
            (self.left.load(Ordering::SeqCst) >= count).then_some(())
        })
        .await;
    }
}

/// An error as model APIs tell it, with further field lines.
pub fn error(status: u16, message: &str, fields: &[&str]) -> Vec<u8> {
    coded(status, message, "", fields)
}

/// The same with a code.
pub fn coded(status: u16, message: &str, code: &str, fields: &[&str]) -> Vec<u8> {
    let body = format!("{{\"error\":{{\"message\":\"{message}\",\"code\":\"{code}\"}}}}");
    let length = format!("Content-Length: {}", body.len());
    let mut all = vec!["Content-Type: application/json", length.as_str()];
    all.extend_from_slice(fields);
    let mut out = wire::head(&format!("HTTP/1.1 {status} Said"), &all);
    out.extend_from_slice(body.as_bytes());
    out
}

/// One event of an OpenAI chat with this text, by `id` and `model`.
pub fn text_of(id: &str, model: &str, text: &str) -> String {
    let content = serde_json::Value::from(text);
    format!(
        "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{model}\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"content\":{content}}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// The event that begins an OpenAI chat: the role, and no content.
pub fn role_of(id: &str, model: &str) -> String {
    format!(
        "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{model}\",\
         \"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\"finish_reason\":null}}]}}\n\n"
    )
}

/// The end of an OpenAI chat: its finish reason and the marker.
pub fn stop_of(id: &str, model: &str) -> String {
    format!(
        "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"{model}\",\
         \"choices\":[{{\"index\":0,\"delta\":{{}},\"finish_reason\":\"stop\"}}]}}\n\ndata: [DONE]\n\n"
    )
}

/// The events of a whole OpenAI chat that says `texts`.
pub fn chat_of(id: &str, texts: &[&str]) -> String {
    let said: String = texts.iter().map(|text| text_of(id, "m", text)).collect();
    role_of(id, "m") + &said + &stop_of(id, "m")
}

/// An event stream of these events, ended as its framing wants.
pub fn stream(events: &str) -> Vec<u8> {
    [begun(events), wire::LAST.to_vec()].concat()
}

/// An event stream that has begun with these events; its connection is not used again.
pub fn begun(events: &str) -> Vec<u8> {
    let head = wire::head(
        "HTTP/1.1 200 OK",
        &[
            "Content-Type: text/event-stream",
            "Connection: close",
            "Transfer-Encoding: chunked",
        ],
    );
    match events.is_empty() {
        true => head,
        false => [head, wire::chunk(events)].concat(),
    }
}

/// What the chat in this body of an event stream says, and whether it ended with its marker. Fails on an event
/// that is no JSON.
#[track_caller]
pub fn told(body: &[u8]) -> (String, bool) {
    let mut text = String::new();
    let mut done = false;
    for line in String::from_utf8_lossy(body).lines() {
        let Some(data) = line.strip_prefix("data:") else {
            continue;
        };
        let data = data.trim();
        assert!(!done, "behind the marker: {data}");
        if data == "[DONE]" {
            done = true;
            continue;
        }
        let event: serde_json::Value =
            serde_json::from_str(data).unwrap_or_else(|error| panic!("{error} in {data}"));
        if let Some(said) = event["choices"][0]["delta"]["content"].as_str() {
            text.push_str(said);
        }
    }
    (text, done)
}

/// The errors in this body of an event stream: the data of each event that tells one.
pub fn errors(body: &[u8]) -> Vec<String> {
    let body = String::from_utf8_lossy(body);
    let data = body.lines().filter_map(|line| line.strip_prefix("data: "));
    let is_error = |data: &&str| {
        serde_json::from_str::<serde_json::Value>(data)
            .is_ok_and(|event| event["error"].is_object())
    };
    data.filter(is_error).map(str::to_owned).collect()
}

/// The names of a chain's entries.
const NAMES: [&str; 4] = ["first", "second", "third", "fourth"];

/// The configuration of one route to these upstreams in order, each its endpoints' URLs and further keys. `route` adds
/// keys to the route, and may have its own `to`.
pub fn chain(upstreams: &[(&[String], &str)], route: &str) -> String {
    let mut out =
        String::from("[server]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    for ((endpoints, keys), name) in upstreams.iter().zip(NAMES) {
        out.push_str(&format!(
            "[upstreams.{name}]\nendpoints = {endpoints:?}\n{keys}\n"
        ));
    }
    out.push_str("[routes.all]\npath = \"/*\"\n");
    if !route.lines().any(|line| line.starts_with("to =")) {
        let names = &NAMES[..upstreams.len()];
        out.push_str(&format!("to = {names:?}\n"));
    }
    out + route + "\n"
}

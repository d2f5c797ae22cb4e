//! Three backends that play what was drawn, and what they saw of the gateway.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::draw::{BACKENDS, Case, Fault, How};
use crate::support::backend::Request;
use crate::support::{Backend, Peer, wire};

/// Events that are written at once.
const AT_ONCE: usize = 5;
/// From one event to the next of an answer that does not end.
const BETWEEN: Duration = Duration::from_millis(20);
/// How long the gateway may take to leave.
const LONGEST: Duration = Duration::from_secs(15);
/// What a backend that refuses a beginning says.
pub const NO_BEGINNINGS: &str = "the last message must not be the assistant's";
/// An event that is no JSON.
pub const GARBAGE: &str = "{\"choices\":[{\"delta\":{\"cont";

/// What the backends saw.
#[derive(Default)]
pub struct Seen {
    /// How often each backend was asked for each request.
    asked: HashMap<usize, [usize; BACKENDS]>,
    /// When the last of those was.
    last: HashMap<usize, Instant>,
    /// Requests that a backend is busy with.
    open: HashMap<usize, usize>,
    /// What must not be.
    pub wrong: Vec<String>,
}

/// What the backends saw, shared among them.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Seen>>);

impl Log {
    /// Looks at it, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    /// Requests that backends are busy with.
    pub fn open(&self) -> Vec<usize> {
        self.with(|seen| seen.open.keys().copied().collect())
    }

    /// Whether a backend is busy with request `id`.
    pub fn is_open(&self, id: usize) -> bool {
        self.with(|seen| seen.open.contains_key(&id))
    }

    /// How often each backend was asked for request `id`.
    pub fn asked(&self, id: usize) -> [usize; BACKENDS] {
        self.with(|seen| seen.asked.get(&id).copied().unwrap_or_default())
    }

    /// When a backend was last asked for request `id`.
    pub fn last(&self, id: usize) -> Option<Instant> {
        self.with(|seen| seen.last.get(&id).copied())
    }

    fn wrong(&self, what: String) {
        self.with(|seen| seen.wrong.push(what));
    }

    fn begin(&self, id: usize, backend: usize) -> (usize, Busy) {
        let asked = self.with(|seen| {
            *seen.open.entry(id).or_default() += 1;
            seen.last.insert(id, Instant::now());
            let count = &mut seen.asked.entry(id).or_default()[backend];
            *count += 1;
            *count - 1
        });
        let log = self.clone();
        (asked, Busy { id, log })
    }
}

/// A backend is busy with a request.
struct Busy {
    id: usize,
    log: Log,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.log.with(|seen| {
            let count = seen.open.get_mut(&self.id).unwrap();
            *count -= 1;
            if *count == 0 {
                seen.open.remove(&self.id);
            }
        });
    }
}

/// One backend, which plays its part of each case.
pub async fn backend(seed: u64, number: usize, log: Log) -> Backend {
    Backend::playing(move |mut peer| {
        let log = log.clone();
        async move {
            while let Some(request) = peer.request().await {
                let id: usize = request.head.get("x-case").unwrap().parse().unwrap();
                let (asked, busy) = log.begin(id, number);
                let play = Play {
                    case: Case::draw(seed, id),
                    number,
                    peer,
                    log: log.clone(),
                };
                let stays = play.out(asked, &request).await;
                drop(busy);
                match stays {
                    Some(stays) => peer = stays,
                    None => return,
                }
            }
        }
    })
    .await
}

/// One request at one backend.
struct Play {
    case: Case,
    number: usize,
    peer: Peer,
    log: Log,
}

impl Play {
    /// Plays it; gives the connection back where it can be used again.
    async fn out(mut self, asked: usize, request: &Request) -> Option<Peer> {
        let part = self.case.parts[self.number];
        let begun = beginning(request);
        if begun.is_some() && part.refuses_beginnings {
            return self
                .refuse(400, NO_BEGINNINGS, "invalid_request_error")
                .await;
        }
        match part.fault(asked) {
            Fault::RateLimited(field) => self.limited(field).await,
            Fault::Failed => self.refuse(500, "broken", "server_error").await,
            Fault::Overloaded => self.refuse(503, "busy", "server_error").await,
            Fault::ContextLength => {
                let code = "context_length_exceeded";
                self.refuse(400, "the prompt is too long", code).await
            }
            Fault::ContentFilter => self.refuse(400, "held back", "content_filter").await,
            Fault::Reset => {
                self.peer.reset();
                None
            }
            Fault::Silent => self.wait().await,
            Fault::HeadOnly => {
                self.peer.send(self.head()).await;
                self.wait().await
            }
            fault => self.stream(fault, begun).await,
        }
    }

    async fn refuse(mut self, status: u16, message: &str, code: &str) -> Option<Peer> {
        let body = format!("{{\"error\":{{\"message\":\"{message}\",\"code\":\"{code}\"}}}}");
        let sent = self.peer.send(wire::json(status, &body)).await;
        sent.then_some(self.peer)
    }

    async fn limited(mut self, field: Option<&str>) -> Option<Peer> {
        let body = "{\"error\":{\"message\":\"slower\",\"code\":\"rate_limit_exceeded\"}}";
        let length = format!("Content-Length: {}", body.len());
        let mut fields = vec!["Content-Type: application/json", &length];
        fields.extend(field);
        let mut bytes = wire::head("HTTP/1.1 429 Slower", &fields);
        bytes.extend_from_slice(body.as_bytes());
        self.peer.send(bytes).await.then_some(self.peer)
    }

    /// Says nothing more, until the gateway leaves.
    async fn wait(mut self) -> Option<Peer> {
        if timeout(LONGEST, self.peer.left()).await.is_err() {
            let (id, number) = (self.case.id, self.number);
            self.log
                .wrong(format!("request {id}: backend {number} was never left"));
        }
        None
    }

    /// Goes on for ever, until the gateway leaves: its caller has left or will.
    async fn work_on(mut self) -> Option<Peer> {
        let begun = Instant::now();
        while begun.elapsed() < LONGEST {
            // No text: should this machine be too slow for the clocks, another backend would be given it.
            if !self.say(": more\n\n").await {
                return None;
            }
            if timeout(BETWEEN, self.peer.left()).await.is_ok() {
                return None;
            }
        }
        let (id, number) = (self.case.id, self.number);
        self.log.wrong(format!(
            "request {id}: backend {number} worked on for nobody"
        ));
        None
    }

    async fn stream(mut self, fault: Fault, begun: Option<String>) -> Option<Peer> {
        let Some(tokens) = self.tokens(begun.as_deref()) else {
            let id = self.case.id;
            self.log.wrong(format!(
                "request {id}: a beginning that is not its own: {begun:?}"
            ));
            return self.refuse(400, "foreign", "foreign").await;
        };
        let writer = Writer::new(&self.case, self.number);
        let most = match fault {
            Fault::Cut(at, _) | Fault::Stall(at) | Fault::Reports(at) => at.min(tokens.len()),
            _ => tokens.len(),
        };
        let mut events = vec![writer.role()];
        for (index, token) in tokens[..most].iter().enumerate() {
            if fault == Fault::Garbage(index) {
                events.push(format!("data: {GARBAGE}\n\n"));
            }
            events.push(writer.token(token));
        }
        if !self.peer.send(self.head()).await {
            return None;
        }
        for some in events.chunks(AT_ONCE) {
            if !self.say(&some.concat()).await {
                return None;
            }
            if !self.case.pause.is_zero() {
                sleep(self.case.pause).await;
            }
        }
        self.end(fault).await
    }

    fn is_unframed(&self) -> bool {
        self.case.parts[self.number].unframed
    }

    fn head(&self) -> Vec<u8> {
        match self.is_unframed() {
            true => wire::head("HTTP/1.1 200 OK", &["Content-Type: text/event-stream"]),
            false => wire::event_stream(),
        }
    }

    async fn say(&mut self, text: &str) -> bool {
        match self.is_unframed() {
            true => self.peer.send(text).await,
            false => self.peer.send(wire::chunk(text)).await,
        }
    }

    async fn end(mut self, fault: Fault) -> Option<Peer> {
        let writer = Writer::new(&self.case, self.number);
        let mut half = writer.token(" never");
        half.truncate(half.len() / 2);
        match fault {
            Fault::Stall(_) => return self.wait().await,
            Fault::Cut(_, How::Closed) => return None,
            Fault::Cut(_, How::Within) => {
                self.say(&half).await;
                return None;
            }
            Fault::Cut(_, How::Reset) => {
                self.peer.reset();
                return None;
            }
            Fault::Cut(_, How::Framed) => {}
            Fault::Cut(_, How::Half) => {
                self.say(&half).await;
            }
            Fault::Reports(_) => {
                let error = "data: {\"error\":{\"message\":\"broken\",\"code\":500}}\n\n";
                self.say(error).await;
            }
            _ if self.case.leaves.is_some() => return self.work_on().await,
            Fault::NoDone => {
                self.say(&writer.finish()).await;
            }
            fault => {
                self.say(&(writer.finish() + "data: [DONE]\n\n")).await;
                if fault == Fault::Lingers {
                    return self.wait().await;
                }
            }
        }
        if self.is_unframed() {
            return None;
        }
        self.peer.send(wire::LAST).await.then_some(self.peer)
    }

    /// The tokens behind `begun`, whose white space at the end may be missing; none where that is no text of the case.
    fn tokens(&self, begun: Option<&str>) -> Option<Vec<String>> {
        let own = self.case.parts[self.number].differs;
        let begun = begun.unwrap_or_default();
        [own, !own].into_iter().find_map(|differs| {
            let mut left = begun;
            let mut rest = Vec::new();
            for token in self.case.tokens(differs) {
                match left.strip_prefix(token.as_str()) {
                    Some(after) => left = after,
                    None => {
                        rest.push(token.strip_prefix(left)?.to_owned());
                        left = "";
                    }
                }
            }
            left.is_empty().then_some(rest)
        })
    }
}

/// The beginning of an answer that a request asks to go on from.
fn beginning(request: &Request) -> Option<String> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let last = body["messages"].as_array()?.last()?.clone();
    (last["role"] == "assistant").then(|| last["content"].as_str().unwrap().to_owned())
}

/// Writes a backend's events.
struct Writer {
    id: String,
}

impl Writer {
    fn new(case: &Case, number: usize) -> Self {
        let id = format!("{}-{number}", case.id);
        Self { id }
    }

    fn event(&self, delta: &str, finish: &str) -> String {
        let id = &self.id;
        format!(
            "data: {{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\
             \"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\"finish_reason\":{finish}}}]}}\n\n"
        )
    }

    fn role(&self) -> String {
        self.event("\"role\":\"assistant\",\"content\":\"\"", "null")
    }

    fn token(&self, token: &str) -> String {
        self.event(&format!("\"content\":\"{token}\""), "null")
    }

    fn finish(&self) -> String {
        self.event("", "\"stop\"")
    }
}

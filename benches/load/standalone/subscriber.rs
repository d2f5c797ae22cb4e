//! One subscriber of a feed or topic, over any of the transports.
//!
//! Invariant: whatever the transport, the same events with the same ids come out; one that is to
//! come back goes on after the last whole event it has, and nothing else.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::{FutureExt, StreamExt};
use serde::Deserialize;
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};

use super::account::{Account, Ended};
use super::address::Address;
use super::follower::Follower;
use super::kept::Cuts;
use super::streams::{READ_SIZE, exchange};
use crate::clock::{now_ns, sleep_until_ns};
use crate::event::{EventReader, Lines, Seen, classify, named};
use crate::wire::Body;

/// How events come to subscribers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Server-Sent Events.
    Sse,
    /// Text messages, a JSON object each.
    Websocket,
    /// Lines, a JSON object each.
    Ndjson,
    /// Requests that wait for events, one after the other.
    LongPoll,
}

/// One of many who subscribe to the same URL.
pub struct Subscriber {
    /// Where.
    pub address: Arc<Address>,
    /// How.
    pub transport: Transport,
    /// Checks what comes.
    pub follower: Follower,
    /// Where it cuts its own connections and comes back; others stay until somebody else ends it.
    pub cuts: Option<Cuts>,
    /// The id to come back with.
    last_id: String,
    has_begun: bool,
}

/// Why a connection is over.
enum Over {
    /// The client cut it.
    Own,
    /// The server ended it.
    Ended,
    /// Neither.
    Broken(Ended),
}

/// An event as a JSON object.
#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    data: Cow<'a, str>,
}

/// The answer to a poll.
#[derive(Deserialize)]
struct Polled<'a> {
    #[serde(borrow)]
    events: Vec<Object<'a>>,
    #[serde(borrow)]
    cursor: Cow<'a, str>,
    #[serde(default)]
    closed: bool,
}

impl Object<'_> {
    fn seen(&self) -> Seen {
        let name = self.event.as_ref().and_then(|name| named(name.as_bytes()));
        name.unwrap_or_else(|| classify(self.data.as_bytes()))
    }
}

/// Reads a JSON object that is one event, and keeps its id in `last_id`; what is none is a foreign event.
pub fn object(json: &[u8], last_id: &mut String) -> Seen {
    let Ok(object) = serde_json::from_slice::<Object<'_>>(json) else {
        return classify(json);
    };
    keep(&object.id, last_id);
    object.seen()
}

fn keep(id: &Option<Cow<'_, str>>, last_id: &mut String) {
    if let Some(id) = id {
        last_id.clear();
        last_id.push_str(id);
    }
}

/// The reader of a body, by what it holds.
enum Items {
    Events(EventReader),
    Objects(Lines),
}

impl Items {
    fn feed(&mut self, bytes: &[u8], last_id: &mut String, found: &mut impl FnMut(Seen)) {
        match self {
            Self::Events(reader) => {
                reader.feed(bytes, found);
                if let Ok(id) = std::str::from_utf8(reader.last_id())
                    && !id.is_empty()
                    && id != last_id
                {
                    id.clone_into(last_id);
                }
            }
            Self::Objects(lines) => lines.feed(bytes, &mut |line| {
                // An empty line keeps a silent connection alive.
                if !line.is_empty() {
                    found(object(line, last_id));
                }
            }),
        }
    }
}

/// A pause before coming back to a server that broke off.
const BREATH_NS: u64 = 100_000_000;
const POLL: &str = "Accept: application/json\r\n";

impl Subscriber {
    /// Has not connected yet.
    pub fn new(
        address: Arc<Address>,
        transport: Transport,
        follower: Follower,
        cuts: Option<Cuts>,
    ) -> Self {
        Self {
            address,
            transport,
            follower,
            cuts,
            last_id: String::new(),
            has_begun: false,
        }
    }

    /// Subscribes at `due` and receives until the server ends it; one that cuts comes back for ever.
    pub async fn receive(mut self, due: u64, account: Arc<Account>) {
        sleep_until_ns(due).await;
        loop {
            let budget = self.cuts.as_mut().map_or(u64::MAX, Cuts::next);
            let over = match self.transport {
                Transport::Sse | Transport::Ndjson => self.stream(budget, &account).await,
                Transport::LongPoll => self.long_poll(budget, &account).await,
                Transport::Websocket => self.websocket(budget, &account).await,
            };
            match (over, self.cuts.is_some()) {
                (Over::Own, _) => account.counts().own_cuts += 1,
                (Over::Ended, false) => {
                    self.follower.goes(false);
                    return account.ended(Ended::Whole);
                }
                (Over::Broken(ended), false) => {
                    self.follower.goes(true);
                    return account.ended(ended);
                }
                (Over::Ended, true) => sleep_until_ns(now_ns() + BREATH_NS).await,
                (Over::Broken(ended), true) => {
                    account.ended(ended);
                    sleep_until_ns(now_ns() + BREATH_NS).await;
                }
            }
            if self.has_begun {
                self.follower.comes_back(now_ns());
            }
        }
    }

    /// The header line that says where to go on.
    fn shown(&self) -> String {
        match self.last_id.as_str() {
            "" => String::new(),
            id => format!("Last-Event-ID: {id}\r\n"),
        }
    }

    fn begins(&mut self, account: &Account) {
        if !std::mem::replace(&mut self.has_begun, true) {
            account.counts().begun += 1;
        }
    }

    /// A client that has no id yet has nothing to come back with: it does not cut.
    fn cuts_now(&self, left: u64) -> bool {
        left == 0 && !self.last_id.is_empty()
    }

    async fn stream(&mut self, budget: u64, account: &Account) -> Over {
        let (accept, mut items) = match self.transport {
            Transport::Ndjson => ("application/x-ndjson", Items::Objects(Lines::default())),
            _ => ("text/event-stream", Items::Events(EventReader::default())),
        };
        let further = format!("Accept: {accept}\r\n{}", self.shown());
        let request = self.address.get(&self.address.path, &further);
        let (mut wire, head) = match exchange(&self.address, &request, None).await {
            Ok(answered) => answered,
            Err(ended) => return Over::Broken(ended),
        };
        if head.status == 204 {
            return Over::Ended;
        }
        if !(200..300).contains(&head.status) {
            return Over::Broken(Ended::Refused(head.status));
        }
        self.follower.same_clock |= head.boot.as_ref() == Some(&self.address.boot);
        self.begins(account);
        let mut body = Body::new(head.framing);
        let mut left = budget;
        while !self.cuts_now(left) {
            let mut is_new = true;
            let (follower, last_id) = (&mut self.follower, &mut self.last_id);
            let mut sink = |bytes: &[u8]| {
                if std::mem::take(&mut is_new) {
                    follower.arrives();
                }
                // Whoever has no id yet takes all, to get one.
                let most = match last_id.is_empty() {
                    true => bytes.len(),
                    false => usize::try_from(left).unwrap_or(usize::MAX),
                };
                let taken = &bytes[..bytes.len().min(most)];
                left = left.saturating_sub(bytes.len() as u64);
                items.feed(taken, last_id, &mut |seen| follower.saw(seen));
            };
            match wire.body(&mut body, &mut sink).await {
                Ok(true) => {}
                Ok(false) => return Over::Ended,
                Err(error) => return Over::Broken(Ended::Cut(error.to_string())),
            }
        }
        let is_reset = self.cuts.as_mut().is_some_and(Cuts::is_reset);
        wire.io.leave(is_reset);
        Over::Own
    }

    async fn long_poll(&mut self, budget: u64, account: &Account) -> Over {
        let mut left = budget;
        let mut kept = None;
        loop {
            // The first is answered at once, with the cursor from which nothing is missed.
            let path = match (self.has_begun, self.address.path.contains('?')) {
                (true, _) => self.address.path.clone(),
                (false, false) => format!("{}?transport=poll", self.address.path),
                (false, true) => format!("{}&transport=poll", self.address.path),
            };
            let request = self.address.get(&path, &format!("{POLL}{}", self.shown()));
            let (mut wire, head) = match exchange(&self.address, &request, kept.take()).await {
                Ok(answered) => answered,
                Err(ended) => return Over::Broken(ended),
            };
            let (mut body, mut json) = (Body::new(head.framing), Vec::new());
            loop {
                // A client that cuts here has lost the answer, and asks from its old cursor.
                if self.cuts_now(left) {
                    let is_reset = self.cuts.as_mut().is_some_and(Cuts::is_reset);
                    wire.io.leave(is_reset);
                    return Over::Own;
                }
                let mut sink = |bytes: &[u8]| {
                    left = left.saturating_sub(bytes.len() as u64);
                    json.extend_from_slice(bytes);
                };
                match wire.body(&mut body, &mut sink).await {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => return Over::Broken(Ended::Cut(error.to_string())),
                }
            }
            if !(200..300).contains(&head.status) {
                return Over::Broken(Ended::Refused(head.status));
            }
            let Ok(polled) = serde_json::from_slice::<Polled<'_>>(&json) else {
                let why = "a long poll's answer is no JSON with events and a cursor";
                return Over::Broken(Ended::Unfit(why.into()));
            };
            self.follower.arrives();
            for event in &polled.events {
                self.follower.saw(event.seen());
            }
            polled.cursor.as_ref().clone_into(&mut self.last_id);
            if polled.closed {
                return Over::Ended;
            }
            self.begins(account);
            kept = head.keep_alive.then_some(wire);
        }
    }

    async fn websocket(&mut self, budget: u64, account: &Account) -> Over {
        let unreached = |why: String| Over::Broken(Ended::Unreached(why));
        let request = match self.address.upgrade(&self.shown()) {
            Ok(request) => request,
            Err(error) => return unreached(error.to_string()),
        };
        let io = match self.address.open().await {
            Ok(io) => io,
            Err(error) => return unreached(error.to_string()),
        };
        let config = WebSocketConfig::default().read_buffer_size(READ_SIZE);
        let mut socket = match client_async_with_config(request, io, Some(config)).await {
            Ok((socket, _)) => socket,
            Err(WebSocketError::Http(answer)) => {
                return Over::Broken(Ended::Refused(answer.status().as_u16()));
            }
            Err(error) => return unreached(error.to_string()),
        };
        self.begins(account);
        let mut left = budget;
        while !self.cuts_now(left) {
            // What is there already came in the same read as what was taken before it.
            let message = match socket.next().now_or_never() {
                Some(message) => message,
                None => {
                    let message = socket.next().await;
                    self.follower.arrives();
                    message
                }
            };
            match message {
                Some(Ok(Message::Text(text))) => {
                    left = left.saturating_sub(text.len() as u64);
                    if self.cuts_now(left) {
                        // It was lost on its way.
                        break;
                    }
                    self.follower
                        .saw(object(text.as_bytes(), &mut self.last_id));
                }
                Some(Ok(Message::Close(_))) | None => return Over::Ended,
                Some(Ok(_)) => {}
                Some(Err(error)) => return Over::Broken(Ended::Cut(error.to_string())),
            }
        }
        let is_reset = self.cuts.as_mut().is_some_and(Cuts::is_reset);
        socket.into_inner().leave(is_reset);
        Over::Own
    }
}

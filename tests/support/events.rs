//! A reader of an event stream, by the rules of WHATWG HTML (§9.2.6), written down once more.
//!
//! Nothing here is the gateway's: a fault in its parser must not be shared by what checks it.

use super::client::{Ask, Client, Ended};
use super::gateway::Gateway;
use super::wire::Head;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// The id in its own lines, if it has one.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its data lines, joined.
    pub data: String,
    /// Its `retry`.
    pub retry: Option<u64>,
}

/// An open event stream.
pub struct Reader {
    client: Client,
    /// The head it began with.
    pub head: Head,
    /// What an `EventSource` would show when it comes back.
    pub last_id: String,
    /// Every byte of the body so far.
    pub raw: Vec<u8>,
    unread: usize,
}

impl Reader {
    /// Asks, and reads the head, which must be that of an event stream.
    #[track_caller]
    pub fn open(gateway: &Gateway, ask: &Ask) -> impl Future<Output = Self> {
        let place = std::panic::Location::caller();
        async move {
            let reader = Self::answered(gateway.asking(ask).await).await;
            let kind = reader.head.get("content-type").unwrap_or_default();
            assert!(
                reader.head.status() == 200 && kind.starts_with("text/event-stream"),
                "{place}: {:?}",
                reader.head
            );
            reader
        }
    }

    /// Reads the head on a connection that has asked already.
    pub async fn answered(mut client: Client) -> Self {
        let head = client.head().await;
        Self {
            client,
            head,
            last_id: String::new(),
            raw: Vec::new(),
            unread: 0,
        }
    }

    /// The next event with data; none when the stream has ended.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            while let Some(block) = self.block() {
                if let Some(event) = self.take(&block) {
                    return Some(event);
                }
            }
            let piece = self.client.piece().await?;
            self.raw.extend_from_slice(&piece.data);
        }
    }

    /// The next event, which there must be.
    #[track_caller]
    pub fn next(&mut self) -> impl Future<Output = Event> {
        let place = std::panic::Location::caller();
        async move {
            let event = self.event().await;
            event.unwrap_or_else(|| panic!("{place}: ended {:?}", self.client_ended()))
        }
    }

    /// The data of the next events, which must be these.
    #[track_caller]
    pub fn reads<'a>(&'a mut self, expected: &'a [&str]) -> impl Future<Output = ()> + 'a {
        let place = std::panic::Location::caller();
        async move {
            for (index, data) in expected.iter().enumerate() {
                let Some(event) = self.event().await else {
                    panic!("{place}: ended before {expected:?}[{index}]");
                };
                assert_eq!(&event.data, data, "{place}: {expected:?}[{index}]");
            }
        }
    }

    /// The rest of the events, and how the stream ended.
    pub async fn rest(&mut self) -> (Vec<Event>, Ended) {
        let mut events = Vec::new();
        while let Some(event) = self.event().await {
            events.push(event);
        }
        (events, self.client_ended())
    }

    /// Leaves.
    pub fn leave(self) {
        self.client.leave();
    }

    fn client_ended(&mut self) -> Ended {
        self.client.ended()
    }

    /// The next block: lines up to an empty one.
    fn block(&mut self) -> Option<String> {
        let unread = &self.raw[self.unread..];
        let mut at = 0;
        loop {
            let end = at + unread[at..].iter().position(|byte| *byte == b'\n')?;
            if end == at || &unread[at..end] == b"\r" {
                let block = String::from_utf8(unread[..at].to_vec()).expect("UTF-8");
                self.unread += end + 1;
                return Some(block);
            }
            at = end + 1;
        }
    }

    fn take(&mut self, block: &str) -> Option<Event> {
        let mut event = Event::default();
        let mut data = Vec::new();
        for line in block.lines() {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "id" => event.id = Some(value.to_owned()),
                "event" => event.name = Some(value.to_owned()),
                "data" => data.push(value),
                "retry" => event.retry = value.parse().ok(),
                _ => {}
            }
        }
        if let Some(id) = &event.id {
            self.last_id.clone_from(id);
        }
        event.data = data.join("\n");
        (!data.is_empty()).then_some(event)
    }
}

//! One client each: a stream followed to its end, a silent stream, answers in a row.
//!
//! Invariant: a client never decides the load by itself except in [`answers`], which is a closed
//! loop by name; streams begin when they are due, whether or not earlier ones were answered.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::clock::{begin_at, boot_id, now_ns};
use crate::error::{LoadError, Result, While};
use crate::event::EventReader;
use crate::plan::Plan;
use crate::tally::{Follower, Tally};
use crate::wire::{Body, Head, Wire};

/// Where the clients send their requests, and what is common to all of them.
#[derive(Debug)]
pub struct Target {
    /// `host:port`, to connect to.
    pub address: String,
    /// Path and query.
    pub path: String,
    /// Whole header lines beyond the usual, each ended by CRLF.
    pub headers: String,
    /// Whether it reads requests and writes them anew, as gateways for models do.
    rewrites: bool,
    /// This machine's boot id.
    boot: String,
}

impl Target {
    /// `POST /v1/chat/completions` at this address.
    pub fn chat(address: impl Into<String>) -> Self {
        Self::new(address.into(), "/v1/chat/completions".into(), String::new())
    }

    /// Any path, with extra headers.
    pub fn new(address: String, path: String, headers: String) -> Self {
        Self {
            address,
            path,
            headers,
            rewrites: false,
            boot: boot_id(),
        }
    }

    /// The same for a gateway for models on this machine, which passes on neither fields nor headers that it does not know.
    pub fn for_models(self, headers: String) -> Self {
        Self {
            headers,
            rewrites: true,
            ..self
        }
    }

    /// A whole request that orders this plan.
    pub fn order(&self, plan: &Plan) -> Vec<u8> {
        self.request(&if self.rewrites {
            plan.body_for_models()
        } else {
            plan.body()
        })
    }

    /// A whole request with this body.
    pub fn request(&self, body: &str) -> Vec<u8> {
        let Self {
            address,
            path,
            headers,
            ..
        } = self;
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    async fn connect(&self, read_size: usize) -> Result<Wire<TcpStream>> {
        let io = TcpStream::connect(&self.address)
            .await
            .while_doing("connecting")?;
        io.set_nodelay(true).while_doing("TCP_NODELAY")?;
        Ok(Wire::new(io, read_size))
    }
}

/// Sends a request and gives the head of its answer, which must be 200.
async fn exchange(wire: &mut Wire<TcpStream>, request: &[u8]) -> Result<Head> {
    wire.io
        .write_all(request)
        .await
        .while_doing("sending a request")?;
    let head = wire.answer().await?;
    if head.status != 200 {
        return Err(LoadError::Wire(format!("status {}", head.status)));
    }
    Ok(head)
}

/// Follows one stream from its request, due at `due` nanoseconds, to its end, which must come as framed.
pub async fn stream(
    target: Arc<Target>,
    request: Vec<u8>,
    planned: u64,
    due: u64,
    tally: &Tally,
) -> Result<()> {
    let due = begin_at(due).await;
    let mut wire = target.connect(4 * 1024).await?;
    let head = exchange(&mut wire, &request).await?;
    let same_clock = target.rewrites || head.boot.as_ref() == Some(&target.boot);
    let mut body = Body::new(head.framing);
    let mut reader = EventReader::default();
    let mut follower = Follower::new(tally, due, same_clock);
    while wire
        .body(&mut body, &mut |bytes| {
            reader.feed(bytes, &mut |seen| follower.saw(seen))
        })
        .await?
    {}
    follower.ended(planned);
    Ok(())
}

/// Opens a stream, takes its first event, then holds it open until `release` changes.
pub async fn hold(
    target: Arc<Target>,
    request: Vec<u8>,
    due: u64,
    mut release: watch::Receiver<bool>,
    tally: &Tally,
) -> Result<()> {
    let due = begin_at(due).await;
    let mut wire = target.connect(1024).await?;
    let head = exchange(&mut wire, &request).await?;
    let mut body = Body::new(head.framing);
    let mut reader = EventReader::default();
    let mut follower = Follower::new(tally, due, false);
    loop {
        let mut sink = |bytes: &[u8]| reader.feed(bytes, &mut |seen| follower.saw(seen));
        tokio::select! {
            biased;
            _ = release.changed() => break,
            more = wire.body(&mut body, &mut sink) => if !more? {
                return Err(LoadError::Wire("a stream that should stay open ended".into()));
            },
        }
    }
    if !follower.has_begun() {
        return Err(LoadError::Wire("released before its first event".into()));
    }
    Ok(())
}

/// Sends the request again as soon as its answer is there, on one connection while it stays open,
/// until the clock shows `until`; at least once.
pub async fn answers(
    target: Arc<Target>,
    request: Vec<u8>,
    read_size: usize,
    until: u64,
    tally: &Tally,
) -> Result<()> {
    let mut kept = None;
    let mut begun = now_ns();
    loop {
        let mut wire = match kept.take() {
            Some(wire) => wire,
            None => target.connect(read_size).await?,
        };
        let head = exchange(&mut wire, &request).await?;
        let mut body = Body::new(head.framing);
        let mut sink = |bytes: &[u8]| tally.counts().bytes += bytes.len() as u64;
        while wire.body(&mut body, &mut sink).await? {}
        let now = now_ns();
        let mut counts = tally.counts();
        counts.answers += 1;
        if counts.measuring {
            counts.answer_time.saturating_record(now - begun);
        }
        if now >= until {
            return Ok(());
        }
        begun = now;
        kept = head.keep_alive.then_some(wire);
    }
}

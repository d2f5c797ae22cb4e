//! The paced backend: answers what each request orders (see [`Plan`]), or fails as it was told to.
//!
//! Invariant: the pace is open-loop. An event is due at a time fixed when its stream began, and a
//! stream that was held back sends late events stamped with the time they were due, so that
//! waiting caused by the proxy counts as latency instead of lowering the load.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::clock::{boot_id, now_ns, sleep_until_ns};
use crate::error::{Result, While};
use crate::event::{CLOSING, EventChunk};
use crate::faults::{Fault, Faults, Strike, parse_duration};
use crate::plan::Plan;
use crate::process::raise_file_limit;
use crate::wire::{BOOT_HEADER, Body, Head, Wire};

/// `backend`: serve the paced backend alone.
#[derive(Debug, clap::Args)]
pub struct BackendArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Events per second of the feed, and of a stream that does not order its own pace.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Time between two events, in place of --rate: 20ms.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, conflicts_with = "rate")]
    gap: Option<Duration>,
    /// Time from a request to its stream's first event: 200ms.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "0s")]
    first_token: Duration,
    /// Events (tokens) of a stream that does not order its own number.
    #[arg(long, default_value_t = 500)]
    events: u64,
    /// Length of each event in bytes, no less than what its numbers take (about 200).
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=1 << 20))]
    event_bytes: u64,
    /// Shares of requests that fail, orders or not: cut, reset (in the middle of the answer), close (before
    /// it), error (told in the stream), stall or stall=1%:5s (silence), late=1%:2s (the head), and statuses.
    #[arg(long, value_name = "cut=2%,503=1%,…", default_value = "")]
    faults: Faults,
    /// The same seed draws the same faults for the same order of requests.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// How late the timer may wake us; within it, an event is sent "now".
const TIMER_TICK_NS: u64 = 2_000_000;
/// A silent stream is let go after this long even if its client stays.
const LONGEST_HOLD: Duration = Duration::from_secs(600);
/// How far a feed's fault lies from its beginning at most, in events.
const FEED_FAULT_WITHIN: u64 = 200;
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// How a model's server tells of an error when it has begun to answer.
const ERROR_EVENT: &str = "data: {\"error\":{\"message\":\"the load tool's backend was told to fail here\",\
    \"type\":\"server_error\",\"param\":null,\"code\":\"load_fault\"}}\n\n";

/// Serves until it is ended from outside.
pub async fn run(args: BackendArgs) -> Result<()> {
    raise_file_limit();
    let gap_us = match args.gap {
        Some(gap) => micros(gap).max(1),
        None => 1_000_000 / args.rate,
    };
    let default = Plan::Generated {
        events: args.events,
        first_us: micros(args.first_token),
        phase_us: gap_us,
        gap_us,
        event_bytes: usize::try_from(args.event_bytes).unwrap_or(0),
    };
    let listener = listen(args.listen)?;
    eprintln!(
        "paced backend on http://{}",
        listener.local_addr().while_doing("listening")?
    );
    serve_faulty(listener, default, args.faults, args.seed).await
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// A listener with a queue deep enough for thousands of streams at once.
pub fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    };
    let socket = socket.while_doing("opening a socket")?;
    socket.set_reuseaddr(true).while_doing("SO_REUSEADDR")?;
    socket
        .bind(address)
        .while_doing(format!("binding {address}"))?;
    socket
        .listen(4096)
        .while_doing(format!("listening on {address}"))
}

/// Answers every connection; `default` is the stream of requests that order none.
pub async fn serve(listener: TcpListener, default: Plan) -> Result<()> {
    serve_faulty(listener, default, Faults::default(), 0).await
}

/// The same, and some requests fail, drawn by `seed`.
pub async fn serve_faulty(
    listener: TcpListener,
    default: Plan,
    faults: Faults,
    seed: u64,
) -> Result<()> {
    let service = Arc::new(Service {
        default,
        faults,
        rng: Mutex::new(Rng::with_seed(seed)),
        boot: boot_id(),
        begun_ns: now_ns(),
    });
    loop {
        let (io, _) = listener.accept().await.while_doing("accepting")?;
        io.set_nodelay(true).while_doing("TCP_NODELAY")?;
        let service = Arc::clone(&service);
        // A connection that fails is seen by its client, which is where failures are counted.
        tokio::spawn(async move { service.connection(io).await });
    }
}

struct Service {
    default: Plan,
    faults: Faults,
    rng: Mutex<Rng>,
    boot: String,
    /// When the feed's first event was due.
    begun_ns: u64,
}

/// Whether the connection can carry another request.
type IsUsable = bool;

impl Service {
    async fn connection(&self, io: TcpStream) -> Result<()> {
        let mut wire = Wire::new(io, 8 * 1024);
        let mut content = Vec::new();
        while let Some(head) = wire.request().await? {
            if head.expects_continue {
                send(&mut wire.io, CONTINUE).await?;
            }
            content.clear();
            let mut body = Body::new(head.framing);
            while wire
                .body(&mut body, &mut |bytes| content.extend_from_slice(bytes))
                .await?
            {}
            let is_usable = self.request(&mut wire, &head, &content).await?;
            if !is_usable || !head.keep_alive {
                break;
            }
        }
        Ok(())
    }

    async fn request(
        &self,
        wire: &mut Wire<TcpStream>,
        head: &Head,
        content: &[u8],
    ) -> Result<IsUsable> {
        let mut strike = {
            let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
            self.faults.draw(&mut rng)
        };
        match strike.map(|strike| strike.fault) {
            Some(Fault::Close) => return Ok(false),
            Some(Fault::Status(status)) => {
                refuse(&mut wire.io, status, &self.boot).await?;
                return Ok(true);
            }
            Some(Fault::Late(time)) => {
                strike = None;
                let left = tokio::time::timeout(time, wire.hang_up()).await;
                if left.is_ok() {
                    return Ok(false);
                }
            }
            _ => {}
        }
        let plan = match head.is_subscription {
            true => return self.feed(wire, head, strike).await,
            false => Plan::of_body(content, self.default),
        };
        match plan {
            Plan::Answer { bytes } => answer(&mut wire.io, bytes, strike, &self.boot).await,
            Plan::Bulk { bytes } => bulk(&mut wire.io, bytes, strike, &self.boot).await,
            Plan::Hold => {
                stream_head(&mut wire.io, &self.boot).await?;
                send(&mut wire.io, EventChunk::new().numbered(0, now_ns())).await?;
                let _ = tokio::time::timeout(LONGEST_HOLD, wire.hang_up()).await;
                Ok(false)
            }
            Plan::Paced { .. } | Plan::Generated { .. } => {
                stream_head(&mut wire.io, &self.boot).await?;
                Pace::of(&plan).stream(wire, strike).await
            }
        }
    }

    /// The one feed, from the event after the one that the reader names, else from the next one.
    async fn feed(
        &self,
        wire: &mut Wire<TcpStream>,
        head: &Head,
        strike: Option<Strike>,
    ) -> Result<IsUsable> {
        let mut pace = Pace::of(&self.default);
        pace.begun_ns = self.begun_ns;
        pace.has_ids = true;
        pace.events = u64::MAX;
        (pace.first_us, pace.phase_us) = (0, pace.gap_us);
        let due = now_ns().saturating_sub(self.begun_ns) / 1_000 / pace.gap_us;
        let last = head.last_event_id.as_ref().and_then(|id| id.parse().ok());
        pace.from = last.map_or(due, |last: u64| last.saturating_add(1).min(due + 1));
        stream_head(&mut wire.io, &self.boot).await?;
        pace.stream(wire, strike).await
    }
}

/// When the events of a stream are due, and what they look like.
struct Pace {
    begun_ns: u64,
    first_us: u64,
    /// From the first event to the second.
    phase_us: u64,
    gap_us: u64,
    event_bytes: usize,
    has_ids: bool,
    /// The number of the first event that is sent.
    from: u64,
    events: u64,
}

impl Pace {
    /// The pace that a plan for a stream orders, from now on.
    fn of(plan: &Plan) -> Self {
        let (first_us, phase_us, gap_us, events, event_bytes) = match *plan {
            Plan::Paced {
                events,
                interval_us,
                phase_us,
            } => (0, phase_us, interval_us, events, 0),
            Plan::Generated {
                events,
                first_us,
                phase_us,
                gap_us,
                event_bytes,
            } => (first_us, phase_us, gap_us, events, event_bytes),
            Plan::Hold | Plan::Answer { .. } | Plan::Bulk { .. } => (0, 1_000_000, 1_000_000, 0, 0),
        };
        Self {
            begun_ns: now_ns(),
            first_us,
            phase_us,
            gap_us: gap_us.max(1),
            event_bytes,
            has_ids: false,
            from: 0,
            events,
        }
    }

    fn due(&self, sequence: u64) -> u64 {
        let after_first = match sequence {
            0 => 0,
            _ => self.phase_us + (sequence - 1) * self.gap_us,
        };
        self.begun_ns + (self.first_us + after_first) * 1_000
    }

    async fn stream(&self, wire: &mut Wire<TcpStream>, strike: Option<Strike>) -> Result<IsUsable> {
        let mut chunk = EventChunk::sized(self.event_bytes, self.has_ids);
        let within = match self.events {
            u64::MAX => FEED_FAULT_WITHIN,
            events => events.saturating_sub(self.from).max(1),
        };
        let struck = strike.map(|strike| (self.from + strike.place % within, strike));
        for sequence in self.from..self.events {
            let due = self.due(sequence);
            sleep_until_ns(due).await;
            let stamp = now_ns().min(due + TIMER_TICK_NS);
            let bytes = chunk.numbered(sequence, stamp);
            if let Some((at, strike)) = struck
                && at == sequence
                && let Some(is_usable) = strike_stream(wire, strike, bytes).await?
            {
                return Ok(is_usable);
            }
            send(&mut wire.io, bytes).await?;
        }
        let mut closing = format!("{:x}\r\n", CLOSING.len()).into_bytes();
        closing.extend_from_slice(CLOSING);
        closing.extend_from_slice(b"\r\n");
        closing.extend_from_slice(LAST_CHUNK);
        send(&mut wire.io, &closing).await?;
        Ok(true)
    }
}

/// Lets the fault happen in place of the event `chunk`; none where the stream goes on after it.
async fn strike_stream(
    wire: &mut Wire<TcpStream>,
    strike: Strike,
    chunk: &[u8],
) -> Result<Option<IsUsable>> {
    match strike.fault {
        Fault::Cut | Fault::Reset => {
            if strike.is_inside {
                send(&mut wire.io, &chunk[..chunk.len() / 2]).await?;
            }
            if strike.fault == Fault::Reset {
                wire.io.set_zero_linger().while_doing("SO_LINGER")?;
            }
            Ok(Some(false))
        }
        Fault::Error => {
            let told = format!("{:x}\r\n{ERROR_EVENT}\r\n0\r\n\r\n", ERROR_EVENT.len());
            send(&mut wire.io, told.as_bytes()).await?;
            Ok(Some(true))
        }
        Fault::Stall(time) => {
            let left = tokio::time::timeout(time.unwrap_or(LONGEST_HOLD), wire.hang_up()).await;
            Ok((left.is_ok() || time.is_none()).then_some(false))
        }
        Fault::Close | Fault::Late(_) | Fault::Status(_) => Ok(None),
    }
}

async fn stream_head(io: &mut TcpStream, boot: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
         Transfer-Encoding: chunked\r\n{BOOT_HEADER}: {boot}\r\n\r\n"
    );
    send(io, head.as_bytes()).await
}

fn sized_head(status: u16, kind: &str, bytes: u64, boot: &str) -> String {
    let reason = if status == 200 { "OK" } else { "Told To Fail" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {bytes}\r\n{BOOT_HEADER}: {boot}\r\n\r\n"
    )
}

async fn refuse(io: &mut TcpStream, status: u16, boot: &str) -> Result<()> {
    let body = format!(
        "{{\"error\":{{\"message\":\"the load tool's backend was told to answer {status}\",\
         \"type\":\"server_error\",\"param\":null,\"code\":\"load_fault\"}}}}"
    );
    let head = sized_head(status, "application/json", body.len() as u64, boot);
    send(io, (head + &body).as_bytes()).await
}

/// Whether an answer that is no stream is to break off, and whether by a reset.
fn breaks_off(strike: Option<Strike>) -> Option<bool> {
    match strike?.fault {
        Fault::Cut => Some(false),
        Fault::Reset => Some(true),
        _ => None,
    }
}

async fn answer(
    io: &mut TcpStream,
    bytes: usize,
    strike: Option<Strike>,
    boot: &str,
) -> Result<IsUsable> {
    const BEFORE: &str = "{\"id\":\"chatcmpl-load\",\"object\":\"chat.completion\",\"created\":1760000000,\
        \"model\":\"load\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    const AFTER: &str = "\"},\"finish_reason\":\"stop\"}]}";
    let filling = bytes.clamp(BEFORE.len() + AFTER.len(), 64 * 1024) - BEFORE.len() - AFTER.len();
    let length = BEFORE.len() + filling + AFTER.len();
    let mut whole = sized_head(200, "application/json", length as u64, boot);
    whole.push_str(BEFORE);
    whole.extend(std::iter::repeat_n('a', filling));
    whole.push_str(AFTER);
    let Some(is_reset) = breaks_off(strike) else {
        send(io, whole.as_bytes()).await?;
        return Ok(true);
    };
    send(io, &whole.as_bytes()[..whole.len() - length / 2]).await?;
    if is_reset {
        io.set_zero_linger().while_doing("SO_LINGER")?;
    }
    Ok(false)
}

async fn bulk(
    io: &mut TcpStream,
    bytes: u64,
    strike: Option<Strike>,
    boot: &str,
) -> Result<IsUsable> {
    const PIECE: &[u8] = &[b'x'; 64 * 1024];
    let head = sized_head(200, "application/octet-stream", bytes, boot);
    send(io, head.as_bytes()).await?;
    let is_reset = breaks_off(strike);
    let mut left = if is_reset.is_some() { bytes / 2 } else { bytes };
    while left > 0 {
        let piece = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        send(io, &PIECE[..piece]).await?;
        left -= piece as u64;
    }
    if is_reset == Some(true) {
        io.set_zero_linger().while_doing("SO_LINGER")?;
    }
    Ok(is_reset.is_none())
}

async fn send(io: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    io.write_all(bytes).await.while_doing("sending")
}

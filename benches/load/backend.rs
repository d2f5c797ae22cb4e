//! The paced backend: answers what each request orders (see [`Plan`]).
//!
//! Invariant: the pace is open-loop. An event is due at a time fixed when its stream began, and a
//! stream that was held back sends late events stamped with the time they were due, so that
//! waiting caused by the proxy counts as latency instead of lowering the load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::clock::{boot_id, now_ns, sleep_until_ns};
use crate::error::{Result, While};
use crate::event::{CLOSING, EventChunk};
use crate::plan::Plan;
use crate::wire::{BOOT_HEADER, Body, Wire};

/// `backend`: serve the paced backend alone.
#[derive(Debug, clap::Args)]
pub struct BackendArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// Events per second of a stream that does not order its own pace.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// Events of a stream that does not order its own number.
    #[arg(long, default_value_t = 500)]
    events: u64,
}

/// How late the timer may wake us; within it, an event is sent "now".
const TIMER_TICK_NS: u64 = 2_000_000;
/// A silent stream is let go after this long even if its client stays.
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// Serves until it is ended from outside.
pub async fn run(args: BackendArgs) -> Result<()> {
    let interval_us = 1_000_000 / args.rate;
    let default = Plan::Paced {
        events: args.events,
        interval_us,
        phase_us: interval_us,
    };
    let listener = listen(args.listen)?;
    eprintln!(
        "paced backend on http://{}",
        listener.local_addr().while_doing("listening")?
    );
    serve(listener, default).await
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
    let boot: Arc<str> = boot_id().into();
    loop {
        let (io, _) = listener.accept().await.while_doing("accepting")?;
        io.set_nodelay(true).while_doing("TCP_NODELAY")?;
        let boot = Arc::clone(&boot);
        // A connection that fails is seen by its client, which is where failures are counted.
        tokio::spawn(async move { connection(io, default, &boot).await });
    }
}

async fn connection(io: TcpStream, default: Plan, boot: &str) -> Result<()> {
    let mut wire = Wire::new(io, 8 * 1024);
    let mut content = Vec::new();
    while let Some(head) = wire.request().await? {
        if head.expects_continue {
            send(&mut wire.io, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        content.clear();
        let mut body = Body::new(head.framing);
        while wire
            .body(&mut body, &mut |bytes| content.extend_from_slice(bytes))
            .await?
        {}
        match Plan::of_body(&content, default) {
            Plan::Answer { bytes } => answer(&mut wire.io, bytes, boot).await?,
            Plan::Bulk { bytes } => bulk(&mut wire.io, bytes, boot).await?,
            Plan::Hold => {
                stream_head(&mut wire.io, boot).await?;
                send(&mut wire.io, EventChunk::new().numbered(0, now_ns())).await?;
                let _ = tokio::time::timeout(LONGEST_HOLD, wire.hang_up()).await;
                return Ok(());
            }
            Plan::Paced {
                events,
                interval_us,
                phase_us,
            } => {
                stream_head(&mut wire.io, boot).await?;
                paced(&mut wire.io, events, interval_us, phase_us).await?;
            }
        }
        if !head.keep_alive {
            break;
        }
    }
    Ok(())
}

async fn paced(io: &mut TcpStream, events: u64, interval_us: u64, phase_us: u64) -> Result<()> {
    let start = now_ns();
    let mut chunk = EventChunk::new();
    for sequence in 0..events {
        let due = match sequence {
            0 => start,
            _ => start + (phase_us + (sequence - 1) * interval_us) * 1_000,
        };
        sleep_until_ns(due).await;
        let stamp = now_ns().min(due + TIMER_TICK_NS);
        send(io, chunk.numbered(sequence, stamp)).await?;
    }
    let mut closing = format!("{:x}\r\n", CLOSING.len()).into_bytes();
    closing.extend_from_slice(CLOSING);
    closing.extend_from_slice(b"\r\n0\r\n\r\n");
    send(io, &closing).await
}

async fn stream_head(io: &mut TcpStream, boot: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
         Transfer-Encoding: chunked\r\n{BOOT_HEADER}: {boot}\r\n\r\n"
    );
    send(io, head.as_bytes()).await
}

fn sized_head(kind: &str, bytes: u64, boot: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {bytes}\r\n{BOOT_HEADER}: {boot}\r\n\r\n"
    )
}

async fn answer(io: &mut TcpStream, bytes: usize, boot: &str) -> Result<()> {
    const BEFORE: &str = "{\"id\":\"chatcmpl-load\",\"object\":\"chat.completion\",\"created\":1760000000,\
        \"model\":\"load\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"";
    const AFTER: &str = "\"},\"finish_reason\":\"stop\"}]}";
    let filling = bytes.clamp(BEFORE.len() + AFTER.len(), 64 * 1024) - BEFORE.len() - AFTER.len();
    let length = BEFORE.len() + filling + AFTER.len();
    let mut whole = sized_head("application/json", length as u64, boot);
    whole.push_str(BEFORE);
    whole.extend(std::iter::repeat_n('a', filling));
    whole.push_str(AFTER);
    send(io, whole.as_bytes()).await
}

async fn bulk(io: &mut TcpStream, bytes: u64, boot: &str) -> Result<()> {
    const PIECE: &[u8] = &[b'x'; 64 * 1024];
    send(
        io,
        sized_head("application/octet-stream", bytes, boot).as_bytes(),
    )
    .await?;
    let mut left = bytes;
    while left > 0 {
        let piece = usize::try_from(left).map_or(PIECE.len(), |left| left.min(PIECE.len()));
        send(io, &PIECE[..piece]).await?;
        left -= piece as u64;
    }
    Ok(())
}

async fn send(io: &mut TcpStream, bytes: &[u8]) -> Result<()> {
    io.write_all(bytes).await.while_doing("sending")
}

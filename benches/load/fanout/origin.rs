//! What stands behind Pushpin: it decides nothing but that each subscriber's stream is held open.
//!
//! Invariant: every request gets the same answer, at once, and is then Pushpin's alone; nothing passes here
//! while events are measured.

use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::backend::listen;
use crate::error::{Result, While};
use crate::wire::Wire;

/// `origin`: answer each request with the order to hold it open (GRIP).
#[derive(Debug, clap::Args)]
pub struct OriginArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
}

/// Every subscriber is held on the one stream's channel.
const HOLD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 0\r\n\
    Grip-Hold: stream\r\nGrip-Channel: load\r\n\r\n";
const LONGEST_HEAD: usize = 16 * 1024;

/// Serves until it is ended from outside.
pub async fn run(args: OriginArgs) -> Result<()> {
    let listener = listen(args.listen)?;
    loop {
        let (io, _) = listener.accept().await.while_doing("accepting")?;
        // One that fails is seen by its subscriber, which is where failures are counted.
        tokio::spawn(async move { connection(io).await });
    }
}

async fn connection(io: TcpStream) -> Result<()> {
    io.set_nodelay(true).while_doing("TCP_NODELAY")?;
    let mut wire = Wire::new(io, LONGEST_HEAD);
    while wire.request().await?.is_some() {
        wire.io
            .write_all(HOLD.as_bytes())
            .await
            .while_doing("answering")?;
    }
    Ok(())
}

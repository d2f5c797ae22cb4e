//! A bare TCP relay: the floor under every proxy on tokio.
//!
//! Invariant: per arrival of bytes one read and one write, nothing parsed, nothing allocated; one
//! thread. What a gateway costs above this is what its HTTP costs.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::backend::listen;
use crate::error::{Result, While};

/// `relay`: copy bytes between clients and one address.
#[derive(Debug, clap::Args)]
pub struct RelayArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Address to connect each client to.
    #[arg(long, default_value = "127.0.0.1:9000")]
    to: SocketAddr,
}

const PIECE: usize = 16 * 1024;

/// Relays until it is ended from outside.
pub async fn run(args: RelayArgs) -> Result<()> {
    let listener = listen(args.listen)?;
    loop {
        let (client, _) = listener.accept().await.while_doing("accepting")?;
        // A connection that fails is seen by its client, which is where failures are counted.
        tokio::spawn(async move { connection(client, args.to).await });
    }
}

async fn connection(mut client: TcpStream, to: SocketAddr) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect(to).await?;
    server.set_nodelay(true)?;
    let mut up = Direction::default();
    let mut down = Direction::default();
    // Either end closing ends both: a backend must see a client that left.
    poll_fn(|cx| {
        if let Poll::Ready(end) = down.poll(cx, &mut server, &mut client) {
            return Poll::Ready(end);
        }
        up.poll(cx, &mut client, &mut server)
    })
    .await
}

/// Bytes on their way in one direction; held only while the receiver is full.
#[derive(Default)]
struct Direction {
    held: Vec<u8>,
}

impl Direction {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut TcpStream,
        to: &mut TcpStream,
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
            self.held.drain(..written);
        }
        loop {
            let mut space = [std::mem::MaybeUninit::uninit(); PIECE];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer))?;
            let mut bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            while !bytes.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, bytes) {
                    Poll::Ready(written) => bytes = &bytes[written?..],
                    Poll::Pending => {
                        self.held.extend_from_slice(bytes);
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

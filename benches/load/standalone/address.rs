//! Where requests go: any http or https URL, with headers of one's own.
//!
//! Invariant: a header that could be read as two is refused; certificates are checked as the system
//! checks them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::Target;
use crate::clock::boot_id;
use crate::error::{LoadError, Result, While};
use crate::wire::Wire;

/// A URL, taken apart, and the headers of every request to it.
pub struct Address {
    /// `host` or `host:port`, as the `Host` field says it.
    authority: String,
    /// `host:port`.
    connect_to: String,
    /// For https.
    tls: Option<(TlsConnector, ServerName<'static>)>,
    /// Path and query.
    pub path: String,
    /// Whole lines, each ended by CRLF.
    headers: String,
    /// This machine's boot id.
    pub boot: String,
}

impl Address {
    /// The address of `url`; headers are such as `Name: value`.
    pub fn of(url: &str, headers: &[String]) -> Result<Self> {
        let bad = |why: &str| LoadError::Usage(format!("{url}: {why}"));
        let uri: http::Uri = url.parse().map_err(|_| bad("not a URL"))?;
        let host = uri.host().ok_or_else(|| bad("no host"))?;
        let (tls, port) = match uri.scheme_str() {
            Some("http") => (None, 80),
            Some("https") => {
                let name = host.trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(name).map_err(|_| bad("no host for TLS"))?;
                (Some((connector()?, name)), 443)
            }
            _ => return Err(bad("only http:// and https:// are spoken")),
        };
        let authority = uri.authority().map_or(host, |all| all.as_str());
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            authority: authority.rsplit('@').next().unwrap_or(host).to_owned(),
            connect_to: format!("{host}:{}", uri.port_u16().unwrap_or(port)),
            tls,
            path: path.to_owned(),
            headers: header_lines(headers)?,
            boot: boot_id(),
        })
    }

    /// A whole POST with further header lines and this body.
    pub fn post(&self, further: &str, body: &str) -> Vec<u8> {
        let Self {
            authority,
            path,
            headers,
            ..
        } = self;
        format!(
            "POST {path} HTTP/1.1\r\nHost: {authority}\r\n{further}\
             Content-Length: {}\r\n{headers}\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// A whole GET of a path with further header lines.
    pub fn get(&self, path: &str, further: &str) -> Vec<u8> {
        let Self {
            authority, headers, ..
        } = self;
        format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n{further}{headers}\r\n").into_bytes()
    }

    /// The same for an upgrade to WebSocket.
    pub fn upgrade(&self, further: &str) -> Result<http::Request<()>> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let mut request = http::Request::builder()
            .uri(format!("{scheme}://{}{}", self.authority, self.path))
            .header("Host", &self.authority)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header(
                "Sec-WebSocket-Key",
                tokio_tungstenite::tungstenite::handshake::client::generate_key(),
            );
        let lines = [&self.headers, further].concat();
        for (name, value) in lines.lines().filter_map(|line| line.split_once(':')) {
            request = request.header(name, value.trim());
        }
        request
            .body(())
            .map_err(|error| LoadError::Usage(error.to_string()))
    }

    /// A new connection.
    pub async fn open(&self) -> Result<Connection> {
        let io = TcpStream::connect(&self.connect_to)
            .await
            .while_doing("connecting")?;
        io.set_nodelay(true).while_doing("TCP_NODELAY")?;
        let Some((connector, name)) = &self.tls else {
            return Ok(Connection::Plain(io));
        };
        let stream = connector.connect(name.clone(), io).await;
        let stream = stream.while_doing("connecting by TLS")?;
        Ok(Connection::Tls(Box::new(stream)))
    }

    /// A new connection that reads at most `size` bytes at once.
    pub async fn connect(&self, size: usize) -> Result<Wire<Connection>> {
        Ok(Wire::new(self.open().await?, size))
    }

    /// The same address for the workloads that other commands have too.
    pub fn target(&self) -> Result<Target> {
        if self.tls.is_some() {
            return Err(LoadError::Usage("this workload speaks http:// only".into()));
        }
        Ok(Target::new(
            self.connect_to.clone(),
            self.path.clone(),
            self.headers.clone(),
        ))
    }
}

fn header_lines(headers: &[String]) -> Result<String> {
    let mut lines = String::new();
    for header in headers {
        if !header.contains(':') || header.contains(['\r', '\n']) {
            return Err(LoadError::Usage(format!("{header:?} is no header")));
        }
        lines.push_str(header);
        lines.push_str("\r\n");
    }
    Ok(lines)
}

fn connector() -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| LoadError::Usage(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection, with TLS or without.
pub enum Connection {
    /// Without.
    Plain(TcpStream),
    /// With.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connection {
    /// Lets the connection go as a lost network does, by a reset, where `is_reset`; else as a client that closes it.
    pub fn leave(self, is_reset: bool) {
        let io = match &self {
            Self::Plain(io) => io,
            Self::Tls(stream) => stream.get_ref().0,
        };
        if is_reset {
            // Refused only where the connection is gone already.
            let _ = io.set_zero_linger();
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

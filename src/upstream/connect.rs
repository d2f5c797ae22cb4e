//! From an endpoint's name to a connection: look-up, TCP, TLS.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::fault::Reason;
use super::lookup::Lookup;
use super::transport::Transport;

/// How long an address may take before the next one is tried beside it (RFC 8305 §5).
const NEXT_ADDRESS: Duration = Duration::from_millis(250);
/// Silence after which the kernel asks whether the peer is still there, and how often.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Where an endpoint is reached.
#[derive(Debug, Clone)]
pub enum Place {
    /// By name, whose addresses are kept for a while.
    Name {
        /// Host name or address.
        host: Arc<str>,
        /// Port.
        port: u16,
        /// The addresses.
        lookup: Lookup,
    },
    /// At an address that is known.
    Address(SocketAddr),
}

/// Why TLS for an upstream cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The file with certificate authorities cannot be used.
    #[error("{file}: {reason}")]
    Authorities {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system has no certificate authorities.
    #[error("this system has no certificate authorities: {0}; name a PEM file with `ca`")]
    System(String),
}

/// TLS as a client: own authorities from the PEM file `ca`, or the system's. Each connection says which version of HTTP
/// it asks for.
///
/// # Errors
///
/// [`TlsFault`] when there is no authority to trust.
pub fn tls(ca: Option<&Path>) -> Result<TlsConnector, TlsFault> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(file) => own_authorities(file, &mut roots)?,
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if roots.is_empty() {
                let errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
                return Err(TlsFault::System(errors.join("; ")));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsFault::System(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn own_authorities(file: &Path, roots: &mut RootCertStore) -> Result<(), TlsFault> {
    let fault = |reason: String| TlsFault::Authorities {
        file: file.display().to_string(),
        reason,
    };
    let certificates =
        CertificateDer::pem_file_iter(file).map_err(|error| fault(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| fault(error.to_string()))?;
        roots
            .add(certificate)
            .map_err(|error| fault(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(fault("it holds no certificate".to_owned()));
    }
    Ok(())
}

/// What a connection by TLS needs to know.
#[derive(Clone, Copy)]
pub struct Secure<'a> {
    /// Whom it trusts.
    pub connector: &'a TlsConnector,
    /// The name on the certificate.
    pub name: &'a ServerName<'static>,
    /// The versions of HTTP to choose from, as ALPN names them (RFC 7301), the preferred one first.
    pub versions: &'a [&'a [u8]],
}

/// HTTP/1.1 as ALPN names it.
pub const HTTP_1: &[u8] = b"http/1.1";
/// HTTP/2 as ALPN names it (RFC 9113 §3.2).
pub const HTTP_2: &[u8] = b"h2";

/// A new connection to `place`, with TLS where `secure` is given. Addresses that were looked up are used for `keep`
/// before they are looked up again.
///
/// # Errors
///
/// A [`Reason`] for which [`Reason::before_request`] is true. The caller sets the limit in time.
pub async fn connect(
    place: &Place,
    keep: Duration,
    secure: Option<Secure<'_>>,
) -> Result<Transport, Reason> {
    let addresses = match place {
        Place::Address(address) => vec![*address],
        Place::Name { host, port, lookup } => lookup.addresses(host, *port, keep).await?.to_vec(),
    };
    let tcp = first_of(addresses).await.map_err(Reason::Connect)?;
    prepare(&tcp).map_err(Reason::Connect)?;
    let Some(secure) = secure else {
        return Ok(Transport::Plain(tcp));
    };
    let versions = secure.versions.iter().map(|name| name.to_vec()).collect();
    let tls = secure
        .connector
        .with_alpn(versions)
        .connect(secure.name.clone(), tcp)
        .await
        .map_err(Reason::Connect)?;
    Ok(Transport::Tls(Box::new(tls)))
}

/// The first address that answers; each further one is tried when the one before failed, or beside
/// it when that took longer than [`NEXT_ADDRESS`].
async fn first_of(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = addresses[..] {
        return TcpStream::connect(only).await;
    }
    let mut waiting = addresses.into_iter();
    let mut tries = JoinSet::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "no address");
    loop {
        let more = waiting.next();
        let exhausted = more.is_none();
        if let Some(address) = more {
            tries.spawn(TcpStream::connect(address));
        }
        let outcome = if exhausted {
            tries.join_next().await
        } else {
            match tokio::time::timeout(NEXT_ADDRESS, tries.join_next()).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            }
        };
        match outcome {
            Some(Ok(Ok(tcp))) => return Ok(tcp),
            Some(Ok(Err(error))) => last = error,
            Some(Err(error)) => last = io::Error::other(error),
            None => return Err(last),
        }
    }
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

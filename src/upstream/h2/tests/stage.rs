//! For tests: a backend by HTTP/2 over a real socket whose every move the test makes, and a group that asks it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ::h2::server::{self, SendResponse};
use ::h2::{RecvStream, SendStream};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::super::compose;
use crate::config::{HttpVersion, ResolvedClocks};
use crate::upstream::fixtures::{endpoint, group};
use crate::upstream::{
    Announced, Ask, Asked, BuildHead, Endpoint, Group, Piece, Pool, Reason, Upload, UpstreamFault,
    encode,
};

/// Far above what a loaded machine needs.
const LIMIT: Duration = Duration::from_secs(20);

/// Waits, and says for what when it takes too long.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(LIMIT, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {LIMIT:?} for {what}"),
    }
}

/// A request that has come to the backend.
pub struct Arrived {
    /// Which of the backend's connections brought it, from 1.
    pub connection: usize,
    pub request: Request<RecvStream>,
    pub respond: SendResponse<Bytes>,
}

impl Arrived {
    /// Answers with 200; the stream for its body.
    pub fn begin(&mut self) -> SendStream<Bytes> {
        self.respond
            .send_response(Response::new(()), false)
            .unwrap()
    }

    /// Answers with `body`.
    pub fn answer(&mut self, body: &'static str) {
        self.begin()
            .send_data(Bytes::from_static(body.as_bytes()), true)
            .unwrap();
    }
}

/// A listening backend.
pub struct Backend {
    pub address: SocketAddr,
    arrivals: mpsc::Receiver<Arrived>,
    pub connections: Arc<AtomicUsize>,
    /// Notified when a connection has ended.
    pub ended: Arc<Notify>,
    /// Tells all connections to take no more requests (GOAWAY).
    pub leave: Arc<Notify>,
}

impl Backend {
    /// One without TLS whose connections take `most` streams.
    pub async fn plain(most: u32) -> Self {
        Self::start(most, None).await
    }

    /// The same at this address.
    pub async fn plain_at(address: IpAddr, most: u32) -> Self {
        Self::listen(address, most, None).await
    }

    /// One that takes what `tls` decrypts, if it is given.
    pub async fn start(most: u32, tls: Option<TlsAcceptor>) -> Self {
        Self::listen(Ipv4Addr::LOCALHOST.into(), most, tls).await
    }

    async fn listen(address: IpAddr, most: u32, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (arrived, arrivals) = mpsc::channel(1000);
        let backend = Self {
            address,
            arrivals,
            connections: Arc::default(),
            ended: Arc::default(),
            leave: Arc::default(),
        };
        let (count, ended, leave) = (
            backend.connections.clone(),
            backend.ended.clone(),
            backend.leave.clone(),
        );
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let (tls, ended, leave, arrived) =
                    (tls.clone(), ended.clone(), leave.clone(), arrived.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, most, (number, arrived), &leave).await,
                        Some(tls) => {
                            let tls = tls.accept(tcp).await.unwrap();
                            serve(tls, most, (number, arrived), &leave).await;
                        }
                    }
                    ended.notify_one();
                });
            }
        });
        backend
    }

    /// The next request.
    pub async fn next(&mut self) -> Arrived {
        within("a request", self.arrivals.recv()).await.unwrap()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    most: u32,
    (number, arrived): (usize, mpsc::Sender<Arrived>),
    leave: &Notify,
) {
    let mut connection = server::Builder::new()
        .max_concurrent_streams(most)
        .initial_window_size(100_000)
        .handshake::<_, Bytes>(socket)
        .await
        .unwrap();
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = leave.notified() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else {
            return;
        };
        let arrival = Arrived {
            connection: number,
            request,
            respond,
        };
        if arrived.send(arrival).await.is_err() {
            return;
        }
    }
}

/// TLS for 127.0.0.1, and who trusts it; the server chooses from `versions`.
pub fn tls(versions: &[&[u8]]) -> (TlsAcceptor, TlsConnector) {
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate: CertificateDer<'static> =
        authority.self_signed(&authority_key).unwrap().der().clone();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let own = own.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![own.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    server.alpn_protocols = versions.iter().map(|name| name.to_vec()).collect();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (
        TlsAcceptor::from(Arc::new(server)),
        TlsConnector::from(Arc::new(client)),
    )
}

/// A request as the relay would build it.
pub struct Plain {
    pub method: Method,
    pub headers: HeaderMap,
    pub upgrade: bool,
}

impl BuildHead for Plain {
    fn method(&self) -> &Method {
        &self.method
    }

    fn build(&self, endpoint: &Endpoint, body: Announced) -> Vec<u8> {
        encode(
            &self.method,
            ("", "/path?q=1"),
            &endpoint.authority,
            (&[], &self.headers),
            body,
        )
    }

    fn parts(&self, endpoint: &Endpoint) -> Result<Request<()>, http::Error> {
        let host = &endpoint.authority;
        compose(
            &self.method,
            endpoint,
            "/path?q=1",
            host,
            self.headers.clone(),
        )
    }

    fn upgrades(&self) -> bool {
        self.upgrade
    }
}

/// A group with one endpoint, and what a worker has.
pub struct Caller {
    pub group: Group,
    pub pool: Arc<Pool>,
    pub clocks: ResolvedClocks,
    pub request: Plain,
}

impl Caller {
    pub fn new(address: SocketAddr, http: HttpVersion, tls: Option<TlsConnector>) -> Self {
        let mut endpoint = endpoint(address, "/base");
        if tls.is_some() {
            let own = Arc::get_mut(&mut endpoint).unwrap();
            own.server_name = Some(ServerName::try_from("127.0.0.1").unwrap());
        }
        let mut group = group(vec![endpoint], |upstream| {
            upstream.http = http;
            upstream.pool_keep = Duration::from_secs(1);
        });
        group.tls = tls;
        Self {
            group,
            pool: Arc::default(),
            clocks: ResolvedClocks {
                connect: Some(LIMIT),
                first_byte: None,
                first_event: None,
                idle: None,
                stall: None,
                total: None,
            },
            request: Plain {
                method: Method::GET,
                headers: HeaderMap::new(),
                upgrade: false,
            },
        }
    }

    pub fn two(address: SocketAddr) -> Self {
        Self::new(address, HttpVersion::Two, None)
    }

    pub fn post(mut self) -> Self {
        self.request.method = Method::POST;
        self
    }

    /// Asks with `upload`.
    pub async fn send(&self, upload: Upload) -> Result<Asked, UpstreamFault> {
        let ask = Ask {
            pool: &self.pool,
            clocks: &self.clocks,
            resend: false,
            request: &self.request,
        };
        let mut upload = Some(upload);
        let endpoint = self.endpoint();
        let attempt = self.group.attempt(endpoint, &ask, &mut upload);
        let (name, endpoint) = (endpoint.name.clone(), endpoint.clone());
        match within("an answer", attempt).await {
            Ok(answer) => Ok(Asked { endpoint, answer }),
            Err(reason) => Err(UpstreamFault {
                endpoint: name,
                reason,
            }),
        }
    }

    /// Whom it asks.
    pub fn endpoint(&self) -> &Arc<Endpoint> {
        &self.group.members[0].endpoint
    }

    /// How many connections by HTTP/2 it has.
    pub fn connections(&self) -> usize {
        self.pool.sessions(self.endpoint().number).count()
    }

    /// Asks without a body.
    pub async fn ask(&self) -> Result<Asked, UpstreamFault> {
        self.send(Upload::Kept(Bytes::new())).await
    }
}

/// The next piece of an answer.
pub async fn piece(asked: &mut Asked) -> Option<Result<Piece, Reason>> {
    let next = std::future::poll_fn(|cx| asked.answer.body.poll_piece(cx));
    within("a piece", next).await
}

/// The next piece, which is data.
pub async fn data(asked: &mut Asked) -> Bytes {
    match piece(asked).await {
        Some(Ok(Piece::Data(data))) => data,
        other => panic!("no data: {other:?}"),
    }
}

/// All data of an answer that ends well.
pub async fn all(asked: &mut Asked) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = piece(asked).await {
        if let Piece::Data(data) = piece.unwrap() {
            all.extend_from_slice(&data);
        }
    }
    all
}

/// Reads a request's body as far as it goes.
pub async fn drain(body: &mut ::h2::RecvStream) -> (usize, Option<HeaderMap>) {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        length += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    (length, body.trailers().await.unwrap())
}

//! A backend by HTTP/2 whose every move the test makes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

use super::limit::within;

/// A listening backend, without TLS: HTTP/2 is known before.
pub struct Http2 {
    address: SocketAddr,
    arrivals: mpsc::Receiver<Arrived>,
    connections: Arc<AtomicUsize>,
    leave: Arc<Notify>,
}

/// A request that has come.
pub struct Arrived {
    /// Which connection brought it, from 1.
    pub connection: usize,
    /// Its head, and its body still to be read.
    pub request: Request<RecvStream>,
    /// Where the answer goes.
    pub respond: SendResponse<Bytes>,
}

impl Http2 {
    /// One whose connections take so many streams at once.
    pub async fn taking(streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (arrived, arrivals) = mpsc::channel(1000);
        let backend = Self {
            address: listener.local_addr().unwrap(),
            arrivals,
            connections: Arc::default(),
            leave: Arc::default(),
        };
        let (connections, leave) = (backend.connections.clone(), backend.leave.clone());
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let number = connections.fetch_add(1, Ordering::SeqCst) + 1;
                let arrived = (number, arrived.clone());
                tokio::spawn(serve(tcp, streams, arrived, leave.clone()));
            }
        });
        backend
    }

    /// `http://…` of it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request.
    pub async fn next(&mut self) -> Arrived {
        within("a request", self.arrivals.recv()).await.unwrap()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Takes no more requests on the connections there are (GOAWAY).
    pub fn leave(&self) {
        self.leave.notify_waiters();
    }
}

async fn serve(
    tcp: TcpStream,
    streams: u32,
    (number, arrived): (usize, mpsc::Sender<Arrived>),
    leave: Arc<Notify>,
) {
    let mut builder = server::Builder::new();
    builder.max_concurrent_streams(streams);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(tcp).await else {
        return;
    };
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

impl Arrived {
    /// Begins an answer of this type; the stream for its body.
    pub fn begin(&mut self, content_type: &str) -> SendStream<Bytes> {
        let head = Response::builder().header("content-type", content_type);
        let head = head.body(()).unwrap();
        self.respond.send_response(head, false).unwrap()
    }

    /// Answers with this text.
    pub fn answer(&mut self, text: &'static str) {
        let mut stream = self.begin("text/plain");
        stream.send_data(text.into(), true).unwrap();
    }

    /// Reads the request's body: its length, and its trailers.
    pub async fn read(&mut self) -> (usize, HeaderMap) {
        let body = self.request.body_mut();
        let mut length = 0;
        while let Some(data) = within("a body", body.data()).await {
            let data = data.unwrap();
            length += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        let trailers = within("trailers", body.trailers()).await.unwrap();
        (length, trailers.unwrap_or_default())
    }
}

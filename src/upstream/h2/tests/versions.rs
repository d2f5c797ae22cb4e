//! Which version of HTTP is spoken, and what a head looks like in HTTP/2.

use futures_util::future::join_all;
use http::header::{CONNECTION, HOST, TE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use super::super::compose;
use super::stage::{Backend, Caller, all, tls};
use crate::config::HttpVersion;
use crate::upstream::Reason;

#[tokio::test]
async fn a_server_that_speaks_http_1_only_is_found_out_before_it_is_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = Caller::two(listener.local_addr().unwrap());
    let (answers, ()) = tokio::join!(join_all((0..3).map(|_| caller.ask())), async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        )
        .await
        .unwrap();
        let _ = tcp.read_to_end(&mut Vec::new()).await;
    });
    // All who waited for the one connection are told.
    for answer in answers {
        let fault = answer.unwrap_err();
        assert!(matches!(fault.reason, Reason::NoHttp2(_)), "{fault}");
        assert!(fault.reason.before_request());
    }
}

#[tokio::test]
async fn tls_agrees_on_http_2() {
    for http in [HttpVersion::Two, HttpVersion::Auto] {
        let (acceptor, connector) = tls(&[b"h2", b"http/1.1"]);
        let mut backend = Backend::start(100, Some(acceptor)).await;
        let caller = Caller::new(backend.address, http, Some(connector));
        let (asked, ()) = tokio::join!(caller.ask(), async {
            let mut arrived = backend.next().await;
            assert_eq!(arrived.request.uri().scheme_str(), Some("https"));
            arrived.answer("secret");
        });
        let mut asked = asked.unwrap();
        assert_eq!(asked.answer.head.version, Version::HTTP_2);
        assert_eq!(all(&mut asked).await, b"secret");
    }
}

/// A server by HTTP/1.1 over TLS that answers `count` requests on each connection, and tells which version was agreed.
async fn one(listener: TcpListener, acceptor: TlsAcceptor, agreed: mpsc::Sender<Option<Vec<u8>>>) {
    while let Ok((tcp, _)) = listener.accept().await {
        let Ok(mut tls) = acceptor.accept(tcp).await else {
            continue;
        };
        let version = tls.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        agreed.send(version).await.unwrap();
        tokio::spawn(async move {
            let mut read = Vec::new();
            while matches!(tls.read_buf(&mut read).await, Ok(1..)) {
                if read.ends_with(b"\r\n\r\n") {
                    read.clear();
                    tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold")
                        .await
                        .unwrap();
                }
            }
        });
    }
}

#[tokio::test]
async fn auto_takes_http_1_where_that_is_all_there_is() {
    for versions in [&[b"http/1.1".as_slice()][..], &[]] {
        let (acceptor, connector) = tls(versions);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (agreed, mut told) = mpsc::channel(10);
        tokio::spawn(one(listener, acceptor, agreed));
        let caller = Caller::new(address, HttpVersion::Auto, Some(connector.clone()));
        // Those who waited for the first connection open their own; who comes later uses one of them.
        for answer in join_all((0..3).map(|_| caller.ask())).await {
            let mut asked = answer.unwrap();
            assert_eq!(asked.answer.head.version, Version::HTTP_11);
            assert_eq!(all(&mut asked).await, b"old");
        }
        assert_eq!(all(&mut caller.ask().await.unwrap()).await, b"old");
        for _ in 0..3 {
            assert_eq!(
                told.recv().await.unwrap().as_deref(),
                versions.first().copied()
            );
        }
        assert!(told.try_recv().is_err());
        // Who insists is told so.
        let caller = Caller::new(address, HttpVersion::Two, Some(connector));
        let fault = caller.ask().await.unwrap_err();
        assert!(matches!(fault.reason, Reason::NoHttp2(_)), "{fault}");
    }
}

#[tokio::test]
async fn auto_without_tls_is_http_1_and_so_is_another_protocol() {
    let (acceptor, connector) = tls(&[b"h2", b"http/1.1"]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (agreed, mut told) = mpsc::channel(10);
    let mut caller = Caller::new(
        listener.local_addr().unwrap(),
        HttpVersion::Auto,
        Some(connector),
    );
    tokio::spawn(one(listener, acceptor, agreed));
    caller.request.upgrade = true;
    assert_eq!(all(&mut caller.ask().await.unwrap()).await, b"old");
    assert_eq!(
        told.recv().await.unwrap().as_deref(),
        Some(b"http/1.1".as_slice())
    );

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = Caller::new(listener.local_addr().unwrap(), HttpVersion::Auto, None);
    let (asked, _tcp) = tokio::join!(caller.ask(), async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            tcp.read_buf(&mut read).await.unwrap();
        }
        tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n")
            .await
            .unwrap();
        tcp
    });
    assert_eq!(asked.unwrap().answer.head.version, Version::HTTP_11);
}

#[tokio::test]
async fn another_protocol_is_refused_where_only_http_2_is_spoken() {
    let backend = Backend::plain(100).await;
    let mut caller = Caller::two(backend.address);
    caller.request.upgrade = true;
    let fault = caller.ask().await.unwrap_err();
    assert!(matches!(fault.reason, Reason::Upgrade), "{fault}");
    assert_eq!(backend.connections(), 0);
}

#[test]
fn a_head_has_nothing_of_a_connection() {
    let caller = Caller::two("127.0.0.1:80".parse().unwrap());
    let endpoint = caller.endpoint();
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("callers.example"));
    headers.insert(CONNECTION, HeaderValue::from_static("te, upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("keep-alive", HeaderValue::from_static("timeout=5"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert("x-own", HeaderValue::from_static("1"));
    let other = HeaderValue::from_static("other.example");
    let request = compose(&Method::GET, endpoint, "/a?b", &other, headers.clone()).unwrap();
    assert_eq!(request.uri().to_string(), "http://other.example/base/a?b");
    let mut names: Vec<_> = request
        .headers()
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["te", "x-own"]);
    headers.insert(TE, HeaderValue::from_static("gzip"));
    headers.remove(HOST);
    let own = &endpoint.authority;
    let request = compose(&Method::GET, endpoint, "/", own, headers.clone()).unwrap();
    assert_eq!(request.uri().authority().unwrap(), "127.0.0.1:80");
    assert!(!request.headers().contains_key(TE));
    assert!(compose(&Method::GET, endpoint, "/a b", own, headers.clone()).is_err());
}

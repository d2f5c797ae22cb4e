//! Heads that servers send, and heads that nobody should.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn read(head: &str) -> Head {
    parse(head.as_bytes()).unwrap().unwrap().0
}

#[test]
fn a_head_is_whole_only_with_its_blank_line() {
    let head = b"HTTP/1.1 200 OK\r\nA: b\r\nA: c\r\n\r\n";
    for cut in 0..head.len() {
        assert!(parse(&head[..cut]).unwrap().is_none(), "cut at {cut}");
    }
    let (parsed, length) = parse(&[&head[..], b"body"].concat()).unwrap().unwrap();
    assert_eq!(length, head.len());
    assert_eq!(
        parsed.headers.get_all("a").iter().collect::<Vec<_>>(),
        ["b", "c"]
    );
}

#[test]
fn framing_follows_rfc_9112() {
    let cases = [
        ("GET", "200 OK\r\nContent-Length: 5", Ok(Framing::Length(5))),
        ("HEAD", "200 OK\r\nContent-Length: 5", Ok(Framing::Empty)),
        (
            "GET",
            "204 No Content\r\nContent-Length: 5",
            Ok(Framing::Empty),
        ),
        (
            "GET",
            "304 Not Modified\r\nTransfer-Encoding: chunked",
            Ok(Framing::Empty),
        ),
        ("GET", "200 OK", Ok(Framing::Close)),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: Chunked",
            Ok(Framing::Chunked),
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3",
            Ok(Framing::Chunked),
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: gzip, chunked",
            Err(BadHead::TransferEncoding),
        ),
        (
            "GET",
            "200 OK\r\nTransfer-Encoding: chunked, chunked",
            Err(BadHead::TransferEncoding),
        ),
        (
            "GET",
            "200 OK\r\nContent-Length: 5, 5",
            Ok(Framing::Length(5)),
        ),
        (
            "GET",
            "200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
            Err(BadHead::Length),
        ),
        ("GET", "200 OK\r\nContent-Length: +5", Err(BadHead::Length)),
        ("GET", "200 OK\r\nContent-Length: ", Err(BadHead::Length)),
        (
            "GET",
            "200 OK\r\nContent-Length: 18446744073709551616",
            Err(BadHead::Length),
        ),
    ];
    for (method, head, expected) in cases {
        let parsed = read(&format!("HTTP/1.1 {head}\r\n\r\n"));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(framing(&method, &parsed), expected, "{method} {head}");
    }
    let old = read("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(framing(&Method::GET, &old), Err(BadHead::TransferEncoding));
}

#[test]
fn connections_are_kept_only_where_both_sides_can() {
    let cases = [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nConnection: foo, Close\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\n\r\n", false),
        ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
            false,
        ),
    ];
    for (head, expected) in cases {
        assert_eq!(keeps_alive(&read(head)), expected, "{head}");
    }
}

#[test]
fn what_is_no_head_is_refused() {
    assert!(matches!(
        parse(b"SSH-2.0-OpenSSH\r\n"),
        Err(BadHead::Syntax(_))
    ));
    assert_eq!(
        parse(b"HTTP/1.1 999 X\r\n\r\n").unwrap_err(),
        BadHead::Status(999)
    );
    let endless = [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'x'; MAX_HEAD]].concat();
    assert_eq!(parse(&endless).unwrap_err(), BadHead::TooLarge);
    let many = format!(
        "HTTP/1.1 200 OK\r\n{}\r\n",
        "a: b\r\n".repeat(MAX_FIELDS + 1)
    );
    assert_eq!(parse(many.as_bytes()).unwrap_err(), BadHead::TooLarge);
}

#[test]
fn a_request_head_is_written_once() {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, HeaderValue::from_static("callers"));
    headers.insert("a", HeaderValue::from_static("b"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
    let host = HeaderValue::from_static("h:1");
    let head = encode(
        &Method::POST,
        ("/base", "/x?y"),
        &host,
        (b"c: d\r\n", &headers),
        Announced::Length(2),
    );
    let expected =
        b"POST /base/x?y HTTP/1.1\r\nhost: h:1\r\na: b\r\nc: d\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(&head[..], expected);
    let head = encode(
        &Method::GET,
        ("", "/"),
        &host,
        (&[], &HeaderMap::new()),
        Announced::Nothing,
    );
    assert_eq!(&head[..], b"GET / HTTP/1.1\r\nhost: h:1\r\n\r\n");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let _ = parse(&[b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat())
            .map(|whole| whole.map(|(head, _)| (framing(&Method::GET, &head), keeps_alive(&head))));
    }
}

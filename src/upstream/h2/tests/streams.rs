//! One stream: what passes it, and how it ends.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::h2::Reason as Code;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Response, StatusCode, Version};
use http_body::{Body, Frame};
use tokio::sync::mpsc;

use super::super::session::STREAM_WINDOW;
use super::stage::{Backend, Caller, all, data, drain, piece, within};
use crate::upstream::{BodyEnd, Piece, Reason, Upload, UploadFault};

/// A body that comes as the test sends it.
struct Coming(mpsc::Receiver<Result<Frame<Bytes>, UploadFault>>);

impl Body for Coming {
    type Data = Bytes;
    type Error = UploadFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadFault>>> {
        self.0.poll_recv(cx)
    }
}

fn coming() -> (mpsc::Sender<Result<Frame<Bytes>, UploadFault>>, Upload) {
    let (send, receive) = mpsc::channel(1);
    (send, Upload::Streaming(Box::pin(Coming(receive)), None))
}

#[tokio::test]
async fn events_pass_one_by_one() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, mut arrived) = tokio::join!(caller.ask(), async {
        let mut arrived = backend.next().await;
        let stream = arrived.begin();
        (arrived, stream)
    });
    let mut asked = asked.unwrap();
    assert_eq!(asked.answer.head.version, Version::HTTP_2);
    assert_eq!(asked.answer.head.status, StatusCode::OK);
    let uri = arrived.0.request.uri();
    assert_eq!(
        uri.to_string(),
        format!("http://{}/base/path?q=1", backend.address)
    );
    for event in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        // The next one is not sent before this one has come.
        arrived.1.send_data(event.into(), false).unwrap();
        assert_eq!(data(&mut asked).await, event);
        assert_eq!(asked.answer.body.end(), None);
    }
    arrived.1.send_data(Bytes::new(), true).unwrap();
    assert!(piece(&mut asked).await.is_none());
    assert_eq!(asked.answer.body.end(), Some(BodyEnd::Framed));
    assert!(asked.answer.body.is_over());
}

#[tokio::test]
async fn a_body_that_is_dropped_resets_its_stream() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, mut stream) = tokio::join!(caller.ask(), async { backend.next().await.begin() });
    stream.send_data("data: 1\n\n".into(), false).unwrap();
    let mut asked = asked.unwrap();
    data(&mut asked).await;
    drop(asked);
    let reset = within("a reset", poll_fn(|cx| stream.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), Code::CANCEL);
    // The connection is none the worse.
    let (asked, ()) = tokio::join!(caller.ask(), async { backend.next().await.answer("next") });
    assert_eq!(all(&mut asked.unwrap()).await, b"next");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn a_caller_who_leaves_before_the_answer_resets_its_stream() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let mut arrived = tokio::select! {
        _ = caller.ask() => panic!("nobody answered"),
        arrived = backend.next() => arrived,
    };
    let reset = within("a reset", poll_fn(|cx| arrived.respond.poll_reset(cx))).await;
    assert_eq!(reset.unwrap(), Code::CANCEL);
}

#[tokio::test]
async fn a_reset_in_the_middle_is_a_cut() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, mut stream) = tokio::join!(caller.ask(), async { backend.next().await.begin() });
    let mut asked = asked.unwrap();
    stream.send_data("data: 1\n\n".into(), false).unwrap();
    data(&mut asked).await;
    stream.send_reset(Code::INTERNAL_ERROR);
    let cut = piece(&mut asked).await;
    assert!(
        matches!(cut, Some(Err(Reason::Reset(Code::INTERNAL_ERROR)))),
        "{cut:?}"
    );
    assert!(piece(&mut asked).await.is_none());
    assert_eq!(asked.answer.body.end(), None);
    assert!(!asked.answer.body.is_over());
}

#[tokio::test]
async fn a_slow_reader_holds_its_backend_back_and_nobody_else() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, mut slow) = tokio::join!(caller.ask(), async { backend.next().await.begin() });
    let mut asked = asked.unwrap();
    // As much as the window lets through, and no byte more.
    let mut sent = 0;
    while sent < STREAM_WINDOW as usize {
        sent += send_some(&mut slow).await;
    }
    // Four times as much passes another stream of the same connection meanwhile.
    let (other, ()) = tokio::join!(
        async {
            let mut other = caller.ask().await.unwrap();
            all(&mut other).await.len()
        },
        async {
            let mut quick = backend.next().await.begin();
            let mut passed = 0;
            while passed < 4 * STREAM_WINDOW as usize {
                passed += send_some(&mut quick).await;
            }
            quick.send_data(Bytes::new(), true).unwrap();
        }
    );
    assert!(other >= 4 * STREAM_WINDOW as usize);
    assert_eq!(backend.connections(), 1);
    slow.reserve_capacity(1);
    assert_eq!((slow.capacity(), sent), (0, STREAM_WINDOW as usize));
    // What is taken opens the window again.
    let mut taken = 0;
    while taken < STREAM_WINDOW as usize {
        taken += data(&mut asked).await.len();
    }
    assert!(within("room", send_some(&mut slow)).await > 0);
}

/// Sends what the stream's window takes now, and waits for one that takes something.
async fn send_some(stream: &mut ::h2::SendStream<Bytes>) -> usize {
    stream.reserve_capacity(16 * 1024);
    while stream.capacity() == 0 {
        poll_fn(|cx| stream.poll_capacity(cx))
            .await
            .unwrap()
            .unwrap();
    }
    let length = stream.capacity().min(16 * 1024);
    stream.send_data(vec![b'x'; length].into(), false).unwrap();
    length
}

#[tokio::test]
async fn a_large_body_that_is_held_is_sent_whole() {
    const LARGE: usize = 5 << 20;
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address).post();
    let upload = Upload::Kept(vec![b'x'; LARGE].into());
    let (asked, read) = tokio::join!(caller.send(upload), async {
        let mut arrived = backend.next().await;
        assert_eq!(arrived.request.headers()[CONTENT_LENGTH], LARGE.to_string());
        let read = drain(arrived.request.body_mut()).await;
        arrived.answer("taken");
        read
    });
    assert_eq!(all(&mut asked.unwrap()).await, b"taken");
    assert_eq!(read, (LARGE, None));
}

#[tokio::test]
async fn a_body_is_passed_on_with_its_trailers_while_the_answer_comes() {
    const PIECE: usize = 64 * 1024;
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address).post();
    let (client, upload) = coming();
    let (asked, mut arrived) = tokio::join!(caller.send(upload), async {
        let mut arrived = backend.next().await;
        assert!(!arrived.request.headers().contains_key(CONTENT_LENGTH));
        let stream = arrived.begin();
        (arrived, stream)
    });
    let mut asked = asked.unwrap();
    // The answer has begun, and the body is passed on by reading it.
    let feed = async {
        for _ in 0..80 {
            client
                .send(Ok(Frame::data(vec![b'x'; PIECE].into())))
                .await
                .unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("checksum", HeaderValue::from_static("1"));
        client.send(Ok(Frame::trailers(trailers))).await.unwrap();
        drop(client);
    };
    let serve = async {
        let (length, trailers) = drain(arrived.0.request.body_mut()).await;
        arrived.1.send_data("end".into(), true).unwrap();
        (length, trailers.unwrap()["checksum"].clone())
    };
    let (answer, (), read) = tokio::join!(all(&mut asked), feed, serve);
    assert_eq!(answer, b"end");
    assert_eq!(read, (80 * PIECE, HeaderValue::from_static("1")));
}

#[tokio::test]
async fn a_client_who_breaks_off_its_body_resets_the_stream() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address).post();
    let (client, upload) = coming();
    client.send(Err(UploadFault::Client)).await.unwrap();
    let (asked, arrived) = tokio::join!(caller.send(upload), backend.next());
    let fault = asked.unwrap_err();
    assert!(
        matches!(fault.reason, Reason::Upload(UploadFault::Client)),
        "{fault}"
    );
    let mut body = arrived.request.into_body();
    let error = within("a reset", body.data()).await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(Code::CANCEL));
}

#[tokio::test]
async fn trailers_are_handed_out() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, ()) = tokio::join!(caller.ask(), async {
        let mut arrived = backend.next().await;
        // An interim answer is passed over.
        let mut hints = Response::new(());
        *hints.status_mut() = StatusCode::EARLY_HINTS;
        arrived.respond.send_informational(hints).unwrap();
        let mut stream = arrived.begin();
        stream.send_data("data: 1\n\n".into(), false).unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("usage", HeaderValue::from_static("12"));
        stream.send_trailers(trailers).unwrap();
    });
    let mut asked = asked.unwrap();
    assert_eq!(asked.answer.head.status, StatusCode::OK);
    assert_eq!(data(&mut asked).await, "data: 1\n\n");
    match piece(&mut asked).await {
        Some(Ok(Piece::Trailers(trailers))) => assert_eq!(trailers["usage"], "12"),
        other => panic!("no trailers: {other:?}"),
    }
    assert!(piece(&mut asked).await.is_none());
    assert_eq!(asked.answer.body.end(), Some(BodyEnd::Framed));
}

#[tokio::test]
async fn an_announced_length_is_counted_down() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, mut stream) = tokio::join!(caller.ask(), async {
        let mut arrived = backend.next().await;
        let head = Response::builder()
            .header(CONTENT_LENGTH, 6)
            .body(())
            .unwrap();
        arrived.respond.send_response(head, false).unwrap()
    });
    let mut asked = asked.unwrap();
    assert_eq!(asked.answer.body.remaining(), Some(6));
    stream.send_data("abc".into(), false).unwrap();
    let begun = data(&mut asked).await;
    assert_eq!(asked.answer.body.remaining(), Some(3));
    asked.answer.body.put_back(begun);
    assert_eq!(asked.answer.body.remaining(), Some(6));
    assert_eq!(data(&mut asked).await, "abc");
    stream.send_data("def".into(), false).unwrap();
    assert_eq!(data(&mut asked).await, "def");
    assert!(asked.answer.body.is_over());
    // What is over is not reset, though the frame with the end is still to come.
    drop(asked);
    // A reset would have come before the next request.
    let (asked, ()) = tokio::join!(caller.ask(), async {
        let mut next = backend.next().await;
        stream.send_data(Bytes::new(), true).unwrap();
        next.answer("next");
    });
    assert_eq!(all(&mut asked.unwrap()).await, b"next");
    let reset = futures_util::future::poll_immediate(poll_fn(|cx| stream.poll_reset(cx))).await;
    assert!(!matches!(reset, Some(Ok(_))), "{reset:?}");
}

#[tokio::test]
async fn a_body_that_was_begun_is_not_sent_again() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address).post();
    let (client, upload) = coming();
    client.send(Ok(Frame::data("begun".into()))).await.unwrap();
    let (asked, ()) = tokio::join!(caller.send(upload), async {
        let mut arrived = backend.next().await;
        let body = within("the body", arrived.request.body_mut().data()).await;
        assert_eq!(body.unwrap().unwrap(), "begun");
        arrived.respond.send_reset(Code::REFUSED_STREAM);
    });
    let fault = asked.unwrap_err();
    assert!(
        matches!(fault.reason, Reason::Reset(Code::REFUSED_STREAM)),
        "{fault}"
    );
    assert!(!fault.reason.before_request());
}

#[tokio::test]
async fn a_head_that_is_too_large_is_not_taken() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, ()) = tokio::join!(caller.ask(), async {
        let head = Response::builder().header("large", "x".repeat(70_000));
        let mut arrived = backend.next().await;
        let head = head.body(()).unwrap();
        arrived.respond.send_response(head, true).unwrap();
    });
    let fault = asked.unwrap_err();
    assert!(matches!(fault.reason, Reason::Protocol(_)), "{fault}");
    // The connection is none the worse.
    let (asked, ()) = tokio::join!(caller.ask(), async { backend.next().await.answer("next") });
    assert_eq!(all(&mut asked.unwrap()).await, b"next");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn too_many_fields_are_not_taken() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, ()) = tokio::join!(caller.ask(), async {
        let mut head = Response::builder();
        for number in 0..129 {
            head = head.header(format!("field-{number}"), "x");
        }
        backend
            .next()
            .await
            .respond
            .send_response(head.body(()).unwrap(), true)
            .unwrap();
    });
    let fault = asked.unwrap_err();
    assert!(matches!(fault.reason, Reason::Head(_)), "{fault}");
}

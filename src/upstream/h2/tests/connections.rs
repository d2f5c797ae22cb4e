//! Connections: how many there are, and how they end.

use std::sync::Arc;
use std::time::Duration;

use ::h2::Reason as Code;
use futures_util::future::join_all;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::session::{PONG, SILENCE};
use super::stage::{Backend, Caller, all, drain, piece, within};
use crate::config::RetryBudget;
use crate::upstream::{BodyEnd, Reason, Upload};

#[tokio::test]
async fn a_burst_opens_as_many_connections_as_it_needs() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (answers, mut held) = tokio::join!(join_all((0..250).map(|_| caller.ask())), async {
        // All are under way at once before the first is answered.
        let mut held = Vec::new();
        while held.len() < 250 {
            held.push(backend.next().await);
        }
        for arrived in &mut held {
            arrived.answer("done");
        }
        held
    });
    for asked in answers {
        assert_eq!(all(&mut asked.unwrap()).await, b"done");
    }
    assert_eq!(backend.connections(), 3);
    let on = |number| {
        held.iter()
            .filter(|arrived| arrived.connection == number)
            .count()
    };
    assert_eq!([on(1), on(2), on(3)], [100, 100, 50]);
    held.clear();
    // The places are free again.
    let (asked, again) = tokio::join!(caller.ask(), async {
        let mut arrived = backend.next().await;
        arrived.answer("again");
        arrived
    });
    assert_eq!(all(&mut asked.unwrap()).await, b"again");
    assert_eq!((backend.connections(), again.connection), (3, 1));
}

#[tokio::test]
async fn a_connection_that_goes_away_finishes_its_streams() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, mut stream) = tokio::join!(caller.ask(), async { backend.next().await.begin() });
    let mut first = asked.unwrap();
    backend.leave.notify_waiters();
    // A graceful GOAWAY shows when new requests are turned away: ask until one comes by another connection.
    for _ in 0..1000 {
        let (asked, number) = tokio::join!(caller.ask(), async {
            let mut arrived = backend.next().await;
            arrived.answer("new");
            arrived.connection
        });
        assert_eq!(all(&mut asked.unwrap()).await, b"new");
        if number == 2 {
            break;
        }
    }
    assert_eq!(backend.connections(), 2);
    stream.send_data("still here".into(), true).unwrap();
    assert_eq!(all(&mut first).await, b"still here");
    assert_eq!(first.answer.body.end(), Some(BodyEnd::Framed));
    // Its last stream was its end.
    within("the old connection's end", backend.ended.notified()).await;
}

#[tokio::test]
async fn what_is_refused_unseen_is_sent_on_another_connection() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address).post();
    let (asked, numbers) = tokio::join!(caller.send(Upload::Kept("question".into())), async {
        let mut first = backend.next().await;
        first.respond.send_reset(Code::REFUSED_STREAM);
        let mut second = backend.next().await;
        let read = drain(second.request.body_mut()).await;
        assert_eq!(read.0, "question".len());
        second.answer("answer");
        [first.connection, second.connection]
    });
    assert_eq!(all(&mut asked.unwrap()).await, b"answer");
    assert_eq!(numbers, [1, 2]);
}

#[tokio::test]
async fn what_is_always_refused_is_said_to_be_unseen() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address).post();
    let refuse = async {
        loop {
            backend
                .next()
                .await
                .respond
                .send_reset(Code::REFUSED_STREAM);
        }
    };
    let asked = tokio::select! {
        asked = caller.send(Upload::Kept("question".into())) => asked,
        () = refuse => unreachable!(),
    };
    let fault = asked.unwrap_err();
    assert!(
        matches!(fault.reason, Reason::Refused(Code::REFUSED_STREAM)),
        "{fault}"
    );
    assert!(fault.reason.before_request());
}

#[tokio::test]
async fn a_server_that_refuses_streams_is_asked_again_only_within_the_budget() {
    let mut backend = Backend::plain(100).await;
    let mut caller = Caller::two(backend.address);
    let config = Arc::get_mut(&mut caller.group.config).unwrap();
    config.retry_budget = RetryBudget {
        percent: 0,
        least: 0,
    };
    let (asked, ()) = tokio::join!(caller.ask(), async {
        let mut first = backend.next().await;
        first.respond.send_reset(Code::REFUSED_STREAM);
    });
    let fault = asked.unwrap_err();
    assert!(matches!(fault.reason, Reason::Refused(_)), "{fault}");
    assert_eq!(backend.connections(), 1);
}

/// A frame of HTTP/2 (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The next frame: its kind, and its stream.
async fn read_frame(tcp: &mut TcpStream) -> (u8, u32) {
    let mut head = [0; 9];
    tcp.read_exact(&mut head).await.unwrap();
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    tcp.read_exact(&mut payload).await.unwrap();
    (
        head[3],
        u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
    )
}

/// A connection on which settings were exchanged and the head of a request has come, on stream 1.
async fn asked_by_hand(listener: &TcpListener) -> TcpStream {
    settle(listener.accept().await.unwrap().0).await
}

/// The same of a connection that was accepted.
async fn settle(mut tcp: TcpStream) -> TcpStream {
    tcp.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    let mut preface = [0; 24];
    tcp.read_exact(&mut preface).await.unwrap();
    assert_eq!(&preface, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    while read_frame(&mut tcp).await != (1, 1) {}
    tcp
}

#[tokio::test]
async fn a_request_behind_the_last_one_taken_is_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = Caller::two(listener.local_addr().unwrap()).post();
    let (asked, ()) = tokio::join!(caller.send(Upload::Kept("question".into())), async {
        // GOAWAY: no stream was processed, no error.
        let mut first = asked_by_hand(&listener).await;
        first.write_all(&frame(7, 0, 0, &[0; 8])).await.unwrap();
        let mut second = asked_by_hand(&listener).await;
        // HEADERS with `:status: 200` from the static table, and the end of the stream.
        second.write_all(&frame(1, 5, 1, &[0x88])).await.unwrap();
        // Read to its end: nothing is torn down under the answer.
        let mut rest = Vec::new();
        first.read_to_end(&mut rest).await.unwrap();
    });
    let asked = asked.unwrap();
    assert_eq!(asked.answer.head.status, StatusCode::OK);
    assert!(asked.answer.body.is_over());
}

#[tokio::test]
async fn a_peer_that_answers_no_ping_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = Caller::two(listener.local_addr().unwrap());
    let (asked, mut tcp) = tokio::join!(caller.ask(), async {
        let mut tcp = asked_by_hand(&listener).await;
        tcp.write_all(&frame(1, 4, 1, &[0x88])).await.unwrap();
        tcp
    });
    let mut asked = asked.unwrap();
    later(SILENCE).await;
    caller.pool.sweep();
    within("a ping", async {
        while read_frame(&mut tcp).await != (6, 0) {}
    })
    .await;
    later(PONG).await;
    caller.pool.sweep();
    let cut = piece(&mut asked).await;
    assert!(matches!(cut, Some(Err(Reason::Silent(PONG)))), "{cut:?}");
    assert_eq!(caller.connections(), 0);
}

/// Lets time pass at once.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_peer_that_answers_pings_is_kept() {
    let mut backend = Backend::plain(100).await;
    let caller = Caller::two(backend.address);
    let (asked, mut stream) = tokio::join!(caller.ask(), async { backend.next().await.begin() });
    let mut asked = asked.unwrap();
    for _ in 0..5 {
        later(SILENCE).await;
        caller.pool.sweep();
        // A round trip behind the ping: its answer has come as well.
        let (other, ()) =
            tokio::join!(caller.ask(), async { backend.next().await.answer("quick") });
        assert_eq!(all(&mut other.unwrap()).await, b"quick");
        later(PONG).await;
        caller.pool.sweep();
    }
    stream.send_data("late".into(), true).unwrap();
    assert_eq!(all(&mut asked).await, b"late");
    assert_eq!(backend.connections(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_and_busy_ones_are_not() {
    let mut backend = Backend::plain(1).await;
    let caller = Caller::two(backend.address);
    let (first, mut first_stream) =
        tokio::join!(caller.ask(), async { backend.next().await.begin() });
    let (second, ()) = tokio::join!(caller.ask(), async { backend.next().await.answer("done") });
    assert_eq!(all(&mut second.unwrap()).await, b"done");
    caller.pool.sweep();
    assert_eq!(caller.connections(), 2);
    later(Duration::from_secs(31)).await;
    caller.pool.sweep();
    assert_eq!(caller.connections(), 1);
    within("the idle connection's end", backend.ended.notified()).await;
    first_stream.send_data("busy".into(), true).unwrap();
    assert_eq!(all(&mut first.unwrap()).await, b"busy");
}

#[tokio::test]
async fn a_connection_that_is_lost_is_a_cut_and_is_not_used_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = Caller::two(listener.local_addr().unwrap());
    let (asked, tcp) = tokio::join!(caller.ask(), async {
        let mut tcp = asked_by_hand(&listener).await;
        tcp.write_all(&frame(1, 4, 1, &[0x88])).await.unwrap();
        tcp
    });
    let mut asked = asked.unwrap();
    drop(tcp);
    let cut = piece(&mut asked).await;
    assert!(
        matches!(cut, Some(Err(Reason::Cut | Reason::Io(_)))),
        "{cut:?}"
    );
    let (again, _tcp) = tokio::join!(caller.ask(), async {
        let mut tcp = asked_by_hand(&listener).await;
        tcp.write_all(&frame(1, 5, 1, &[0x88])).await.unwrap();
        tcp
    });
    assert_eq!(again.unwrap().answer.head.status, StatusCode::OK);
}

#[tokio::test]
async fn a_connection_is_opened_for_all_who_wait_and_not_only_for_the_first() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let caller = Caller::two(listener.local_addr().unwrap());
    let mut first = Box::pin(caller.ask());
    let mut second = Box::pin(caller.ask());
    // Both wait for the settings of the connection that the first has asked for.
    let tcp = tokio::select! {
        _ = &mut first => panic!("nobody answered"),
        _ = &mut second => panic!("nobody answered"),
        accepted = listener.accept() => accepted.unwrap().0,
    };
    drop(first);
    let (asked, _tcp) = tokio::join!(second, async {
        let mut tcp = settle(tcp).await;
        tcp.write_all(&frame(1, 5, 1, &[0x88])).await.unwrap();
        tcp
    });
    assert_eq!(asked.unwrap().answer.head.status, StatusCode::OK);
}

#[tokio::test]
async fn a_server_without_settings_runs_out_the_connect_clock() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut caller = Caller::two(listener.local_addr().unwrap());
    caller.clocks.connect = Some(Duration::from_millis(50));
    let fault = caller.ask().await.unwrap_err();
    assert!(matches!(fault.reason, Reason::ConnectTimeout(_)), "{fault}");
    assert_eq!(caller.connections(), 0);
}

#[tokio::test]
async fn no_connection_carries_more_streams_than_can_wait_for_one_lost_packet() {
    let mut backend = Backend::plain(100_000).await;
    let caller = Caller::two(backend.address);
    let (answers, connections) = tokio::join!(join_all((0..300).map(|_| caller.ask())), async {
        let mut held = Vec::new();
        while held.len() < 300 {
            held.push(backend.next().await);
        }
        for arrived in &mut held {
            arrived.answer("done");
        }
        held.iter()
            .filter(|arrived| arrived.connection == 1)
            .count()
    });
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!((backend.connections(), connections), (2, 256));
}

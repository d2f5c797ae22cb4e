//! Checks, against a server on loopback that goes ill and well.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;

use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use proptest::prelude::*;
use tokio::net::TcpListener;

use super::*;
use crate::upstream::fixtures::{endpoint, group};

/// How long anything may take before a test gives up.
const LIMIT: Duration = Duration::from_secs(20);

/// What the server answers.
#[derive(Debug, Clone)]
enum Mood {
    Says(StatusCode),
    /// 200, and a body that comes to more than is read, and to no end.
    Endless,
    /// 200, and a body that is cut.
    Cut,
    /// Nothing, with the connection open.
    Silent,
}

/// A request as the server saw it.
type Seen = (String, HeaderMap);

/// A server whose mood a test sets.
struct Server {
    address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    _running: JoinSet<()>,
}

impl Server {
    async fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mood = Arc::new(Mutex::new(mood));
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let connections = Arc::<Mutex<usize>>::default();
        let mut running = JoinSet::new();
        running.spawn(serve(
            listener,
            mood.clone(),
            seen.clone(),
            connections.clone(),
        ));
        Self {
            address,
            mood,
            seen,
            connections,
            _running: running,
        }
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(
    listener: TcpListener,
    mood: Arc<Mutex<Mood>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
) {
    let mut open = JoinSet::new();
    while let Ok((tcp, _)) = listener.accept().await {
        *connections.lock().unwrap() += 1;
        let (mood, seen) = (mood.clone(), seen.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let asked = (request.uri().to_string(), request.headers().clone());
            seen.lock().unwrap().push(asked);
            let mood = mood.lock().unwrap().clone();
            async move {
                let (status, length, rest) = match mood {
                    Mood::Says(status) => (status, 2, stream::empty().boxed()),
                    Mood::Endless => (StatusCode::OK, 2 * MOST_BODY, stream::pending().boxed()),
                    Mood::Cut => {
                        let cut = stream::once(async { Err(io::ErrorKind::Other.into()) });
                        (StatusCode::OK, 2, cut.boxed())
                    }
                    Mood::Silent => std::future::pending().await,
                };
                let begin: Result<_, io::Error> = Ok(Frame::data(Bytes::from(vec![b'x'; length])));
                let pieces = stream::iter([begin]).chain(rest);
                let mut response = Response::new(StreamBody::new(pieces));
                *response.status_mut() = status;
                Ok::<_, Infallible>(response)
            }
        });
        let connection = http1::Builder::new().serve_connection(TokioIo::new(tcp), answer);
        open.spawn(async move {
            let _ = connection.await;
        });
    }
}

fn often(down: u32, up: u32) -> Check {
    Check {
        path: "/health?of=all".into(),
        every: Duration::from_millis(5),
        within: LIMIT,
        up,
        down,
    }
}

fn checked_by(endpoints: &[Arc<Endpoint>], check: &Check) -> Arc<Group> {
    let check = Some(check.clone());
    Arc::new(group(endpoints.to_vec(), |upstream| upstream.check = check))
}

/// Checks `groups` for as long as it lives.
fn checking(groups: Vec<Arc<Group>>) -> JoinSet<()> {
    let mut running = JoinSet::new();
    running.spawn(check_all(groups));
    running
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let mut look = tokio::time::interval(Duration::from_millis(2));
    let waiting = async {
        while !is_so() {
            look.tick().await;
        }
    };
    let came = timeout(LIMIT, waiting).await;
    assert!(came.is_ok(), "waited {LIMIT:?} for {what}");
}

async fn until_checked(endpoint: &Endpoint, well: bool) {
    let is_so = || endpoint.health.is_checked() == well;
    until(&format!("{} to be well: {well}", endpoint.name), is_so).await;
}

#[tokio::test]
async fn an_endpoint_goes_down_and_comes_back_with_its_answers() {
    let server = Server::start(Mood::Says(StatusCode::OK)).await;
    let other = Server::start(Mood::Says(StatusCode::NO_CONTENT)).await;
    let ends = [
        endpoint(server.address, "/base"),
        endpoint(other.address, ""),
    ];
    let _running = checking(vec![checked_by(&ends, &often(3, 2))]);
    until("the first questions", || server.seen().len() > 3).await;
    assert!(ends[0].health.is_checked());
    for ill in [StatusCode::SERVICE_UNAVAILABLE, StatusCode::FOUND] {
        let before = server.seen().len();
        server.becomes(Mood::Says(ill));
        until_checked(&ends[0], false).await;
        assert!(server.seen().len() >= before + 2, "three bad ones in a row");
        server.becomes(Mood::Says(StatusCode::OK));
        until_checked(&ends[0], true).await;
    }
    assert!(ends[1].health.is_checked());
    let (target, headers) = server.seen().swap_remove(0);
    assert_eq!(target, "/base/health?of=all");
    assert_eq!(headers["host"], server.address.to_string());
    assert_eq!(headers["user-agent"], AGENT);
    assert_eq!(headers.len(), 2, "{headers:?}");
    let (connections, seen) = (*server.connections.lock().unwrap(), server.seen().len());
    assert!(connections >= seen, "{connections} for {seen} questions");
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_not_well_and_does_not_stop_the_others() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let server = Server::start(Mood::Says(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let ends = [endpoint(gone, ""), endpoint(server.address, "")];
    let _running = checking(vec![checked_by(&ends, &often(2, 2))]);
    until_checked(&ends[0], false).await;
    until_checked(&ends[1], false).await;
    server.becomes(Mood::Says(StatusCode::OK));
    until_checked(&ends[1], true).await;
    assert!(!ends[0].health.is_checked());
}

#[tokio::test]
async fn questions_to_one_endpoint_never_overlap_and_silence_is_not_well() {
    let server = Server::start(Mood::Silent).await;
    let end = endpoint(server.address, "");
    let mut check = often(2, 1);
    let patient = checking(vec![checked_by(std::slice::from_ref(&end), &check)]);
    until("a question", || server.seen().len() == 1).await;
    let twice = timeout(check.every * 20, async {
        until("a second question", || server.seen().len() > 1).await;
    });
    assert!(twice.await.is_err(), "the first one is not over");
    assert!(end.health.is_checked());
    drop(patient);
    check.within = Duration::from_millis(20);
    let _running = checking(vec![checked_by(std::slice::from_ref(&end), &check)]);
    until_checked(&end, false).await;
}

#[tokio::test]
async fn the_first_question_comes_at_once_and_the_next_one_when_it_is_time() {
    let server = Server::start(Mood::Says(StatusCode::OK)).await;
    let end = endpoint(server.address, "");
    let mut check = often(1, 1);
    check.every = Duration::from_secs(3600);
    let _running = checking(vec![checked_by(std::slice::from_ref(&end), &check)]);
    until("the first question", || server.seen().len() == 1).await;
    let early = timeout(Duration::from_millis(100), async {
        until("a second question", || server.seen().len() > 1).await;
    });
    assert!(early.await.is_err(), "an hour is not over");
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end_and_a_cut_one_is_not_well() {
    let server = Server::start(Mood::Says(StatusCode::BAD_GATEWAY)).await;
    let end = endpoint(server.address, "");
    let _running = checking(vec![checked_by(std::slice::from_ref(&end), &often(1, 1))]);
    until_checked(&end, false).await;
    server.becomes(Mood::Endless);
    until_checked(&end, true).await;
    server.becomes(Mood::Cut);
    until_checked(&end, false).await;
}

#[tokio::test]
async fn an_endpoint_of_two_upstreams_is_asked_as_the_first_one_says() {
    let server = Server::start(Mood::Says(StatusCode::OK)).await;
    let end = endpoint(server.address, "");
    let mut other = often(1, 1);
    other.path = "/other".into();
    let ends = std::slice::from_ref(&end);
    let groups = vec![checked_by(ends, &often(1, 1)), checked_by(ends, &other)];
    let _running = checking(groups);
    until("some questions", || server.seen().len() > 5).await;
    assert!(
        server
            .seen()
            .iter()
            .all(|(target, _)| target.starts_with("/health"))
    );
}

#[tokio::test]
async fn a_panic_is_kept_apart_and_work_ends_with_who_wants_it() {
    assert_eq!(apart(async { 7 }).await, Some(7));
    assert_eq!(apart(async { panic!("on purpose") }).await, None::<()>);
    let alive = Arc::new(());
    let held = alive.clone();
    let working = apart(async move {
        std::future::pending::<()>().await;
        drop(held);
    });
    assert!(timeout(Duration::from_millis(5), working).await.is_err());
    until("the work to end", || Arc::strong_count(&alive) == 1).await;
}

#[test]
fn chance_stays_within_a_tenth() {
    let every = Duration::from_secs(10);
    let times: Vec<_> = (0..1000).map(|_| jittered(every)).collect();
    assert!(times.iter().all(|time| *time >= every.mul_f64(0.9)));
    assert!(times.iter().all(|time| *time <= every.mul_f64(1.1)));
    assert!(times.iter().any(|time| *time < every) && times.iter().any(|time| *time > every));
}

proptest! {
    /// What counts is only the row of equal answers that the last one ends.
    #[test]
    fn it_takes_so_many_in_a_row(
        up in 1_u32..5,
        down in 1_u32..5,
        well in any::<bool>(),
        answers in proptest::collection::vec(any::<bool>(), 0..60),
    ) {
        let mut checked = Checked::new(up, down, well);
        let mut expected = well;
        for end in 1..=answers.len() {
            let last = answers[end - 1];
            let row = answers[..end].iter().rev().take_while(|one| **one == last).count();
            let enough = if last { up } else { down } as usize;
            let turns = last != expected && row >= enough;
            if turns {
                expected = last;
            }
            prop_assert_eq!(checked.take(last), turns.then_some(last));
        }
    }
}

//! Look-ups, with a resolver that says what the test says, and time that is made to pass.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::Semaphore;
use tokio::task::yield_now;
use tokio::time::advance;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use super::*;

const KEEP: Duration = Duration::from_secs(30);

/// What a name resolves to, told by the test.
#[derive(Debug, Clone)]
struct Told(Arc<Script>);

#[derive(Debug)]
struct Script {
    answer: Mutex<Result<Vec<SocketAddr>, io::ErrorKind>>,
    asked: AtomicUsize,
    /// One permit lets one look-up end.
    gate: Semaphore,
}

impl Resolve for Told {
    fn resolve(&self, host: &str, port: u16) -> Pin<Box<dyn Future<Output = Found> + Send>> {
        assert_eq!((host, port), ("model.test", 80));
        let script = self.0.clone();
        Box::pin(async move {
            script.asked.fetch_add(1, Ordering::SeqCst);
            script.gate.acquire().await.unwrap().forget();
            let answer = script.answer.lock().unwrap().clone();
            answer.map_err(io::Error::from)
        })
    }
}

impl Told {
    /// Answers at once with these.
    fn addresses(list: &[&str]) -> Self {
        let told = Self::waiting(list);
        told.0.gate.add_permits(100_000);
        told
    }

    /// Answers with these when it is let.
    fn waiting(list: &[&str]) -> Self {
        Self(Arc::new(Script {
            answer: Mutex::new(Ok(parsed(list))),
            asked: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        }))
    }

    fn lookup(&self) -> Lookup {
        Lookup::with(Box::new(self.clone()))
    }

    fn say(&self, answer: Result<&[&str], io::ErrorKind>) {
        *self.0.answer.lock().unwrap() = answer.map(parsed);
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }
}

fn parsed(list: &[&str]) -> Vec<SocketAddr> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

async fn ask(lookup: &Lookup) -> Result<Vec<SocketAddr>, Reason> {
    let found = lookup.addresses("model.test", 80, KEEP).await?;
    Ok(found.to_vec())
}

/// Lets other tasks run until `is_so`; they have nothing to wait for but each other.
async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..1000 {
        if is_so() {
            return;
        }
        yield_now().await;
    }
    panic!("it never came");
}

async fn let_others_run() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_used_until_its_time_is_over() {
    let told = Told::addresses(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    assert_eq!(ask(&lookup).await.unwrap(), parsed(&["10.0.0.1:80"]));
    told.say(Ok(&["10.0.0.2:80"]));
    advance(KEEP - Duration::from_millis(1)).await;
    assert_eq!(ask(&lookup).await.unwrap(), parsed(&["10.0.0.1:80"]));
    let_others_run().await;
    assert_eq!(told.asked(), 1);
    advance(Duration::from_millis(1)).await;
    assert_eq!(
        ask(&lookup).await.unwrap(),
        parsed(&["10.0.0.1:80"]),
        "nobody waits for a second look-up"
    );
    until(|| lookup.has("10.0.0.2:80".parse().unwrap())).await;
    assert_eq!(ask(&lookup).await.unwrap(), parsed(&["10.0.0.2:80"]));
    assert!(!lookup.has("10.0.0.1:80".parse().unwrap()));
    assert_eq!(told.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn those_who_come_at_once_share_the_first_look_up_and_its_failure() {
    let told = Told::waiting(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    let all = join_all((0..50).map(|_| ask(&lookup)));
    let release = async {
        until(|| told.asked() > 0).await;
        told.0.gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(all, release);
    assert!(answers.into_iter().all(|answer| answer.is_ok()));
    assert_eq!(told.asked(), 1);

    let told = Told::waiting(&[]);
    let lookup = told.lookup();
    let all = join_all((0..50).map(|_| ask(&lookup)));
    let release = async {
        until(|| told.asked() > 0).await;
        told.0.gate.add_permits(1);
    };
    let (answers, ()) = tokio::join!(all, release);
    let are_resolve = |answer| matches!(answer, Err(Reason::Resolve(_)));
    assert!(answers.into_iter().all(are_resolve));
    assert_eq!(told.asked(), 1, "no address is a failure too, and shared");
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_takes_no_look_up_along() {
    let told = Told::waiting(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    let gone = timeout(Duration::from_millis(10), ask(&lookup)).await;
    assert!(gone.is_err());
    told.0.gate.add_permits(1);
    assert_eq!(ask(&lookup).await.unwrap(), parsed(&["10.0.0.1:80"]));
    assert_eq!(told.asked(), 1);
}

#[test]
fn a_runtime_that_ends_takes_no_other_caller_along() {
    let told = Told::waiting(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let first = runtime();
    let short = Duration::from_millis(1);
    assert!(
        first
            .block_on(async { timeout(short, ask(&lookup)).await })
            .is_err()
    );
    drop(first);
    told.0.gate.add_permits(1);
    let found = runtime().block_on(async { timeout(KEEP, ask(&lookup)).await });
    assert_eq!(found.unwrap().unwrap(), parsed(&["10.0.0.1:80"]));
    assert_eq!(told.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn old_addresses_do_while_the_resolver_fails_but_not_for_ever() {
    let told = Told::addresses(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    ask(&lookup).await.unwrap();
    told.say(Err(io::ErrorKind::Other));
    advance(KEEP).await;
    for asked in 2..10 {
        assert_eq!(ask(&lookup).await.unwrap(), parsed(&["10.0.0.1:80"]));
        until(|| told.asked() == asked).await;
        let_others_run().await;
        assert!(ask(&lookup).await.is_ok());
        let_others_run().await;
        assert_eq!(told.asked(), asked, "a failing resolver is not hurried");
        advance(AFTER_FAILURE).await;
    }
    advance(KEEP * HELD_TIMES).await;
    assert!(matches!(ask(&lookup).await, Err(Reason::Resolve(_))));
    told.say(Ok(&["10.0.0.3:80"]));
    assert_eq!(ask(&lookup).await.unwrap(), parsed(&["10.0.0.3:80"]));
}

/// Keeps the level of all that is logged.
#[derive(Clone, Default)]
struct Levels(Arc<Mutex<Vec<Level>>>);

impl<S: Subscriber> Layer<S> for Levels {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().ends_with("lookup") {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_row_of_failures_is_logged_once_and_its_end_too() {
    let logged = Levels::default();
    let _logging = tracing_subscriber::registry()
        .with(logged.clone())
        .set_default();
    let told = Told::addresses(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    ask(&lookup).await.unwrap();
    for row in 1..4 {
        told.say(Err(io::ErrorKind::Other));
        advance(KEEP).await;
        for _ in 0..3 {
            advance(AFTER_FAILURE).await;
            let asked = told.asked();
            ask(&lookup).await.unwrap();
            until(|| told.asked() > asked).await;
            let_others_run().await;
        }
        told.say(Ok(&["10.0.0.1:80"]));
        advance(AFTER_FAILURE).await;
        ask(&lookup).await.unwrap();
        let_others_run().await;
        assert_eq!(
            *logged.0.lock().unwrap(),
            [Level::WARN, Level::INFO].repeat(row)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_hangs_is_given_up() {
    let told = Told::waiting(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    let error = ask(&lookup).await.unwrap_err();
    assert!(
        matches!(&error, Reason::Resolve(error) if error.kind() == io::ErrorKind::TimedOut),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn who_keeps_connections_has_names_looked_up_too() {
    let told = Told::addresses(&["10.0.0.1:80"]);
    let lookup = told.lookup();
    lookup.refresh("model.test", 80, KEEP);
    let_others_run().await;
    assert_eq!(told.asked(), 0, "nothing is kept yet");
    assert!(lookup.has("10.0.0.9:80".parse().unwrap()), "nor known");
    ask(&lookup).await.unwrap();
    assert!(!lookup.has("10.0.0.9:80".parse().unwrap()));
    told.say(Ok(&["10.0.0.9:80"]));
    advance(KEEP * 1000).await;
    lookup.refresh("model.test", 80, KEEP);
    until(|| lookup.has("10.0.0.9:80".parse().unwrap())).await;
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_is_known_to_lead_nowhere_any_more() {
    let told = Told::addresses(&["10.0.0.1:80"]);
    let place = Place::Name {
        host: "model.test".into(),
        port: 80,
        lookup: told.lookup(),
    };
    let Place::Name { lookup, .. } = &place else {
        panic!("it was a name");
    };
    ask(lookup).await.unwrap();
    told.say(Ok(&["10.0.0.2:80"]));
    let kept = "10.0.0.1:80".parse().unwrap();
    assert!(place.leads_to(kept, KEEP));
    advance(KEEP).await;
    until(|| !place.leads_to(kept, KEEP)).await;
    assert!(place.leads_to("10.0.0.2:80".parse().unwrap(), KEEP));
    assert_eq!(told.asked(), 2);
    assert!(Place::Address(kept).leads_to(kept, KEEP));
}

#[tokio::test]
async fn an_address_is_its_own_answer() {
    let told = Told::addresses(&[]);
    let lookup = told.lookup();
    for (host, address) in [("10.0.0.7", "10.0.0.7:8000"), ("::1", "[::1]:8000")] {
        let found = lookup.addresses(host, 8000, Duration::ZERO).await.unwrap();
        assert_eq!(found.to_vec(), parsed(&[address]));
    }
    lookup.refresh("10.0.0.7", 8000, Duration::ZERO);
    assert_eq!(told.asked(), 0);
}

#[tokio::test]
async fn the_system_knows_this_machine() {
    let lookup = Lookup::default();
    let found = lookup.addresses("localhost", 81, KEEP).await.unwrap();
    assert!(!found.is_empty());
    assert!(
        found
            .iter()
            .all(|one| one.ip().is_loopback() && one.port() == 81)
    );
}

#[test]
fn families_take_turns_and_so_do_their_members() {
    let all = parsed(&["[::1]:1", "[::2]:1", "10.0.0.1:1", "[::3]:1"]);
    assert_eq!(
        by_turns(&all, 0),
        parsed(&["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"])
    );
    assert_eq!(
        by_turns(&all, 4),
        parsed(&["[::2]:1", "10.0.0.1:1", "[::3]:1", "[::1]:1"])
    );
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<bool>(), any::<u8>()).prop_map(|(six, last)| match six {
        true => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, u16::from(last)], 1)),
        false => SocketAddr::from(([10, 0, 0, last], 1)),
    })
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Ask,
    Fail(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0_u64..200).prop_map(Step::Pass),
        Just(Step::Ask),
        any::<bool>().prop_map(Step::Fail),
    ]
}

/// An answer that tells by its port when it was given, in seconds.
fn stamped(now: u16) -> Vec<SocketAddr> {
    vec![SocketAddr::from(([10, 0, 0, 1], now))]
}

proptest! {
    #[test]
    fn nobody_is_forgotten_and_everybody_is_first_in_its_turn(
        list in proptest::collection::vec(address(), 1..12)
    ) {
        let six_first = list[0].is_ipv6();
        let mut first = BTreeSet::new();
        for turn in 0..list.len() {
            let mut ordered = by_turns(&list, turn);
            prop_assert_eq!(ordered[0].is_ipv6(), six_first);
            first.insert(ordered[0]);
            let mut sorted = list.clone();
            ordered.sort();
            sorted.sort();
            prop_assert_eq!(ordered, sorted);
        }
        let family: BTreeSet<_> =
            list.iter().copied().filter(|one| one.is_ipv6() == six_first).collect();
        prop_assert_eq!(first, family);
    }

    /// Whatever fails and however time passes: no answer is older than it may be, and one is there as long as it may.
    #[test]
    fn no_answer_is_used_for_too_long(steps in proptest::collection::vec(step(), 1..40)) {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let told = Told::addresses(&[]);
            let lookup = told.lookup();
            let (mut now, mut fails) = (1_u16, false);
            *told.0.answer.lock().unwrap() = Ok(stamped(now));
            for step in steps {
                match step {
                    Step::Pass(seconds) => {
                        advance(Duration::from_secs(seconds)).await;
                        now += u16::try_from(seconds).unwrap();
                    }
                    Step::Fail(does) => fails = does,
                    Step::Ask => {
                        let known = lookup.shared.state().known.clone();
                        let found = ask(&lookup).await;
                        let longest = u16::try_from((KEEP * (HELD_TIMES + 1)).as_secs()).unwrap();
                        match found {
                            Ok(found) => prop_assert!(now - found[0].port() < longest),
                            Err(_) => {
                                prop_assert!(fails);
                                let usable = known.is_some_and(|known| now - known.addresses[0].port() < longest);
                                prop_assert!(!usable);
                            }
                        }
                        let_others_run().await;
                    }
                }
                *told.0.answer.lock().unwrap() = match fails {
                    true => Err(io::ErrorKind::Other),
                    false => Ok(stamped(now)),
                };
            }
            Ok(())
        })?;
    }
}

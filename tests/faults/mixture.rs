//! Thousands of requests, through one gateway, to backends that fail in every way there is, all at once.
//!
//! Whatever happens, a caller gets its whole answer once, or one honest error, and nobody works for one who has left.
//! Clocks are short here: on a machine that is busy they run out where nothing was drawn, which is one more fault.
//! `MIXTURE_SEED` and `MIXTURE_REQUESTS` in the environment play another run.

#[path = "mixture/draw.rs"]
mod draw;
#[path = "mixture/stage.rs"]
mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::draw::{Case, Route};
use self::stage::{GARBAGE, Log, NO_BEGINNINGS};
use crate::support::client::Answer;
use crate::support::{Ask, Backend, Client, Gateway, until, within};

const SEED: u64 = 0x5EED;
const REQUESTS: usize = 10_000;
/// Callers at once.
const CALLERS: usize = 64;
/// Faults of one caller after which it asks no more: where everything hangs, it would take hours.
const ENOUGH: usize = 2;
/// How long after its caller has left a request may still be sent to a backend.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// The ways in which a request may end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Whole,
    /// An error's status instead of an answer.
    Refused,
    /// The right beginning, then an error event.
    Broken,
    /// Its caller left.
    Left,
}

/// What all of them share.
struct Run {
    seed: u64,
    requests: usize,
    gateway: Gateway,
    log: Log,
    next: AtomicUsize,
}

/// What is the same for every upstream.
const UPSTREAM: &str = "retry_budget = { percent = 50, least = 50 }\n\
    eject = { after = 12, percent = 90, pause = \"40ms\", longest = \"200ms\" }\n\
    clocks = { connect = \"2s\", first_byte = \"250ms\", first_event = \"300ms\", idle = \"300ms\" }\n";
/// What is the same for every route.
const RULES: &str = "dialect = \"openai-chat\"\nrescue = true\nusage = \"comment\"\n\
    retry = { times = 2, pause = \"10ms\", longest = \"60ms\" }\n";

fn toml(backends: &[Backend]) -> String {
    let mut toml = "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 2\n\
                    [admin]\nlisten = \"127.0.0.1:0\"\n"
        .to_owned();
    let urls: Vec<_> = backends.iter().map(Backend::url).collect();
    let upstreams = [("a", "no"), ("b", "assistant"), ("c", "continue")];
    for ((name, prefill), url) in upstreams.iter().zip(&urls) {
        toml +=
            &format!("[upstreams.{name}]\nurl = \"{url}\"\nprefill = \"{prefill}\"\n{UPSTREAM}");
    }
    toml += &format!(
        "[upstreams.all]\nendpoints = {urls:?}\nbalance = \"least-in-flight\"\n{UPSTREAM}"
    );
    let all = "to = [\"a\", \"b\", \"c\"]";
    for (name, keys) in [
        (
            "hedged",
            format!("{all}\nhedge = \"80ms\"\nhedge_percent = 30"),
        ),
        ("early", format!("{all}\nearly_head = \"50ms\"")),
        (
            "kept",
            format!("{all}\nresume = {{ on_leave = \"cancel\", keep = \"1s\" }}"),
        ),
        (
            "larger",
            "to = [\"a\", \"b\", { upstream = \"c\", larger = true }]".to_owned(),
        ),
        ("group", "to = \"all\"".to_owned()),
    ] {
        toml += &format!("[routes.{name}]\npath = \"/{name}\"\n{keys}\n{RULES}");
    }
    toml
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_caller_gets_its_answer_once_or_one_honest_error() {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let seed = number("MIXTURE_SEED").unwrap_or(SEED);
    let requests = number("MIXTURE_REQUESTS").map_or(REQUESTS, |count: u64| count as usize);
    let log = Log::default();
    let mut backends = Vec::new();
    for number in 0..draw::BACKENDS {
        backends.push(stage::backend(seed, number, log.clone()).await);
    }
    let run = Arc::new(Run {
        seed,
        requests,
        gateway: Gateway::start(&toml(&backends)).await,
        log,
        next: AtomicUsize::new(0),
    });
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(call(run.clone()));
    }
    let mut outcomes = BTreeMap::new();
    let mut faults = Vec::new();
    while let Some(told) = callers.join_next().await {
        let (some, wrong) = told.unwrap();
        for outcome in some {
            *outcomes.entry(outcome).or_insert(0_usize) += 1;
        }
        faults.extend(wrong);
    }
    println!("seed {seed}: {outcomes:?} in {:?}", began.elapsed());
    let open = || run.log.open().is_empty().then_some(());
    until("the backends to be left", open).await;
    run.log.with(|seen| faults.append(&mut seen.wrong));
    assert!(
        faults.is_empty(),
        "seed {seed}: {}\n{}",
        faults.len(),
        faults.join("\n\n")
    );
    run.is_quiet_again().await;
    let whole = outcomes.get(&Outcome::Whole).copied().unwrap_or_default();
    assert!(whole * 2 > requests, "seed {seed}: {outcomes:?}");
}

/// Asks one request after the other; how each ended, and what was wrong.
async fn call(run: Arc<Run>) -> (Vec<Outcome>, Vec<String>) {
    let (mut outcomes, mut faults) = (Vec::new(), Vec::new());
    loop {
        let id = run.next.fetch_add(1, Ordering::Relaxed);
        if id >= run.requests || faults.len() >= ENOUGH {
            return (outcomes, faults);
        }
        let case = Case::draw(run.seed, id);
        // A task of its own: what panics in the middle of it is told with the case.
        let asking = tokio::spawn(ask(run.clone(), case.clone()));
        match asking.await.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(outcome) => outcomes.push(outcome),
            Err(wrong) => {
                let asked = run.log.asked(id);
                faults.push(format!("request {id}: {wrong}\n asked {asked:?}, {case:?}"));
            }
        }
    }
}

async fn ask(run: Arc<Run>, case: Case) -> Result<Outcome, String> {
    let path = match case.route {
        Route::Hedged => "/hedged",
        Route::Early => "/early",
        Route::Larger => "/larger",
        Route::Kept => "/kept",
        Route::Group => "/group",
    };
    let body =
        "{\"model\":\"m\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}";
    let ask = Ask::post(path, body).field(&format!("X-Case: {}", case.id));
    let mut client = Client::asking(run.gateway.address, &ask).await;
    let Some(leaves) = case.leaves else {
        return judge(&case, &client.answer().await);
    };
    // Not before it is known to have come: what was never read is not counted.
    let asked = || (run.log.asked(case.id) != [0; draw::BACKENDS]).then_some(());
    until("a backend to be asked", asked).await;
    sleep(leaves).await;
    let left = client.leave();
    within("the backends to be left", async {
        // Quiet is what stays so: an attempt may be on its way.
        while run.log.is_open(case.id) || left.elapsed() < Duration::from_millis(300) {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    match run.log.last(case.id) {
        Some(last) if last > left + AFTERWARDS => Err("asked after its caller has left".to_owned()),
        _ => Ok(Outcome::Left),
    }
}

fn judge(case: &Case, answer: &Answer) -> Result<Outcome, String> {
    let shown = || format!("{:?} {:?}\n{}", answer.head, answer.ended, answer.text());
    if !answer.ended.is_clean() {
        return Err(format!("not ended: {}", shown()));
    }
    if answer.status() != 200 {
        return refused(case, answer).map_err(|wrong| format!("{wrong}: {}", shown()));
    }
    let mut told = Told::default();
    for block in answer.text().split_terminator("\n\n") {
        told.take(case, block)
            .map_err(|wrong| format!("{wrong}: {}", shown()))?;
    }
    told.end(case)
        .map_err(|wrong| format!("{wrong}: {}", shown()))
}

fn refused(case: &Case, answer: &Answer) -> Result<Outcome, &'static str> {
    let body: Value = serde_json::from_slice(&answer.body).map_err(|_| "no JSON")?;
    let message = body["error"]["message"].as_str().ok_or("no error in it")?;
    if message == NO_BEGINNINGS {
        return Err("refused what the caller did not ask");
    }
    match answer.status() {
        400 if case.may_be_refused() => Ok(Outcome::Refused),
        429 | 500 | 502 | 503 | 504 => Ok(Outcome::Refused),
        _ => Err("not an error that was drawn"),
    }
}

/// What an answer's events have told.
#[derive(Default)]
struct Told {
    text: String,
    id: Option<Value>,
    has_role: bool,
    is_finished: bool,
    is_done: bool,
    is_error: bool,
}

impl Told {
    fn take(&mut self, case: &Case, block: &str) -> Result<(), &'static str> {
        let lines = block
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(':'));
        let lines: Vec<_> = lines.collect();
        let data = match lines[..] {
            [] => return Ok(()),
            [line] => line,
            [id, line] if case.route == Route::Kept && id.starts_with("id:") => line,
            _ => return Err("more than its data"),
        };
        let data = data.strip_prefix("data: ").ok_or("no data")?;
        if self.is_error || self.is_done {
            return Err("something behind the end");
        }
        if data == "[DONE]" {
            self.is_done = true;
            return Ok(());
        }
        if data == GARBAGE && case.may_be_garbled() {
            return Ok(());
        }
        let chunk: Value = serde_json::from_str(data).map_err(|_| "no JSON")?;
        if chunk["error"]["message"].is_string() {
            self.is_error = true;
            return (chunk["error"]["message"] != NO_BEGINNINGS)
                .then_some(())
                .ok_or("refused what the caller did not ask");
        }
        self.take_chunk(&chunk)
    }

    fn take_chunk(&mut self, chunk: &Value) -> Result<(), &'static str> {
        let id = chunk["id"].clone();
        if *self.id.get_or_insert_with(|| id.clone()) != id {
            return Err("a second answer's id");
        }
        let choice = &chunk["choices"][0];
        if choice["delta"]["role"].is_string() && std::mem::replace(&mut self.has_role, true) {
            return Err("a second role");
        }
        if self.is_finished {
            return Err("something behind the finish");
        }
        self.text += choice["delta"]["content"].as_str().unwrap_or_default();
        self.is_finished = choice["finish_reason"] == "stop";
        Ok(())
    }

    fn end(&self, case: &Case) -> Result<Outcome, &'static str> {
        let texts = case.texts();
        if self.is_error {
            let right = texts.iter().any(|text| text.starts_with(&self.text));
            return right.then_some(Outcome::Broken).ok_or("a wrong beginning");
        }
        if !texts.contains(&self.text) {
            return Err("a wrong text");
        }
        if !self.is_finished || !self.has_role {
            return Err("no finish");
        }
        if !self.is_done && !case.may_lack_done() {
            return Err("no [DONE]");
        }
        Ok(Outcome::Whole)
    }
}

impl Run {
    /// Waits until nothing is in flight, and every request is counted, once.
    async fn is_quiet_again(&self) {
        let began = Instant::now();
        loop {
            let report = self.gateway.ask_admin("/upstreams").await.json();
            let busy = in_flight(&report);
            let counted = self.counted().await;
            if busy.iter().all(|count| *count == 0) && counted == self.requests as f64 {
                break;
            }
            let seed = self.seed;
            assert!(
                began.elapsed() < Duration::from_secs(10),
                "seed {seed}: {busy:?} in flight, {counted} counted"
            );
            sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(self.gateway.metric("requests_in_flight").await, 0.0);
    }

    /// Requests that have ended, of every kind.
    async fn counted(&self) -> f64 {
        let text = self.gateway.ask_admin("/metrics").await.text();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("deltaway_requests_total{"));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        counts.sum()
    }
}

fn in_flight(report: &Value) -> Vec<u64> {
    let upstreams = report["upstreams"].as_array().unwrap();
    let endpoints = upstreams
        .iter()
        .flat_map(|upstream| upstream["endpoints"].as_array().unwrap());
    endpoints
        .map(|endpoint| endpoint["in_flight"].as_u64().unwrap())
        .collect()
}

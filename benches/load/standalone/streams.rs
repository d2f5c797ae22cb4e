//! Ordinary streams: standing, in open loop, in closed loop, or once each with a body of one's own.
//!
//! Invariant: in open loop a stream begins when it is due, whether or not earlier ones have ended; a
//! user of the closed loop begins the next when the last one has, on the same connection if it stays.

use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::account::{Account, Ended};
use super::address::{Address, Connection};
use super::follower::Follower;
use super::kept;
use super::window::{Window, join, until_all_have_begun};
use super::{ClientArgs, Workload};
use crate::clock::{now_ns, sleep_until_ns};
use crate::error::{LoadError, Result, While};
use crate::event::EventReader;
use crate::plan::Plan;
use crate::process::Meter;
use crate::wire::{Body, Head, Wire};

/// Bytes read at once.
pub const READ_SIZE: usize = 4 * 1024;
const SECOND_NS: u64 = 1_000_000_000;
const SETTLE_NS: u64 = SECOND_NS / 2;
/// Streams at once in open loop; beyond it the run is given up.
const MOST_AT_ONCE: usize = 30_000;

/// What each stream asks for.
pub struct Ask {
    /// Where.
    pub address: Arc<Address>,
    /// The whole request.
    pub request: Vec<u8>,
    /// The events that must come before `[DONE]`, if that is known.
    pub planned: Option<u64>,
    /// When it is due, in nanoseconds.
    pub due: u64,
}

/// What makes the requests of a run.
struct Asking<'a> {
    args: &'a ClientArgs,
    address: Arc<Address>,
    body: Option<String>,
}

impl<'a> Asking<'a> {
    fn new(args: &'a ClientArgs, address: Arc<Address>) -> Result<Self> {
        let read = |path: &std::path::PathBuf| {
            std::fs::read_to_string(path).while_doing(format!("reading {}", path.display()))
        };
        Ok(Self {
            args,
            address,
            body: args.body.as_ref().map(read).transpose()?,
        })
    }

    /// The request of stream `number`, due at `due`, for so many events where it orders any.
    fn ask(&self, number: u64, due: u64, events: u64) -> Ask {
        const JSON: &str = "Content-Type: application/json\r\n";
        if let Some(body) = &self.body {
            return Ask {
                request: self.address.post(JSON, body),
                address: Arc::clone(&self.address),
                planned: None,
                due,
            };
        }
        let gap_us = 1_000_000 / self.args.rate;
        let order = Plan::Generated {
            events,
            first_us: u64::try_from(self.args.first_token.as_micros()).unwrap_or(u64::MAX),
            // The golden ratio spreads the streams evenly over the gap, however many there are.
            phase_us: (number * 618_034 % 1_000_000) * gap_us / 1_000_000,
            gap_us,
            event_bytes: usize::try_from(self.args.event_bytes).unwrap_or(0),
        };
        Ask {
            request: self.address.post(JSON, &order.body()),
            address: Arc::clone(&self.address),
            planned: Some(events),
            due,
        }
    }
}

/// Runs one of the workloads of streams.
pub async fn run(
    args: &ClientArgs,
    address: Arc<Address>,
    account: &Arc<Account>,
    meter: &Meter,
) -> Result<Window> {
    let asking = Asking::new(args, address)?;
    match args.workload {
        Workload::Arrivals => open_loop(&asking, account, meter).await,
        Workload::Users => closed_loop(&asking, account, meter).await,
        Workload::Own => once_each(&asking, account, meter).await,
        _ => standing(&asking, account, meter).await,
    }
}

/// All streams at once, each as long as the window.
async fn standing(asking: &Asking<'_>, account: &Arc<Account>, meter: &Meter) -> Result<Window> {
    let args = asking.args;
    let mut window = Window::at_rest(meter)?;
    let begin = now_ns() + SETTLE_NS / 10;
    let spacing = SECOND_NS / args.opening_rate;
    let open = begin + spacing * args.count + SETTLE_NS + nanoseconds(args.first_token);
    let close = open + args.window_ns();
    let mut clients = JoinSet::new();
    for number in 0..args.count {
        let due = begin + spacing * number;
        let events = 2 + (close + SETTLE_NS / 5 - due) / 1_000 * args.rate / 1_000_000;
        let ask = asking.ask(number, due, events);
        let account = Arc::clone(account);
        let cuts = (args.workload == Workload::Resume).then(|| args.cuts(number));
        clients.spawn(async move {
            let ended = match cuts {
                Some(cuts) => kept::follow(&ask, cuts, &account).await,
                None => follow(&ask, None, &account).await.0,
            };
            account.ended(ended);
        });
    }
    until_all_have_begun(account, args.count, open).await;
    sleep_until_ns(open).await;
    let begun = account.counts().begun;
    window.open(meter, account, begun)?;
    sleep_until_ns(close).await;
    window.close(meter, account)?;
    join(clients, account).await;
    Ok(window)
}

async fn open_loop(asking: &Asking<'_>, account: &Arc<Account>, meter: &Meter) -> Result<Window> {
    let args = asking.args;
    let mut window = Window::at_rest(meter)?;
    let begin = now_ns() + SETTLE_NS / 10;
    let close = begin + args.window_ns();
    let mut clients = JoinSet::new();
    sleep_until_ns(begin).await;
    window.open(meter, account, 0)?;
    for number in 0.. {
        let due = begin + (number as f64 / args.arrivals * SECOND_NS as f64) as u64;
        if due >= close {
            break;
        }
        sleep_until_ns(due).await;
        while clients.try_join_next().is_some() {}
        if clients.len() >= MOST_AT_ONCE {
            return Err(LoadError::Failed(format!(
                "{MOST_AT_ONCE} streams at once: they do not end as fast as they begin"
            )));
        }
        let ask = asking.ask(number, due, args.events);
        let account = Arc::clone(account);
        clients.spawn(async move { account.ended(follow(&ask, None, &account).await.0) });
    }
    sleep_until_ns(close).await;
    window.close(meter, account)?;
    join(clients, account).await;
    Ok(window)
}

async fn closed_loop(asking: &Asking<'_>, account: &Arc<Account>, meter: &Meter) -> Result<Window> {
    let args = asking.args;
    let mut window = Window::at_rest(meter)?;
    let begin = now_ns() + SETTLE_NS / 10;
    let close = begin + args.window_ns();
    let mut clients = JoinSet::new();
    for number in 0..args.count {
        let mut ask = asking.ask(
            number,
            begin + SECOND_NS / args.opening_rate * number,
            args.events,
        );
        let account = Arc::clone(account);
        clients.spawn(async move {
            let mut kept = None;
            while ask.due < close {
                let (ended, wire) = follow(&ask, kept, &account).await;
                let is_unreached = matches!(ended, Ended::Unreached(_));
                account.ended(ended);
                kept = wire;
                ask.due = now_ns();
                if is_unreached {
                    // Nobody tries again without a breath.
                    ask.due += SETTLE_NS;
                }
            }
        });
    }
    sleep_until_ns(begin).await;
    window.open(meter, account, 0)?;
    sleep_until_ns(close).await;
    window.close(meter, account)?;
    join(clients, account).await;
    Ok(window)
}

async fn once_each(asking: &Asking<'_>, account: &Arc<Account>, meter: &Meter) -> Result<Window> {
    let args = asking.args;
    let mut window = Window::at_rest(meter)?;
    let begin = now_ns();
    let mut clients = JoinSet::new();
    window.open(meter, account, 0)?;
    for number in 0..args.count {
        let due = begin + SECOND_NS / args.opening_rate * number;
        let ask = asking.ask(number, due, 0);
        let account = Arc::clone(account);
        clients.spawn(async move { account.ended(follow(&ask, None, &account).await.0) });
    }
    let all = async { while clients.join_next().await.is_some() {} };
    let limit = std::time::Duration::from_nanos(args.window_ns());
    if tokio::time::timeout(limit, all).await.is_err() {
        eprintln!(
            "{} streams had not ended after {} s",
            clients.len(),
            args.seconds
        );
    }
    window.close(meter, account)?;
    Ok(window)
}

fn nanoseconds(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Sends the request on a connection that is kept, or on a new one, and gives the head of its answer.
pub async fn exchange(
    address: &Address,
    request: &[u8],
    kept: Option<Wire<Connection>>,
) -> std::result::Result<(Wire<Connection>, Head), Ended> {
    if let Some(mut wire) = kept
        && wire.io.write_all(request).await.is_ok()
        && let Ok(head) = wire.answer().await
    {
        return Ok((wire, head));
    }
    // The other side may have closed what rested.
    let unreached = |error: LoadError| Ended::Unreached(error.to_string());
    let mut wire = address.connect(READ_SIZE).await.map_err(unreached)?;
    let answer = async {
        let sent = wire.io.write_all(request).await;
        sent.while_doing("sending a request")?;
        wire.io.flush().await.while_doing("sending a request")?;
        wire.answer().await
    };
    match answer.await {
        Ok(head) => Ok((wire, head)),
        Err(error) => Err(unreached(error)),
    }
}

/// Follows one stream from its request to its end; the connection comes back if it can carry another.
async fn follow(
    ask: &Ask,
    kept: Option<Wire<Connection>>,
    account: &Arc<Account>,
) -> (Ended, Option<Wire<Connection>>) {
    sleep_until_ns(ask.due).await;
    let (mut wire, head) = match exchange(&ask.address, &ask.request, kept).await {
        Ok(answered) => answered,
        Err(ended) => return (ended, None),
    };
    let mut body = Body::new(head.framing);
    let (mut reader, mut follower) = (
        EventReader::default(),
        Follower::of_stream(account, ask.due),
    );
    follower.same_clock = head.boot.as_ref() == Some(&ask.address.boot);
    let is_stream = (200..300).contains(&head.status);
    account.counts().begun += u64::from(is_stream);
    loop {
        let mut is_new = true;
        let mut sink = |bytes: &[u8]| {
            if !is_stream {
                return;
            }
            if std::mem::take(&mut is_new) {
                follower.arrives();
            }
            reader.feed(bytes, &mut |seen| follower.saw(seen));
        };
        match wire.body(&mut body, &mut sink).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return (Ended::Cut(error.to_string()), None),
        }
    }
    let ended = match is_stream {
        true => verdict(&follower, ask.planned),
        false => Ended::Refused(head.status),
    };
    (ended, head.keep_alive.then_some(wire))
}

/// What a stream was whose body ended as it should.
pub fn verdict(follower: &Follower, planned: Option<u64>) -> Ended {
    if follower.has_told {
        return Ended::Told;
    }
    let came = follower.order.next();
    match planned {
        Some(planned) if came < planned || !follower.is_done => Ended::Disguised(format!(
            "a stream ended cleanly after {came} of {planned} events, {} [DONE]",
            if follower.is_done { "with" } else { "without" }
        )),
        _ => Ended::Whole,
    }
}

//! Many subscribers of one URL, with a publisher of our own or without.
//!
//! Invariant: at the end everybody waits for the same last event: the last one that was published, or
//! the highest that anybody had when the window closed. What is not there then is lost.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::account::{Account, GONE};
use super::address::Address;
use super::follower::Follower;
use super::publisher::{Publications, publish};
use super::subscriber::Subscriber;
use super::window::{GRACE, Window, until_all_have_begun};
use super::{ClientArgs, Workload};
use crate::clock::{now_ns, sleep_until_ns};
use crate::error::{LoadError, Result};
use crate::process::Meter;

const SECOND_NS: u64 = 1_000_000_000;
const SETTLE_NS: u64 = SECOND_NS / 5;
const LOOK_AGAIN_NS: u64 = 10_000_000;

/// Runs one of the workloads of subscribers.
pub async fn run(
    args: &ClientArgs,
    address: Arc<Address>,
    account: &Arc<Account>,
    meter: &Meter,
) -> Result<Window> {
    let published = args.publish_url.as_ref();
    let publisher = published.map(|url| Address::of(url, &args.headers).map(Arc::new));
    let publisher = publisher.transpose()?;
    let mut window = Window::at_rest(meter)?;
    // Numbers that no earlier run has used: its events may still be kept.
    let first = now_ns();
    let numbers = first..first + args.publications();
    let mut clients = JoinSet::new();
    let begin = now_ns();
    for place in 0..args.count {
        let due = begin + SECOND_NS / args.opening_rate * place;
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        let mut follower = match publisher {
            Some(_) => Follower::of_published(account, at, numbers.clone()),
            None => Follower::of_feed(account, at, due),
        };
        follower.same_clock |= args.same_clock;
        let cuts = (args.workload == Workload::ResumeFeed).then(|| args.cuts(place));
        let subscriber = Subscriber::new(Arc::clone(&address), args.transport(), follower, cuts);
        clients.spawn(subscriber.receive(due, Arc::clone(account)));
    }
    let until = begin + SECOND_NS / args.opening_rate * args.count + in_ns(GRACE);
    if !until_all_have_begun(account, args.count, until).await {
        let begun = account.counts().begun;
        return Err(LoadError::Failed(format!(
            "only {begun} of {} subscriptions had begun in time",
            args.count
        )));
    }
    sleep_until_ns(now_ns() + SETTLE_NS).await;
    window.open(meter, account, args.count)?;
    let begin = now_ns();
    let result = match publisher {
        Some(address) => {
            let publications = Publications {
                address,
                numbers: numbers.clone(),
                begin,
                gap_ns: SECOND_NS / args.rate,
                event_bytes: usize::try_from(args.event_bytes).unwrap_or(0),
            };
            publish(publications, account).await
        }
        None => Ok(()),
    };
    sleep_until_ns(begin + args.window_ns()).await;
    let goal = match args.publish_url {
        Some(_) => {
            all_have(account, numbers.end, begin).await;
            numbers.end
        }
        None => highest(account),
    };
    window.close(meter, account)?;
    result?;
    all_have(account, goal, now_ns()).await;
    clients.abort_all();
    while clients.join_next().await.is_some() {}
    settle(account, goal, numbers.start);
    Ok(window)
}

/// The highest number after an event that anybody has, of those who are still there.
fn highest(account: &Account) -> u64 {
    let counts = account.counts();
    let there = counts.progress.iter().copied().filter(|next| *next != GONE);
    there.max().unwrap_or(0)
}

fn in_ns(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits until everybody who is still there has all numbers below `goal`, for [`GRACE`] after `since` at most.
async fn all_have(account: &Account, goal: u64, since: u64) {
    while account.counts().progress.iter().any(|next| *next < goal)
        && now_ns() < since + in_ns(GRACE)
    {
        sleep_until_ns(now_ns() + LOOK_AGAIN_NS).await;
    }
}

/// Counts as lost what those who are still there have not got; `first` is the first number published.
fn settle(account: &Account, goal: u64, first: u64) {
    let mut counts = account.counts();
    let behind = counts.progress.iter().filter(|next| **next < goal);
    let missing = behind.map(|next| match next {
        // Nothing came at all.
        0 => goal.saturating_sub(first).max(1),
        next => goal - next,
    });
    counts.lost += missing.sum::<u64>();
}

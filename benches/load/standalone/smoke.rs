//! Every kind of client for a moment against the gateway, all at once: nothing may be lost.
//!
//! Invariant: no time is judged. A kind that saw no event of ours, or whose clients were to cut and did
//! not, has proved nothing and is a fault.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use futures_util::future::join_all;

use super::account::Account;
use super::{ClientArgs, Workload, measure};
use crate::backend::{listen, serve_faulty};
use crate::binaries::Binaries;
use crate::clock::{now_ns, sleep_until_ns};
use crate::error::{LoadError, Result, While};
use crate::faults::Faults;
use crate::launch::Launched;
use crate::plan::Plan;
use crate::process::pin;

/// A kind's name, its paths at the gateway (`publish` after a blank), and its arguments.
const KINDS: &[(&str, &str, &str)] = &[
    ("paced", "/v1/a", "--workload paced"),
    (
        "arrivals",
        "/v1/a",
        "--workload arrivals --events 20 --first-token 20ms",
    ),
    (
        "users",
        "/v1/a",
        "--workload users --events 10 --event-bytes 700",
    ),
    (
        "arrivals with faults",
        "/faulty/a",
        "--workload arrivals --events 20 --expect-faults",
    ),
    ("resume", "/kept/a", "--workload resume --cut-after 1500"),
    ("feed", "/feed", "--workload feed"),
    ("websocket", "/feed", "--workload websocket"),
    (
        "resume-feed",
        "/feed",
        "--workload resume-feed --cut-after 1500",
    ),
    ("publish", "/topics/a /topics/a", "--workload publish"),
    (
        "publish, websocket",
        "/topics/b /topics/b",
        "--workload publish --transport websocket",
    ),
    (
        "publish, ndjson",
        "/topics/c /topics/c",
        "--workload publish --transport ndjson",
    ),
    (
        "publish, long-poll",
        "/topics/d /topics/d",
        "--workload publish --transport long-poll",
    ),
    (
        "resume a topic",
        "/topics/e /topics/e",
        "--workload resume-feed --cut-after 1500",
    ),
    (
        "resume a topic, websocket",
        "/topics/f /topics/f",
        "--workload resume-feed --transport websocket --cut-after 1500",
    ),
];
const ALL: &str = "--count 5 --rate 100 --opening-rate 200 --arrivals 100 --seconds 0.5";
const FAULTS: &str = "cut=10%,reset=10%,error=10%,503=10%,close=5%,stall=5%:20ms,late=5%:20ms";
const START_LIMIT_NS: u64 = 10_000_000_000;
const LOOK_AGAIN_NS: u64 = 20_000_000;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: ClientArgs,
}

/// A moment of every kind; an error if one of them met a fault.
pub async fn smoke(binaries: &Binaries) -> Result<()> {
    let gateway = binaries.gateway()?;
    pin(&[binaries.load_core])?;
    let sound = backend(Faults::default())?;
    let faulty = backend(FAULTS.parse().map_err(LoadError::Usage)?)?;
    let mut process = Launched::start(&[binaries.proxy_core], |address, directory| {
        let file = directory.join("deltaway.toml");
        let config = config(address, sound, faulty);
        std::fs::write(&file, config).while_doing("writing deltaway.toml")?;
        let gateway: &Path = &gateway;
        Ok(vec![
            gateway.display().to_string(),
            "--config".into(),
            file.display().to_string(),
        ])
    })?;
    wait_for(&mut process).await?;
    let address = process.address;
    let runs = KINDS.iter().map(|kind| attempt(kind, address));
    let mut faults = Vec::new();
    for ((name, ..), result) in KINDS.iter().zip(join_all(runs).await) {
        match result {
            Ok(()) => println!("deltaway ({name}): nothing lost, nothing failed"),
            Err(error) => {
                println!("deltaway ({name}): {error}");
                faults.push(format!("deltaway ({name}): {error}"));
            }
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    faults.push(process.log());
    Err(LoadError::Failed(faults.join("\n")))
}

/// Starts a backend in this process.
fn backend(faults: Faults) -> Result<SocketAddr> {
    let listener = listen(([127, 0, 0, 1], 0).into())?;
    let address = listener.local_addr().while_doing("listening")?;
    let default = Plan::Generated {
        events: 10,
        first_us: 0,
        phase_us: 10_000,
        gap_us: 10_000,
        event_bytes: 0,
    };
    tokio::spawn(serve_faulty(listener, default, faults, 1));
    Ok(address)
}

fn config(address: SocketAddr, sound: SocketAddr, faulty: SocketAddr) -> String {
    format!(
        "[server]
listen = \"{address}\"
workers = 1

[log]
access = false

[upstreams.model]
url = \"http://{sound}\"

[upstreams.faulty]
url = \"http://{faulty}\"

[routes.chat]
path = \"/v1/*\"
to = \"model\"

[routes.faulty]
path = \"/faulty/*\"
rewrite = \"/v1\"
dialect = \"openai-chat\"
to = \"faulty\"

[routes.kept]
path = \"/kept/*\"
rewrite = \"/v1\"
to = \"model\"
resume = true

[routes.feed]
path = \"/feed\"
to = \"model\"
share = true

[routes.topics]
path = \"/topics/{{topic}}\"
publish = \"{{topic}}\"
subscribe = \"{{topic}}\"
"
    )
}

async fn wait_for(process: &mut Launched) -> Result<()> {
    let limit = now_ns() + START_LIMIT_NS;
    while tokio::net::TcpStream::connect(process.address)
        .await
        .is_err()
    {
        if process.has_ended()? || now_ns() > limit {
            let log = process.log();
            return Err(LoadError::Contender(format!(
                "the gateway does not answer; it logged:\n{log}"
            )));
        }
        sleep_until_ns(now_ns() + LOOK_AGAIN_NS).await;
    }
    Ok(())
}

async fn attempt((_, paths, further): &(&str, &str, &str), address: SocketAddr) -> Result<()> {
    let mut words: Vec<String> = vec!["client".into()];
    for (name, path) in ["--url", "--publish-url"].into_iter().zip(paths.split(' ')) {
        words.extend([name.to_owned(), format!("http://{address}{path}")]);
    }
    words.extend(ALL.split(' ').map(str::to_owned));
    words.extend(further.split(' ').map(str::to_owned));
    let line = Line::try_parse_from(words).map_err(|error| LoadError::Usage(error.to_string()))?;
    let (account, _) = measure(&line.args).await?;
    proved(&line.args, &account)
}

/// An error unless nothing was lost, and something was seen.
fn proved(args: &ClientArgs, account: &Arc<Account>) -> Result<()> {
    account.check(args.expect_faults)?;
    let counts = account.counts();
    let cuts = matches!(args.workload, Workload::Resume | Workload::ResumeFeed);
    let missing = match () {
        () if counts.numbered == 0 => "no numbered event came",
        () if cuts && counts.own_cuts == 0 => "no client cut its connection",
        () if args.expect_faults && counts.failed() == 0 => "no stream failed",
        () => return Ok(()),
    };
    Err(LoadError::Failed(missing.into()))
}

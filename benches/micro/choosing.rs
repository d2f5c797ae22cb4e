//! An endpoint is chosen among 1, 3 and 20 that are all well, for each way to balance.
//!
//! The figure is the time for one request: the choice, the place taken there, and its end without a verdict, as
//! when a caller leaves. Reading the clock is the most of it where there is one endpoint. Nothing is in flight beside
//! it and one thread asks: locks that several would wait for cost nothing here. All endpoints have answered
//! before, so that `first-event` has times to compare.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion};
use deltaway::config;
use deltaway::metrics::Metrics;
use deltaway::relay::{Plane, Registry};
use deltaway::upstream::{Group, Member, Wish, hash_of};

const ENDPOINTS: [usize; 3] = [1, 3, 20];
const BALANCES: [&str; 4] = ["round-robin", "least-in-flight", "first-event", "hash"];

pub fn benches(criterion: &mut Criterion) {
    for balance in BALANCES {
        let mut bench = criterion.benchmark_group(format!("choosing/{balance}"));
        for endpoints in ENDPOINTS {
            let group = group(balance, endpoints);
            know_all(&group);
            let mut caller = 0_u64;
            let mut ask = || {
                caller += 1;
                let key = group.is_by_key().then(|| hash_of(&caller.to_le_bytes()));
                let wish = Wish {
                    key,
                    tried: &[],
                    elsewhere: false,
                };
                group
                    .pick(black_box(&wish))
                    .map(|turn| turn.endpoint().number)
            };
            assert!(ask().is_some());
            bench.bench_function(BenchmarkId::from_parameter(endpoints), |bencher| {
                bencher.iter(&mut ask);
            });
        }
        bench.finish();
    }
}

/// Has each endpoint answer once.
fn know_all(group: &Group) {
    let mut asked = Vec::new();
    while asked.len() < group.members.len() {
        let wish = Wish {
            key: None,
            tried: &asked,
            elsewhere: false,
        };
        let mut turn = group.pick(&wish).expect("an endpoint");
        turn.first_event();
        asked.push(turn.endpoint().number);
    }
    let now = tokio::time::Instant::now();
    let known = |member: &Member| member.endpoint.health.latency(now).is_some();
    assert!(group.members.iter().all(known));
}

/// An upstream of so many endpoints, compiled as the gateway does it. Nothing is connected.
fn group(balance: &str, endpoints: usize) -> Arc<Group> {
    let urls: Vec<_> = (1..=endpoints)
        .map(|n| format!("\"http://10.0.0.{n}:8000\""))
        .collect();
    let text = format!(
        "[upstreams.model]\nendpoints = [{}]\nbalance = \"{balance}\"\n\
         [routes.all]\npath = \"/*\"\nto = \"model\"\n",
        urls.join(", "),
    );
    let config = config::parse(&text, "bench.toml", &config::System).expect("a configuration");
    let plane = Plane::build(Arc::new(config), &Registry::new(None), &Metrics::new());
    let groups = plane.expect("a plane").groups();
    groups.into_iter().next().expect("the upstream")
}

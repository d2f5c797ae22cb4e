//! Endpoints, and upstreams of them, for the tests of this room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::HeaderValue;

use super::{Balancer, Budget, Endpoint, Group, Health, Member, Place};
use crate::config::{self, Balance, Clocks, HttpVersion, Prefill, RetryBudget, Weighted};
use crate::metrics::Metrics;

/// An endpoint at `address`, below `base`.
pub fn endpoint(address: SocketAddr, base: &str) -> Arc<Endpoint> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Arc::new(Endpoint {
        number: NEXT.fetch_add(1, Ordering::Relaxed),
        name: format!("http://{address}{base}").into(),
        authority: HeaderValue::try_from(address.to_string()).unwrap(),
        base: base.into(),
        place: Place::Address(address),
        server_name: None,
        health: Health::default(),
    })
}

/// An upstream of `endpoints`, each as heavy as the others, configured as usual but for what `change` does.
pub fn group(endpoints: Vec<Arc<Endpoint>>, change: impl FnOnce(&mut config::Upstream)) -> Group {
    let weighted = |endpoint: &Arc<Endpoint>| Weighted {
        endpoint: config::Endpoint::Url {
            tls: false,
            host: endpoint.name.clone(),
            port: 80,
            base: endpoint.base.clone(),
        },
        weight: 1,
    };
    let mut config = config::Upstream {
        name: "model".into(),
        endpoints: endpoints.iter().map(weighted).collect(),
        balance: Balance::default(),
        http: HttpVersion::default(),
        lookup: Duration::from_secs(30),
        check: None,
        eject: None,
        retry_budget: RetryBudget::default(),
        prefill: Prefill::default(),
        credential: None,
        ca: None,
        pool_idle: 4,
        pool_keep: Duration::from_secs(30),
        clocks: Clocks::default(),
    };
    change(&mut config);
    let weighted = config.endpoints.iter().map(|weighted| weighted.weight);
    let members = endpoints
        .into_iter()
        .zip(weighted)
        .map(|(endpoint, weight)| Member {
            series: Metrics::new().endpoint(&config.name, &endpoint.name),
            endpoint,
            weight,
        })
        .collect();
    Group {
        name: config.name.clone(),
        balancer: Balancer::new(config.balance.clone()),
        config: Arc::new(config),
        members,
        tls: None,
        retries: Budget::default(),
        hedges: Budget::default(),
    }
}

//! Starting a gateway inside the test's process.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::backend::Backend;
use super::client::{Answer, Ask, Client};
use super::limit::within;

/// A running gateway.
pub struct Gateway {
    /// Where clients connect.
    pub address: SocketAddr,
    running: deltaway::app::Running,
}

/// The configuration with one route for every path, to one backend. `route` adds keys to the route.
pub fn toml(url: &str, route: &str) -> String {
    format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n\
         [upstreams.model]\nurl = \"{url}\"\n\
         [routes.all]\npath = \"/*\"\nto = \"model\"\n{route}\n"
    )
}

/// A gateway with one route for every path, to `backend`. `route` adds keys to the route.
pub async fn gateway(backend: &Backend, route: &str) -> Gateway {
    Gateway::start(&toml(&backend.url(), route)).await
}

/// Only these variables, and the files there are.
struct Variables<'a>(BTreeMap<&'a str, &'a str>);

impl deltaway::config::Environment for Variables<'_> {
    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| (*value).to_owned())
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

impl Gateway {
    /// Starts with this configuration, and no environment.
    pub async fn start(source: &str) -> Self {
        Self::start_with(source, &[]).await
    }

    /// Starts with this configuration and these variables.
    ///
    /// One worker unless the configuration names a number: many gateways run at once here.
    pub async fn start_with(source: &str, variables: &[(&str, &str)]) -> Self {
        Self::start_changed(source, variables, |_| {}).await
    }

    /// The same, with the configuration changed before it is put to work.
    pub async fn start_changed(
        source: &str,
        variables: &[(&str, &str)],
        change: impl FnOnce(&mut deltaway::config::Config),
    ) -> Self {
        let variables = Variables(variables.iter().copied().collect());
        let mut config = match deltaway::config::parse(source, "test.toml", &variables) {
            Ok(config) => config,
            Err(faults) => panic!("{faults}\nin\n{source}"),
        };
        config.server.workers.get_or_insert(1);
        change(&mut config);
        let running = deltaway::app::start(config).expect("a gateway");
        Self {
            address: running.address,
            running,
        }
    }

    /// One request on a connection of its own.
    pub async fn fetch(&self, ask: &Ask) -> Answer {
        Client::fetch(self.address, ask).await
    }

    /// A connection with this request written.
    pub async fn asking(&self, ask: &Ask) -> Client {
        Client::asking(self.address, ask).await
    }

    /// One GET at the operators' listener.
    pub async fn ask_admin(&self, target: &str) -> Answer {
        let admin = self.running.admin.expect("an admin listener");
        Client::fetch(admin, &Ask::get(target)).await
    }

    /// What the admin listener says of `name`, labels and all, after `deltaway_`; 0 where it says nothing.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = self.ask_admin("/metrics").await.text();
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("deltaway_"));
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        values
            .next()
            .map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Drains and stops.
    pub async fn stop(self) {
        let stopping = tokio::task::spawn_blocking(|| self.running.stop());
        within("the gateway to drain", stopping).await.unwrap();
    }
}

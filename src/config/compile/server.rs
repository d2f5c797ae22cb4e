//! `[server]`, `[admin]`, `[log]`.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::{checked, each};
use crate::config::faults::{Gathered, Malformed};
use crate::config::keys::{self, Key};
use crate::config::values::{Admin, Log, LogFormat, Server};
use crate::config::written::Section;

pub(super) fn server(section: &Section, gathered: &mut Gathered<'_>) -> Server {
    Server {
        listen: listen(section, &keys::LISTEN, gathered).unwrap_or(NOWHERE),
        workers: section.count(&keys::WORKERS),
        max_connections: section.count(&keys::MAX_CONNECTIONS).unwrap_or_default(),
        max_head: usize::try_from(section.size(&keys::MAX_HEAD)).unwrap_or(usize::MAX),
        head_timeout: section.duration(&keys::HEAD_TIMEOUT),
        keep_alive: section.duration(&keys::KEEP_ALIVE),
        upload_timeout: section.duration(&keys::UPLOAD_TIMEOUT),
        drain: section.duration(&keys::DRAIN),
        trusted_proxies: each(section, &keys::TRUSTED_PROXIES, network, gathered),
    }
}

pub(super) fn admin(section: &Section, gathered: &mut Gathered<'_>) -> Option<Admin> {
    listen(section, &keys::ADMIN_LISTEN, gathered).map(|listen| Admin { listen })
}

pub(super) fn log(section: &Section, gathered: &mut Gathered<'_>) -> Log {
    if let Some(node) = section.node(&keys::LOG_LEVEL) {
        checked(node, filter, gathered);
    }
    Log {
        format: match section.text(&keys::LOG_FORMAT) {
            "text" => LogFormat::Text,
            _ => LogFormat::Json,
        },
        level: section.text(&keys::LOG_LEVEL).to_owned(),
        access: section.flag(&keys::LOG_ACCESS),
    }
}

/// Stands in for an address that is not one.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn listen(section: &Section, key: &Key, gathered: &mut Gathered<'_>) -> Option<SocketAddr> {
    match section.node(key) {
        Some(node) => checked(node, address, gathered),
        None => address(section.text(key)).ok(),
    }
}

fn address(text: &str) -> Result<SocketAddr, Malformed> {
    text.parse().map_err(|_| {
        Malformed::new(
            "is not an IP address with a port",
            r#"such as "127.0.0.1:8080", "0.0.0.0:8080" or "[::]:8080"; names are not looked up"#,
        )
    })
}

fn network(text: &str) -> Result<IpNet, Malformed> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpNet::from(address)),
        Err(_) => text.parse::<IpNet>(),
    };
    let network = network.map_err(|_| {
        Malformed::new(
            "is not an IP address or network",
            r#"such as "10.0.0.7", "10.0.0.0/8" or "fd00::/8""#,
        )
    })?;
    if network.trunc() != network {
        let meant = network.trunc();
        return Err(Malformed::new(
            "has bits beyond its prefix",
            format!(
                "the network is \"{meant}\"; the one address is \"{}\"",
                network.addr()
            ),
        ));
    }
    Ok(network)
}

fn filter(text: &str) -> Result<(), Malformed> {
    let help =
        r#"a level (error, warn, info, debug, trace, off), or such as "info,deltaway=debug""#;
    if text.is_empty() {
        return Err(Malformed::new("is empty", help));
    }
    EnvFilter::builder()
        .parse(text)
        .map(|_| ())
        .map_err(|_| Malformed::new("is not a log filter", help))
}

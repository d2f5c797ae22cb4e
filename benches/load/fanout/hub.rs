//! The hubs under test: what gives each event of one publisher to all subscribers.
//!
//! Invariant: one address for all of them: `GET /topics/NAME` subscribes, and `POST /topics/NAME` publishes the
//! body as an event's data, but for Pushpin, which has a port of its own for that. Each gets one worker and no access log; what else is not named in
//! its configuration is its default.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::poll::Poll;
use super::publisher::{Door, Publisher};
use super::pushpin;
use super::reception::Reception;
use crate::clock::now_ns;
use crate::environment::{package_version, version_of};
use crate::error::{LoadError, Result, While};
use crate::launch::{Launched, own_program};
use crate::process::Meter;

/// A hub that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Hub {
    /// One `write` to each subscriber (this program's `writer`): the floor.
    Writer,
    /// nginx with its module nchan.
    Nchan,
    /// Pushpin: condure, its proxy, its handler and zurl.
    Pushpin,
    /// The gateway.
    Deltaway,
}

impl Hub {
    /// The name in tables and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Writer => "writer",
            Self::Nchan => "nchan",
            Self::Pushpin => "pushpin",
            Self::Deltaway => "deltaway",
        }
    }
}

/// Where the hubs run.
#[derive(Debug, Clone)]
pub struct Place {
    /// The gateway's binary.
    pub gateway: PathBuf,
    /// nginx's binary.
    pub nginx: PathBuf,
    /// nginx's module.
    pub nchan: PathBuf,
    /// The hub's core.
    pub core: usize,
    /// The core of everything else.
    pub load_core: usize,
    /// How many connections a hub must allow.
    pub connections: u64,
}

/// The versions of these hubs, as they or their packages tell them.
pub fn versions(hubs: &[Hub], place: &Place) -> Vec<(&'static str, Option<String>)> {
    let nchan = place.nchan.display().to_string();
    let version = |hub: &Hub| match hub {
        Hub::Writer => Vec::new(),
        Hub::Nchan => vec![
            ("nchan", package_version(&nchan)),
            ("nginx", version_of(&place.nginx, ["-v"])),
        ],
        Hub::Pushpin => vec![
            ("pushpin", version_of("pushpin", ["--version"])),
            ("condure", version_of("condure", ["--version"])),
        ],
        Hub::Deltaway => vec![("deltaway", version_of(&place.gateway, ["--version"]))],
    };
    hubs.iter().flat_map(version).collect()
}

/// A running hub.
pub struct RunningHub {
    hub: Hub,
    process: Launched,
    /// What Pushpin asks about each subscriber.
    _origin: Option<Launched>,
}

const START_LIMIT_NS: u64 = 10_000_000_000;
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// A topic that nobody reads.
const PROBE: &str = "probe";

impl RunningHub {
    /// Starts a hub and waits until it takes events.
    pub async fn start(hub: Hub, place: &Place) -> Result<Self> {
        let origin = match hub {
            Hub::Pushpin => Some(Launched::start(&[place.load_core], |address, _| {
                let listen = format!("--listen={address}");
                Ok(vec![own_program()?, "origin".into(), listen])
            })?),
            Hub::Writer | Hub::Nchan | Hub::Deltaway => None,
        };
        let behind = origin.as_ref().map(|origin| origin.address);
        let process = Launched::start(&[place.core], |address, directory| match behind {
            Some(behind) => pushpin::command((address, behind), place.connections, directory),
            None => command(hub, place, address, directory),
        })?;
        let mut running = Self {
            hub,
            process,
            _origin: origin,
        };
        let started = now_ns();
        while let Err(error) = running.probe() {
            if running.process.has_ended()? || now_ns() - started > START_LIMIT_NS {
                return Err(LoadError::Contender(format!(
                    "{} takes no events ({error}); it logged:\n{}",
                    hub.name(),
                    running.log()
                )));
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
        Ok(running)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// Where it takes the events of this topic.
    pub fn door(&self, topic: &str) -> Door {
        let address = self.address();
        match self.hub {
            Hub::Pushpin => Door {
                address: pushpin::control(address),
                path: "/publish/".into(),
                kind: "application/json",
                around: pushpin::item(topic),
            },
            Hub::Writer | Hub::Nchan | Hub::Deltaway => Door {
                address,
                path: format!("/topics/{topic}"),
                kind: "text/plain",
                around: Default::default(),
            },
        }
    }

    /// Publishes one event where nobody reads, and sees whether subscribers could come.
    fn probe(&self) -> Result<()> {
        self.subscribe()?;
        let mut publisher = Publisher::new(self.door(PROBE))?;
        let mut poll = Poll::new()?;
        poll.add(&publisher.io, 0)?;
        publisher.publish(0, now_ns())?;
        let mut ready = Vec::new();
        while publisher.is_waiting() {
            poll.wait(Some(ANSWER_LIMIT), &mut ready)?;
            if ready.is_empty() {
                return Err(LoadError::Wire("an event was not answered in time".into()));
            }
            publisher.receive()?;
        }
        Ok(())
    }

    /// Subscribes once, and leaves: Pushpin's processes find each other only some time after they began.
    fn subscribe(&self) -> Result<()> {
        let mut io = TcpStream::connect(self.address()).while_doing("connecting")?;
        io.set_read_timeout(Some(ANSWER_LIMIT))
            .while_doing("SO_RCVTIMEO")?;
        let address = self.address();
        io.write_all(format!("GET /topics/{PROBE} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n").as_bytes())
            .while_doing("subscribing")?;
        let mut reception = Reception::new();
        let mut piece = [0; 4 * 1024];
        while !reception.has_begun() {
            let read = io.read(&mut piece).while_doing("subscribing")?;
            if read == 0 {
                return Err(LoadError::Wire("a subscriber's connection closed".into()));
            }
            reception.feed(&piece[..read], &mut |_, _| {})?;
        }
        Ok(())
    }

    /// A meter on its processes.
    pub fn meter(&self) -> Result<Meter> {
        self.process.meter()
    }

    /// The last lines that it logged.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

fn command(hub: Hub, place: &Place, address: SocketAddr, directory: &Path) -> Result<Vec<String>> {
    let path = |name: &str| directory.join(name).display().to_string();
    let write = |name: &str, text: String| {
        fs::write(directory.join(name), text).while_doing(format!("writing {name}"))
    };
    Ok(match hub {
        Hub::Writer => vec![
            own_program()?,
            "writer".into(),
            format!("--listen={address}"),
        ],
        Hub::Nchan => {
            write("nginx.conf", nchan_conf(place, address, directory))?;
            vec![
                place.nginx.display().to_string(),
                "-p".into(),
                path(""),
                "-c".into(),
                path("nginx.conf"),
                "-e".into(),
                "stderr".into(),
            ]
        }
        // Its module has its own.
        Hub::Pushpin => Vec::new(),
        Hub::Deltaway => {
            write("deltaway.toml", deltaway_toml(place, address))?;
            vec![
                place.gateway.display().to_string(),
                "--config".into(),
                path("deltaway.toml"),
            ]
        }
    })
}

/// nchan's defaults: it keeps the last ten messages of a channel in memory.
fn nchan_conf(place: &Place, address: SocketAddr, directory: &Path) -> String {
    let at = directory.display();
    let module = place.nchan.display();
    let connections = place.connections;
    format!(
        "load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile {connections};
pid {at}/nginx.pid;
events {{ worker_connections {connections}; }}
http {{
  access_log off;
  client_body_temp_path {at}/body;
  proxy_temp_path {at}/proxy;
  fastcgi_temp_path {at}/fastcgi;
  uwsgi_temp_path {at}/uwsgi;
  scgi_temp_path {at}/scgi;
  keepalive_requests 1000000000;
  server {{
    listen {address} backlog=4096;
    location ~ ^/topics/(\\w+)$ {{
      nchan_channel_id $1;
      nchan_publisher;
      nchan_subscriber eventsource;
    }}
  }}
}}
"
    )
}

fn deltaway_toml(place: &Place, address: SocketAddr) -> String {
    let connections = place.connections;
    format!(
        "[server]
listen = \"{address}\"
workers = 1
max_connections = {connections}

[log]
access = false

[routes.topics]
path = \"/topics/{{topic}}\"
publish = \"{{topic}}\"
subscribe = \"{{topic}}\"
"
    )
}

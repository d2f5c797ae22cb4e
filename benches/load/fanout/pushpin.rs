//! Pushpin, set up as one hub: its four processes, without access log, on sockets of its own folder.
//!
//! Invariant: subscribers go to the one address, as with every hub; events are published over its HTTP control
//! port, which closes the connection after each. What is not named is Debian's default.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::error::{Result, While};

/// What the package brings of zurl's configuration.
const ZURL: &str = "/usr/lib/pushpin/runner/zurl.conf.template";

/// Where events are published: the same port of another loopback address, which nobody else takes.
pub fn control(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, 2), address.port()).into()
}

/// What stands before and behind the data of an event on a channel.
pub fn item(channel: &str) -> (String, String) {
    let before = format!(
        "{{\"items\":[{{\"channel\":\"{channel}\",\"formats\":{{\"http-stream\":{{\"content\":\"data: "
    );
    (before, "\\n\\n\"}}}]}".to_owned())
}

/// What starts it, its configuration written to `directory`; its proxy asks `origin`.
pub fn command(
    (address, origin): (SocketAddr, SocketAddr),
    connections: u64,
    directory: &Path,
) -> Result<Vec<String>> {
    let write = |name: &str, text: &str| {
        fs::write(directory.join(name), text).while_doing(format!("writing {name}"))
    };
    for folder in ["run", "logs", "runner"] {
        fs::create_dir(directory.join(folder)).while_doing(format!("making {folder}"))?;
    }
    // The package's own keeps zurl off the loopback addresses, and the origin is on one.
    let zurl = fs::read_to_string(ZURL).while_doing(format!("reading {ZURL}"))?;
    let is_open = |line: &&str| !line.starts_with("deny=");
    let zurl: Vec<&str> = zurl.lines().filter(is_open).collect();
    write("runner/zurl.conf.template", &zurl.join("\n"))?;
    write("routes", &format!("* {origin}\n"))?;
    write("pushpin.conf", &conf(address, connections, directory))?;
    let conf = directory.join("pushpin.conf");
    Ok(vec![
        "pushpin".into(),
        format!("--config={}", conf.display()),
    ])
}

/// Its limit of messages a second is off: with any, however high, Debian's version lets an event of a channel out only
/// every 25 ms, and falls behind from 40 a second on.
fn conf(address: SocketAddr, connections: u64, directory: &Path) -> String {
    let (at, control) = (directory.display(), control(address));
    format!(
        "[global]
include=/usr/lib/pushpin/internal.conf
libdir={at}
rundir={at}/run
ipc_prefix=load-

[runner]
services=condure,zurl,pushpin-proxy,pushpin-handler
http_port={address}
logdir={at}/logs
log_level=1
client_maxconn={connections}

[proxy]
routesfile={at}/routes
zurl_out_specs=ipc://{at}/run/load-zurl-in
zurl_out_stream_specs=ipc://{at}/run/load-zurl-in-stream
zurl_in_specs=ipc://{at}/run/load-zurl-out
updates_check=off

[handler]
push_in_spec=ipc://{at}/run/load-push
push_in_sub_specs=ipc://{at}/run/load-sub
push_in_http_addr={}
push_in_http_port={}
command_spec=ipc://{at}/run/load-command
stats_spec=ipc://{at}/run/load-stats
message_rate=0
",
        control.ip(),
        control.port(),
    )
}

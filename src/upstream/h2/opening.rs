//! A new connection, by the version of HTTP that is spoken there.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls::AlertDescription;
use tokio_rustls::TlsConnector;

use super::session::Session;
use super::sessions::Sessions;
use crate::upstream::connect::{HTTP_1, HTTP_2, Secure, connect};
use crate::upstream::endpoint::Endpoint;
use crate::upstream::fault::Reason;
use crate::upstream::h1::Connection;

/// What is needed to open a connection.
#[derive(Clone)]
pub(in crate::upstream) struct Opening {
    /// Where to.
    pub endpoint: Arc<Endpoint>,
    /// How long looked up addresses are used.
    pub keep: Duration,
    /// TLS, where the endpoint has it.
    pub tls: Option<TlsConnector>,
    /// Whether HTTP/1.1 will do as well.
    pub or_one: bool,
}

/// A connection.
pub(super) enum Opened {
    /// By HTTP/1.1.
    One(Box<Connection>),
    /// By HTTP/2.
    Two(Session),
}

impl Opening {
    /// Whether a connection to `peer` still leads to the endpoint, as far as is known.
    pub(super) fn leads_to(&self, peer: SocketAddr) -> bool {
        self.endpoint.place.leads_to(peer, self.keep)
    }

    /// Opens a connection, for `sessions`.
    ///
    /// # Errors
    ///
    /// A [`Reason`] for which [`Reason::before_request`] is true.
    pub(super) async fn open(&self, sessions: Weak<Sessions>) -> Result<Opened, Reason> {
        let versions: &[&[u8]] = if self.or_one {
            &[HTTP_2, HTTP_1]
        } else {
            &[HTTP_2]
        };
        let secure = self.tls.as_ref().zip(self.endpoint.server_name.as_ref());
        let secure = secure.map(|(connector, name)| Secure {
            connector,
            name,
            versions,
        });
        let transport = connect(&self.endpoint.place, self.keep, secure)
            .await
            .map_err(disagreed)?;
        let peer = self.endpoint.place.peer_of(&transport);
        // Without TLS nothing is agreed on: it is known before (RFC 9113 §3.3).
        if secure.is_none() || transport.agreed_on_http2() {
            let mut session = Session::begin(transport, sessions).await?;
            session.peer = peer;
            return Ok(Opened::Two(session));
        }
        if self.or_one {
            let mut connection = Connection::new(transport);
            connection.peer = peer;
            return Ok(Opened::One(connection));
        }
        Err(Reason::NoHttp2("it did not choose it in TLS".into()))
    }
}

/// A server that insists on choosing, and finds nothing to choose (RFC 7301 §3.2).
fn disagreed(reason: Reason) -> Reason {
    let Reason::Connect(error) = &reason else {
        return reason;
    };
    let alert = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match alert {
        Some(rustls::Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => {
            Reason::NoHttp2("it refused it in TLS".into())
        }
        _ => reason,
    }
}

//! An upgraded connection: bytes both ways until one side ends (RFC 9110 §7.8).

use bytes::Bytes;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};

use super::body::Body;
use super::context::{Context, Reached};
use super::head::finish;
use super::record::{Outcome, Record};
use super::refusal::Refusal;
use crate::edge::hop;
use crate::upstream::Transport;

/// Passes a 101 on and copies bytes both ways from then on.
///
/// # Errors
///
/// A [`Refusal`] when an upstream switches protocols though nobody asked for it.
pub(super) fn answer(
    mut context: Context,
    reached: Reached,
    record: &mut Option<Box<Record>>,
) -> Result<Response<Body>, Refusal> {
    let mut asked = reached.asked;
    let mut headers = asked.answer.head.headers;
    let protocol = headers.get(UPGRADE).cloned();
    let connection = asked.answer.body.take_connection();
    let (Some(upgrade), Some(protocol), Some(connection)) =
        (context.upgrade.take(), protocol, connection)
    else {
        return Err(Refusal::new(
            StatusCode::BAD_GATEWAY,
            "upstream_malformed",
            format!("{}: it switched protocols unasked", asked.endpoint.name),
        ));
    };
    let mut record = record.take().ok_or_else(Refusal::internal)?;
    hop::strip_response(&mut headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    finish(&mut headers, &context, &record);
    record.enter(&context.route, reached.entry);
    record.endpoint = Some(asked.endpoint.name.clone());
    record.status = Some(StatusCode::SWITCHING_PROTOCOLS);
    record.outcome = Outcome::Upgraded;
    let (transport, read_ahead) = connection.into_parts();
    // Ends with either side; the drain's limit ends it with the runtime.
    tokio::spawn(copy(upgrade, transport, read_ahead, record));
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    Ok(response)
}

async fn copy(
    upgrade: OnUpgrade,
    mut upstream: Transport,
    read_ahead: Bytes,
    mut record: Box<Record>,
) {
    let copied = async {
        let mut client = TokioIo::new(upgrade.await.map_err(std::io::Error::other)?);
        client.write_all(&read_ahead).await?;
        copy_bidirectional(&mut client, &mut upstream).await
    };
    match copied.await {
        Ok((_, to_client)) => {
            record.add_bytes(usize::try_from(to_client).unwrap_or(usize::MAX));
        }
        Err(error) => record.reason = Some(error.to_string().into()),
    }
}

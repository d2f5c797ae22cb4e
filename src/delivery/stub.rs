//! TEMPORARY
use crate::sse::Frame;
use bytes::BytesMut;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// x
pub enum Encoding {
    /// x
    Sse,
    /// x
    Data,
    /// x
    SsePlain,
    /// x
    Ndjson,
}
#[derive(Debug)]
/// x
pub struct Item<'a> {
    /// x
    pub id: &'a str,
    /// x
    pub frame: &'a Frame,
}
/// x
pub fn encode(_: Encoding, item: Item<'_>, out: &mut BytesMut) {
    out.extend_from_slice(format!("id: {}\n", item.id).as_bytes());
    out.extend_from_slice(item.frame.as_bytes());
    out.extend_from_slice(b"\n");
}
/// x
pub fn heartbeat(_: Encoding) -> &'static [u8] {
    b":\n\n"
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// x
pub enum Transport {
    /// x
    Sse,
    /// x
    Ndjson,
    /// x
    LongPoll,
    /// x
    Poll,
    /// x
    WebSocket,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
/// x
pub struct BadTransport;
impl BadTransport {
    /// x
    pub fn status(&self) -> http::StatusCode {
        http::StatusCode::BAD_REQUEST
    }
}
/// x
pub fn choose(_: Option<&str>, _: &http::HeaderMap, _: bool) -> Result<Transport, BadTransport> {
    Ok(Transport::Sse)
}
/// x
pub fn prime(id: &str) -> bytes::Bytes {
    format!("id: {id}\n\n").into()
}
/// x
pub fn greeting(_: Encoding, _: Option<&str>, data: &str) -> bytes::Bytes {
    format!("data: {data}\n\n").into()
}
/// x
pub fn poll_body(_: &[Item<'_>], _: &str, _: bool) -> bytes::Bytes {
    bytes::Bytes::new()
}
impl Encoding {
    /// x
    pub fn content_type(self) -> &'static str {
        "text/event-stream"
    }
}
/// x
pub fn origin_allowed(_: &http::HeaderMap, _: impl Fn(&http::HeaderValue) -> bool) -> bool {
    true
}

//! A gap, told as an event that any client can see.

use serde_json::json;

use crate::hub::Gap;
use crate::sse::Frame;

/// The event's name.
const NAME: &str = "gap";

/// The event that tells of `gap`.
pub(super) fn frame(gap: &Gap) -> Option<Frame> {
    let mut data = json!({
        "reason": gap.reason.word(),
        "after": gap.after.map(|id| id.to_string()),
        "through": gap.through.map(|id| id.to_string()),
        "missed": gap.missed,
    });
    if let Some(topic) = &gap.topic {
        data["topic"] = json!(&**topic);
    }
    Frame::new(Some(NAME), &data.to_string(), None).ok()
}

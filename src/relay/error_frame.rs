//! What tells a reader that its answer is not whole, as an event like the others.

use crate::config::Dialect;
use crate::dialect::{self, BodyKind, Failure};
use crate::sse::{Block, Frame, Lines, Splitter};

/// The error event of `dialect` as a frame; none where it has none.
pub(super) fn error_frame(
    dialect: Dialect,
    kind: BodyKind,
    failure: &Failure<'_>,
) -> Option<Frame> {
    let event = dialect::error_event(dialect, kind, failure)?;
    frame_of(&event, kind)
}

fn frame_of(event: &[u8], kind: BodyKind) -> Option<Frame> {
    let mut found = None;
    let mut take = |block: Block| found = block.frame;
    // It is small: no bound is to be reached, also with the name of the field that a line gets.
    let most = event.len() + 64;
    let fed = match kind {
        BodyKind::Ndjson => Lines::new(most).feed(event, &mut take),
        _ => Splitter::new(most).feed(event, &mut take),
    };
    fed.ok().and(found)
}

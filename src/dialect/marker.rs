//! What an answer has said of its own end.

/// What an answer has said about its own end. The strongest one counts: a later variant outweighs
/// an earlier one, and none is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Marker {
    /// Nothing so far.
    #[default]
    None,
    /// A finish reason was given. With several choices (`n` above 1) the first one's is enough:
    /// how many there would be is known to the request only, and a backend that goes on to answer
    /// the others sends its `[DONE]` behind them.
    Finished,
    /// The dialect's own last word: `[DONE]`, `message_stop`, `response.completed`,
    /// `response.incomplete`, `"done":true`.
    Done,
    /// The backend has reported an error of its own inside the stream.
    Failed,
}

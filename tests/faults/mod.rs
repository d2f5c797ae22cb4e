//! What goes wrong on either side, and what the other side then sees.

mod answers;
mod clocks;
mod codec;
mod endings;
mod gone;
mod hub;
mod mixture;
mod panics;
mod pool;
mod rescued;
mod stalled;
mod waiting;

//! What goes wrong on either side, and what the other side then sees.

mod answers;
mod clocks;
mod endings;
mod gone;
mod pool;
mod stalled;

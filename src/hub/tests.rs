//! Readers under every interleaving that proptest thinks of: a run without holes, or a gap that says what is missing.

mod direct;
mod relief;
mod stage;
mod stream;
mod threads;
mod topics;

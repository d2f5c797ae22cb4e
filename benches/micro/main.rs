//! What the parts cost, each for itself: no socket, no runtime, no second process.
//!
//! `cargo bench --bench micro` measures all (about four minutes), `cargo bench --bench micro -- NAME` those whose
//! name has `NAME` in it, and `cargo bench --bench micro -- --test` runs each once and measures nothing. The
//! figures are for comparing one part with itself after a change, and with others on the same bytes, on one
//! machine and in one run; what a stream costs through the whole gateway is what the load tool beside this tells.
//!
//! The map: `recorded` has the streams and the ways they come in pieces; `scanning`, `watching`, `keeping`,
//! `routing`, `asking` and `choosing` each open with what they measure and what their figure means.
// A bench whose own data is broken has nothing to say and ends there.
#![allow(clippy::expect_used)]

use std::time::Duration;

use criterion::Criterion;

mod asking;
mod choosing;
mod keeping;
mod recorded;
mod routing;
mod scanning;
mod watching;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(30)
        .without_plots()
        .configure_from_args();
    scanning::benches(&mut criterion);
    watching::benches(&mut criterion);
    keeping::benches(&mut criterion);
    routing::benches(&mut criterion);
    asking::benches(&mut criterion);
    choosing::benches(&mut criterion);
    criterion.final_summary();
}

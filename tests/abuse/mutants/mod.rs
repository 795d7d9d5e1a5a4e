//! Thousands of inputs, each a change or two away from a good one. Equal seeds give equal mutants.
//!
//! `HONE_MUTANTS=10` takes ten times as many.

mod adapter;
mod adapters;
mod meaning;
mod request;
mod requests;

/// How many times as many mutants are asked for.
fn times() -> u64 {
    std::env::var("HONE_MUTANTS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

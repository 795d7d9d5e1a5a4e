//! Bad input: each a clear 4xx, nothing lost, and the next request is answered.

mod adapters;
mod bounds;
mod greedy;
mod mutants;
mod requests;

//! The store from outside: what goes in comes out, once, and survives.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "test code, also outside of #[test] functions"
)]

mod audit;
mod erasures;
mod expiry;
mod fixture;
mod inspect;
mod keys;
mod kill;
mod lists;
mod model;
mod presence;
mod round_trip;
mod upgrade;

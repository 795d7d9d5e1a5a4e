//! Every operation, forward and backward, on every device and instruction set of this machine against the reference; and the
//! reference's gradients against differences of its values.
//!
//! A new device joins `cases::devices`; a new operation gets a test in the file of its kind.
#![allow(clippy::unwrap_used)] // a test fails by panicking

mod attention;
mod cases;
mod loss;
mod memory;
mod products;
mod projections;
mod rows;

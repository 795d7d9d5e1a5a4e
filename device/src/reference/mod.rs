//! The device that every other one is held against: each operation from its definition, in 64 bits, one number after the other.
#![forbid(unsafe_code)]

mod attention;
mod loss;
mod memory;
mod products;
mod rows;
mod weights;

use crate::{Buffer, Device, host};

/// Plain scalar arithmetic in 64 bits: slow, and as exact as one can ask. It rounds nothing on the way, neither activations to the
/// format of the weights nor results to 32 bits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Reference {
    /// A buffer of values that 32 bits would round.
    #[must_use]
    pub fn upload_exact(&self, values: Vec<f64>) -> Buffer {
        host::buffer(values)
    }

    /// The values of a buffer, not rounded.
    #[must_use]
    pub fn exact<'a>(&self, buffer: &'a Buffer) -> &'a [f64] {
        host::elements(buffer)
    }
}

impl Device for Reference {
    fn name(&self) -> &'static str {
        "reference"
    }

    fn threads(&self) -> usize {
        1
    }
}

/// `x · y`.
fn dot(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len(), "rows of different length");
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

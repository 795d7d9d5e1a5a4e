//! Operations that treat each row, or each element, alone.

use serde::{Deserialize, Serialize};

use crate::Buffer;

/// The weight of an RMSNorm, and what is added to the mean square.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// One factor an element of a row.
    pub weight: &'a Buffer,
    /// Keeps the root away from zero.
    pub eps: f32,
}

/// What the gate of a feed-forward block passes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x / (1 + e^-x)`.
    Silu,
    /// `x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 x³)))`, the approximation that Gemma is trained with.
    GeluTanh,
}

/// The soft cap of logits (Gemma 2): `most · tanh(scale · x / most)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cap {
    /// A logit is multiplied with this first.
    pub scale: f32,
    /// Then it is bent below this magnitude; infinite is not at all.
    pub most: f32,
}

/// Cosines and sines of the rows of one step, `[rows, rotated elements of a head / 2]` each.
#[derive(Debug, Default)]
pub struct Angles {
    /// Cosines.
    pub cos: Buffer,
    /// Sines.
    pub sin: Buffer,
}

/// Which elements of rows are dropped: a function of a key and the element's place, so that nothing is stored. The backward draws
/// the same mask again, and so does a resumed job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Share of the elements that become zero.
    pub rate: f32,
    /// Another one gives another mask.
    pub key: u64,
}

impl Dropout {
    /// Whether the element at an index of the buffer becomes zero.
    #[must_use]
    #[inline]
    pub fn drops(self, at: u64) -> bool {
        let limit = (f64::from(self.rate) * 2.0_f64.powi(32)) as u64;
        mix(self.key.wrapping_add(at)) >> 32 < limit
    }

    /// What the others are multiplied with.
    #[must_use]
    pub fn scale(self) -> f32 {
        1.0 / (1.0 - self.rate)
    }
}

/// Mixes the bits of a number (SplitMix64's finaliser).
#[must_use]
#[inline]
pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Norm, rotation, gate, cap, sums and dropout of rows of `width` elements.
pub trait RowOps {
    /// RMSNorm of each row, as wide as the norm's weight: `out = x / sqrt(mean(x²) + eps) · weight` (Zhang and Sennrich, *Root
    /// Mean Square Layer Normalization*, 2019). `inverse`, of any length before, becomes `1 / sqrt(mean(x²) + eps)` of each
    /// row, which the backward reads.
    fn norm(&self, norm: Norm<'_>, x: &Buffer, out: &mut Buffer, inverse: Option<&mut Buffer>);

    /// Adds the gradient of the norm's input `x` to `dx`, from that of its result.
    fn norm_backward(
        &self,
        norm: Norm<'_>,
        x_and_inverse: (&Buffer, &Buffer),
        gradient: &Buffer,
        dx: &mut Buffer,
    );

    /// Rotates the first elements of each head of each row, those of the first half with those of the second (Su and others,
    /// *RoFormer*, 2021).
    fn rotate(&self, angles: &Angles, head_dim: usize, rows: &mut Buffer, width: usize);

    /// The backward of [`RowOps::rotate`]: turns the gradient of the result into that of the input.
    fn rotate_backward(&self, angles: &Angles, head_dim: usize, rows: &mut Buffer, width: usize);

    /// `out = activation(gate) · up` (Shazeer, *GLU Variants Improve Transformer*, 2020).
    fn gate(
        &self,
        activation: Activation,
        gate_and_up: (&Buffer, &Buffer),
        out: &mut Buffer,
        width: usize,
    );

    /// The backward of [`RowOps::gate`]: reads the gradient of the result from `d_gate`, leaves the gate's there and gives that of
    /// `up`.
    fn gate_backward(
        &self,
        activation: Activation,
        gate_and_up: (&Buffer, &Buffer),
        d_gate: &mut Buffer,
        width: usize,
    ) -> Buffer;

    /// Caps each element in place.
    fn cap(&self, cap: Cap, rows: &mut Buffer, width: usize);

    /// The backward of [`RowOps::cap`], whose result is `capped`: turns the gradient of the result into that of the input.
    fn cap_backward(&self, cap: Cap, capped: &Buffer, gradient: &mut Buffer, width: usize);

    /// `to += factor · from`; its backward is [`RowOps::scale`].
    fn add_scaled(&self, to: &mut Buffer, from: &Buffer, factor: f32, width: usize);

    /// `rows *= factor`, its own backward.
    fn scale(&self, rows: &mut Buffer, factor: f32);

    /// `x` with some elements zero and the others scaled up, so that the mean stays; its own backward.
    fn dropout(&self, dropout: Dropout, x: &Buffer, width: usize) -> Buffer;
}

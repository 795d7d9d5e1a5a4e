//! What the packed layout is built of.

/// Output columns of a panel.
pub const LANES: usize = 16;

/// Inputs of a block: activations have one scale for it.
pub const BLOCK: usize = 64;

/// Inputs of 4 bits with a scale and a zero point of their own.
pub(crate) const HALF: usize = BLOCK / 2;
/// The 4-bit code that is taken off all others, so that their sums of products fit in 16 bits.
pub(crate) const MIDDLE: i32 = 8;
/// A zero point counts in these parts of a step between two codes.
pub(crate) const PARTS: i32 = 16;

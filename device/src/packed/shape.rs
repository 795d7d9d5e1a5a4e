//! What the packed layout is built of.

/// Output columns of a panel.
pub const LANES: usize = 16;

/// Inputs that share a scale.
pub const BLOCK: usize = 64;

/// The 4-bit codebook (quantiles of a normal distribution, as NF4) in 127ths, offset by 128.
pub(crate) const Q4_CODES: [u8; 16] =
    [1, 40, 61, 78, 92, 105, 116, 128, 138, 148, 159, 171, 184, 199, 220, 255];

//! Attention of query rows over the keys and values of one sequence, and its backward.

mod backward;
mod forward;

pub use backward::AttendBackward;
pub(crate) use backward::attend_backward;
pub use forward::Attend;
pub(crate) use forward::attend;

use super::simd::Simd;

/// Positions of a block of keys and values, which lie together in memory; a multiple of 32.
pub const BLOCK: usize = 64;

/// How a score becomes a probability's exponent, and which positions a row sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// What query times key is multiplied with.
    pub scale: f32,
    /// `cap · tanh(score / cap)` after the scale (Gemma 2).
    pub cap: Option<f32>,
    /// Positions that a row sees at most, its own included; `usize::MAX` is all.
    pub window: usize,
}

impl Scores {
    /// The first position that a row of `length` visible positions sees.
    #[inline(always)]
    fn first(self, length: usize) -> usize {
        length.saturating_sub(self.window)
    }
}

/// `cap · tanh(x / cap)`.
#[inline(always)]
unsafe fn soft_cap<S: Simd>(x: S::F, cap: f32) -> S::F {
    // SAFETY: passed on from the caller.
    unsafe { S::mul(S::splat(cap), S::tanh(S::mul(x, S::splat(1.0 / cap)))) }
}

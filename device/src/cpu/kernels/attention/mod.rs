//! Attention of query rows over the keys and values of one sequence, and its backward.

mod backward;
mod forward;

pub(crate) use backward::AttendBackward;
pub(crate) use backward::attend_backward;
pub(crate) use forward::Attend;
pub(crate) use forward::attend;

use super::simd::Simd;

/// `cap · tanh(x / cap)`.
#[inline(always)]
unsafe fn soft_cap<S: Simd>(x: S::F, cap: f32) -> S::F {
    // SAFETY: passed on from the caller.
    unsafe { S::mul(S::splat(cap), S::tanh(S::mul(x, S::splat(1.0 / cap)))) }
}

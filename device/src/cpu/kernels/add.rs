//! Sums of rows.

use super::simd::{LANES, Simd, lanes};

/// `to += factor * from`.
///
/// # Safety
/// The processor must have the features of `S`; the slices must have equal length.
#[inline(always)]
pub(crate) unsafe fn add_scaled<S: Simd>(to: &mut [f32], from: &[f32], factor: f32) {
    let n = to.len();
    // SAFETY: both hold `n` elements.
    unsafe {
        let factor = S::splat(factor);
        lanes!(
            n,
            i,
            {
                let at = to.as_mut_ptr().add(i);
                S::store(at, S::fma(S::load(from.as_ptr().add(i)), factor, S::load(at)));
            },
            rest,
            {
                let at = to.as_mut_ptr().add(i);
                let value = S::load_some(from.as_ptr().add(i), rest);
                S::store_some(at, S::fma(value, factor, S::load_some(at, rest)), rest);
            }
        );
    }
}

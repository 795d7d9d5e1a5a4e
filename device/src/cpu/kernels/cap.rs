//! The soft cap of logits, `cap · tanh(scale · x / cap)`, forward and backward (Gemma 2).

use super::simd::{LANES, Simd, lanes};
use crate::ops::Cap;

/// Caps a row in place.
///
/// # Safety
/// The processor must have the features of `S`.
#[inline(always)]
pub(crate) unsafe fn soft_cap<S: Simd>(row: &mut [f32], cap: Cap) {
    let n = row.len();
    // SAFETY: the slice holds `n` elements.
    unsafe {
        // Not a closure: that would not get the set's features.
        macro_rules! capped {
            ($x:expr) => {{
                let x = S::mul($x, S::splat(cap.scale));
                if cap.most.is_finite() {
                    let share = S::tanh(S::mul(x, S::splat(1.0 / cap.most)));
                    S::mul(S::splat(cap.most), share)
                } else {
                    x
                }
            }};
        }
        lanes!(
            n,
            i,
            {
                let at = row.as_mut_ptr().add(i);
                S::store(at, capped!(S::load(at)));
            },
            rest,
            {
                let at = row.as_mut_ptr().add(i);
                S::store_some(at, capped!(S::load_some(at, rest)), rest);
            }
        );
    }
}

/// Turns the gradient of [`soft_cap`]'s result, of which `capped` is the value, into that of its input.
///
/// # Safety
/// The processor must have the features of `S`; the slices must have equal length.
#[inline(always)]
pub(crate) unsafe fn soft_cap_backward<S: Simd>(capped: &[f32], gradient: &mut [f32], cap: Cap) {
    let n = gradient.len();
    // SAFETY: both hold `n` elements.
    unsafe {
        macro_rules! slope {
            ($value:expr, $d:expr) => {{
                let d = S::mul($d, S::splat(cap.scale));
                let share = S::mul($value, S::splat(1.0 / cap.most));
                S::mul(d, S::sub(S::splat(1.0), S::mul(share, share)))
            }};
        }
        lanes!(
            n,
            i,
            {
                let at = gradient.as_mut_ptr().add(i);
                S::store(at, slope!(S::load(capped.as_ptr().add(i)), S::load(at)));
            },
            rest,
            {
                let at = gradient.as_mut_ptr().add(i);
                let value = S::load_some(capped.as_ptr().add(i), rest);
                S::store_some(at, slope!(value, S::load_some(at, rest)), rest);
            }
        );
    }
}

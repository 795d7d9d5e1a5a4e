//! RMSNorm of one row, forward and backward (Zhang and Sennrich, *Root Mean Square Layer Normalization*, 2019).

use super::simd::{LANES, Simd, lanes};

/// One row of RMSNorm and the gradient of its result.
#[derive(Clone, Copy)]
pub(crate) struct NormRow<'a> {
    /// The input.
    pub(crate) x: &'a [f32],
    /// The norm's weight.
    pub(crate) weight: &'a [f32],
    /// `1 / sqrt(mean(x²) + eps)`.
    pub(crate) inverse: f32,
    /// Gradient of the result.
    pub(crate) gradient: &'a [f32],
}

/// RMSNorm of one row: `out = x / sqrt(mean(x²) + eps) * weight`. Returns the inverse root.
///
/// # Safety
/// The processor must have the features of `S`; the slices must have equal length.
#[inline(always)]
pub(crate) unsafe fn rms_norm<S: Simd>(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    out: &mut [f32],
) -> f32 {
    let n = x.len();
    let whole = n / LANES * LANES;
    // SAFETY: all three hold `n` elements.
    unsafe {
        let mut squares = S::splat(0.0);
        for i in (0..whole).step_by(LANES) {
            let v = S::load(x.as_ptr().add(i));
            squares = S::fma(v, v, squares);
        }
        if whole < n {
            let v = S::load_some(x.as_ptr().add(whole), n - whole);
            squares = S::fma(v, v, squares);
        }
        let inverse = 1.0 / (S::sum(squares) / n as f32 + eps).sqrt();
        let factor = S::splat(inverse);
        for i in (0..whole).step_by(LANES) {
            let v = S::mul(S::load(x.as_ptr().add(i)), factor);
            S::store(out.as_mut_ptr().add(i), S::mul(v, S::load(weight.as_ptr().add(i))));
        }
        if whole < n {
            let v = S::mul(S::load_some(x.as_ptr().add(whole), n - whole), factor);
            let w = S::load_some(weight.as_ptr().add(whole), n - whole);
            S::store_some(out.as_mut_ptr().add(whole), S::mul(v, w), n - whole);
        }
        inverse
    }
}

/// Adds the gradient of the input to `out`.
///
/// # Safety
/// The processor must have the features of `S`; the slices must have equal length.
#[inline(always)]
pub(crate) unsafe fn rms_norm_backward<S: Simd>(row: NormRow<'_>, out: &mut [f32]) {
    let NormRow { x, weight, inverse, gradient } = row;
    let n = x.len();
    // SAFETY: all four hold `n` elements.
    unsafe {
        let mut along = S::splat(0.0);
        lanes!(
            n,
            i,
            {
                let g = S::mul(S::load(gradient.as_ptr().add(i)), S::load(weight.as_ptr().add(i)));
                along = S::fma(g, S::load(x.as_ptr().add(i)), along);
            },
            rest,
            {
                let g = S::mul(
                    S::load_some(gradient.as_ptr().add(i), rest),
                    S::load_some(weight.as_ptr().add(i), rest),
                );
                along = S::fma(g, S::load_some(x.as_ptr().add(i), rest), along);
            }
        );
        let back = S::splat(-S::sum(along) * inverse * inverse * inverse / n as f32);
        let factor = S::splat(inverse);
        // Not a closure: that would not get the set's features, and so call every operation.
        macro_rules! step {
            ($g:expr, $w:expr, $x:expr, $o:expr $(,)?) => {
                S::fma($x, back, S::fma(S::mul($g, $w), factor, $o))
            };
        }
        lanes!(
            n,
            i,
            {
                let value = step!(
                    S::load(gradient.as_ptr().add(i)),
                    S::load(weight.as_ptr().add(i)),
                    S::load(x.as_ptr().add(i)),
                    S::load(out.as_ptr().add(i)),
                );
                S::store(out.as_mut_ptr().add(i), value);
            },
            rest,
            {
                let value = step!(
                    S::load_some(gradient.as_ptr().add(i), rest),
                    S::load_some(weight.as_ptr().add(i), rest),
                    S::load_some(x.as_ptr().add(i), rest),
                    S::load_some(out.as_ptr().add(i), rest),
                );
                S::store_some(out.as_mut_ptr().add(i), value, rest);
            }
        );
    }
}

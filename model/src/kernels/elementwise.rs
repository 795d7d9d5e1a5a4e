//! Row operations: norm, gate, conversion of activations to the weights' format.

use super::{
    layout::BLOCK,
    simd::{LANES, Simd},
};

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

// Not a closure: those are not compiled with the set's features.
#[inline(always)]
unsafe fn gated<S: Simd>(gate: S::F, up: S::F) -> S::F {
    // SAFETY: passed on from the caller.
    unsafe {
        let e = S::exp(S::sub(S::splat(0.0), gate));
        S::mul(S::div(gate, S::add(S::splat(1.0), e)), up)
    }
}

/// SwiGLU: `out = gate / (1 + e^-gate) * up`.
///
/// # Safety
/// The processor must have the features of `S`; the slices must have equal length.
#[inline(always)]
pub(crate) unsafe fn silu_mul<S: Simd>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let n = gate.len();
    // SAFETY: all three hold `n` elements.
    unsafe {
        let whole = n / LANES * LANES;
        for i in (0..whole).step_by(LANES) {
            let value = gated::<S>(S::load(gate.as_ptr().add(i)), S::load(up.as_ptr().add(i)));
            S::store(out.as_mut_ptr().add(i), value);
        }
        if whole < n {
            let g = S::load_some(gate.as_ptr().add(whole), n - whole);
            let u = S::load_some(up.as_ptr().add(whole), n - whole);
            S::store_some(out.as_mut_ptr().add(whole), gated::<S>(g, u), n - whole);
        }
    }
}

/// One row to signed bytes: for each block of 64 the codes, the scale (largest magnitude over 127) and -128 times the
/// sum of the codes. `codes` is padded to whole blocks, with zeros.
///
/// # Safety
/// The processor must have the features of `S`; `codes` holds `scales.len() * 64` bytes, `biases` as many as `scales`.
#[inline(always)]
pub(crate) unsafe fn quantise<S: Simd>(
    x: &[f32],
    codes: &mut [i8],
    scales: &mut [f32],
    biases: &mut [i32],
) {
    // SAFETY: each block reads at most what is left of `x` and writes its own 64 codes.
    unsafe {
        for (block, (scale, bias)) in scales.iter_mut().zip(biases.iter_mut()).enumerate() {
            let from = block * BLOCK;
            let mut parts = [S::splat(0.0); BLOCK / LANES];
            for (i, part) in parts.iter_mut().enumerate() {
                let at = from + i * LANES;
                if at + LANES <= x.len() {
                    *part = S::load(x.as_ptr().add(at));
                } else if at < x.len() {
                    *part = S::load_some(x.as_ptr().add(at), x.len() - at);
                }
            }
            let mut largest = S::splat(0.0);
            for part in parts {
                largest = S::max(largest, S::abs(part));
            }
            let largest = S::largest(largest);
            let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
            let mut total = S::splat(0.0);
            for (i, part) in parts.into_iter().enumerate() {
                let code = S::round(S::mul(part, S::splat(inverse)));
                S::store_bytes(codes.as_mut_ptr().add(from + i * LANES), code);
                // Small integers are exact in f32. A part that is not finite makes the total NaN.
                let total_so_far = S::fma(part, S::splat(0.0), total);
                total = S::add(total_so_far, S::to_float(code));
            }
            let total = S::sum(total);
            // Bytes cannot hold a NaN: the scale carries it on, so that it is not lost.
            *scale = largest / 127.0 + total * 0.0;
            *bias = -128 * total as i32;
        }
    }
}

/// One row to bf16, to the nearest (ties to even), padded with zero to an even length.
#[inline(always)]
pub(crate) fn to_bf16(x: &[f32], out: &mut [u16]) {
    for (o, v) in out.iter_mut().zip(x) {
        let bits = v.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        // A NaN must not round to infinity.
        *o = if v.is_nan() { (bits >> 16) as u16 | 0x40 } else { rounded as u16 };
    }
    for o in &mut out[x.len()..] {
        *o = 0;
    }
}

//! Conversion of activations to the format of the weights that they meet.

use super::{
    matmul::CodeSums,
    simd::{LANES, Simd},
};
use crate::layout::BLOCK;

/// One row to signed bytes: for each block of 64 the codes, the scale (largest magnitude over 127) and the sums of the
/// codes. `codes` is padded to whole blocks, with zeros.
///
/// # Safety
/// The processor must have the features of `S`; `codes` holds `scales.len() * 64` bytes, `sums` as many as `scales`.
#[inline(always)]
pub(crate) unsafe fn quantise<S: Simd>(
    x: &[f32],
    codes: &mut [i8],
    scales: &mut [f32],
    sums: &mut [CodeSums],
) {
    // SAFETY: each block reads at most what is left of `x` and writes its own 64 codes.
    unsafe {
        for (block, (scale, sums)) in scales.iter_mut().zip(sums.iter_mut()).enumerate() {
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
            let mut totals = [S::splat(0.0); 2];
            for (i, part) in parts.into_iter().enumerate() {
                let code = S::round(S::mul(part, S::splat(inverse)));
                S::store_bytes(codes.as_mut_ptr().add(from + i * LANES), code);
                // Small integers are exact in f32. A part that is not finite makes the total NaN.
                let total = &mut totals[i * 2 * LANES / BLOCK];
                *total = S::add(S::fma(part, S::splat(0.0), *total), S::to_float(code));
            }
            let [low, high] = [S::sum(totals[0]), S::sum(totals[1])];
            // Bytes cannot hold a NaN: the scale carries it on, so that it is not lost.
            *scale = largest / 127.0 + (low + high) * 0.0;
            *sums = CodeSums::new(low as i32, high as i32);
        }
    }
}

/// One row to bf16, to the nearest (ties to even), padded with zero to an even length.
///
/// # Safety
/// The processor must have the features of `S`, for which the loop is compiled.
#[inline(always)]
pub(crate) unsafe fn to_bf16<S: Simd>(x: &[f32], out: &mut [u16]) {
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

//! AVX2 with FMA: sixteen lanes as two registers.

use std::arch::x86_64::*;

use super::simd::{LANES, Simd};

/// AVX2 and FMA.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

type F = [__m256; 2];
type I = [__m256i; 2];

macro_rules! lanewise {
    ($f:ident, $a:expr, $b:expr) => {
        // SAFETY: see the impl.
        unsafe { [$f($a[0], $b[0]), $f($a[1], $b[1])] }
    };
}

// SAFETY: each function uses only AVX2 and FMA; pointers stay within the trait's bounds.
unsafe impl Simd for Avx2 {
    const WIDE: bool = false;
    type F = F;
    type I = I;
    type B = I;

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        // SAFETY: see the impl.
        unsafe { [_mm256_set1_ps(x); 2] }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8))] }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: F) {
        // SAFETY: see the impl.
        unsafe {
            _mm256_storeu_ps(p, x[0]);
            _mm256_storeu_ps(p.add(8), x[1]);
        }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        lanewise!(_mm256_add_ps, a, b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        lanewise!(_mm256_sub_ps, a, b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        lanewise!(_mm256_mul_ps, a, b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        lanewise!(_mm256_div_ps, a, b)
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        lanewise!(_mm256_max_ps, a, b)
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        lanewise!(_mm256_min_ps, a, b)
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        // SAFETY: see the impl.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], c[0]), _mm256_fmadd_ps(a[1], b[1], c[1])] }
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        // SAFETY: see the impl.
        unsafe {
            let sign = _mm256_set1_ps(-0.0);
            [_mm256_andnot_ps(sign, a[0]), _mm256_andnot_ps(sign, a[1])]
        }
    }
    #[inline(always)]
    unsafe fn round(a: F) -> I {
        // SAFETY: see the impl.
        unsafe { [_mm256_cvtps_epi32(a[0]), _mm256_cvtps_epi32(a[1])] }
    }
    #[inline(always)]
    unsafe fn to_float(a: I) -> F {
        // SAFETY: see the impl.
        unsafe { [_mm256_cvtepi32_ps(a[0]), _mm256_cvtepi32_ps(a[1])] }
    }
    #[inline(always)]
    unsafe fn exp2i(a: I) -> F {
        // SAFETY: see the impl.
        unsafe {
            let bias = _mm256_set1_epi32(127);
            let (low, high) = (_mm256_add_epi32(a[0], bias), _mm256_add_epi32(a[1], bias));
            [
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(low)),
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut i8, x: I) {
        // SAFETY: see the impl.
        unsafe { p.cast::<[i8; LANES]>().write_unaligned(Self::ints(x).map(|x| x as i8)) }
    }
    #[inline(always)]
    unsafe fn to_array(a: F) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: see the impl.
        unsafe { Self::store(lanes.as_mut_ptr(), a) };
        lanes
    }
    #[inline(always)]
    unsafe fn ints(a: I) -> [i32; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: see the impl.
        unsafe {
            _mm256_storeu_si256(lanes.as_mut_ptr().cast(), a[0]);
            _mm256_storeu_si256(lanes.as_mut_ptr().add(8).cast(), a[1]);
        }
        lanes
    }
    #[inline(always)]
    unsafe fn codes(p: *const u8) -> F {
        // SAFETY: see the impl.
        unsafe {
            let (low, high) = (_mm_loadl_epi64(p.cast()), _mm_loadl_epi64(p.add(8).cast()));
            [
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(low)),
                _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(high)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn integers(p: *const i32) -> I {
        // SAFETY: see the impl.
        unsafe { Self::bytes(p.cast()) }
    }
    #[inline(always)]
    unsafe fn plus(a: I, b: I) -> I {
        // SAFETY: see the impl.
        unsafe { [_mm256_add_epi32(a[0], b[0]), _mm256_add_epi32(a[1], b[1])] }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: see the impl; nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn bytes(p: *const u8) -> I {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn nibbles(packed: I) -> (I, I) {
        // SAFETY: see the impl.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            let high = [_mm256_srli_epi16::<4>(packed[0]), _mm256_srli_epi16::<4>(packed[1])];
            (
                [_mm256_and_si256(packed[0], mask), _mm256_and_si256(packed[1], mask)],
                [_mm256_and_si256(high[0], mask), _mm256_and_si256(high[1], mask)],
            )
        }
    }
    #[inline(always)]
    unsafe fn start(_bias: i32) -> I {
        // `dot` takes the offset off the weights, so that nothing is left to correct.
        // SAFETY: see the impl.
        unsafe { [_mm256_setzero_si256(); 2] }
    }
    #[inline(always)]
    unsafe fn dot(sum: I, weights: I, activations: i32) -> I {
        // SAFETY: see the impl.
        unsafe {
            let x = _mm256_set1_epi32(activations);
            [dot_half(sum[0], weights[0], x), dot_half(sum[1], weights[1], x)]
        }
    }
    #[inline(always)]
    unsafe fn dot_nibbles(sum: I, weights: I, activations: i32) -> I {
        // SAFETY: see the impl.
        unsafe {
            let x = _mm256_set1_epi32(activations);
            [dot_nibbles_half(sum[0], weights[0], x), dot_nibbles_half(sum[1], weights[1], x)]
        }
    }
    #[inline(always)]
    unsafe fn whole(x: i32) -> I {
        // SAFETY: see the impl.
        unsafe { [_mm256_set1_epi32(x); 2] }
    }
    #[inline(always)]
    unsafe fn pairs(a: I, b: I) -> I {
        // SAFETY: see the impl.
        unsafe {
            [
                _mm256_blend_epi16::<0xaa>(a[0], _mm256_slli_epi32::<16>(b[0])),
                _mm256_blend_epi16::<0xaa>(a[1], _mm256_slli_epi32::<16>(b[1])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: I, a: I, b: I) -> I {
        // SAFETY: see the impl.
        unsafe {
            [
                _mm256_add_epi32(sum[0], _mm256_madd_epi16(a[0], b[0])),
                _mm256_add_epi32(sum[1], _mm256_madd_epi16(a[1], b[1])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn grids(line: *const u8) -> (I, I) {
        // SAFETY: see the impl.
        unsafe {
            let line = Self::bytes(line);
            let (low, high) = (grids_half(line[0]), grids_half(line[1]));
            ([low.0, high.0], [low.1, high.1])
        }
    }
    #[inline(always)]
    unsafe fn halves(pairs: I) -> (F, F) {
        // SAFETY: see the impl.
        unsafe {
            let (low, high) = (halves_half(pairs[0]), halves_half(pairs[1]));
            ([low.0, high.0], [low.1, high.1])
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(sum: F, weights: I, x: u32) -> F {
        // SAFETY: see the impl.
        unsafe {
            let even = Self::splat(f32::from_bits(x << 16));
            let odd = Self::splat(f32::from_bits(x & 0xffff_0000));
            let (first, second) = Self::halves(weights);
            Self::fma(second, odd, Self::fma(first, even, sum))
        }
    }
}

// Functions and not closures: those are not compiled with the set's features.

/// The instruction saturates pairs of unsigned times signed bytes at 16 bits. Magnitudes of at most 127 times
/// activations of at most 127 stay below: so the sign of the weight moves to the activation.
#[inline(always)]
unsafe fn dot_half(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    // SAFETY: called from the impl above.
    unsafe {
        let w = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

/// Codes of at most 15 times activations of at most 127: pairs are far below 16 bits.
#[inline(always)]
unsafe fn dot_nibbles_half(sum: __m256i, weights: __m256i, x: __m256i) -> __m256i {
    // SAFETY: called from the impl above.
    unsafe {
        let pairs = _mm256_maddubs_epi16(weights, x);
        _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
    }
}

/// Eight lanes of [`Simd::grids`].
#[inline(always)]
unsafe fn grids_half(line: __m256i) -> (__m256i, __m256i) {
    // SAFETY: called from the impl above.
    unsafe {
        // Bytes 0 and 1 of each lane, and -1 for zero; then 2 and 3 as the high bytes, shifted down with their sign.
        let low = _mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1);
        let high = _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
        let scales = _mm256_shuffle_epi8(line, _mm256_broadcastsi128_si256(low));
        let zeros = _mm256_shuffle_epi8(line, _mm256_broadcastsi128_si256(high));
        let products = _mm256_mullo_epi16(scales, _mm256_srai_epi16::<8>(zeros));
        (_mm256_slli_epi16::<4>(scales), products)
    }
}

#[inline(always)]
unsafe fn halves_half(pairs: __m256i) -> (__m256, __m256) {
    // SAFETY: called from the impl above.
    unsafe {
        let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let first = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs));
        (first, _mm256_castsi256_ps(_mm256_and_si256(pairs, high)))
    }
}

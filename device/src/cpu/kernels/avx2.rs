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
    unsafe fn bytes(p: *const u8) -> I {
        // SAFETY: see the impl.
        unsafe { [_mm256_loadu_si256(p.cast()), _mm256_loadu_si256(p.add(32).cast())] }
    }
    #[inline(always)]
    unsafe fn table(codes: &[u8; 16]) -> I {
        // SAFETY: see the impl.
        unsafe { [_mm256_broadcastsi128_si256(_mm_loadu_si128(codes.as_ptr().cast())); 2] }
    }
    #[inline(always)]
    unsafe fn nibbles(packed: I, table: I) -> (I, I) {
        // SAFETY: see the impl.
        unsafe {
            let high = [_mm256_srli_epi16::<4>(packed[0]), _mm256_srli_epi16::<4>(packed[1])];
            (look(packed, table), look(high, table))
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
    unsafe fn dot_bf16(sum: F, weights: I, x: u32) -> F {
        // SAFETY: see the impl.
        unsafe {
            let even = _mm256_set1_ps(f32::from_bits(x << 16));
            let odd = _mm256_set1_ps(f32::from_bits(x & 0xffff_0000));
            let x = [even, odd];
            [dot_bf16_half(sum[0], weights[0], x), dot_bf16_half(sum[1], weights[1], x)]
        }
    }
}

// Functions and not closures: those are not compiled with the set's features.

/// The bytes of a table at the low four bits of each byte.
#[inline(always)]
unsafe fn look(codes: I, table: I) -> I {
    // SAFETY: called from the impl above.
    unsafe {
        let mask = _mm256_set1_epi8(15);
        [
            _mm256_shuffle_epi8(table[0], _mm256_and_si256(codes[0], mask)),
            _mm256_shuffle_epi8(table[1], _mm256_and_si256(codes[1], mask)),
        ]
    }
}

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

#[inline(always)]
unsafe fn dot_bf16_half(sum: __m256, weights: __m256i, x: [__m256; 2]) -> __m256 {
    // SAFETY: called from the impl above.
    unsafe {
        let high = _mm256_set1_epi32(0xffff_0000_u32 as i32);
        let low = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(weights));
        let top = _mm256_castsi256_ps(_mm256_and_si256(weights, high));
        _mm256_fmadd_ps(top, x[1], _mm256_fmadd_ps(low, x[0], sum))
    }
}

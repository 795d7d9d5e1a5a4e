//! AVX-512 with VNNI, and with the bf16 products where the processor has them.

use std::arch::x86_64::*;

use super::simd::{LANES, Simd};

/// AVX-512 F, BW, DQ, VL, VNNI; `BF16`: also AVX512_BF16.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const BF16: bool>;

// SAFETY: each function uses only features that the trait's contract promises; pointers stay within the trait's bounds.
unsafe impl<const BF16: bool> Simd for Avx512<BF16> {
    const WIDE: bool = true;
    type F = __m512;
    type I = __m512i;
    type B = __m512i;

    #[inline(always)]
    unsafe fn splat(x: f32) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: __m512) {
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_ps(p, x) }
    }
    #[inline(always)]
    unsafe fn load_some(p: *const f32, count: usize) -> __m512 {
        // SAFETY: see the impl; masked lanes are not read.
        unsafe { _mm512_maskz_loadu_ps(((1_u32 << count) - 1) as __mmask16, p) }
    }
    #[inline(always)]
    unsafe fn store_some(p: *mut f32, x: __m512, count: usize) {
        // SAFETY: see the impl; masked lanes are not written.
        unsafe { _mm512_mask_storeu_ps(p, ((1_u32 << count) - 1) as __mmask16, x) }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn abs(a: __m512) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    unsafe fn round(a: __m512) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_cvtps_epi32(a) }
    }
    #[inline(always)]
    unsafe fn to_float(a: __m512i) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_cvtepi32_ps(a) }
    }
    #[inline(always)]
    unsafe fn exp2i(a: __m512i) -> __m512 {
        // SAFETY: see the impl.
        unsafe {
            let biased = _mm512_add_epi32(a, _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut i8, x: __m512i) {
        // SAFETY: see the impl.
        unsafe { _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(x)) }
    }
    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        // Halves, quarters, … as the trait's default: the same bits.
        // SAFETY: see the impl.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn largest(a: __m512) -> f32 {
        // SAFETY: see the impl.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    unsafe fn to_array(a: __m512) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_ps(lanes.as_mut_ptr(), a) };
        lanes
    }
    #[inline(always)]
    unsafe fn ints(a: __m512i) -> [i32; LANES] {
        let mut lanes = [0; LANES];
        // SAFETY: see the impl.
        unsafe { _mm512_storeu_si512(lanes.as_mut_ptr().cast(), a) };
        lanes
    }
    #[inline(always)]
    unsafe fn codes(p: *const u8) -> __m512 {
        // SAFETY: see the impl.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn integers(p: *const i32) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn plus(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    unsafe fn prefetch(p: *const u8) {
        // SAFETY: see the impl; nothing is read.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    unsafe fn bytes(p: *const u8) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn nibbles(packed: __m512i) -> (__m512i, __m512i) {
        // SAFETY: see the impl.
        unsafe {
            let mask = _mm512_set1_epi8(15);
            let high = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), mask);
            (_mm512_and_si512(packed, mask), high)
        }
    }
    #[inline(always)]
    unsafe fn start(bias: i32) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_epi32(bias) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m512i, weights: __m512i, activations: i32) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_dpbusd_epi32(sum, weights, _mm512_set1_epi32(activations)) }
    }
    #[inline(always)]
    unsafe fn dot_nibbles(sum: __m512i, weights: __m512i, activations: i32) -> __m512i {
        // SAFETY: see the impl.
        unsafe { Self::dot(sum, weights, activations) }
    }
    #[inline(always)]
    unsafe fn whole(x: i32) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_set1_epi32(x) }
    }
    #[inline(always)]
    unsafe fn pairs(a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_mask_mov_epi16(_mm512_slli_epi32::<16>(b), 0x5555_5555, a) }
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: __m512i, a: __m512i, b: __m512i) -> __m512i {
        // SAFETY: see the impl.
        unsafe { _mm512_dpwssd_epi32(sum, a, b) }
    }
    #[inline(always)]
    unsafe fn grids(line: *const u8) -> (__m512i, __m512i) {
        // SAFETY: see the impl.
        unsafe {
            let line = Self::bytes(line);
            // Bytes 0 and 1 of each lane, and -1 for zero; then 2 and 3 as the high bytes, shifted down with their sign.
            let low = _mm_setr_epi8(0, -1, 1, -1, 4, -1, 5, -1, 8, -1, 9, -1, 12, -1, 13, -1);
            let high = _mm_setr_epi8(-1, 2, -1, 3, -1, 6, -1, 7, -1, 10, -1, 11, -1, 14, -1, 15);
            let scales = _mm512_shuffle_epi8(line, _mm512_broadcast_i32x4(low));
            let zeros = _mm512_shuffle_epi8(line, _mm512_broadcast_i32x4(high));
            let products = _mm512_mullo_epi16(scales, _mm512_srai_epi16::<8>(zeros));
            (_mm512_slli_epi16::<4>(scales), products)
        }
    }
    #[inline(always)]
    unsafe fn halves(pairs: __m512i) -> (__m512, __m512) {
        // SAFETY: see the impl.
        unsafe {
            let high = _mm512_set1_epi32(0xffff_0000_u32 as i32);
            let first = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs));
            (first, _mm512_castsi512_ps(_mm512_and_si512(pairs, high)))
        }
    }
    #[inline(always)]
    unsafe fn dot_bf16(sum: __m512, weights: __m512i, x: u32) -> __m512 {
        // SAFETY: see the impl; the three types are 64 bytes of plain data.
        unsafe {
            let pair = _mm512_set1_epi32(x as i32);
            if BF16 {
                return _mm512_dpbf16_ps(
                    sum,
                    std::mem::transmute::<__m512i, __m512bh>(weights),
                    std::mem::transmute::<__m512i, __m512bh>(pair),
                );
            }
            let (even, odd) = Self::halves(weights);
            let (x_even, x_odd) = Self::halves(pair);
            _mm512_fmadd_ps(odd, x_odd, _mm512_fmadd_ps(even, x_even, sum))
        }
    }
}

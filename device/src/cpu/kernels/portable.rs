//! Plain Rust: the reference for the other sets, and the way on processors without them.

use super::simd::{LANES, Simd};

/// No particular instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

type F = [f32; LANES];
type I = [i32; LANES];

#[inline(always)]
fn map2(a: F, b: F, f: impl Fn(f32, f32) -> f32) -> F {
    std::array::from_fn(|i| f(a[i], b[i]))
}

// SAFETY: needs no features; pointers are read within the trait's bounds.
unsafe impl Simd for Portable {
    const WIDE: bool = false;
    type F = F;
    type I = I;
    type B = [u8; 64];

    #[inline(always)]
    unsafe fn splat(x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> F {
        // SAFETY: the caller vouches for 16 lanes.
        unsafe { p.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, x: F) {
        // SAFETY: the caller vouches for 16 lanes.
        unsafe { p.cast::<F>().write_unaligned(x) }
    }
    #[inline(always)]
    unsafe fn add(a: F, b: F) -> F {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: F, b: F) -> F {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: F, b: F) -> F {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: F, b: F) -> F {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn max(a: F, b: F) -> F {
        // As the x86 instruction: the second operand if either is NaN.
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn min(a: F, b: F) -> F {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn fma(a: F, b: F, c: F) -> F {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn abs(a: F) -> F {
        a.map(f32::abs)
    }
    #[inline(always)]
    unsafe fn round(a: F) -> [i32; LANES] {
        a.map(|x| x.round_ties_even() as i32)
    }
    #[inline(always)]
    unsafe fn to_float(a: [i32; LANES]) -> F {
        a.map(|x| x as f32)
    }
    #[inline(always)]
    unsafe fn exp2i(a: [i32; LANES]) -> F {
        a.map(|x| f32::from_bits((x.wrapping_add(127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn store_bytes(p: *mut i8, x: [i32; LANES]) {
        // SAFETY: the caller vouches for 16 bytes.
        unsafe { p.cast::<[i8; LANES]>().write_unaligned(x.map(|x| x as i8)) }
    }
    #[inline(always)]
    unsafe fn to_array(a: F) -> F {
        a
    }
    #[inline(always)]
    unsafe fn ints(a: [i32; LANES]) -> [i32; LANES] {
        a
    }
    #[inline(always)]
    unsafe fn codes(p: *const u8) -> F {
        // SAFETY: the caller vouches for 16 codes.
        unsafe { p.cast::<[u8; LANES]>().read() }.map(f32::from)
    }
    #[inline(always)]
    unsafe fn integers(p: *const i32) -> I {
        // SAFETY: the caller vouches for 16 lanes.
        unsafe { p.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn plus(a: I, b: I) -> I {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn bytes(p: *const u8) -> [u8; 64] {
        // SAFETY: the caller vouches for 64 bytes.
        unsafe { p.cast::<[u8; 64]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn nibbles(packed: [u8; 64]) -> ([u8; 64], [u8; 64]) {
        (packed.map(|b| b & 15), packed.map(|b| b >> 4))
    }
    #[inline(always)]
    unsafe fn start(bias: i32) -> [i32; LANES] {
        [bias; LANES]
    }
    #[inline(always)]
    unsafe fn dot(sum: [i32; LANES], weights: [u8; 64], activations: i32) -> [i32; LANES] {
        let x = activations.to_le_bytes().map(|b| i32::from(b as i8));
        std::array::from_fn(|i| {
            (0..4).fold(sum[i], |sum, j| sum + i32::from(weights[4 * i + j]) * x[j])
        })
    }
    #[inline(always)]
    unsafe fn dot_nibbles(sum: I, weights: [u8; 64], activations: i32) -> I {
        // SAFETY: passed on from the caller.
        unsafe { Self::dot(sum, weights, activations) }
    }
    #[inline(always)]
    unsafe fn whole(x: i32) -> I {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn pairs(a: I, b: I) -> I {
        std::array::from_fn(|i| a[i] & 0xffff | b[i] << 16)
    }
    #[inline(always)]
    unsafe fn dot_pairs(sum: I, a: I, b: I) -> I {
        let pair = |x: i32| (i32::from(x as i16), x >> 16);
        std::array::from_fn(|i| {
            let ((a0, a1), (b0, b1)) = (pair(a[i]), pair(b[i]));
            sum[i] + a0 * b0 + a1 * b1
        })
    }
    #[inline(always)]
    unsafe fn grids(line: *const u8) -> (I, I) {
        // SAFETY: the caller vouches for 64 bytes.
        let line = unsafe { Self::bytes(line) };
        let lane = |i: usize| [line[4 * i], line[4 * i + 1], line[4 * i + 2], line[4 * i + 3]];
        let pair = |low: i32, high: i32| low & 0xffff | high << 16;
        let scale = |scale: u8| i32::from(scale) << 4;
        let scales = std::array::from_fn(|i| pair(scale(lane(i)[0]), scale(lane(i)[1])));
        let zeros = std::array::from_fn(|i| {
            let [low, high, low_zero, high_zero] = lane(i);
            let product = |scale: u8, zero: u8| i32::from(scale) * i32::from(zero as i8);
            pair(product(low, low_zero), product(high, high_zero))
        });
        (scales, zeros)
    }
    #[inline(always)]
    unsafe fn halves(pairs: [u8; 64]) -> (F, F) {
        let half = |lane: usize, nth: usize| {
            let at = 4 * lane + 2 * nth;
            f32::from_bits(u32::from(u16::from_le_bytes([pairs[at], pairs[at + 1]])) << 16)
        };
        (std::array::from_fn(|i| half(i, 0)), std::array::from_fn(|i| half(i, 1)))
    }
    #[inline(always)]
    unsafe fn dot_bf16(sum: F, weights: [u8; 64], x: u32) -> F {
        let (even, odd) = (f32::from_bits(x << 16), f32::from_bits(x & 0xffff_0000));
        // SAFETY: the portable set needs nothing of the processor.
        let (first, second) = unsafe { Self::halves(weights) };
        std::array::from_fn(|i| second[i].mul_add(odd, first[i].mul_add(even, sum[i])))
    }
}

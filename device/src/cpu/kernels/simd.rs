//! Sixteen lanes of one instruction set.
//!
//! Every kernel is written once over this trait and compiled once for each set behind `#[target_feature]`. All sets do
//! the same operations in the same order, so they give the same bits (bf16 products excepted, which the hardware rounds
//! in its own way).

pub(crate) use crate::layout::LANES;

/// An instruction set.
///
/// # Safety
/// The caller of any function must run on a processor that has the set's features, and pointers must be valid for the
/// 16 lanes (or `count` lanes, 16 codes or 64 bytes) that the function touches.
pub(crate) unsafe trait Simd: Copy {
    /// 32 registers of 16 lanes, rather than 16 of 8.
    const WIDE: bool;
    /// Sixteen f32.
    type F: Copy;
    /// Sixteen i32.
    type I: Copy;
    /// Sixty-four bytes.
    type B: Copy;

    unsafe fn splat(x: f32) -> Self::F;
    unsafe fn load(p: *const f32) -> Self::F;
    unsafe fn store(p: *mut f32, x: Self::F);
    unsafe fn add(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn sub(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn mul(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn div(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn max(a: Self::F, b: Self::F) -> Self::F;
    unsafe fn min(a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// Magnitude.
    unsafe fn abs(a: Self::F) -> Self::F;
    /// To the nearest integer, ties to even.
    unsafe fn round(a: Self::F) -> Self::I;
    unsafe fn to_float(a: Self::I) -> Self::F;
    /// `2^a` for `a` in -126..=127.
    unsafe fn exp2i(a: Self::I) -> Self::F;
    /// Writes the low byte of each lane.
    unsafe fn store_bytes(p: *mut i8, x: Self::I);
    unsafe fn to_array(a: Self::F) -> [f32; LANES];
    unsafe fn ints(a: Self::I) -> [i32; LANES];

    /// Sixteen unsigned bytes as numbers.
    unsafe fn codes(p: *const u8) -> Self::F;
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // asked for beside tiles
    unsafe fn integers(p: *const i32) -> Self::I;
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // asked for beside tiles
    unsafe fn plus(a: Self::I, b: Self::I) -> Self::I;
    unsafe fn bytes(p: *const u8) -> Self::B;
    /// The low and the high four bits of each byte.
    unsafe fn nibbles(packed: Self::B) -> (Self::B, Self::B);
    /// Where a sum of [`Simd::dot`] starts; `bias` is -128 times the sum of the activations.
    unsafe fn start(bias: i32) -> Self::I;
    /// Adds four products for each lane: unsigned weights (offset by 128) times four signed activations, the same for
    /// all lanes. Exact.
    unsafe fn dot(sum: Self::I, weights: Self::B, activations: i32) -> Self::I;
    /// As [`Simd::dot`], for weights of four bits, without any offset.
    unsafe fn dot_nibbles(sum: Self::I, weights: Self::B, activations: i32) -> Self::I;
    /// The same integer in all lanes.
    unsafe fn whole(x: i32) -> Self::I;
    /// Two integers of 16 bits in each lane: the low halves of `a` and of `b`.
    unsafe fn pairs(a: Self::I, b: Self::I) -> Self::I;
    /// Adds the two products of pairs of 16 bits for each lane. Exact.
    unsafe fn dot_pairs(sum: Self::I, a: Self::I, b: Self::I) -> Self::I;
    /// Sixteen times the scales of a line of two scales and two zero points for each lane, as pairs of 16 bits; and the
    /// products of scales and zero points.
    unsafe fn grids(line: *const u8) -> (Self::I, Self::I);
    /// Sixteen pairs of bf16 as numbers: the first of each pair, and the second.
    unsafe fn halves(pairs: Self::B) -> (Self::F, Self::F);
    /// Adds two products of bf16 for each lane; `x` holds a pair, the same for all lanes.
    unsafe fn dot_bf16(sum: Self::F, weights: Self::B, x: u32) -> Self::F;

    /// Asks for a line of memory that will be read; any address will do.
    #[inline(always)]
    unsafe fn prefetch(_p: *const u8) {}

    /// Reads `count` lanes, the others are zero.
    #[inline(always)]
    unsafe fn load_some(p: *const f32, count: usize) -> Self::F {
        let mut lanes = [0.0; LANES];
        // SAFETY: the caller vouches for `count` lanes, and `count` is at most 16.
        unsafe {
            std::ptr::copy_nonoverlapping(p, lanes.as_mut_ptr(), count);
            Self::load(lanes.as_ptr())
        }
    }

    /// Writes the first `count` lanes.
    #[inline(always)]
    unsafe fn store_some(p: *mut f32, x: Self::F, count: usize) {
        // SAFETY: the caller vouches for `count` lanes, and `count` is at most 16.
        unsafe {
            let lanes = Self::to_array(x);
            std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, count);
        }
    }

    /// The sum of the lanes, pairwise in a fixed order.
    #[inline(always)]
    unsafe fn sum(a: Self::F) -> f32 {
        // SAFETY: passed on from the caller.
        let mut lanes = unsafe { Self::to_array(a) };
        for width in [8, 4, 2, 1] {
            for i in 0..width {
                lanes[i] += lanes[i + width];
            }
        }
        lanes[0]
    }

    /// The largest lane.
    #[inline(always)]
    unsafe fn largest(a: Self::F) -> f32 {
        // SAFETY: passed on from the caller.
        let lanes = unsafe { Self::to_array(a) };
        lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    /// `e^x`, within 2 units in the last place; below -87 it is e^-87, above 88 e^88.
    #[inline(always)]
    unsafe fn exp(x: Self::F) -> Self::F {
        // SAFETY: passed on from the caller.
        unsafe {
            // With `x` as the second operand a NaN stays one.
            let x = Self::max(Self::splat(-87.0), Self::min(Self::splat(88.0), x));
            let n = Self::round(Self::mul(x, Self::splat(std::f32::consts::LOG2_E)));
            let nf = Self::to_float(n);
            let r = Self::fma(nf, Self::splat(-0.693_359_4), x);
            let r = Self::fma(nf, Self::splat(2.121_944_4e-4), r);
            let mut p = Self::splat(1.987_569_1e-4);
            for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5, 1.0, 1.0] {
                p = Self::fma(p, r, Self::splat(c));
            }
            Self::mul(p, Self::exp2i(n))
        }
    }

    /// `tanh(x)`, within 2e-7.
    #[inline(always)]
    unsafe fn tanh(x: Self::F) -> Self::F {
        // SAFETY: passed on from the caller.
        unsafe {
            let one = Self::splat(1.0);
            let e = Self::exp(Self::add(x, x));
            Self::sub(one, Self::div(Self::splat(2.0), Self::add(e, one)))
        }
    }
}

/// Calls `$whole` for each whole vector of `$n` elements and `$rest` for the last ones.
macro_rules! lanes {
    ($n:expr, $i:ident, $whole:block, $count:ident, $rest:block) => {
        let whole = $n / LANES * LANES;
        let mut $i = 0;
        while $i < whole {
            $whole
            $i += LANES;
        }
        let $count = $n - whole;
        if $count > 0 {
            $rest
        }
    };
}
pub(crate) use lanes;

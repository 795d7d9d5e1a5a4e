//! The gated activation of a feed-forward block, `activation(gate) * up`, forward and backward (Shazeer, *GLU Variants
//! Improve Transformer*, 2020).

use super::simd::{LANES, Simd, lanes};

/// An activation, compiled into the loops over rows. Functions, not closures: those are not compiled with a set's features.
pub(crate) trait Curve {
    /// The activation.
    unsafe fn value<S: Simd>(x: S::F) -> S::F;
    /// The activation and its slope.
    unsafe fn value_and_slope<S: Simd>(x: S::F) -> (S::F, S::F);
}

/// [`Activation::Silu`](crate::ops::Activation::Silu).
pub(crate) struct Silu;
/// [`Activation::GeluTanh`](crate::ops::Activation::GeluTanh).
pub(crate) struct GeluTanh;

impl Curve for Silu {
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::F) -> S::F {
        // SAFETY: passed on from the caller.
        unsafe {
            let e = S::exp(S::sub(S::splat(0.0), x));
            S::div(x, S::add(S::splat(1.0), e))
        }
    }

    /// With the sigmoid `s`, the slope of `silu = x s` is `s + silu (1 - s)`.
    #[inline(always)]
    unsafe fn value_and_slope<S: Simd>(x: S::F) -> (S::F, S::F) {
        // SAFETY: passed on from the caller.
        unsafe {
            let one = S::splat(1.0);
            let s = S::div(one, S::add(one, S::exp(S::sub(S::splat(0.0), x))));
            let silu = S::mul(x, s);
            (silu, S::fma(silu, S::sub(one, s), s))
        }
    }
}

impl Curve for GeluTanh {
    #[inline(always)]
    unsafe fn value<S: Simd>(x: S::F) -> S::F {
        // SAFETY: passed on from the caller.
        unsafe { Self::value_and_slope::<S>(x).0 }
    }

    /// With `t = tanh(u)` the slope of `x (1 + t) / 2` is `(1 + t) / 2 + x (1 - t²) u' / 2`.
    #[inline(always)]
    unsafe fn value_and_slope<S: Simd>(x: S::F) -> (S::F, S::F) {
        const ROOT: f32 = 0.797_884_6;
        const CUBIC: f32 = 0.044_715;
        // SAFETY: passed on from the caller.
        unsafe {
            let (one, half) = (S::splat(1.0), S::splat(0.5));
            let square = S::mul(x, x);
            let u = S::mul(x, S::fma(square, S::splat(ROOT * CUBIC), S::splat(ROOT)));
            let t = S::tanh(u);
            let share = S::mul(half, S::add(one, t));
            let bend = S::fma(square, S::splat(3.0 * ROOT * CUBIC), S::splat(ROOT));
            let rise = S::mul(S::mul(half, x), S::mul(S::sub(one, S::mul(t, t)), bend));
            (S::mul(x, share), S::add(share, rise))
        }
    }
}

/// `out = activation(gate) * up`.
///
/// # Safety
/// The processor must have the features of `S`; the slices must have equal length.
#[inline(always)]
pub(crate) unsafe fn gated<S: Simd, C: Curve>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let n = gate.len();
    // SAFETY: all three hold `n` elements.
    unsafe {
        lanes!(
            n,
            i,
            {
                let value = C::value::<S>(S::load(gate.as_ptr().add(i)));
                S::store(out.as_mut_ptr().add(i), S::mul(value, S::load(up.as_ptr().add(i))));
            },
            rest,
            {
                let value = C::value::<S>(S::load_some(gate.as_ptr().add(i), rest));
                let value = S::mul(value, S::load_some(up.as_ptr().add(i), rest));
                S::store_some(out.as_mut_ptr().add(i), value, rest);
            }
        );
    }
}

/// Reads the gradient of [`gated`]'s result from `d_gate`, leaves the gate's there and the up projection's in `d_up`.
///
/// # Safety
/// The processor must have the features of `S`; the slices must have equal length.
#[inline(always)]
pub(crate) unsafe fn gated_backward<S: Simd, C: Curve>(
    gate: &[f32],
    up: &[f32],
    d_gate: &mut [f32],
    d_up: &mut [f32],
) {
    let n = gate.len();
    // SAFETY: all four hold `n` elements.
    unsafe {
        lanes!(
            n,
            i,
            {
                let (value, slope) = C::value_and_slope::<S>(S::load(gate.as_ptr().add(i)));
                let d = S::load(d_gate.as_ptr().add(i));
                let along = S::mul(S::mul(d, S::load(up.as_ptr().add(i))), slope);
                S::store(d_gate.as_mut_ptr().add(i), along);
                S::store(d_up.as_mut_ptr().add(i), S::mul(d, value));
            },
            rest,
            {
                let x = S::load_some(gate.as_ptr().add(i), rest);
                let (value, slope) = C::value_and_slope::<S>(x);
                let d = S::load_some(d_gate.as_ptr().add(i), rest);
                let along = S::mul(S::mul(d, S::load_some(up.as_ptr().add(i), rest)), slope);
                S::store_some(d_gate.as_mut_ptr().add(i), along, rest);
                S::store_some(d_up.as_mut_ptr().add(i), S::mul(d, value), rest);
            }
        );
    }
}

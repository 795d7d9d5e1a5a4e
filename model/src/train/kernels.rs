//! The row operations that only training needs, for each instruction set.
//!
//! They are written once over [`Simd`], like the kernels of the decoder, and chosen with its table.

use crate::kernels::simd::{LANES, Simd};
use crate::kernels::{Kernels, portable::Portable};
#[cfg(target_arch = "x86_64")]
use crate::kernels::{avx2::Avx2, avx512::Avx512};

use super::attention::{self, AttendBackward};
use super::loss::{self, Anchor};

/// One row of RMSNorm and the gradient of its result.
#[derive(Clone, Copy)]
pub(super) struct NormRow<'a> {
    /// The input.
    pub(super) x: &'a [f32],
    /// The norm's weight.
    pub(super) weight: &'a [f32],
    /// `1 / sqrt(mean(x²) + eps)`.
    pub(super) inverse: f32,
    /// Gradient of the result.
    pub(super) gradient: &'a [f32],
}

/// Gate, up, gradient in and gate's gradient out, up's gradient.
type SiluBackward = unsafe fn(&[f32], &[f32], &mut [f32], &mut [f32]);

/// Logits, target, anchor; the loss.
type LossKernel = unsafe fn(&mut [f32], Option<usize>, Option<Anchor<'_>>) -> f32;

/// The training kernels of one instruction set.
#[derive(Clone, Copy)]
pub(super) struct RowKernels {
    norm_backward: unsafe fn(NormRow<'_>, &mut [f32]),
    silu_backward: SiluBackward,
    loss: LossKernel,
    add: unsafe fn(&mut [f32], &[f32]),
    attend_backward: unsafe fn(&AttendBackward, &mut Vec<f32>),
}

macro_rules! table {
    ($module:ident, $set:ty, $(#[$feature:meta])*) => {
        mod $module {
            use super::*;
            $(#[$feature])*
            unsafe fn norm_backward(row: NormRow<'_>, out: &mut [f32]) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { super::norm_backward::<$set>(row, out) }
            }
            $(#[$feature])*
            unsafe fn silu_backward(g: &[f32], u: &[f32], dm: &mut [f32], du: &mut [f32]) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { super::silu_backward::<$set>(g, u, dm, du) }
            }
            $(#[$feature])*
            unsafe fn loss(l: &mut [f32], target: Option<usize>, anchor: Option<Anchor<'_>>) -> f32 {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { loss::loss::<$set>(l, target, anchor) }
            }
            $(#[$feature])*
            unsafe fn add(to: &mut [f32], from: &[f32]) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { super::add::<$set>(to, from) }
            }
            $(#[$feature])*
            unsafe fn attend_backward(a: &AttendBackward, scratch: &mut Vec<f32>) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { attention::attend_backward::<$set>(a, scratch) }
            }
            pub(super) static TABLE: RowKernels =
                RowKernels { norm_backward, silu_backward, loss, add, attend_backward };
        }
    };
}

table!(on_portable, Portable,);
#[cfg(target_arch = "x86_64")]
table!(on_avx2, Avx2, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "x86_64")]
table!(
    on_avx512, Avx512<false>,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
);

impl RowKernels {
    /// The set that the decoder's table stands for.
    pub(super) fn beside(kernels: &Kernels) -> &'static Self {
        #[cfg(target_arch = "x86_64")]
        match kernels.name {
            "avx512-bf16" | "avx512-vnni" => return &on_avx512::TABLE,
            "avx2" => return &on_avx2::TABLE,
            _ => {}
        }
        &on_portable::TABLE
    }

    /// Adds the gradient of an RMSNorm's input to `out`.
    pub(super) fn norm_backward(&self, row: NormRow<'_>, out: &mut [f32]) {
        let n = out.len();
        assert!(
            row.x.len() == n && row.weight.len() == n && row.gradient.len() == n,
            "row lengths differ"
        );
        // SAFETY: the decoder's table was chosen for this processor; the lengths are equal.
        unsafe { (self.norm_backward)(row, out) }
    }

    /// Gradients of `silu(gate) * up`: reads the gradient of the product from `d_gate`, leaves the
    /// gate's there and the up projection's in `d_up`.
    pub(super) fn silu_backward(
        &self,
        gate: &[f32],
        up: &[f32],
        d_gate: &mut [f32],
        d_up: &mut [f32],
    ) {
        let n = gate.len();
        assert!(up.len() == n && d_gate.len() == n && d_up.len() == n, "row lengths differ");
        // SAFETY: as above.
        unsafe { (self.silu_backward)(gate, up, d_gate, d_up) }
    }

    /// Loss of one row of logits, which become their gradient: the cross-entropy with a target, and
    /// the divergence from an anchor.
    pub(super) fn loss(
        &self,
        logits: &mut [f32],
        target: Option<usize>,
        anchor: Option<Anchor<'_>>,
    ) -> f32 {
        let n = logits.len();
        assert!(target.is_none_or(|target| target < n), "the target is outside of the vocabulary");
        assert!(anchor.as_ref().is_none_or(|a| a.base.len() == n), "row lengths differ");
        // SAFETY: as above; the target is inside and the lengths are equal.
        unsafe { (self.loss)(logits, target, anchor) }
    }

    /// `to += from`.
    pub(super) fn add(&self, to: &mut [f32], from: &[f32]) {
        assert!(to.len() == from.len(), "row lengths differ");
        // SAFETY: as above.
        unsafe { (self.add)(to, from) }
    }

    /// Gradients of the attention of one sequence and one key/value head.
    ///
    /// # Safety
    /// The pointers of `a` are valid for its sizes and no other thread touches these gradients.
    pub(super) unsafe fn attend_backward(&self, a: &AttendBackward, scratch: &mut Vec<f32>) {
        // SAFETY: the decoder's table was chosen for this processor; the rest is the caller's.
        unsafe { (self.attend_backward)(a, scratch) }
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
pub(super) use lanes;

#[inline(always)]
unsafe fn norm_backward<S: Simd>(row: NormRow<'_>, out: &mut [f32]) {
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

#[inline(always)]
unsafe fn silu_backward<S: Simd>(gate: &[f32], up: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
    let n = gate.len();
    // SAFETY: all four hold `n` elements.
    unsafe {
        lanes!(
            n,
            i,
            {
                let (g, u) = silu_slopes::<S>(
                    S::load(gate.as_ptr().add(i)),
                    S::load(up.as_ptr().add(i)),
                    S::load(d_gate.as_ptr().add(i)),
                );
                S::store(d_gate.as_mut_ptr().add(i), g);
                S::store(d_up.as_mut_ptr().add(i), u);
            },
            rest,
            {
                let (g, u) = silu_slopes::<S>(
                    S::load_some(gate.as_ptr().add(i), rest),
                    S::load_some(up.as_ptr().add(i), rest),
                    S::load_some(d_gate.as_ptr().add(i), rest),
                );
                S::store_some(d_gate.as_mut_ptr().add(i), g, rest);
                S::store_some(d_up.as_mut_ptr().add(i), u, rest);
            }
        );
    }
}

/// Gradients of gate and up from that of `silu(gate) * up`: with the sigmoid `s`, the slope of
/// `silu = g s` is `s + silu (1 - s)`.
#[inline(always)]
unsafe fn silu_slopes<S: Simd>(gate: S::F, up: S::F, d: S::F) -> (S::F, S::F) {
    // SAFETY: passed on from the caller.
    unsafe {
        let one = S::splat(1.0);
        let s = S::div(one, S::add(one, S::exp(S::sub(S::splat(0.0), gate))));
        let silu = S::mul(gate, s);
        let slope = S::fma(silu, S::sub(one, s), s);
        (S::mul(S::mul(d, up), slope), S::mul(d, silu))
    }
}

#[inline(always)]
unsafe fn add<S: Simd>(to: &mut [f32], from: &[f32]) {
    let n = to.len();
    // SAFETY: both hold `n` elements.
    unsafe {
        lanes!(
            n,
            i,
            {
                let at = to.as_mut_ptr().add(i);
                S::store(at, S::add(S::load(at), S::load(from.as_ptr().add(i))));
            },
            rest,
            {
                let at = to.as_mut_ptr().add(i);
                let sum = S::add(S::load_some(at, rest), S::load_some(from.as_ptr().add(i), rest));
                S::store_some(at, sum, rest);
            }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(count: usize, speed: f32) -> Vec<f32> {
        (0..count).map(|i| (i as f32 * speed).sin() * 2.0).collect()
    }

    /// Everything that one set computes, in one vector.
    fn all(kernels: &RowKernels) -> Vec<f32> {
        let n = 37; // two whole vectors and a rest
        let (x, weight, gradient) = (wave(n, 0.7), wave(n, 1.3), wave(n, 0.4));
        let mut out = wave(n, 0.9);
        let row = NormRow { x: &x, weight: &weight, inverse: 0.6, gradient: &gradient };
        kernels.norm_backward(row, &mut out);
        let (mut d_gate, mut d_up) = (gradient.clone(), vec![0.0; n]);
        kernels.silu_backward(&x, &weight, &mut d_gate, &mut d_up);
        let mut logits = wave(n, 2.1);
        let loss = kernels.loss(&mut logits, Some(36), None);
        let (mut anchored, mut base) = (wave(n, 2.1), wave(n, 1.9));
        let anchor = Anchor { base: &mut base, weight: 0.5 };
        let both = kernels.loss(&mut anchored, Some(36), Some(anchor));
        let mut sum = x.clone();
        kernels.add(&mut sum, &weight);

        let (length, group, head_dim) = (70, 2, 80);
        let query = length * group * head_dim;
        let key = length * head_dim;
        let (queries, d_out) = (wave(query, 0.31), wave(query, 0.17));
        let (keys, values) = (wave(key, 0.23), wave(key, 0.11));
        let (mut d_queries, mut d_keys) = (vec![0.0; query], vec![9.0; key]);
        let mut d_values = vec![9.0; key];
        let job = AttendBackward {
            queries: queries.as_ptr(),
            d_out: d_out.as_ptr(),
            d_queries: d_queries.as_mut_ptr(),
            query_stride: group * head_dim,
            keys: keys.as_ptr(),
            values: values.as_ptr(),
            d_keys: d_keys.as_mut_ptr(),
            d_values: d_values.as_mut_ptr(),
            key_stride: head_dim,
            group,
            head_dim,
            length,
        };
        // SAFETY: all vectors have the sizes that the job names.
        unsafe { kernels.attend_backward(&job, &mut Vec::new()) };
        let losses = vec![loss, both];
        [out, d_gate, d_up, logits, anchored, losses, sum, d_queries, d_keys, d_values].concat()
    }

    #[test]
    fn all_instruction_sets_give_the_same_bits() {
        let wanted = all(&on_portable::TABLE);
        assert!(wanted.iter().all(|value| value.is_finite()));
        for set in crate::kernels::available() {
            let found = all(RowKernels::beside(set));
            let differing = wanted.iter().zip(&found).filter(|(a, b)| a.to_bits() != b.to_bits());
            assert_eq!(differing.count(), 0, "{}", set.name);
        }
    }
}

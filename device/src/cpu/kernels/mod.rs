//! Every hot operation of the decoder, forward and backward, behind one table of functions.
//!
//! The table is chosen once, by what the processor can do. A new set brings a table with the same entries; nothing above
//! knows which one runs.

mod add;
#[cfg(any(test, target_arch = "x86_64"))]
mod amx;
mod attention;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod cap;
mod convert;
mod gate;
mod loss;
mod matmul;
mod norm;
mod portable;
mod set;
mod simd;
mod transposed;

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::{
    PackedMatrix, WeightFormat, layout,
    ops::{Activation, Cap},
};
pub(crate) use attention::{Attend, AttendBackward};
use gate::{GeluTanh, Silu};
pub(crate) use loss::BaseRow;
pub(crate) use matmul::{CodeSums, Product, Rows};
pub(crate) use norm::NormRow;
pub use set::InstructionSet;

/// A row, and its codes, scales and sums.
type Quantise = unsafe fn(&[f32], &mut [i8], &mut [f32], &mut [CodeSums]);
/// Gate, up; the result.
type Gated = unsafe fn(&[f32], &[f32], &mut [f32]);
/// Gate, up, gradient in and gate's gradient out, up's gradient.
type GatedBackward = unsafe fn(&[f32], &[f32], &mut [f32], &mut [f32]);
/// A matrix, which of its panels, in which format, and where to.
type Transposed = unsafe fn(&PackedMatrix, usize, WeightFormat, &mut [u8]);
/// Logits, target, the base's row; the loss.
type Loss = unsafe fn(&mut [f32], Option<usize>, Option<BaseRow<'_>>) -> f32;

/// How rows are divided for products on tiles.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))] // no other processor has tiles
pub(crate) struct TileShape {
    /// Rows of a tile; memory holds whole ones.
    pub(crate) rows: usize,
    /// Inputs of a tile in bf16. In bytes it is a block.
    pub(crate) step: usize,
    /// From so many rows on, products in 8 bits are on tiles; those in bf16 always.
    pub(crate) least: usize,
}

/// The kernels of one instruction set. All entries are `unsafe`: see the functions of the same name in this module.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    /// The set.
    pub(crate) set: InstructionSet,
    /// bf16 products are as fast as the hardware's, so that the backward pass uses them too.
    pub(crate) fast_bf16: bool,
    /// Products ask for rows in tiles.
    pub(crate) tiles: Option<TileShape>,
    product: unsafe fn(&Product, Range<usize>, Range<usize>),
    attend: unsafe fn(&Attend, &mut Vec<f32>),
    attend_backward: unsafe fn(&AttendBackward, &mut Vec<f32>),
    rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]) -> f32,
    rms_norm_backward: unsafe fn(NormRow<'_>, &mut [f32]),
    silu: (Gated, GatedBackward),
    gelu_tanh: (Gated, GatedBackward),
    soft_cap: unsafe fn(&mut [f32], Cap),
    soft_cap_backward: unsafe fn(&[f32], &mut [f32], Cap),
    add_scaled: unsafe fn(&mut [f32], &[f32], f32),
    loss: Loss,
    quantise: Quantise,
    to_bf16: unsafe fn(&[f32], &mut [u16]),
    transposed: Transposed,
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.set.name())
    }
}

/// Compiles all kernels for one set: each is called within a function that has the set's features.
macro_rules! table {
    (@entries $features:tt; $($name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $kernel:expr;)*) => {
        $( table!(@entry $features; $name($($arg: $type),*) $(-> $result)? = $kernel); )*
    };
    (@entry [$(#[$feature:meta])*]; $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)? = $kernel:expr) => {
        $(#[$feature])*
        unsafe fn $name($($arg: $type),*) $(-> $result)? {
            // SAFETY: the caller keeps the contract of the kernel.
            unsafe { $kernel($($arg),*) }
        }
    };
    ($module:ident, $set:ty, $label:ident, $bf16:literal, $features:tt) => {
        mod $module {
            use super::*;
            table!(@entries $features;
                product(p: &Product, panels: Range<usize>, rows: Range<usize>) = matmul::product::<$set>;
                attend(a: &Attend, scratch: &mut Vec<f32>) = attention::attend::<$set>;
                attend_backward(a: &AttendBackward, scratch: &mut Vec<f32>) = attention::attend_backward::<$set>;
                rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32 = norm::rms_norm::<$set>;
                rms_norm_backward(row: NormRow<'_>, out: &mut [f32]) = norm::rms_norm_backward::<$set>;
                silu(gate: &[f32], up: &[f32], out: &mut [f32]) = gate::gated::<$set, Silu>;
                silu_backward(gate: &[f32], up: &[f32], d_gate: &mut [f32], d_up: &mut [f32])
                    = gate::gated_backward::<$set, Silu>;
                gelu_tanh(gate: &[f32], up: &[f32], out: &mut [f32]) = gate::gated::<$set, GeluTanh>;
                gelu_tanh_backward(gate: &[f32], up: &[f32], d_gate: &mut [f32], d_up: &mut [f32])
                    = gate::gated_backward::<$set, GeluTanh>;
                soft_cap(row: &mut [f32], cap: Cap) = cap::soft_cap::<$set>;
                soft_cap_backward(capped: &[f32], gradient: &mut [f32], cap: Cap) = cap::soft_cap_backward::<$set>;
                add_scaled(to: &mut [f32], from: &[f32], factor: f32) = add::add_scaled::<$set>;
                loss(logits: &mut [f32], target: Option<usize>, base: Option<BaseRow<'_>>) -> f32 = loss::loss::<$set>;
                quantise(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [CodeSums]) = convert::quantise::<$set>;
                to_bf16(x: &[f32], out: &mut [u16]) = convert::to_bf16::<$set>;
                transposed(matrix: &PackedMatrix, index: usize, format: WeightFormat, out: &mut [u8])
                    = transposed::transposed::<$set>;
            );
            pub(super) static TABLE: Kernels = Kernels {
                set: InstructionSet::$label,
                fast_bf16: $bf16,
                tiles: None,
                product,
                attend,
                attend_backward,
                rms_norm,
                rms_norm_backward,
                silu: (silu, silu_backward),
                gelu_tanh: (gelu_tanh, gelu_tanh_backward),
                soft_cap,
                soft_cap_backward,
                add_scaled,
                loss,
                quantise,
                to_bf16,
                transposed,
            };
        }
    };
}

table!(on_portable, portable::Portable, Portable, false, []);
#[cfg(target_arch = "x86_64")]
table!(on_avx2, avx2::Avx2, Avx2, false, [#[target_feature(enable = "avx2,fma")]]);
#[cfg(target_arch = "x86_64")]
table!(
    on_avx512, avx512::Avx512<false>, Avx512Vnni, false,
    [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]]
);
#[cfg(target_arch = "x86_64")]
table!(
    on_avx512_bf16, avx512::Avx512<true>, Avx512Bf16, true,
    [#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma")]]
);

/// Products on tiles; everything else is that of AVX-512.
#[cfg(target_arch = "x86_64")]
mod on_amx {
    use super::{amx::Amx, avx512::Avx512, *};

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
    unsafe fn product(p: &Product, panels: Range<usize>, rows: Range<usize>) {
        // SAFETY: the caller keeps the contract of the kernel.
        unsafe {
            if amx::takes(p) {
                amx::product::<Avx512<true>, Amx>(p, panels, rows);
            } else {
                (on_avx512_bf16::TABLE.product)(p, panels, rows);
            }
        }
    }

    pub(super) static TABLE: Kernels = Kernels {
        set: InstructionSet::Amx,
        tiles: Some(amx::SHAPE),
        product,
        ..on_avx512_bf16::TABLE
    };
}

impl Kernels {
    /// The kernels of a set, if this processor has it.
    pub(crate) fn of(set: InstructionSet) -> Option<&'static Self> {
        let table = match set {
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Amx => &on_amx::TABLE,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Bf16 => &on_avx512_bf16::TABLE,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx512Vnni => &on_avx512::TABLE,
            #[cfg(target_arch = "x86_64")]
            InstructionSet::Avx2 => &on_avx2::TABLE,
            _ => &on_portable::TABLE,
        };
        set.is_available().then_some(table)
    }

    /// Computes some rows and panels of a product.
    ///
    /// # Safety
    /// The pointers of `product` are valid for its sizes, rows and panels lie inside, and no other thread touches these
    /// outputs.
    pub(crate) unsafe fn product(&self, p: &Product, panels: Range<usize>, rows: Range<usize>) {
        // SAFETY: a table is handed out only if the processor has its features; the rest is the caller's.
        unsafe { (self.product)(p, panels, rows) }
    }

    /// Attention of some rows; `scratch` is working memory.
    ///
    /// # Safety
    /// The pointers of `a` are valid for its sizes and no other thread writes these results.
    pub(crate) unsafe fn attend(&self, a: &Attend, scratch: &mut Vec<f32>) {
        // SAFETY: as above.
        unsafe { (self.attend)(a, scratch) }
    }

    /// RMSNorm of one row; returns `1 / sqrt(mean(x²) + eps)`.
    pub(crate) fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32 {
        assert!(x.len() == weight.len() && x.len() == out.len(), "row lengths differ");
        // SAFETY: the features are there and the lengths are equal.
        unsafe { (self.rms_norm)(x, weight, eps, out) }
    }

    /// Adds the gradient of an RMSNorm's input to `out`.
    pub(crate) fn rms_norm_backward(&self, row: NormRow<'_>, out: &mut [f32]) {
        let n = out.len();
        assert!(
            row.x.len() == n && row.weight.len() == n && row.gradient.len() == n,
            "row lengths differ"
        );
        // SAFETY: the features are there and the lengths are equal.
        unsafe { (self.rms_norm_backward)(row, out) }
    }

    fn gate(&self, activation: Activation) -> (Gated, GatedBackward) {
        match activation {
            Activation::Silu => self.silu,
            Activation::GeluTanh => self.gelu_tanh,
        }
    }

    /// `out = activation(gate) * up`.
    pub(crate) fn gated(&self, activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && gate.len() == out.len(), "row lengths differ");
        // SAFETY: the features are there and the lengths are equal.
        unsafe { self.gate(activation).0(gate, up, out) }
    }

    /// Gradients of `activation(gate) * up`: reads that of the product from `d_gate`, leaves the gate's there and the up
    /// projection's in `d_up`.
    pub(crate) fn gated_backward(
        &self,
        activation: Activation,
        (gate, up): (&[f32], &[f32]),
        d_gate: &mut [f32],
        d_up: &mut [f32],
    ) {
        let n = gate.len();
        assert!(up.len() == n && d_gate.len() == n && d_up.len() == n, "row lengths differ");
        // SAFETY: the features are there and the lengths are equal.
        unsafe { self.gate(activation).1(gate, up, d_gate, d_up) }
    }

    /// `cap · tanh(scale · x / cap)` of a row, in place.
    pub(crate) fn soft_cap(&self, row: &mut [f32], cap: Cap) {
        // SAFETY: the features are there.
        unsafe { (self.soft_cap)(row, cap) }
    }

    /// Turns the gradient of [`Kernels::soft_cap`]'s result, of which `capped` is the value, into that of its input.
    pub(crate) fn soft_cap_backward(&self, capped: &[f32], gradient: &mut [f32], cap: Cap) {
        assert!(capped.len() == gradient.len(), "row lengths differ");
        // SAFETY: the features are there and the lengths are equal.
        unsafe { (self.soft_cap_backward)(capped, gradient, cap) }
    }

    /// `to += factor * from`.
    pub(crate) fn add_scaled(&self, to: &mut [f32], from: &[f32], factor: f32) {
        assert!(to.len() == from.len(), "row lengths differ");
        // SAFETY: the features are there and the lengths are equal.
        unsafe { (self.add_scaled)(to, from, factor) }
    }

    /// Loss of one row of logits, which become their gradient: the cross-entropy with a target, and the divergence from
    /// the base's row.
    pub(crate) fn loss(
        &self,
        logits: &mut [f32],
        target: Option<usize>,
        base: Option<BaseRow<'_>>,
    ) -> f32 {
        let n = logits.len();
        assert!(target.is_none_or(|target| target < n), "the target is outside of the vocabulary");
        assert!(base.as_ref().is_none_or(|b| b.logits.len() == n), "row lengths differ");
        // SAFETY: the features are there, the target is inside and the lengths are equal.
        unsafe { (self.loss)(logits, target, base) }
    }

    /// Gradients of the attention of one sequence and one key/value head.
    ///
    /// # Safety
    /// The pointers of `a` are valid for its sizes and no other thread touches these gradients.
    pub(crate) unsafe fn attend_backward(&self, a: &AttendBackward, scratch: &mut Vec<f32>) {
        // SAFETY: a table is handed out only if the processor has its features; the rest is the caller's.
        unsafe { (self.attend_backward)(a, scratch) }
    }

    /// One row to signed bytes in blocks of 64.
    pub(crate) fn quantise(
        &self,
        x: &[f32],
        codes: &mut [i8],
        scales: &mut [f32],
        sums: &mut [CodeSums],
    ) {
        assert!(
            codes.len() == scales.len() * layout::BLOCK
                && scales.len() == sums.len()
                && codes.len() >= x.len(),
            "row lengths differ"
        );
        // SAFETY: the features are there and the lengths fit.
        unsafe { (self.quantise)(x, codes, scales, sums) }
    }

    /// One row to bf16, zero-padded.
    pub(crate) fn round_to_bf16(&self, x: &[f32], out: &mut [u16]) {
        assert!(out.len() >= x.len(), "row lengths differ");
        // SAFETY: the features are there.
        unsafe { (self.to_bf16)(x, out) }
    }

    /// One panel of the transposed matrix, widened.
    pub(crate) fn transposed(
        &self,
        matrix: &PackedMatrix,
        index: usize,
        format: WeightFormat,
        out: &mut [u8],
    ) {
        // SAFETY: the features are there.
        unsafe { (self.transposed)(matrix, index, format, out) }
    }
}

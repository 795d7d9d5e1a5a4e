//! Every hot operation of the decoder, forward and backward, behind one table of functions.
//!
//! The table is chosen once, by what the processor can do. A new set (AMX, or another device beside this one) brings a
//! table with the same entries; nothing above knows which one runs.

pub(crate) mod attention;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
pub(crate) mod elementwise;
mod encode;
pub(crate) mod gemm;
pub(crate) mod layout;
pub(crate) mod matmul;
pub(crate) mod portable;
pub(crate) mod simd;

#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use attention::Attend;
pub(crate) use matmul::{Product, Rows};

/// A row, and its codes, scales and biases.
type Quantise = unsafe fn(&[f32], &mut [i8], &mut [f32], &mut [i32]);

/// The kernels of one instruction set. All entries are `unsafe`: see the functions of the same name in this module.
#[derive(Clone, Copy)]
pub(crate) struct Kernels {
    /// Name for logs and tests.
    pub(crate) name: &'static str,
    /// bf16 products are as fast as the hardware's, so that the backward pass uses them too.
    pub(crate) fast_bf16: bool,
    product: unsafe fn(&Product, Range<usize>, Range<usize>),
    attend: unsafe fn(&Attend, &mut Vec<f32>),
    rms_norm: unsafe fn(&[f32], &[f32], f32, &mut [f32]) -> f32,
    silu_mul: unsafe fn(&[f32], &[f32], &mut [f32]),
    quantise: Quantise,
    to_bf16: unsafe fn(&[f32], &mut [u16]),
}

impl std::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Compiles all kernels for one set.
macro_rules! table {
    ($module:ident, $set:ty, $name:literal, $bf16:literal, $(#[$feature:meta])*) => {
        mod $module {
            use super::*;
            $(#[$feature])*
            unsafe fn product(p: &Product, panels: Range<usize>, rows: Range<usize>) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { matmul::product::<$set>(p, panels, rows) }
            }
            $(#[$feature])*
            unsafe fn attend(a: &Attend, scores: &mut Vec<f32>) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { attention::attend::<$set>(a, scores) }
            }
            $(#[$feature])*
            unsafe fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32 {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { elementwise::rms_norm::<$set>(x, weight, eps, out) }
            }
            $(#[$feature])*
            unsafe fn silu_mul(gate: &[f32], up: &[f32], out: &mut [f32]) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { elementwise::silu_mul::<$set>(gate, up, out) }
            }
            $(#[$feature])*
            unsafe fn quantise(x: &[f32], codes: &mut [i8], scales: &mut [f32], biases: &mut [i32]) {
                // SAFETY: the caller keeps the contract of the kernel.
                unsafe { elementwise::quantise::<$set>(x, codes, scales, biases) }
            }
            $(#[$feature])*
            unsafe fn to_bf16(x: &[f32], out: &mut [u16]) {
                elementwise::to_bf16(x, out);
            }
            pub(super) static TABLE: Kernels = Kernels {
                name: $name,
                fast_bf16: $bf16,
                product,
                attend,
                rms_norm,
                silu_mul,
                quantise,
                to_bf16,
            };
        }
    };
}

table!(on_portable, portable::Portable, "portable", false,);
#[cfg(target_arch = "x86_64")]
table!(on_avx2, avx2::Avx2, "avx2", false, #[target_feature(enable = "avx2,fma")]);
#[cfg(target_arch = "x86_64")]
table!(
    on_avx512, avx512::Avx512<false>, "avx512-vnni", false,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")]
);
#[cfg(target_arch = "x86_64")]
table!(
    on_avx512_bf16, avx512::Avx512<true>, "avx512-bf16", true,
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma")]
);

/// All tables that this processor can run, best first.
pub(crate) fn available() -> Vec<&'static Kernels> {
    let mut tables = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let wide = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        if wide && is_x86_feature_detected!("avx512bf16") {
            tables.push(&on_avx512_bf16::TABLE);
        }
        if wide {
            tables.push(&on_avx512::TABLE);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            tables.push(&on_avx2::TABLE);
        }
    }
    tables.push(&on_portable::TABLE);
    tables
}

/// The best table for this processor.
pub(crate) fn detect() -> &'static Kernels {
    available().first().copied().unwrap_or(&on_portable::TABLE)
}

impl Kernels {
    /// Computes some rows and panels of a product.
    ///
    /// # Safety
    /// The pointers of `product` are valid for its sizes, rows and panels lie inside, and no other thread touches these
    /// outputs.
    pub(crate) unsafe fn product(&self, p: &Product, panels: Range<usize>, rows: Range<usize>) {
        // SAFETY: a table is handed out only if the processor has its features; the rest is the caller's.
        unsafe { (self.product)(p, panels, rows) }
    }

    /// Attention of some rows; `scores` is working memory.
    ///
    /// # Safety
    /// The pointers of `a` are valid for its sizes and no other thread writes these results.
    pub(crate) unsafe fn attend(&self, a: &Attend, scores: &mut Vec<f32>) {
        // SAFETY: as above.
        unsafe { (self.attend)(a, scores) }
    }

    /// RMSNorm of one row; returns `1 / sqrt(mean(x²) + eps)`.
    pub(crate) fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> f32 {
        assert!(x.len() == weight.len() && x.len() == out.len(), "row lengths differ");
        // SAFETY: the features are there and the lengths are equal.
        unsafe { (self.rms_norm)(x, weight, eps, out) }
    }

    /// `out = silu(gate) * up`.
    pub(crate) fn silu_mul(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && gate.len() == out.len(), "row lengths differ");
        // SAFETY: the features are there and the lengths are equal.
        unsafe { (self.silu_mul)(gate, up, out) }
    }

    /// One row to signed bytes in blocks of 64.
    pub(crate) fn quantise(
        &self,
        x: &[f32],
        codes: &mut [i8],
        scales: &mut [f32],
        biases: &mut [i32],
    ) {
        assert!(
            codes.len() == scales.len() * layout::BLOCK
                && scales.len() == biases.len()
                && codes.len() >= x.len(),
            "row lengths differ"
        );
        // SAFETY: the features are there and the lengths fit.
        unsafe { (self.quantise)(x, codes, scales, biases) }
    }

    /// One row to bf16, zero-padded.
    pub(crate) fn round_to_bf16(&self, x: &[f32], out: &mut [u16]) {
        assert!(out.len() >= x.len(), "row lengths differ");
        // SAFETY: the features are there; the kernel itself is safe.
        unsafe { (self.to_bf16)(x, out) }
    }
}

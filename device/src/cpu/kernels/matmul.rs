//! Products of activation rows with packed weight panels.
//!
//! A tile is some rows times some panels of 16 output columns. Whatever its size, each output is one sum over the inputs
//! in ascending order, so a row's result does not depend on the rows beside it.

#![allow(clippy::needless_range_loop)] // tiles of fixed sizes, which the compiler unrolls into registers

use std::ops::Range;

use super::simd::{LANES, Simd};
use crate::{
    WeightFormat,
    layout::{BLOCK, Q4_BLOCK_BYTES, Q8_BLOCK_BYTES},
    packed::shape::Q4_CODES,
};

/// The left operand, in the form that the weights' format asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    /// f32; element `(row, k)` is at `row * row_stride + k * step`.
    F32 { data: *const f32, row_stride: usize, step: usize },
    /// bf16, rows padded to an even length.
    Bf16 { data: *const u16, row_stride: usize },
    /// Signed bytes in blocks of 64, with the block's scale and -128 times its sum.
    Bytes { codes: *const i8, scales: *const f32, biases: *const i32 },
}

/// One product: `out[rows, outputs] = rows[rows, inputs] · weights`, or added with a factor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Product {
    /// Left operand.
    pub(crate) rows: Rows,
    /// Format of the panels.
    pub(crate) format: WeightFormat,
    /// The first panel.
    pub(crate) weights: *const u8,
    /// Bytes from one panel to the next.
    pub(crate) panel_bytes: usize,
    /// Inputs, padded as the format asks.
    pub(crate) inputs: usize,
    /// Output columns.
    pub(crate) outputs: usize,
    /// First element of the result.
    pub(crate) out: *mut f32,
    /// Elements from one result row to the next.
    pub(crate) out_stride: usize,
    /// `None`: overwrite. `Some(f)`: add `f` times the product.
    pub(crate) add: Option<f32>,
}

// SAFETY: the pointers are read only; whoever makes rows keeps what they point to alive during the product.
unsafe impl Send for Rows {}
// SAFETY: as above.
unsafe impl Sync for Rows {}
// SAFETY: a product is a description; whoever runs it in parallel gives each thread its own panels or rows.
unsafe impl Send for Product {}
// SAFETY: as above.
unsafe impl Sync for Product {}

/// Computes the given rows and panels of a product.
///
/// # Safety
/// The pointers of `product` must be valid for its sizes, rows and panels inside of them, the processor must have the
/// features of `S`, and no other thread may touch these output columns of these rows.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd>(product: &Product, panels: Range<usize>, rows: Range<usize>) {
    // SAFETY: passed on from the caller.
    unsafe {
        match product.format {
            WeightFormat::F32 => sweep::<S, F32Tile>(product, panels, rows),
            WeightFormat::Bf16 => sweep::<S, Bf16Tile>(product, panels, rows),
            WeightFormat::Q8 => sweep::<S, Q8Tile>(product, panels, rows),
            WeightFormat::Q4 => sweep::<S, Q4Tile>(product, panels, rows),
        }
    }
}

/// How one format computes a tile.
trait Tile<S: Simd> {
    /// Rows of the tallest tile that keeps its sums in 32 registers with two panels.
    const TALL: usize;

    unsafe fn sums<const MR: usize, const NP: usize>(
        product: &Product,
        row: usize,
        panel: *const u8,
    ) -> [[S::F; NP]; MR];
}

#[inline(always)]
unsafe fn sweep<S: Simd, T: Tile<S>>(p: &Product, panels: Range<usize>, rows: Range<usize>) {
    let mut panel = panels.start;
    while panel < panels.end {
        let left = panels.end - panel;
        // SAFETY: passed on from the caller; the widths stay inside of the range.
        panel += unsafe {
            if S::WIDE && left >= 4 && rows.len() <= 2 {
                column::<S, T, 4>(p, panel, rows.clone())
            } else if S::WIDE && left >= 2 {
                column::<S, T, 2>(p, panel, rows.clone())
            } else {
                column::<S, T, 1>(p, panel, rows.clone())
            }
        };
    }
}

/// All rows of `NP` panels, so that the panels stay in the first cache. Returns `NP`.
#[inline(always)]
unsafe fn column<S: Simd, T: Tile<S>, const NP: usize>(
    p: &Product,
    panel: usize,
    rows: Range<usize>,
) -> usize {
    let tall = if S::WIDE { T::TALL } else { 4 };
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        // SAFETY: passed on from the caller; the heights stay inside of the range.
        row += unsafe {
            if NP <= 2 && tall >= 8 && left >= 8 {
                tile::<S, T, 8, NP>(p, panel, row)
            } else if NP <= 2 && tall >= 6 && left >= 6 {
                tile::<S, T, 6, NP>(p, panel, row)
            } else if NP <= 2 && left >= 4 {
                tile::<S, T, 4, NP>(p, panel, row)
            } else if left >= 2 {
                tile::<S, T, 2, NP>(p, panel, row)
            } else {
                tile::<S, T, 1, NP>(p, panel, row)
            }
        };
    }
    NP
}

#[inline(always)]
unsafe fn tile<S: Simd, T: Tile<S>, const MR: usize, const NP: usize>(
    p: &Product,
    panel: usize,
    row: usize,
) -> usize {
    // SAFETY: the caller keeps rows and panels inside of the product; the last panel may be narrower than 16.
    unsafe {
        let sums = T::sums::<MR, NP>(p, row, p.weights.add(panel * p.panel_bytes));
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                let column = (panel + n) * LANES;
                let out = p.out.add((row + m) * p.out_stride + column);
                let width = p.outputs - column;
                if width >= LANES {
                    let value = match p.add {
                        Some(factor) => S::fma(*sum, S::splat(factor), S::load(out)),
                        None => *sum,
                    };
                    S::store(out, value);
                } else {
                    let value = match p.add {
                        Some(factor) => S::fma(*sum, S::splat(factor), S::load_some(out, width)),
                        None => *sum,
                    };
                    S::store_some(out, value, width);
                }
            }
        }
    }
    MR
}

struct F32Tile;

impl<S: Simd> Tile<S> for F32Tile {
    const TALL: usize = 8;

    #[inline(always)]
    unsafe fn sums<const MR: usize, const NP: usize>(
        p: &Product,
        row: usize,
        panel: *const u8,
    ) -> [[S::F; NP]; MR] {
        // SAFETY: the caller keeps rows and panels inside of the product.
        unsafe {
            let mut sums = [[S::splat(0.0); NP]; MR];
            let Rows::F32 { data, row_stride, step } = p.rows else { return sums };
            let data = data.add(row * row_stride);
            for k in 0..p.inputs {
                let mut w = [S::splat(0.0); NP];
                for (n, w) in w.iter_mut().enumerate() {
                    *w = S::load(panel.add(n * p.panel_bytes + k * 64).cast());
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = S::splat(*data.add(m * row_stride + k * step));
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = S::fma(w, x, *sum);
                    }
                }
            }
            sums
        }
    }
}

struct Bf16Tile;

impl<S: Simd> Tile<S> for Bf16Tile {
    const TALL: usize = 8;

    #[inline(always)]
    unsafe fn sums<const MR: usize, const NP: usize>(
        p: &Product,
        row: usize,
        panel: *const u8,
    ) -> [[S::F; NP]; MR] {
        // SAFETY: the caller keeps rows and panels inside of the product.
        unsafe {
            let mut sums = [[S::splat(0.0); NP]; MR];
            let Rows::Bf16 { data, row_stride } = p.rows else { return sums };
            let data = data.add(row * row_stride);
            for pair in 0..p.inputs / 2 {
                let mut w = [S::bytes(panel); NP];
                for (n, w) in w.iter_mut().enumerate() {
                    *w = S::bytes(panel.add(n * p.panel_bytes + pair * 64));
                }
                for (m, sums) in sums.iter_mut().enumerate() {
                    let x = data.add(m * row_stride + pair * 2).cast::<u32>().read_unaligned();
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = S::dot_bf16(*sum, w, x);
                    }
                }
            }
            sums
        }
    }
}

/// A format of bytes in blocks of 64 inputs.
trait Blocks<S: Simd> {
    const BLOCK_BYTES: usize;
    /// Bytes of a block before its scales.
    const CODE_BYTES: usize;

    /// The weights of inputs `8 * group ..` of a block: four, and the next four.
    unsafe fn weights(block: *const u8, group: usize) -> (S::B, S::B);
}

struct Q8Tile;

impl<S: Simd> Blocks<S> for Q8Tile {
    const BLOCK_BYTES: usize = Q8_BLOCK_BYTES;
    const CODE_BYTES: usize = LANES * BLOCK;

    #[inline(always)]
    unsafe fn weights(block: *const u8, group: usize) -> (S::B, S::B) {
        // SAFETY: the caller keeps the group inside of the block.
        unsafe { (S::bytes(block.add(group * 128)), S::bytes(block.add(group * 128 + 64))) }
    }
}

struct Q4Tile;

impl<S: Simd> Blocks<S> for Q4Tile {
    const BLOCK_BYTES: usize = Q4_BLOCK_BYTES;
    const CODE_BYTES: usize = LANES * BLOCK / 2;

    #[inline(always)]
    unsafe fn weights(block: *const u8, group: usize) -> (S::B, S::B) {
        // SAFETY: the caller keeps the group inside of the block.
        unsafe { S::nibbles(S::bytes(block.add(group * 64)), S::table(&Q4_CODES)) }
    }
}

macro_rules! block_tile {
    ($tile:ident) => {
        impl<S: Simd> Tile<S> for $tile {
            const TALL: usize = 6;

            #[inline(always)]
            unsafe fn sums<const MR: usize, const NP: usize>(
                p: &Product,
                row: usize,
                panel: *const u8,
            ) -> [[S::F; NP]; MR] {
                // SAFETY: passed on from the caller.
                unsafe { block_sums::<S, $tile, MR, NP>(p, row, panel) }
            }
        }
    };
}

block_tile!(Q8Tile);
block_tile!(Q4Tile);

/// Sums of each block as integers, then scaled into f32 sums.
#[inline(always)]
unsafe fn block_sums<S: Simd, T: Blocks<S>, const MR: usize, const NP: usize>(
    p: &Product,
    row: usize,
    panel: *const u8,
) -> [[S::F; NP]; MR] {
    // SAFETY: the caller keeps rows and panels inside of the product.
    unsafe {
        let mut sums = [[S::splat(0.0); NP]; MR];
        let Rows::Bytes { codes, scales, biases } = p.rows else { return sums };
        let blocks = p.inputs / BLOCK;
        for index in 0..blocks {
            let at = panel.add(index * T::BLOCK_BYTES);
            let mut totals = [[S::start(0); NP]; MR];
            for m in 0..MR {
                totals[m] = [S::start(*biases.add((row + m) * blocks + index)); NP];
            }
            let codes = codes.add((row * blocks + index) * BLOCK);
            for group in 0..BLOCK / 8 {
                let mut weights = [T::weights(at, group); NP];
                for n in 1..NP {
                    weights[n] = T::weights(at.add(n * p.panel_bytes), group);
                }
                for m in 0..MR {
                    let x = codes.add(m * p.inputs + group * 8).cast::<i32>();
                    let (x0, x1) = (x.read_unaligned(), x.add(1).read_unaligned());
                    for n in 0..NP {
                        totals[m][n] = S::dot(totals[m][n], weights[n].0, x0);
                        totals[m][n] = S::dot(totals[m][n], weights[n].1, x1);
                    }
                }
            }
            for n in 0..NP {
                let scale = S::load(at.add(n * p.panel_bytes + T::CODE_BYTES).cast());
                for m in 0..MR {
                    let row_scale = S::splat(*scales.add((row + m) * blocks + index));
                    let total = S::to_float(totals[m][n]);
                    sums[m][n] = S::fma(total, S::mul(scale, row_scale), sums[m][n]);
                }
            }
        }
        sums
    }
}

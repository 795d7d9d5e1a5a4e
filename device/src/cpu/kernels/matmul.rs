//! Products of activation rows with packed weight panels.
//!
//! A tile is some rows times some panels of 16 output columns. Whatever its size, each output is one sum over the inputs
//! in ascending order, so a row's result does not depend on the rows beside it.

#![allow(clippy::needless_range_loop)] // tiles of fixed sizes, which the compiler unrolls into registers

mod widened;

use std::ops::Range;

use super::simd::{LANES, Simd};
use crate::{
    WeightFormat,
    layout::{BLOCK, Q8_BLOCK_BYTES},
    packed::{
        q4,
        shape::{HALF, MIDDLE},
    },
};

/// The left operand, in the form that the weights' format asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    /// f32; element `(row, k)` is at `row * row_stride + k * step`.
    F32 { data: *const f32, row_stride: usize, step: usize },
    /// bf16, rows padded to an even length.
    Bf16 { data: *const u16, row_stride: usize },
    /// Signed bytes in blocks of 64, with each block's scale and sums.
    Bytes { codes: *const i8, scales: *const f32, sums: *const CodeSums },
    /// bf16 in tiles of 16 rows and 32 inputs: `[tile of rows][step][16][32]`, zero beyond the inputs.
    Bf16Tiles { data: *const u16 },
    /// Signed bytes in tiles of 16 rows and a block: codes `[tile of rows][block][16][64]`, their scales and -128 times their
    /// sums `[tile of rows][block][16]`.
    ByteTiles { codes: *const i8, scales: *const f32, offsets: *const i32 },
}

/// Sums of the codes of a block, as products with offset weights ask for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct CodeSums {
    /// -128 times the sum.
    pub(crate) times_128: i32,
    /// -8 times the sum of each half.
    pub(crate) times_8: [i32; 2],
    /// The negative sums of the halves, in 16 bits each.
    pub(crate) pair: i32,
}

impl CodeSums {
    /// From the sums of the halves, of at most 32 · 127 each.
    pub(crate) fn new(low: i32, high: i32) -> Self {
        Self {
            times_128: -128 * (low + high),
            times_8: [-MIDDLE * low, -MIDDLE * high],
            pair: -low & 0xffff | -high << 16,
        }
    }
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
            WeightFormat::Bf16 if matches!(product.rows, Rows::F32 { .. }) => {
                sweep::<S, widened::WidenedTile>(product, panels, rows);
            }
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
    // SAFETY: the caller keeps rows and panels inside of the product.
    unsafe {
        let sums = T::sums::<MR, NP>(p, row, p.weights.add(panel * p.panel_bytes));
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                write::<S>(p, row + m, panel + n, *sum);
            }
        }
    }
    MR
}

/// Writes, or adds, what one row has found for one panel.
///
/// # Safety
/// As for [`product`], of which the row and the panel are.
#[inline(always)]
pub(super) unsafe fn write<S: Simd>(p: &Product, row: usize, panel: usize, sum: S::F) {
    let column = panel * LANES;
    let width = p.outputs - column;
    // SAFETY: the caller keeps row and panel inside of the product; the last panel may be narrower than 16.
    unsafe {
        let out = p.out.add(row * p.out_stride + column);
        if width >= LANES {
            let value = match p.add {
                Some(factor) => S::fma(sum, S::splat(factor), S::load(out)),
                None => sum,
            };
            S::store(out, value);
        } else {
            let value = match p.add {
                Some(factor) => S::fma(sum, S::splat(factor), S::load_some(out, width)),
                None => sum,
            };
            S::store_some(out, value, width);
        }
    }
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

struct Q8Tile;

impl<S: Simd> Tile<S> for Q8Tile {
    const TALL: usize = 6;

    /// Sums of each block as integers, then scaled into f32 sums.
    #[inline(always)]
    unsafe fn sums<const MR: usize, const NP: usize>(
        p: &Product,
        row: usize,
        panel: *const u8,
    ) -> [[S::F; NP]; MR] {
        // SAFETY: the caller keeps rows and panels inside of the product.
        unsafe {
            let mut sums = [[S::splat(0.0); NP]; MR];
            let Rows::Bytes { codes, scales, sums: code_sums } = p.rows else { return sums };
            let blocks = p.inputs / BLOCK;
            for index in 0..blocks {
                let at = panel.add(index * Q8_BLOCK_BYTES);
                let mut totals = [[S::start(0); NP]; MR];
                for m in 0..MR {
                    let bias = (*code_sums.add((row + m) * blocks + index)).times_128;
                    totals[m] = [S::start(bias); NP];
                }
                let codes = codes.add((row * blocks + index) * BLOCK);
                for group in 0..BLOCK / 8 {
                    let mut weights = [[S::bytes(at.add(group * 128)); 2]; NP];
                    for n in 0..NP {
                        let at = at.add(n * p.panel_bytes + group * 128);
                        weights[n] = [S::bytes(at), S::bytes(at.add(64))];
                    }
                    for m in 0..MR {
                        let x = codes.add(m * p.inputs + group * 8).cast::<i32>();
                        let (x0, x1) = (x.read_unaligned(), x.add(1).read_unaligned());
                        for n in 0..NP {
                            totals[m][n] = S::dot(totals[m][n], weights[n][0], x0);
                            totals[m][n] = S::dot(totals[m][n], weights[n][1], x1);
                        }
                    }
                }
                for n in 0..NP {
                    let scale = S::load(at.add(n * p.panel_bytes + LANES * BLOCK).cast());
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
}

struct Q4Tile;

impl<S: Simd> Tile<S> for Q4Tile {
    const TALL: usize = 4;

    /// The whole of a block as one integer, `Σ scale · (16 · Σ (code - 8) x - zero · Σ x)` over its halves, then scaled by
    /// that of the activations into f32 sums; these by the output's factor at the end.
    #[inline(always)]
    unsafe fn sums<const MR: usize, const NP: usize>(
        p: &Product,
        row: usize,
        panel: *const u8,
    ) -> [[S::F; NP]; MR] {
        // SAFETY: the caller keeps rows and panels inside of the product.
        unsafe {
            let mut sums = [[S::splat(0.0); NP]; MR];
            let Rows::Bytes { codes, scales, sums: code_sums } = p.rows else { return sums };
            let blocks = p.inputs / BLOCK;
            for index in 0..blocks {
                let at = panel.add(index * q4::BLOCK_BYTES);
                let place = row * blocks + index;
                let codes = codes.add(place * BLOCK);
                let mut halves = [[[S::whole(0); NP]; MR]; 2];
                for (half, totals) in halves.iter_mut().enumerate() {
                    for m in 0..MR {
                        let offset = (*code_sums.add(place + m * blocks)).times_8[half];
                        totals[m] = [S::whole(offset); NP];
                    }
                    for group in half * HALF / 8..(half + 1) * HALF / 8 {
                        let mut weights = [S::nibbles(S::bytes(at.add(group * 64))); NP];
                        for n in 1..NP {
                            weights[n] =
                                S::nibbles(S::bytes(at.add(n * p.panel_bytes + group * 64)));
                        }
                        for m in 0..MR {
                            let x = codes.add(m * p.inputs + group * 8).cast::<i32>();
                            let (x0, x1) = (x.read_unaligned(), x.add(1).read_unaligned());
                            for n in 0..NP {
                                totals[m][n] = S::dot_nibbles(totals[m][n], weights[n].0, x0);
                                totals[m][n] = S::dot_nibbles(totals[m][n], weights[n].1, x1);
                            }
                        }
                    }
                }
                for n in 0..NP {
                    let line = at.add(n * p.panel_bytes + q4::CODE_BYTES);
                    let (grid_scales, grid_zeros) = S::grids(line);
                    for m in 0..MR {
                        let at = place + m * blocks;
                        let pairs = S::pairs(halves[0][m][n], halves[1][m][n]);
                        let x_sums = S::whole((*code_sums.add(at)).pair);
                        let zeros = S::dot_pairs(S::whole(0), grid_zeros, x_sums);
                        let total = S::dot_pairs(zeros, pairs, grid_scales);
                        let row_scale = S::splat(*scales.add(at));
                        sums[m][n] = S::fma(S::to_float(total), row_scale, sums[m][n]);
                    }
                }
            }
            for n in 0..NP {
                let end = panel.add(n * p.panel_bytes + blocks * q4::BLOCK_BYTES);
                let outputs = S::load(end.cast());
                for sums in &mut sums {
                    sums[n] = S::mul(sums[n], outputs);
                }
            }
            sums
        }
    }
}

//! Products of activation rows with packed weight panels.
//!
//! A tile is some rows times some panels of 16 output columns. Whatever its size, each output is one sum over the inputs
//! in ascending order, so a row's result does not depend on the rows beside it.

mod q4;
mod q8;
mod widened;

use std::ops::Range;

use super::simd::{LANES, Simd};
use crate::{WeightFormat, layout::Q8_BLOCK_BYTES, packed::shape::MIDDLE};

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
    for rows in blocks_of_rows(product, rows) {
        let panels = panels.clone();
        // SAFETY: passed on from the caller.
        unsafe {
            match product.format {
                WeightFormat::F32 => sweep::<S, F32Tile>(product, panels, rows),
                WeightFormat::Bf16 if matches!(product.rows, Rows::F32 { .. }) => {
                    sweep::<S, widened::WidenedTile>(product, panels, rows);
                }
                WeightFormat::Bf16 => sweep::<S, Bf16Tile>(product, panels, rows),
                WeightFormat::Q8 if product.panel_bytes < Q8_BLOCK_BYTES => {
                    sweep::<S, q8::NarrowTile>(product, panels, rows);
                }
                WeightFormat::Q8 => sweep::<S, q8::Q8Tile>(product, panels, rows),
                WeightFormat::Q4 => sweep::<S, q4::Q4Tile>(product, panels, rows),
            }
        }
    }
}

/// Bytes of rows that stay in the second cache while the panels of a part pass by.
const BLOCK_OF_ROWS: usize = 512 << 10;

/// Divides rows into blocks that stay in the second cache: those of a long prompt in a wide layer have megabytes.
fn blocks_of_rows(p: &Product, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let element = match p.rows {
        Rows::F32 { .. } => 4,
        Rows::Bf16 { .. } | Rows::Bf16Tiles { .. } => 2,
        Rows::Bytes { .. } | Rows::ByteTiles { .. } => 1,
    };
    // Tiles of any height fill 24 rows.
    let size = (BLOCK_OF_ROWS / (p.inputs * element).max(1)).max(24) / 24 * 24;
    let end = rows.end;
    rows.step_by(size).map(move |from| from..(from + size).min(end))
}

/// How one format computes a tile.
trait Tile<S: Simd> {
    /// Rows of the tallest tile that keeps its sums in 32 registers with two panels.
    const TALL: usize;
    /// The same with one panel; some of its sums may be in the first cache.
    const ALONE: usize;
    /// Up to so many rows meet panels one by one: a panel is one stream of memory, which the processor follows best alone, and
    /// so few rows wait for memory. 0 where panels are short.
    const STREAMED: usize;
    /// Whether one row or two meet four panels at a time: where a sum is one chain of additions, they hide its latency.
    const CHAINED: bool;

    /// The sums of some rows and panels. Where weights are worth it, those `ahead` bytes further on are asked for; 0: none.
    unsafe fn sums<const MR: usize, const NP: usize>(
        product: &Product,
        row: usize,
        panel: *const u8,
        ahead: usize,
    ) -> [[S::F; NP]; MR];
}

/// How far ahead of what is read memory is asked for, in a long panel: enough for the next page to be found.
const NEAR: usize = 4096;
/// Bytes of neighbouring panels that the first cache holds beside the next ones.
const GROUP: usize = 32 << 10;

#[inline(always)]
unsafe fn sweep<S: Simd, T: Tile<S>>(p: &Product, panels: Range<usize>, rows: Range<usize>) {
    // Without 32 registers a tile of one panel has few rows, and a panel would pass by for each.
    let streamed = if S::WIDE { T::STREAMED } else { T::STREAMED.min(2) };
    let mut panel = panels.start;
    while panel < panels.end {
        let left = panels.end - panel;
        // SAFETY: passed on from the caller; the widths stay inside of the range.
        panel += unsafe {
            if S::WIDE && T::CHAINED && rows.len() <= 2 && left >= 4 {
                column::<S, T, 4>(p, panel, rows.clone(), NEAR)
            } else if rows.len() <= streamed {
                column::<S, T, 1>(p, panel, rows.clone(), NEAR)
            } else if S::WIDE && left >= 2 {
                // Panels of a middling length: the next two, which the first cache holds beside these. The last two have none.
                let group = 2 * p.panel_bytes;
                let next = if left >= 4 { group } else { 0 };
                let ahead = if (NEAR..=GROUP).contains(&group) { next } else { NEAR };
                column::<S, T, 2>(p, panel, rows.clone(), ahead)
            } else {
                column::<S, T, 1>(p, panel, rows.clone(), 0)
            }
        };
    }
}

/// All rows of `NP` panels, so that the panels stay in the first cache; the first rows ask for what is `ahead`. Returns `NP`.
#[inline(always)]
unsafe fn column<S: Simd, T: Tile<S>, const NP: usize>(
    p: &Product,
    panel: usize,
    rows: Range<usize>,
    ahead: usize,
) -> usize {
    let tall = if !S::WIDE {
        4
    } else if NP == 1 {
        T::ALONE
    } else {
        T::TALL
    };
    let mut row = rows.start;
    while row < rows.end {
        let left = rows.end - row;
        let ahead = if row == rows.start { ahead } else { 0 };
        // SAFETY: passed on from the caller; the heights stay inside of the range.
        row += unsafe {
            if NP == 1 && tall >= 16 && left >= 16 {
                tile::<S, T, 16, NP>(p, panel, row, ahead)
            } else if NP == 1 && tall >= 12 && left >= 12 {
                tile::<S, T, 12, NP>(p, panel, row, ahead)
            } else if NP <= 2 && tall >= 8 && left >= 8 {
                tile::<S, T, 8, NP>(p, panel, row, ahead)
            } else if NP <= 2 && tall >= 6 && left >= 6 {
                tile::<S, T, 6, NP>(p, panel, row, ahead)
            } else if NP <= 2 && left >= 4 {
                tile::<S, T, 4, NP>(p, panel, row, ahead)
            } else if left >= 2 {
                tile::<S, T, 2, NP>(p, panel, row, ahead)
            } else {
                tile::<S, T, 1, NP>(p, panel, row, ahead)
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
    ahead: usize,
) -> usize {
    // SAFETY: the caller keeps rows and panels inside of the product.
    unsafe {
        let sums = T::sums::<MR, NP>(p, row, p.weights.add(panel * p.panel_bytes), ahead);
        for (m, sums) in sums.iter().enumerate() {
            for (n, sum) in sums.iter().enumerate() {
                write::<S>(p, row + m, panel + n, *sum);
            }
        }
    }
    MR
}

/// Asks for the lines of a block in each of `NP` panels, `ahead` bytes after it.
#[inline(always)]
unsafe fn fetch<S: Simd, const BYTES: usize, const NP: usize>(
    p: &Product,
    block: *const u8,
    ahead: usize,
) {
    if ahead > 0 {
        for n in 0..NP {
            for line in 0..BYTES / 64 {
                let place = ahead + n * p.panel_bytes + line * 64;
                // SAFETY: nothing is read.
                unsafe { S::prefetch(block.wrapping_add(place)) };
            }
        }
    }
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
    const ALONE: usize = 8;
    const STREAMED: usize = 0;
    const CHAINED: bool = true;

    #[inline(always)]
    unsafe fn sums<const MR: usize, const NP: usize>(
        p: &Product,
        row: usize,
        panel: *const u8,
        _ahead: usize,
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
    const ALONE: usize = 16;
    const STREAMED: usize = 16;
    const CHAINED: bool = true;

    #[inline(always)]
    unsafe fn sums<const MR: usize, const NP: usize>(
        p: &Product,
        row: usize,
        panel: *const u8,
        ahead: usize,
    ) -> [[S::F; NP]; MR] {
        // SAFETY: the caller keeps rows and panels inside of the product.
        unsafe {
            let mut sums = [[S::splat(0.0); NP]; MR];
            let Rows::Bf16 { data, row_stride } = p.rows else { return sums };
            let data = data.add(row * row_stride);
            for pair in 0..p.inputs / 2 {
                if NP < 4 {
                    fetch::<S, 64, NP>(p, panel.add(pair * 64), ahead);
                }
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

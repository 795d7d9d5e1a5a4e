//! Rows in bytes times weights in 8 bits.

#![allow(clippy::needless_range_loop)] // tiles of fixed sizes, which the compiler unrolls into registers

use super::{Product, Rows, Simd, Tile, fetch};
use crate::layout::{BLOCK, LANES, Q8_BLOCK_BYTES, q8_block_inputs};

/// Weights in 8 bits, offset by 128.
pub(super) struct Q8Tile;

impl<S: Simd> Tile<S> for Q8Tile {
    const TALL: usize = 6;
    const ALONE: usize = 16;
    const STREAMED: usize = 32;
    const CHAINED: bool = false;

    /// Sums of each block as integers, then scaled into f32 sums.
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
            let Rows::Bytes { scales, .. } = p.rows else { return sums };
            let blocks = p.inputs / BLOCK;
            for index in 0..blocks {
                let at = panel.add(index * Q8_BLOCK_BYTES);
                fetch::<S, Q8_BLOCK_BYTES, NP>(p, at, ahead);
                let place = row * blocks + index;
                let totals = totals::<S, MR, NP>(p, place, blocks, at, BLOCK);
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

/// Sums of a block of `width` inputs as integers: its weights in `NP` panels, from `at` on, and the blocks `place`, `place + blocks`
/// and so on of `MR` rows.
///
/// # Safety
/// As for [`super::product`], of which the rows and the block are.
#[inline(always)]
unsafe fn totals<S: Simd, const MR: usize, const NP: usize>(
    p: &Product,
    place: usize,
    blocks: usize,
    at: *const u8,
    width: usize,
) -> [[S::I; NP]; MR] {
    // SAFETY: passed on from the caller.
    unsafe {
        let mut totals = [[S::start(0); NP]; MR];
        let Rows::Bytes { codes, sums, .. } = p.rows else { return totals };
        for m in 0..MR {
            totals[m] = [S::start((*sums.add(place + m * blocks)).times_128); NP];
        }
        let codes = codes.add(place * BLOCK);
        for group in 0..width / 8 {
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
        totals
    }
}

/// Weights in 8 bits with one narrow block: an adapter's B.
pub(super) struct NarrowTile;

impl<S: Simd> Tile<S> for NarrowTile {
    const TALL: usize = 8;
    const ALONE: usize = 8;
    const STREAMED: usize = 0;
    const CHAINED: bool = true;

    /// The sum of the block as integers, then scaled. Of a row's block the codes beyond the weights are zero.
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
            let Rows::Bytes { scales, .. } = p.rows else { return sums };
            let width = q8_block_inputs(p.panel_bytes);
            // The panel of a rank of 16, its scales included.
            fetch::<S, { LANES * 20 }, NP>(p, panel, ahead);
            let totals = totals::<S, MR, NP>(p, row, 1, panel, width);
            for n in 0..NP {
                let scale = S::load(panel.add(n * p.panel_bytes + LANES * width).cast());
                for m in 0..MR {
                    let row_scale = S::splat(*scales.add(row + m));
                    sums[m][n] = S::mul(S::to_float(totals[m][n]), S::mul(scale, row_scale));
                }
            }
            sums
        }
    }
}

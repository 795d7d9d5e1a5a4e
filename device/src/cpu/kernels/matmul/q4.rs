//! Rows in bytes times weights in 4 bits.

#![allow(clippy::needless_range_loop)] // tiles of fixed sizes, which the compiler unrolls into registers

use super::{Product, Rows, Simd, Tile, fetch};
use crate::{
    layout::BLOCK,
    packed::{q4, shape::HALF},
};

/// Weights in 4 bits, with a grid for each half of a block.
pub(super) struct Q4Tile;

impl<S: Simd> Tile<S> for Q4Tile {
    const TALL: usize = 4;
    const ALONE: usize = 8;
    const STREAMED: usize = 16;
    const CHAINED: bool = false;

    /// The whole of a block as one integer, `Σ scale · (16 · Σ (code - 8) x - zero · Σ x)` over its halves, then scaled by
    /// that of the activations into f32 sums; these by the output's factor at the end.
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
            let Rows::Bytes { codes, scales, sums: code_sums } = p.rows else { return sums };
            let blocks = p.inputs / BLOCK;
            for index in 0..blocks {
                let at = panel.add(index * q4::BLOCK_BYTES);
                fetch::<S, { q4::BLOCK_BYTES }, NP>(p, at, ahead);
                let place = row * blocks + index;
                let codes = codes.add(place * BLOCK);
                let mut halves = [[[S::whole(0); NP]; MR]; 2];
                for (half, totals) in halves.iter_mut().enumerate() {
                    for m in 0..MR {
                        let offset = (*code_sums.add(place + m * blocks)).times_8[half];
                        totals[m] = [S::whole(offset); NP];
                    }
                }
                // The halves in turn: the sums of one hide the latency of the other's.
                for group in 0..HALF / 8 {
                    for (half, totals) in halves.iter_mut().enumerate() {
                        let group = half * HALF / 8 + group;
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

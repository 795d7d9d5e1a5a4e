//! Products in bf16, whose sums stay in the tiles: two tiles of rows and two panels at a time.

use std::{mem::MaybeUninit, ops::Range, ptr};

use super::{Configured, STEP, Strip, TALL, TILE, Tiles, blocks_of_rows, finish};
use crate::cpu::kernels::{
    matmul::{Product, Rows},
    simd::{LANES, Simd},
};

/// Bytes of the weights of a step in a panel.
const STEP_BYTES: usize = STEP * LANES * 2;
/// Steps whose weights stay in the first cache while all rows meet them.
const CHUNK: usize = 16;

/// A thread's memory for two panels.
#[repr(C, align(64))]
struct Room {
    /// `[tile of rows][panel][16][16]`.
    sums: [[[f32; TILE * LANES]; 2]; TALL],
    /// The weights of the last inputs, fewer than a step, and zeros.
    last: [[u8; STEP_BYTES]; 2],
}

/// # Safety
/// As for [`super::product`].
#[inline(always)]
pub(super) unsafe fn product<S: Simd, T: Tiles>(
    p: &Product,
    panels: Range<usize>,
    rows: Range<usize>,
) {
    let Rows::Bf16Tiles { data } = p.rows else { return };
    let (steps, rest) = (p.inputs / STEP, p.inputs % STEP);
    let row_steps = p.inputs.div_ceil(STEP);
    let mut room = MaybeUninit::<Room>::uninit();
    let room = room.as_mut_ptr();
    // SAFETY: the caller vouches for the product and the tiles. Sums are set to zero before they are added to; `room` holds
    // those of a block of rows.
    unsafe {
        let _tiles = Configured::<T>::new();
        let sums = (&raw mut (*room).sums).cast::<f32>();
        let sums_of = |nth: usize| sums.add(nth * 2 * TILE * LANES);
        let tile_of = |row: usize, step| data.add((row / TILE * row_steps + step) * TILE * STEP);
        let last = (&raw mut (*room).last).cast::<u8>();
        let last = [last, last.add(STEP_BYTES)];
        last.iter().for_each(|last| last.write_bytes(0, STEP_BYTES));
        for rows in blocks_of_rows(rows, p.inputs * 2) {
            for first in panels.clone().step_by(2) {
                // A last panel without a second one meets the rows twice; nobody reads the second sums.
                let both = [first, (first + 1).min(panels.end - 1)];
                let weights = both.map(|panel| p.weights.add(panel * p.panel_bytes));
                let used = rows.len().div_ceil(TILE) * 2 * TILE * LANES;
                sums_of(0).write_bytes(0, used);
                let run = |weights: [*const u8; 2], from: usize, steps: usize| {
                    for (nth, row) in rows.clone().step_by(2 * TILE).enumerate() {
                        let rows_left = rows.end - row;
                        let below = if rows_left > TILE { row + TILE } else { row };
                        let strip = Strip {
                            rows: [tile_of(row, from), tile_of(below, from)],
                            weights,
                            steps,
                            sums: sums_of(2 * nth),
                        };
                        if rows_left > TILE {
                            T::bf16::<2>(&strip);
                        } else {
                            T::bf16::<1>(&strip);
                        }
                    }
                };
                for from in (0..steps).step_by(CHUNK) {
                    let weights = weights.map(|panel| panel.add(from * STEP_BYTES));
                    run(weights, from, CHUNK.min(steps - from));
                }
                if rest > 0 {
                    for (to, panel) in last.into_iter().zip(weights) {
                        let from = panel.add(steps * STEP_BYTES);
                        ptr::copy_nonoverlapping(from, to, rest * LANES * 2);
                    }
                    run(last.map(<*mut u8>::cast_const), steps, 1);
                }
                for (nth, row) in rows.clone().step_by(TILE).enumerate() {
                    for panel in first..(first + 2).min(panels.end) {
                        let sums = sums_of(nth).add((panel - first) * TILE * LANES);
                        finish::<S>(p, panel, row..rows.end, sums);
                    }
                }
            }
        }
    }
}

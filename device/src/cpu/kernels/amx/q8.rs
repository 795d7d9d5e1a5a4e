//! Products in 8 bits: integers from the tiles, a block of inputs at a time, scaled into sums in registers.

use std::{mem::MaybeUninit, ops::Range};

use super::{Configured, TALL, TILE, Tiles, blocks_of_rows, finish};
use crate::{
    cpu::kernels::{
        matmul::{Product, Rows},
        simd::{LANES, Simd},
    },
    layout::{BLOCK, Q8_BLOCK_BYTES},
};

/// Blocks of a panel that stay in the first cache while all rows meet them.
const CHUNK: usize = 16;

/// A thread's memory for one panel.
#[repr(C, align(64))]
struct Room {
    /// Sums of each tile of rows between two chunks.
    sums: [[f32; TILE * LANES]; TALL],
    /// The totals of a block, and those of the next one, which the tiles compute meanwhile.
    totals: [[i32; TILE * LANES]; 2],
}

/// Some blocks of one panel, and a tile of rows.
struct Chunk {
    /// The first of the blocks.
    weights: *const u8,
    /// The rows' codes, scales and offsets in it; the next block's lie behind.
    codes: *const i8,
    scales: *const f32,
    offsets: *const i32,
    /// How many blocks.
    count: usize,
    /// Nothing was summed before.
    first: bool,
}

/// # Safety
/// As for [`super::product`].
#[inline(always)]
pub(super) unsafe fn product<S: Simd, T: Tiles>(
    p: &Product,
    panels: Range<usize>,
    rows: Range<usize>,
) {
    let Rows::ByteTiles { codes, scales, offsets } = p.rows else { return };
    let blocks = p.inputs / BLOCK;
    let mut room = MaybeUninit::<Room>::uninit();
    let room = room.as_mut_ptr();
    // SAFETY: the caller vouches for the product and the tiles. Sums are read where a chunk before wrote them; `room` holds
    // those of a block of rows.
    unsafe {
        let _tiles = Configured::<T>::new();
        let sums = (&raw mut (*room).sums).cast::<f32>();
        let sums_of = |nth: usize| sums.add(nth * TILE * LANES);
        let totals = (&raw mut (*room).totals).cast::<i32>();
        for rows in blocks_of_rows(rows, p.inputs) {
            for index in panels.clone() {
                let panel = p.weights.add(index * p.panel_bytes);
                for from in (0..blocks).step_by(CHUNK) {
                    for (nth, row) in rows.clone().step_by(TILE).enumerate() {
                        let place = (row / TILE * blocks + from) * TILE;
                        let chunk = Chunk {
                            weights: panel.add(from * Q8_BLOCK_BYTES),
                            codes: codes.add(place * BLOCK),
                            scales: scales.add(place),
                            offsets: offsets.add(place),
                            count: CHUNK.min(blocks - from),
                            first: from == 0,
                        };
                        run::<S, T>(&chunk, totals, sums_of(nth));
                    }
                }
                for (nth, row) in rows.clone().step_by(TILE).enumerate() {
                    finish::<S>(p, index, row..rows.end, sums_of(nth));
                }
            }
        }
    }
}

/// The sums of a tile of rows, through the blocks of a chunk. The tiles are a block ahead of what scales their totals, which are
/// the operations of the other sets in their order.
///
/// # Safety
/// The pointers of `chunk` are valid for its blocks and whole tiles, the tiles are configured, and `sums` holds those of the chunk
/// before, if there is one.
#[inline(always)]
unsafe fn run<S: Simd, T: Tiles>(chunk: &Chunk, totals: *mut i32, sums: *mut f32) {
    // SAFETY: passed on from the caller.
    unsafe {
        let totals_of = |nth: usize| totals.add(nth % 2 * TILE * LANES);
        let multiply = |nth: usize| {
            let weights = chunk.weights.add(nth * Q8_BLOCK_BYTES);
            T::block(chunk.codes.add(nth * TILE * BLOCK), weights, totals_of(nth));
        };
        let mut found = [S::splat(0.0); TILE];
        if !chunk.first {
            for (m, sum) in found.iter_mut().enumerate() {
                *sum = S::load(sums.add(m * LANES));
            }
        }
        multiply(0);
        for nth in 0..chunk.count {
            if nth + 1 < chunk.count {
                multiply(nth + 1);
            }
            let line = chunk.weights.add(nth * Q8_BLOCK_BYTES + LANES * BLOCK);
            let (scale, totals) = (S::load(line.cast()), totals_of(nth));
            for (m, sum) in found.iter_mut().enumerate() {
                let offset = S::whole(*chunk.offsets.add(nth * TILE + m));
                let total = S::plus(S::integers(totals.add(m * LANES)), offset);
                let factor = S::mul(scale, S::splat(*chunk.scales.add(nth * TILE + m)));
                *sum = S::fma(S::to_float(total), factor, *sum);
            }
        }
        for (m, sum) in found.iter().enumerate() {
            S::store(sums.add(m * LANES), *sum);
        }
    }
}

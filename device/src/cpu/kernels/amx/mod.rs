//! Products on the tiles of AMX: 16 rows of activations with 16 outputs at once.
//!
//! In 8 bits the tiles give the integers of every other set, which are scaled and added in the same order, so that the bits are
//! the same and few rows can stay with AVX-512. Tiles round products of bf16 in a way of their own, so that all rows of these
//! go there, also a single one. Products in 4 bits gain nothing from tiles and stay where they were (ADR 26).
//!
//! Everything is written over what tiles do ([`Tiles`]), and the tests run it on any processor.

mod bf16;
#[cfg(test)]
mod emulated;
#[cfg(target_arch = "x86_64")]
mod hardware;
#[cfg(target_arch = "x86_64")]
mod permission;
mod q8;
#[cfg(test)]
mod tests;

use std::{marker::PhantomData, ops::Range};

use super::{
    TileShape,
    matmul::{Product, Rows, write},
    simd::{LANES, Simd},
};
use crate::WeightFormat;
#[cfg(target_arch = "x86_64")]
pub(super) use hardware::Amx;
#[cfg(target_arch = "x86_64")]
pub(super) use permission::permitted;

/// Rows of a tile of activations.
const TILE: usize = 16;
/// Inputs of a tile in bf16.
const STEP: usize = 32;
/// How rows are divided. From how many on tiles are faster than AVX-512 was measured (ADR 26).
pub(super) const SHAPE: TileShape = TileShape { rows: TILE, step: STEP, least: 32 };
/// Tiles of rows whose sums are kept while weights pass by.
const TALL: usize = 16;
/// Bytes of activations that stay in the second cache while weights pass by.
const NEAR: usize = 1 << 20;

/// Rows in bf16 and the weights that they meet: one or two tiles of rows, and two panels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strip {
    /// The tiles of rows, one for each step, one after the other.
    rows: [*const u16; 2],
    /// The groups of inputs in two panels, 64 bytes each.
    weights: [*const u8; 2],
    /// Steps of 32 inputs.
    steps: usize,
    /// `[tile of rows][panel][16][16]`.
    sums: *mut f32,
}

/// What the kernels ask of tiles.
///
/// # Safety
/// The caller of the others must have configured this thread's tiles, and pointers must be valid for what is
/// read and written: 16 rows of 64 bytes, 16 groups of 64 bytes of weights, 16 rows of 16 sums.
pub(crate) unsafe trait Tiles {
    /// Shapes this thread's tiles: eight of 16 rows of 64 bytes.
    ///
    /// # Safety
    /// The processor has them and the kernel lets the process use them.
    unsafe fn configure();
    /// Empties them, so that nobody else has to save them.
    ///
    /// # Safety
    /// As for [`Tiles::configure`].
    unsafe fn release();
    /// `totals = rows · weights` of signed rows and unsigned weights.
    unsafe fn block(rows: *const i8, weights: *const u8, totals: *mut i32);
    /// Adds the products of `ROWS` (one or two) tiles of rows to their sums.
    unsafe fn bf16<const ROWS: usize>(strip: &Strip);
}

/// This thread's tiles, shaped until this is dropped.
struct Configured<T: Tiles>(PhantomData<T>);

impl<T: Tiles> Configured<T> {
    /// # Safety
    /// As for [`Tiles::configure`].
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: passed on from the caller.
        unsafe { T::configure() };
        Self(PhantomData)
    }
}

impl<T: Tiles> Drop for Configured<T> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: whoever made this vouched for the tiles.
        unsafe { T::release() }
    }
}

/// Whether tiles compute this product.
pub(crate) fn takes(p: &Product) -> bool {
    matches!(p.rows, Rows::Bf16Tiles { .. } | Rows::ByteTiles { .. })
}

/// Computes the given rows and panels of a product that tiles take.
///
/// # Safety
/// As for [`super::matmul::product`]; the process may use the tiles of `T`. Rows begin with a tile.
#[inline(always)]
pub(crate) unsafe fn product<S: Simd, T: Tiles>(
    p: &Product,
    panels: Range<usize>,
    rows: Range<usize>,
) {
    assert!(rows.start.is_multiple_of(TILE), "rows that begin within a tile");
    // SAFETY: passed on from the caller.
    unsafe {
        match p.format {
            WeightFormat::Q8 => q8::product::<S, T>(p, panels, rows),
            _ => bf16::product::<S, T>(p, panels, rows),
        }
    }
}

/// Divides rows into blocks of whole tiles that stay in the second cache; a row has so many bytes.
fn blocks_of_rows(rows: Range<usize>, row_bytes: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = (NEAR / (row_bytes * TILE).max(1)).clamp(2, TALL) / 2 * 2;
    let (size, end) = (tiles * TILE, rows.end);
    rows.step_by(size).map(move |from| from..(from + size).min(end))
}

/// Writes the rows of a tile's sums, as many as there are.
///
/// # Safety
/// As for [`super::matmul::product`], with 16 rows of 16 sums.
#[inline(always)]
unsafe fn finish<S: Simd>(p: &Product, panel: usize, rows: Range<usize>, sums: *const f32) {
    for (m, row) in rows.take(TILE).enumerate() {
        // SAFETY: passed on from the caller.
        unsafe { write::<S>(p, row, panel, S::load(sums.add(m * LANES))) };
    }
}

//! Panels of a transposed matrix, widened: what gradients are multiplied with.

use super::simd::Simd;
use crate::{
    PackedMatrix, WeightFormat,
    layout::{LANES, panel_tile},
    packed::tile::PanelTile,
};

/// Inputs `16·index ..` of all outputs, laid out as a panel of the transposed matrix, in f32 or in bf16.
///
/// # Safety
/// The processor must have the features of `S`, for which the loops are compiled.
#[inline(always)]
pub(crate) unsafe fn transposed<S: Simd>(
    matrix: &PackedMatrix,
    index: usize,
    format: WeightFormat,
    out: &mut [u8],
) {
    let from = index * LANES;
    let count = (matrix.inputs() - from).min(LANES);
    for panel in 0..matrix.outputs().div_ceil(LANES) {
        // SAFETY: passed on from the caller.
        let tile = unsafe { widened::<S>(matrix.format(), matrix.panel(panel), from, count) };
        let columns = (matrix.outputs() - panel * LANES).min(LANES);
        match format {
            WeightFormat::Bf16 => {
                // Lanes beyond the last column are zero in every format.
                for (pair, rows) in tile.chunks_exact(2).enumerate().take(columns.div_ceil(2)) {
                    let at = panel * LANES * 32 + pair * 64;
                    let (group, _) = out[at..at + 64].as_chunks_mut::<4>();
                    for ((to, low), high) in group.iter_mut().zip(&rows[0]).zip(&rows[1]) {
                        *to = (to_bf16(*low) | to_bf16(*high) << 16).to_le_bytes();
                    }
                }
            }
            _ => {
                for (c, row) in tile.iter().enumerate().take(columns) {
                    let at = (panel * LANES + c) * 64;
                    out[at..at + 64].copy_from_slice(bytemuck::cast_slice(row));
                }
            }
        }
    }
}

/// A tile of a panel as numbers.
#[inline(always)]
unsafe fn widened<S: Simd>(
    format: WeightFormat,
    panel: &[u8],
    from: usize,
    count: usize,
) -> [[f32; LANES]; LANES] {
    let (codes, terms) = match panel_tile(format, panel, from, count) {
        PanelTile::Floats(tile) => return tile,
        PanelTile::Halves(halves) => {
            return halves.map(|row| row.map(|bits| f32::from_bits(u32::from(bits) << 16)));
        }
        PanelTile::Codes(codes, terms) => (codes, terms),
    };
    let mut tile = [[0.0; LANES]; LANES];
    for ((row, codes), (middle, factor)) in tile.iter_mut().zip(&codes).zip(terms) {
        // SAFETY: the features are there, and each row has 16 codes and 16 numbers.
        unsafe {
            let steps = S::sub(S::codes(codes.as_ptr()), S::splat(middle));
            S::store(row.as_mut_ptr(), S::mul(steps, S::splat(factor)));
        }
    }
    tile
}

/// The bits of the nearest bf16 (ties to even) of a finite number.
#[inline(always)]
fn to_bf16(x: f32) -> u32 {
    let bits = x.to_bits();
    bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16
}

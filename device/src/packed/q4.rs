//! What the lines of a panel in 4 bits stand for.
//!
//! A block of 64 inputs is eight lines of codes and one of scales; the panel ends with a line of 16 f32, one for each
//! output. The two halves of a block have a scale (1 to 255; 0 if all of it is zero) and a zero point each. The weight
//! with the code `c` is
//!
//! ```text
//! output · scale · (16 · (c - 8) - zero)      zero: -128 to 127, a sixteenth of a step each
//! ```
//!
//! so that everything but the first factor is an integer, and so are its products with 8-bit activations (`matmul.rs`).
//! This takes 4.5 bits a weight. The grids of GGUF's Q4_0, Q4_1 and Q4_K, equal steps in blocks of 32, are met almost exactly.

use super::{
    encode,
    gather::gather,
    shape::{BLOCK, HALF, LANES, MIDDLE, PARTS},
    tile::{PanelTile, lane_by_lane},
};

/// Bytes of the codes of one block.
pub(crate) const CODE_BYTES: usize = LANES * BLOCK / 2;
/// Bytes of one block: its codes, then for each output two scales and two zero points.
pub(crate) const BLOCK_BYTES: usize = CODE_BYTES + LANES * 4;
/// Bytes of a panel of so many inputs, a multiple of [`BLOCK`].
pub(super) fn panel_bytes(inputs: usize) -> usize {
    inputs / BLOCK * BLOCK_BYTES + LANES * 4
}

/// Packs one panel: `columns` holds up to 16 rows of the matrix, one after the other.
pub(super) fn pack_panel(inputs: usize, columns: &[f32], out: &mut [u8]) {
    let (blocks, outputs) = out.split_at_mut(inputs.div_ceil(BLOCK) * BLOCK_BYTES);
    let mut block = [[0.0; LANES]; HALF];
    let mut grids = Vec::with_capacity(inputs.div_ceil(HALF));
    for half in 0..blocks.len() / BLOCK_BYTES * 2 {
        gather(inputs, columns, half * HALF, &mut block);
        grids.push(encode::fit(&block));
    }
    let unit = encode::units(&grids);
    for (half, grid) in grids.iter().enumerate() {
        gather(inputs, columns, half * HALF, &mut block);
        let mut words = [[0; LANES]; HALF / 8];
        let (scales, zeros) = encode::q4(&block, grid, &unit, &mut words);
        let block = &mut blocks[half / 2 * BLOCK_BYTES..][..BLOCK_BYTES];
        let codes = &mut block[half % 2 * CODE_BYTES / 2..];
        for (to, word) in codes.as_chunks_mut::<4>().0.iter_mut().zip(words.as_flattened()) {
            *to = word.to_le_bytes();
        }
        for lane in 0..LANES {
            let at = CODE_BYTES + lane * 4 + half % 2;
            block[at] = scales[lane];
            block[at + 2] = zeros[lane].to_le_bytes()[0];
        }
    }
    for (to, unit) in outputs.as_chunks_mut::<4>().0.iter_mut().zip(unit) {
        *to = (unit / PARTS as f32).to_le_bytes();
    }
}

/// Scale and zero point of one half of a block in one lane of its line of scales.
fn grid(line: &[u8], lane: usize, half: usize) -> (i32, i32) {
    let at = lane * 4 + half;
    (i32::from(line[at]), i32::from(i8::from_le_bytes([line[at + 2]])))
}

/// What is taken off a code, which is exact, and what the rest is multiplied with.
#[inline(always)]
fn terms((scale, zero): (i32, i32), output: f32) -> (f32, f32) {
    (MIDDLE as f32 + zero as f32 / PARTS as f32, (scale * PARTS) as f32 * output)
}

/// The last line of a panel: the factor of each output.
fn outputs(panel: &[u8]) -> [f32; LANES] {
    let line = panel[panel.len() - LANES * 4..].as_chunks::<4>().0;
    std::array::from_fn(|lane| f32::from_le_bytes(line[lane]))
}

/// See [`super::layout::panel_tile`].
#[inline(always)]
pub(super) fn panel_tile(panel: &[u8], from: usize) -> PanelTile {
    let outputs = outputs(panel);
    let (codes, scales) = panel[from / BLOCK * BLOCK_BYTES..][..BLOCK_BYTES].split_at(CODE_BYTES);
    let lines = &codes.as_chunks::<64>().0[from % BLOCK / 8..][..2];
    let low = |line: &[u8; 64]| line.map(|pair| pair & 15);
    let high = |line: &[u8; 64]| line.map(|pair| pair >> 4);
    let lines = [low(&lines[0]), high(&lines[0]), low(&lines[1]), high(&lines[1])];
    let half = from % BLOCK / HALF;
    let of_lane = |lane: usize| terms(grid(scales, lane, half), outputs[lane]);
    PanelTile::Codes(lane_by_lane(lines), std::array::from_fn(of_lane))
}

/// See [`super::layout::unpack_one`].
pub(super) fn unpack_one(panel: &[u8], lane: usize, k: usize) -> f32 {
    let (codes, scales) = panel[k / BLOCK * BLOCK_BYTES..][..BLOCK_BYTES].split_at(CODE_BYTES);
    let inside = k % BLOCK;
    let byte = codes[(inside / 8 * LANES + lane) * 4 + inside % 4];
    let code = byte >> (inside / 4 % 2 * 4) & 15;
    let (middle, factor) = terms(grid(scales, lane, inside / HALF), outputs(panel)[lane]);
    (f32::from(code) - middle) * factor
}

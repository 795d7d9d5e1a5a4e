//! The packed layout of weight panels, the same for all processors.
//!
//! A panel holds 16 output columns. Along the inputs it is a sequence of 64-byte groups, lane after lane:
//! f32 has one input a group, bf16 two, 8-bit four, 4-bit eight (four in the low halves of the bytes, the next four in
//! the high ones). The quantised formats come in blocks of 64 inputs, each followed by a line of what scales it, so that
//! a product reads one stream. Bytes of 8-bit weights are offset by 128: the products take them as unsigned. What the
//! lines of 4-bit blocks hold is in [`super::q4`]. A matrix of fewer than 64 inputs, such as an adapter's B, has in 8 bits one
//! narrow block of 16, 32 or 48 of them.

use half::bf16;

use super::{
    encode,
    gather::gather,
    q4,
    tile::{PanelTile, lane_by_lane},
};
use crate::WeightFormat;

pub use super::shape::{BLOCK, LANES};

/// Bytes of one block of a q8 panel: codes, then 16 f32 scales.
pub const Q8_BLOCK_BYTES: usize = q8_block_bytes(BLOCK);
/// The least inputs of a narrow block.
const NARROWEST: usize = 16;

/// Bytes of a block of so many inputs.
const fn q8_block_bytes(inputs: usize) -> usize {
    LANES * inputs + LANES * 4
}

/// Inputs that are packed in each block of a q8 panel with so many bytes.
#[inline(always)]
pub fn q8_block_inputs(panel_bytes: usize) -> usize {
    (panel_bytes.min(Q8_BLOCK_BYTES) - LANES * 4) / LANES
}

/// Inputs rounded up to those that rows have beside weights of the format.
pub fn padded_inputs(format: WeightFormat, inputs: usize) -> usize {
    match format {
        WeightFormat::F32 => inputs,
        WeightFormat::Bf16 => inputs.next_multiple_of(2),
        WeightFormat::Q8 | WeightFormat::Q4 => inputs.next_multiple_of(BLOCK),
    }
}

/// Bytes of one panel.
pub fn panel_bytes(format: WeightFormat, inputs: usize) -> usize {
    let narrow = inputs.next_multiple_of(NARROWEST);
    let inputs = padded_inputs(format, inputs);
    match format {
        WeightFormat::F32 => inputs * LANES * 4,
        WeightFormat::Bf16 => inputs * LANES * 2,
        WeightFormat::Q8 if narrow < BLOCK => q8_block_bytes(narrow),
        WeightFormat::Q8 => inputs / BLOCK * Q8_BLOCK_BYTES,
        WeightFormat::Q4 => q4::panel_bytes(inputs),
    }
}

/// Bytes of a whole matrix.
pub fn matrix_bytes(format: WeightFormat, inputs: usize, outputs: usize) -> usize {
    outputs.div_ceil(LANES) * panel_bytes(format, inputs)
}

/// Packs one panel: `columns` holds up to 16 rows of the `[outputs, inputs]` matrix, one after the other.
pub fn pack_panel(format: WeightFormat, inputs: usize, columns: &[f32], out: &mut [u8]) {
    match format {
        WeightFormat::F32 => {
            for (lane, column) in columns.chunks_exact(inputs).enumerate() {
                for (k, value) in column.iter().enumerate() {
                    put(out, (k * LANES + lane) * 4, &value.to_le_bytes());
                }
            }
        }
        WeightFormat::Bf16 => {
            for (lane, column) in columns.chunks_exact(inputs).enumerate() {
                for (k, value) in column.iter().enumerate() {
                    let at = (k / 2 * LANES + lane) * 4 + k % 2 * 2;
                    put(out, at, &bf16::from_f32(*value).to_le_bytes());
                }
            }
        }
        WeightFormat::Q8 => pack_q8(inputs, columns, out),
        WeightFormat::Q4 => q4::pack_panel(inputs, columns, out),
    }
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

fn pack_q8(inputs: usize, columns: &[f32], out: &mut [u8]) {
    let (mut block, mut words) = ([[0.0; LANES]; BLOCK], [[0; LANES]; 16]);
    let size = out.len().clamp(1, Q8_BLOCK_BYTES);
    for (index, out) in out.chunks_exact_mut(size).enumerate() {
        gather(inputs, columns, index * BLOCK, &mut block);
        let scales = encode::q8(&block, &mut words);
        let (codes, behind) = out.split_at_mut(size - LANES * 4);
        for (to, word) in codes.as_chunks_mut::<4>().0.iter_mut().zip(words.as_flattened()) {
            *to = word.to_le_bytes();
        }
        for (to, scale) in behind.as_chunks_mut::<4>().0.iter_mut().zip(scales) {
            *to = scale.to_le_bytes();
        }
    }
}

/// Reads `count` (at most 16) inputs of a panel, from a multiple of 16 on. Always inlined, so that it is compiled for the
/// instruction set of whoever calls it.
#[inline(always)]
pub(crate) fn panel_tile(
    format: WeightFormat,
    panel: &[u8],
    from: usize,
    count: usize,
) -> PanelTile {
    // Lines of a fixed size, so that the loops need no checks.
    let (lines, _) = panel.as_chunks::<64>();
    let mut tile = [[0.0; LANES]; LANES];
    match format {
        WeightFormat::F32 => {
            for (k, line) in lines[from..from + count].iter().enumerate() {
                let (values, _) = line.as_chunks::<4>();
                for (row, value) in tile.iter_mut().zip(values) {
                    row[k % LANES] = f32::from_le_bytes(*value);
                }
            }
            PanelTile::Floats(tile)
        }
        WeightFormat::Bf16 => {
            let mut halves = [[0; LANES]; LANES];
            let lines = &lines[from / 2..(from + count).div_ceil(2)];
            for (lane, row) in halves.iter_mut().enumerate() {
                for (pair, line) in row.as_chunks_mut::<2>().0.iter_mut().zip(lines) {
                    let [a, b, c, d] = line.as_chunks::<4>().0[lane];
                    *pair = [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])];
                }
            }
            PanelTile::Halves(halves)
        }
        WeightFormat::Q8 => {
            let groups = q8_block_inputs(panel.len()) / 4;
            let block = &lines[from / BLOCK * (groups + 1)..][..groups + 1];
            let first = from % BLOCK / 4;
            let codes = lane_by_lane(std::array::from_fn(|group| block[first + group]));
            let scales = block[groups].as_chunks::<4>().0;
            let scale = |lane: usize| (128.0, f32::from_le_bytes(scales[lane]));
            PanelTile::Codes(codes, std::array::from_fn(scale))
        }
        WeightFormat::Q4 => q4::panel_tile(panel, from),
    }
}

/// One weight: input `k` of one lane of a panel.
pub fn unpack_one(format: WeightFormat, panel: &[u8], lane: usize, k: usize) -> f32 {
    let float =
        |at: usize| f32::from_le_bytes([panel[at], panel[at + 1], panel[at + 2], panel[at + 3]]);
    let (block, inside) = (k / BLOCK, k % BLOCK);
    match format {
        WeightFormat::F32 => float((k * LANES + lane) * 4),
        WeightFormat::Bf16 => {
            let at = (k / 2 * LANES + lane) * 4 + k % 2 * 2;
            bf16::from_le_bytes([panel[at], panel[at + 1]]).to_f32()
        }
        WeightFormat::Q8 => {
            let width = q8_block_inputs(panel.len());
            let block = block * q8_block_bytes(width);
            let code = panel[block + (inside / 4 * LANES + lane) * 4 + inside % 4];
            (f32::from(code) - 128.0) * float(block + LANES * width + lane * 4)
        }
        WeightFormat::Q4 => q4::unpack_one(panel, lane, k),
    }
}

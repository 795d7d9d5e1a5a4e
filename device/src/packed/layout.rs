//! The packed layout of weight panels, the same for all processors.
//!
//! A panel holds 16 output columns. Along the inputs it is a sequence of 64-byte groups, lane after lane:
//! f32 has one input a group, bf16 two, 8-bit four, 4-bit eight (four in the low halves of the bytes, the next four in
//! the high ones). The quantised formats come in blocks of 64 inputs, each followed by a line of what scales it, so that
//! a product reads one stream. Bytes of 8-bit weights are offset by 128: the products take them as unsigned. What the
//! lines of 4-bit blocks hold is in [`super::q4`].

use half::bf16;

use super::{encode, gather::gather, q4};
use crate::WeightFormat;

pub use super::shape::{BLOCK, LANES};

/// Bytes of one block of a q8 panel: codes, then 16 f32 scales.
pub const Q8_BLOCK_BYTES: usize = LANES * BLOCK + LANES * 4;

/// Inputs rounded up to what the format packs together.
pub fn padded_inputs(format: WeightFormat, inputs: usize) -> usize {
    match format {
        WeightFormat::F32 => inputs,
        WeightFormat::Bf16 => inputs.next_multiple_of(2),
        WeightFormat::Q8 | WeightFormat::Q4 => inputs.next_multiple_of(BLOCK),
    }
}

/// Bytes of one panel.
pub fn panel_bytes(format: WeightFormat, inputs: usize) -> usize {
    let inputs = padded_inputs(format, inputs);
    match format {
        WeightFormat::F32 => inputs * LANES * 4,
        WeightFormat::Bf16 => inputs * LANES * 2,
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
    for (index, out) in out.chunks_exact_mut(Q8_BLOCK_BYTES).enumerate() {
        gather(inputs, columns, index * BLOCK, &mut block);
        let scales = encode::q8(&block, &mut words);
        let (lines, _) = out.as_chunks_mut::<4>();
        for (to, word) in lines.iter_mut().zip(words.as_flattened()) {
            *to = word.to_le_bytes();
        }
        for (to, scale) in lines[16 * LANES..].iter_mut().zip(scales) {
            *to = scale.to_le_bytes();
        }
    }
}

/// Reads `count` (at most 16) inputs of all 16 lanes of a panel, from a multiple of 16 on: `tile[lane][k - from]`.
pub fn unpack_tile(
    format: WeightFormat,
    panel: &[u8],
    from: usize,
    count: usize,
    tile: &mut [[f32; LANES]; LANES],
) {
    // Lines of a fixed size, so that the loops need no checks.
    let (lines, _) = panel.as_chunks::<64>();
    match format {
        WeightFormat::F32 => {
            for (k, line) in lines[from..from + count].iter().enumerate() {
                let (values, _) = line.as_chunks::<4>();
                for (row, value) in tile.iter_mut().zip(values) {
                    row[k % LANES] = f32::from_le_bytes(*value);
                }
            }
        }
        WeightFormat::Bf16 => {
            for (pair, line) in lines[from / 2..(from + count).div_ceil(2)].iter().enumerate() {
                let (values, _) = line.as_chunks::<4>();
                for (row, v) in tile.iter_mut().zip(values) {
                    row[pair * 2 % LANES] = bf16::from_le_bytes([v[0], v[1]]).to_f32();
                    row[(pair * 2 + 1) % LANES] = bf16::from_le_bytes([v[2], v[3]]).to_f32();
                }
            }
        }
        WeightFormat::Q8 => {
            let block = &lines[from / BLOCK * (Q8_BLOCK_BYTES / 64)..][..Q8_BLOCK_BYTES / 64];
            let scales = block[LANES].as_chunks::<4>().0;
            let first = from % BLOCK / 4;
            for (group, line) in block[first..first + 4].iter().enumerate() {
                let codes = line.as_chunks::<4>().0;
                for ((row, codes), scale) in tile.iter_mut().zip(codes).zip(scales) {
                    let scale = f32::from_le_bytes(*scale);
                    for (i, code) in codes.iter().enumerate() {
                        row[group * 4 + i] = (f32::from(*code) - 128.0) * scale;
                    }
                }
            }
        }
        WeightFormat::Q4 => q4::unpack_tile(panel, from, tile),
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
            let block = block * Q8_BLOCK_BYTES;
            let code = panel[block + (inside / 4 * LANES + lane) * 4 + inside % 4];
            (f32::from(code) - 128.0) * float(block + LANES * BLOCK + lane * 4)
        }
        WeightFormat::Q4 => q4::unpack_one(panel, lane, k),
    }
}

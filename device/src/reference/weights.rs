//! Packed weights, read by what the layout says of each, not by the code that the kernels share.
//!
//! A panel holds 16 outputs. Its 64-byte lines follow the inputs, and each lane has four bytes of a line: one f32, two bf16, four
//! codes of 8 bits, or eight of 4 bits (the low halves of the bytes first, then the high ones). The quantised formats have blocks of
//! 64 inputs (one of 16, 32 or 48 where a matrix of 8 bits has no more), each of them followed by one line with the scales of the lanes: one f32, or for 4 bits those of both halves, a byte
//! each, and then their zero points, signed and in sixteenths of a step. A panel of 4 bits ends with a line of one more factor
//! for each lane, an f32, which counts for sixteenths too.

use crate::{Matrix, PackedMatrix, WeightFormat};

/// One row of a matrix, `[inputs]`.
pub(super) fn row(matrix: &Matrix, output: usize) -> Vec<f64> {
    let packed = matrix.memory::<PackedMatrix>();
    let Some(bytes) = packed.map(PackedMatrix::bytes) else { return Vec::new() };
    assert!(output < matrix.outputs(), "row {output} of {matrix:?}");
    let lines_of_block = match matrix.format() {
        WeightFormat::F32 | WeightFormat::Bf16 => 0,
        WeightFormat::Q8 => 4 * matrix.inputs().div_ceil(16).min(4) + 1,
        WeightFormat::Q4 => 8 + 1,
    };
    let lines = match matrix.format() {
        WeightFormat::F32 => matrix.inputs(),
        WeightFormat::Bf16 => matrix.inputs().div_ceil(2),
        WeightFormat::Q8 => matrix.inputs().div_ceil(64) * lines_of_block,
        WeightFormat::Q4 => matrix.inputs().div_ceil(64) * lines_of_block + 1,
    };
    let (panel, lane) = (&bytes[output / 16 * lines * 64..][..lines * 64], output % 16);
    let of_lane = |line: usize| {
        let at = line * 64 + lane * 4;
        [panel[at], panel[at + 1], panel[at + 2], panel[at + 3]]
    };
    let scales = |block: usize| of_lane((block + 1) * lines_of_block - 1);
    let weight = |input: usize| {
        let (block, inside) = (input / 64, input % 64);
        match matrix.format() {
            WeightFormat::F32 => f64::from(f32::from_le_bytes(of_lane(input))),
            WeightFormat::Bf16 => {
                let [a, b, c, d] = of_lane(input / 2);
                let high = if input.is_multiple_of(2) { [a, b] } else { [c, d] };
                // The upper half of an f32.
                f64::from(f32::from_le_bytes([0, 0, high[0], high[1]]))
            }
            WeightFormat::Q8 => {
                let codes = of_lane(block * lines_of_block + inside / 4);
                (f64::from(codes[inside % 4]) - 128.0)
                    * f64::from(f32::from_le_bytes(scales(block)))
            }
            WeightFormat::Q4 => {
                let codes = of_lane(block * lines_of_block + inside / 8)[inside % 4];
                let code = if inside % 8 < 4 { codes & 15 } else { codes >> 4 };
                let half = inside / 32;
                let [scale, zero] = [scales(block)[half], scales(block)[2 + half]];
                let steps = f64::from(code) - 8.0 - f64::from(zero.cast_signed()) / 16.0;
                let factor = f64::from(f32::from_le_bytes(of_lane(lines - 1)));
                steps * f64::from(scale) * 16.0 * factor
            }
        }
    };
    (0..matrix.inputs()).map(weight).collect()
}

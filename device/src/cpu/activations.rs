//! Rows of activations in the form that a weight format multiplies.

use super::{
    Cpu,
    kernels::{CodeSums, Rows},
    shared::Shared,
    tiled::Tiled,
};
use crate::{
    WeightFormat,
    layout::{BLOCK, padded_inputs},
};

/// Activations converted to the form that a weight format multiplies.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    bf16: Vec<u16>,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<CodeSums>,
    tiled: Tiled,
}

impl Activations {
    /// Converts `x` (`[rows, inputs]`) for weights of `format`. The result borrows `x` and `self`.
    pub(crate) fn rows(
        &mut self,
        cpu: &Cpu,
        format: WeightFormat,
        x: &[f32],
        inputs: usize,
    ) -> Rows {
        if let Some(rows) = self.tiled.rows(cpu, format, x, inputs) {
            return rows;
        }
        let rows = x.len() / inputs;
        let padded = padded_inputs(format, inputs);
        // A few microseconds of work are worth a fork.
        let least = 4096_usize.div_ceil(inputs);
        match format {
            WeightFormat::F32 => Rows::F32 { data: x.as_ptr(), row_stride: inputs, step: 1 },
            WeightFormat::Bf16 => {
                self.bf16.resize(rows * padded, 0);
                let out = Shared::new(&mut self.bf16);
                cpu.pool.ranges(rows, least, &|range| {
                    for row in range {
                        // SAFETY: each row is written by one part.
                        let out = unsafe { out.part(row * padded, padded) };
                        cpu.kernels.round_to_bf16(&x[row * inputs..][..inputs], out);
                    }
                });
                Rows::Bf16 { data: self.bf16.as_ptr(), row_stride: padded }
            }
            WeightFormat::Q8 | WeightFormat::Q4 => {
                let blocks = padded / BLOCK;
                self.codes.resize(rows * padded, 0);
                self.scales.resize(rows * blocks, 0.0);
                self.sums.resize(rows * blocks, CodeSums::default());
                let codes = Shared::new(&mut self.codes);
                let scales = Shared::new(&mut self.scales);
                let sums = Shared::new(&mut self.sums);
                cpu.pool.ranges(rows, least, &|range| {
                    for row in range {
                        // SAFETY: each row is written by one part.
                        let (codes, scales, sums) = unsafe {
                            (
                                codes.part(row * padded, padded),
                                scales.part(row * blocks, blocks),
                                sums.part(row * blocks, blocks),
                            )
                        };
                        cpu.kernels.quantise(&x[row * inputs..][..inputs], codes, scales, sums);
                    }
                });
                Rows::Bytes {
                    codes: self.codes.as_ptr(),
                    scales: self.scales.as_ptr(),
                    sums: self.sums.as_ptr(),
                }
            }
        }
    }
}

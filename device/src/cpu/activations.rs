//! Rows of activations in the form that a weight format multiplies.

use super::{
    Cpu,
    kernels::{CodeSums, Rows},
    pool::least_rows,
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
    pub(super) bytes: ByteRows,
    tiled: Tiled,
    /// What adapters' products with A gave.
    pub(super) hidden: ByteRows,
}

/// Rows in bytes, one after the other, in blocks of 64.
#[derive(Debug, Default)]
pub(crate) struct ByteRows {
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<CodeSums>,
}

impl ByteRows {
    /// Room for so many blocks.
    pub(super) fn resize(&mut self, blocks: usize) {
        self.codes.resize(blocks * BLOCK, 0);
        self.scales.resize(blocks, 0.0);
        self.sums.resize(blocks, CodeSums::default());
    }

    /// The rows that begin with a block.
    pub(super) fn from(&mut self, block: usize) -> Bytes {
        let Self { codes, scales, sums } = self;
        let all = Bytes {
            codes: codes.as_mut_ptr(),
            scales: scales.as_mut_ptr(),
            sums: sums.as_mut_ptr(),
        };
        all.skip(block)
    }
}

/// Where rows in bytes lie, to be written by those who know which of them are theirs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes {
    codes: *mut i8,
    scales: *mut f32,
    sums: *mut CodeSums,
}

// SAFETY: it says where rows lie; who writes them gives each row to one thread.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl Bytes {
    /// What lies so many blocks further on.
    pub(super) fn skip(self, blocks: usize) -> Self {
        Self {
            codes: self.codes.wrapping_add(blocks * BLOCK),
            scales: self.scales.wrapping_add(blocks),
            sums: self.sums.wrapping_add(blocks),
        }
    }

    /// Writes a row of so many blocks.
    ///
    /// # Safety
    /// They lie inside, and no other thread touches them.
    pub(super) unsafe fn write(self, cpu: &Cpu, x: &[f32], blocks: usize) {
        // SAFETY: passed on from the caller.
        unsafe {
            cpu.kernels.quantise(
                x,
                std::slice::from_raw_parts_mut(self.codes, blocks * BLOCK),
                std::slice::from_raw_parts_mut(self.scales, blocks),
                std::slice::from_raw_parts_mut(self.sums, blocks),
            );
        }
    }

    /// As a product reads them.
    pub(super) fn rows(self) -> Rows {
        let Self { codes, scales, sums } = self;
        Rows::Bytes { codes, scales, sums }
    }
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
        let (rows, padded) = (x.len() / inputs, padded_inputs(format, inputs));
        match format {
            WeightFormat::F32 => Rows::F32 { data: x.as_ptr(), row_stride: inputs, step: 1 },
            WeightFormat::Bf16 => {
                self.bf16.resize(rows * padded, 0);
                let out = Shared::new(&mut self.bf16);
                cpu.pool.ranges(rows, least_rows(inputs), &|range| {
                    for row in range {
                        // SAFETY: each row is written by one part.
                        let out = unsafe { out.part(row * padded, padded) };
                        cpu.kernels.round_to_bf16(&x[row * inputs..][..inputs], out);
                    }
                });
                Rows::Bf16 { data: self.bf16.as_ptr(), row_stride: padded }
            }
            WeightFormat::Q8 | WeightFormat::Q4 => self.bytes(cpu, x, inputs).rows(),
        }
    }

    /// Converts `x` (`[rows, inputs]`) to bytes, one row after the other, for weights in 8 or 4 bits.
    pub(super) fn bytes(&mut self, cpu: &Cpu, x: &[f32], inputs: usize) -> Bytes {
        let (rows, blocks) = (x.len() / inputs, inputs.div_ceil(BLOCK));
        self.bytes.resize(rows * blocks);
        let out = self.bytes.from(0);
        cpu.pool.ranges(rows, least_rows(inputs), &|range| {
            for row in range {
                // SAFETY: there is room for all rows, and each is written by one part.
                unsafe { out.skip(row * blocks).write(cpu, &x[row * inputs..][..inputs], blocks) };
            }
        });
        out
    }
}

//! Products of rows with packed matrices: forward, with adapters, and back to the input.

use std::ops::Range;

use super::{
    Cpu,
    adapters::Adapted,
    job::Job,
    kernels::Product,
    matrix::{describe, packed},
    multiply::multiply,
    shared::Shared,
};
use crate::{
    Buffer, Matrix, WeightFormat,
    host::{elements, elements_mut, resize},
    layout::{LANES, padded_inputs, panel_bytes, unpack_one},
    ops::{LowRank, ProductOps, Projection, SharedInput, View, ViewMut},
    packed::{Line, aligned},
};

impl ProductOps for Cpu {
    fn embed(&self, matrix: &Matrix, tokens: &[u32], scale: f32, out: &mut Buffer) {
        let matrix = packed(matrix);
        let out = elements_mut::<f32>(out);
        assert_eq!(out.len(), tokens.len() * matrix.inputs(), "rows of another shape");
        for (token, row) in tokens.iter().zip(out.chunks_exact_mut(matrix.inputs())) {
            let token = *token as usize;
            let panel = matrix.panel(token / LANES);
            for (k, value) in row.iter_mut().enumerate() {
                *value = unpack_one(matrix.format(), panel, token % LANES, k);
            }
        }
        if scale != 1.0 {
            out.iter_mut().for_each(|value| *value *= scale);
        }
    }

    fn product(&self, matrix: &Matrix, x: &Buffer, y: &mut Buffer, add: Option<f32>) {
        let (matrix, x) = (packed(matrix), elements::<f32>(x));
        if x.is_empty() {
            return;
        }
        let rows = rows_of(x, matrix.inputs());
        self.with_activations(|activations| {
            let operand = activations.rows(self, matrix.format(), x, matrix.inputs());
            let mut job = Job::default();
            job.layers.push((describe(matrix, operand, rows, elements_mut(y), add), rows));
            // SAFETY: the operand was made for these rows and this format.
            unsafe { job.run(self) };
        });
    }

    /// f32 weights multiply in f32. The other formats are widened tile by tile, to bf16 where the processor multiplies
    /// bf16 itself, else to f32.
    fn product_backward(&self, matrix: &Matrix, dy: &Buffer, dx: &mut Buffer, add: Option<f32>) {
        let matrix = packed(matrix);
        let (dy, dx) = (elements::<f32>(dy), elements_mut::<f32>(dx));
        let (inputs, outputs) = (matrix.inputs(), matrix.outputs());
        let rows = rows_of(dy, outputs);
        assert_eq!(dx.len(), rows * inputs, "gradients of another shape than the matrix");
        let wide = matrix.format() == WeightFormat::F32 || !self.kernels.fast_bf16;
        let format = if wide { WeightFormat::F32 } else { WeightFormat::Bf16 };
        let panel_size = panel_bytes(format, outputs);
        let out = Shared::new(dx);
        self.with_activations(|activations| {
            let operand = activations.rows(self, format, dy, outputs);
            self.pool.ranges(inputs.div_ceil(LANES), 2, &|panels| {
                let mut lines = aligned(panel_size * panels.len());
                let bytes = bytemuck::cast_slice_mut::<Line, u8>(&mut lines);
                for (index, panel) in panels.clone().zip(bytes.chunks_exact_mut(panel_size)) {
                    self.kernels.transposed(matrix, index, format, panel);
                }
                let from = panels.start * LANES;
                let product = Product {
                    rows: operand,
                    format,
                    weights: bytes.as_ptr(),
                    panel_bytes: panel_size,
                    inputs: padded_inputs(format, outputs),
                    outputs: (inputs - from).min(panels.len() * LANES),
                    // SAFETY: the first column of these panels lies inside of `dx`.
                    out: unsafe { out.ptr().add(from) },
                    out_stride: inputs,
                    add,
                };
                // SAFETY: operand, panels and result are valid for the shapes checked above, and each part has its own
                // columns.
                unsafe { self.kernels.product(&product, 0..panels.len(), 0..rows) };
            });
        });
    }

    /// One job, whatever the number of adapters.
    fn project(
        &self,
        input: SharedInput<'_>,
        layers: &mut [(&Projection, &mut Buffer)],
        mut add: Option<f32>,
        hidden: &mut Buffer,
    ) {
        let x = elements::<f32>(input.x);
        resize::<f32>(hidden, 0);
        let Some((first, _)) = layers.first().filter(|_| !x.is_empty()) else { return };
        let first = packed(&first.weight);
        let (inputs, format) = (first.inputs(), first.format());
        let rows = rows_of(x, inputs);
        if layers.iter().any(|(layer, _)| layer.bias.is_some()) {
            assert!(add.is_none(), "a bias cannot be added to a sum");
            layers.iter_mut().for_each(|(layer, y)| fill_bias(layer, elements_mut(y)));
            add = Some(1.0);
        }
        let read = input.dropped.map_or(x, elements);
        assert_eq!(read.len(), x.len(), "rows with dropout of another shape");
        let apart = |a: &(Range<usize>, _), b: &(Range<usize>, _)| a.0.end <= b.0.start;
        assert!(input.adapters.is_sorted_by(apart), "rows with two adapters");
        let width = |(rows, lora): &(Range<usize>, &LowRank)| rows.len() * lora.a.outputs();
        resize::<f32>(hidden, input.adapters.iter().map(width).sum());
        let hidden = elements_mut::<f32>(hidden);

        self.with_activations(|activations| {
            let mut job = Job::default();
            let operand = activations.rows(self, format, x, inputs);
            for (layer, y) in layers.iter_mut() {
                let weight = packed(&layer.weight);
                assert!(
                    weight.format() == format && weight.inputs() == inputs,
                    "layers of one product differ"
                );
                job.layers.push((describe(weight, operand, rows, elements_mut(y), add), rows));
            }
            let adapted = Adapted {
                x: read,
                inputs,
                operand,
                dropped: input.dropped.is_some(),
                adapters: input.adapters,
            };
            adapted.add_to(&mut job, self, activations, hidden);
            // SAFETY: the operands were made for these rows and formats; each layer and each adapter's hidden rows have their own
            // output, as they are and in bytes, and B reads its columns of the hidden rows.
            unsafe { job.run(self) };
        });
    }

    fn multiply(&self, a: View<'_>, b: View<'_>, c: ViewMut<'_>, add: Option<f32>) {
        multiply(self, a, b, c, add);
    }
}

/// How many rows of `width` there are, and no part of one.
fn rows_of(x: &[f32], width: usize) -> usize {
    let rows = x.len().checked_div(width).unwrap_or(0);
    assert_eq!(x.len(), rows * width, "rows of another width than the matrix");
    rows
}

/// Fills rows of results with the bias, or with zeros, so that the product can be added.
fn fill_bias(layer: &Projection, y: &mut [f32]) {
    match layer.bias.as_ref().map(elements::<f32>) {
        Some(bias) => y.chunks_exact_mut(bias.len()).for_each(|row| row.copy_from_slice(bias)),
        None => y.fill(0.0),
    }
}

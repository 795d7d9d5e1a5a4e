//! Products of rows with packed matrices: forward, with adapters, and back to the input.

use std::ops::Range;

use super::{
    Cpu,
    job::Job,
    kernels::{Product, Rows},
    multiply::multiply,
    shared::Shared,
};
use crate::{
    Buffer, Matrix, PackedMatrix, WeightFormat,
    host::{elements, elements_mut, resize},
    layout::{LANES, padded_inputs, panel_bytes, unpack_one},
    ops::{LowRank, LowRankPart, ProductOps, Projection, SharedInput, View, ViewMut},
    packed::{Line, aligned},
};

/// The packed bytes of a matrix. That of another device is empty, so that the checks of shapes refuse it.
fn packed(matrix: &Matrix) -> &PackedMatrix {
    static EMPTY: PackedMatrix = PackedMatrix::EMPTY;
    matrix.memory().unwrap_or(&EMPTY)
}

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
        let width = |lora: &LowRank| packed(&lora.a).outputs();
        let adapted = input.adapters.iter();
        resize::<f32>(hidden, adapted.map(|(rows, lora)| rows.len() * width(lora)).sum());
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
            let mut room = &mut hidden[..];
            for (rows, lora) in input.adapters {
                let a = packed(&lora.a);
                assert!(is_of_adapter(a) && a.inputs() == inputs, "an adapter of other layers");
                let mine = &read[rows.start * inputs..rows.end * inputs];
                let operand = Rows::F32 { data: mine.as_ptr(), row_stride: inputs, step: 1 };
                let y = room.split_off_mut(..rows.len() * width(lora)).unwrap_or_default();
                let down = describe(a, operand, rows.len(), y, None);
                job.down.push((down, rows.len()));
                for (nth, part) in lora.parts.iter().enumerate() {
                    let Some(part) = part.as_ref().filter(|_| !rows.is_empty()) else { continue };
                    let Some((layer, _)) = job.layers.get(nth) else { continue };
                    job.up.push((nth, up(part, &down, layer, rows), rows.len()));
                }
            }
            // SAFETY: the operands were made for these rows and formats; each layer and each adapter's hidden rows have their own
            // output, and B reads its columns of the hidden rows.
            unsafe { job.run(self) };
        });
    }

    fn multiply(&self, a: View<'_>, b: View<'_>, c: ViewMut<'_>, add: Option<f32>) {
        multiply(self, a, b, c, add);
    }
}

/// Whether rows in f32 are multiplied with such a matrix as they are.
fn is_of_adapter(matrix: &PackedMatrix) -> bool {
    matches!(matrix.format(), WeightFormat::F32 | WeightFormat::Bf16)
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

/// The description of a product with `y`, whose shape is checked.
fn describe(
    matrix: &PackedMatrix,
    operand: Rows,
    rows: usize,
    y: &mut [f32],
    add: Option<f32>,
) -> Product {
    assert_eq!(y.len(), rows * matrix.outputs(), "the output has another shape");
    let inputs = match operand {
        Rows::F32 { .. } => matrix.inputs(),
        _ => padded_inputs(matrix.format(), matrix.inputs()),
    };
    Product {
        rows: operand,
        format: matrix.format(),
        weights: matrix.bytes().as_ptr(),
        panel_bytes: panel_bytes(matrix.format(), matrix.inputs()),
        inputs,
        outputs: matrix.outputs(),
        out: y.as_mut_ptr(),
        out_stride: matrix.outputs(),
        add,
    }
}

/// What an adapter adds to some rows of a layer: B times what the product with A gives.
fn up(part: &LowRankPart, down: &Product, layer: &Product, rows: &Range<usize>) -> Product {
    let b = packed(&part.b);
    let fits = part.from + b.inputs() <= down.outputs;
    assert!(is_of_adapter(b) && fits, "an adapter of another rank");
    assert_eq!(b.outputs(), layer.outputs, "an adapter of another layer");
    // SAFETY: the columns of this part lie inside of A's results, the rows inside of the layer's.
    let (data, out) = unsafe {
        (down.out.add(part.from).cast_const(), layer.out.add(rows.start * layer.out_stride))
    };
    Product {
        rows: Rows::F32 { data, row_stride: down.out_stride, step: 1 },
        format: b.format(),
        weights: b.bytes().as_ptr(),
        panel_bytes: panel_bytes(b.format(), b.inputs()),
        inputs: b.inputs(),
        out,
        add: Some(part.scale * layer.add.unwrap_or(1.0)),
        ..*layer
    }
}

//! Products, one sum after the other.

use super::{Reference, dot, weights};
use crate::{
    Buffer, Matrix,
    host::{buffer, elements, elements_mut},
    ops::{ProductOps, Projection, SharedInput, View, ViewMut},
};

/// `x · Wᵀ`, `[rows, outputs]`.
fn product(matrix: &Matrix, x: &[f64]) -> Vec<f64> {
    let (inputs, outputs) = (matrix.inputs(), matrix.outputs());
    assert!(x.len().is_multiple_of(inputs), "rows of another width than the matrix");
    let mut y = vec![0.0; x.len() / inputs * outputs];
    for output in 0..outputs {
        let weights = weights::row(matrix, output);
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            y[row * outputs + output] = dot(x, &weights);
        }
    }
    y
}

/// Puts results in their place: instead of what is there, or added to it.
fn put(to: &mut [f64], results: &[f64], add: Option<f32>) {
    assert_eq!(to.len(), results.len(), "the output has another shape");
    for (to, result) in to.iter_mut().zip(results) {
        *to = match add {
            Some(factor) => *to + f64::from(factor) * result,
            None => *result,
        };
    }
}

impl ProductOps for Reference {
    fn embed(&self, matrix: &Matrix, tokens: &[u32], scale: f32, out: &mut Buffer) {
        let rows = tokens.iter().flat_map(|token| weights::row(matrix, *token as usize));
        let rows: Vec<f64> = rows.map(|value| value * f64::from(scale)).collect();
        put(elements_mut(out), &rows, None);
    }

    fn product(&self, matrix: &Matrix, x: &Buffer, y: &mut Buffer, add: Option<f32>) {
        put(elements_mut(y), &product(matrix, elements(x)), add);
    }

    fn product_backward(&self, matrix: &Matrix, dy: &Buffer, dx: &mut Buffer, add: Option<f32>) {
        let dy = elements::<f64>(dy);
        let (inputs, outputs) = (matrix.inputs(), matrix.outputs());
        let mut result = vec![0.0; dy.len() / outputs * inputs];
        for output in 0..outputs {
            let weights = weights::row(matrix, output);
            for (row, result) in result.chunks_exact_mut(inputs).enumerate() {
                let dy = dy[row * outputs + output];
                result.iter_mut().zip(&weights).for_each(|(result, w)| *result += dy * w);
            }
        }
        put(elements_mut(dx), &result, add);
    }

    fn project(
        &self,
        input: SharedInput<'_>,
        layers: &mut [(&Projection, &mut Buffer)],
        add: Option<f32>,
        hidden: &mut Buffer,
    ) {
        let x = elements::<f64>(input.x);
        for (layer, y) in layers.iter_mut() {
            let mut results = product(&layer.weight, x);
            if let Some(bias) = &layer.bias {
                assert!(add.is_none(), "a bias cannot be added to a sum");
                let bias = elements::<f64>(bias);
                for row in results.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(bias).for_each(|(result, bias)| *result += bias);
                }
            }
            put(elements_mut(y), &results, add);
        }
        let read = input.dropped.map_or(x, elements);
        let mut all_hidden = Vec::new();
        for (rows, lora) in input.adapters {
            let (inputs, width) = (lora.a.inputs(), lora.a.outputs());
            let of_rows = product(&lora.a, &read[rows.start * inputs..rows.end * inputs]);
            for (part, (_, y)) in lora.parts.iter().zip(layers.iter_mut()) {
                let Some(part) = part else { continue };
                let (rank, outputs) = (part.b.inputs(), part.b.outputs());
                let mine: Vec<f64> = of_rows
                    .chunks_exact(width)
                    .flat_map(|row| row[part.from..][..rank].to_vec())
                    .collect();
                let y = &mut elements_mut(y)[rows.start * outputs..rows.end * outputs];
                put(y, &product(&part.b, &mine), Some(part.scale * add.unwrap_or(1.0)));
            }
            all_hidden.extend(of_rows);
        }
        *hidden = buffer(all_hidden);
    }

    fn multiply(&self, a: View<'_>, b: View<'_>, c: ViewMut<'_>, add: Option<f32>) {
        assert_eq!(a.columns, b.rows, "matrices do not fit together");
        let at = |view: View<'_>, row: usize, column: usize| {
            let place = view.offset + row * view.row_stride + column * view.column_stride;
            elements::<f64>(view.buffer)[place]
        };
        let out = elements_mut::<f64>(c.buffer);
        for row in 0..a.rows {
            let of_column = |n: usize| (0..a.columns).map(|k| at(a, row, k) * at(b, k, n)).sum();
            let results: Vec<f64> = (0..b.columns).map(of_column).collect();
            put(&mut out[c.offset + row * c.stride..][..b.columns], &results, add);
        }
    }
}

//! Buffers of f64.

use std::ops::Range;

use super::Reference;
use crate::{
    Buffer, Matrix, PackedMatrix,
    host::{buffer, elements, take},
    ops::MemoryOps,
};

impl MemoryOps for Reference {
    fn upload(&self, values: Vec<f32>) -> Buffer {
        buffer(values.into_iter().map(f64::from).collect())
    }

    fn download(&self, buffer: Buffer) -> Vec<f32> {
        take::<f64>(buffer).into_iter().map(|value| value as f32).collect()
    }

    fn write(&self, buffer: &mut Buffer, values: &[f32]) {
        *buffer = self.upload(values.to_vec());
    }

    /// What is left open becomes nothing, so that whoever reads it is found out.
    fn download_into(&self, buffer: &mut Buffer, values: &mut Vec<f32>) {
        *values = self.download(std::mem::take(buffer));
    }

    fn zeros(&self, len: usize) -> Buffer {
        buffer(vec![0.0_f64; len])
    }

    /// What is left open becomes no number, so that an operation that reads it is found out.
    fn resize(&self, rows: &mut Buffer, len: usize) {
        *rows = buffer(vec![f64::NAN; len]);
    }

    fn copy(&self, from: &Buffer, range: Range<usize>) -> Buffer {
        buffer(elements::<f64>(from)[range].to_vec())
    }

    fn gather_rows(&self, rows: &mut Buffer, chosen: &[usize], width: usize) {
        let all = elements::<f64>(rows);
        let some = chosen.iter().flat_map(|row| &all[row * width..(row + 1) * width]);
        *rows = buffer(some.copied().collect());
    }

    fn scatter_rows(&self, some: Buffer, chosen: &[usize], total: usize, width: usize) -> Buffer {
        let some = elements::<f64>(&some);
        let mut all = vec![0.0; total * width];
        for (index, value) in some.iter().enumerate() {
            all[chosen[index / width] * width + index % width] = *value;
        }
        buffer(all)
    }

    fn index_select(&self, rows: &Buffer, index: &[usize], width: usize) -> Buffer {
        let rows = elements::<f64>(rows);
        buffer(index.iter().flat_map(|row| &rows[row * width..][..width]).copied().collect())
    }

    fn index_add(&self, copies: &Buffer, index: &[usize], total: usize, width: usize) -> Buffer {
        let mut rows = vec![0.0; total * width];
        for (at, value) in elements::<f64>(copies).iter().enumerate() {
            rows[index[at / width] * width + at % width] += value;
        }
        buffer(rows)
    }

    fn hold(&self, matrix: PackedMatrix) -> Matrix {
        Matrix::new(matrix, |packed| packed)
    }
}

//! Memory of the processor is memory of the process.

use std::ops::Range;

use super::Cpu;
use crate::{
    Buffer, Matrix, PackedMatrix,
    host::{buffer, elements, elements_mut, resize, take},
    ops::MemoryOps,
};

impl MemoryOps for Cpu {
    fn upload(&self, values: Vec<f32>) -> Buffer {
        buffer(values)
    }

    fn download(&self, buffer: Buffer) -> Vec<f32> {
        take(buffer)
    }

    fn write(&self, buffer: &mut Buffer, values: &[f32]) {
        resize::<f32>(buffer, values.len());
        elements_mut(buffer).copy_from_slice(values);
    }

    fn download_into(&self, buffer: &mut Buffer, values: &mut Vec<f32>) {
        let Some(memory) = buffer.memory_mut::<Vec<f32>>() else { return values.clear() };
        std::mem::swap(memory, values);
        let len = memory.len();
        buffer.set_len(len);
    }

    fn zeros(&self, len: usize) -> Buffer {
        buffer(vec![0.0_f32; len])
    }

    fn resize(&self, buffer: &mut Buffer, len: usize) {
        resize::<f32>(buffer, len);
    }

    fn copy(&self, from: &Buffer, range: Range<usize>) -> Buffer {
        buffer(elements::<f32>(from)[range].to_vec())
    }

    fn gather_rows(&self, rows: &mut Buffer, chosen: &[usize], width: usize) {
        let data = elements_mut::<f32>(rows);
        for (to, from) in chosen.iter().enumerate() {
            data.copy_within(from * width..(from + 1) * width, to * width);
        }
        resize::<f32>(rows, chosen.len() * width);
    }

    fn scatter_rows(&self, some: Buffer, chosen: &[usize], total: usize, width: usize) -> Buffer {
        let mut all = vec![0.0_f32; total * width];
        for (row, from) in chosen.iter().zip(elements::<f32>(&some).chunks_exact(width)) {
            all[row * width..][..width].copy_from_slice(from);
        }
        buffer(all)
    }

    fn index_select(&self, rows: &Buffer, index: &[usize], width: usize) -> Buffer {
        let rows = elements::<f32>(rows);
        let mut copies = Vec::with_capacity(index.len() * width);
        index.iter().for_each(|row| copies.extend_from_slice(&rows[row * width..][..width]));
        buffer(copies)
    }

    fn index_add(&self, copies: &Buffer, index: &[usize], total: usize, width: usize) -> Buffer {
        let mut rows = vec![0.0_f32; total * width];
        for (row, copy) in index.iter().zip(elements::<f32>(copies).chunks_exact(width)) {
            rows[row * width..][..width]
                .iter_mut()
                .zip(copy)
                .for_each(|(sum, value)| *sum += value);
        }
        buffer(rows)
    }

    fn hold(&self, matrix: PackedMatrix) -> Matrix {
        Matrix::new(matrix, |packed| packed)
    }
}

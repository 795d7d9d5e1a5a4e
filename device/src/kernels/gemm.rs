//! General f32 products, for LoRA gradients.

use super::{Product, Rows, layout::panel_bytes, simd::LANES};
use crate::{
    WeightFormat,
    linear::{Cpu, Line, Shared, aligned},
};

/// A view of a row-major f32 matrix, possibly transposed.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// A row-major `[rows, columns]` matrix.
    pub fn new(data: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(data.len(), rows * columns, "data of another shape");
        Self { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// Some neighbouring columns of a row-major matrix.
    pub fn columns(self, from: usize, count: usize) -> Self {
        assert!(self.column_stride == 1 && from + count <= self.columns, "columns outside of it");
        Self { data: &self.data[from.min(self.data.len())..], columns: count, ..self }
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }
}

/// Where a product goes: neighbouring columns of a row-major matrix.
#[derive(Debug)]
pub struct Target<'a> {
    data: &'a mut [f32],
    stride: usize,
    from: usize,
}

impl<'a> Target<'a> {
    /// Columns from `from` on, of a matrix with rows of `stride`.
    pub fn columns(data: &'a mut [f32], stride: usize, from: usize) -> Self {
        Self { data, stride, from }
    }
}

/// `c = a · b`, or `c += factor · a · b` with `add`; `c` is row-major `[a.rows, b.columns]`.
pub fn gemm(cpu: &Cpu, a: Matrix<'_>, b: Matrix<'_>, c: &mut [f32], add: Option<f32>) {
    assert_eq!(c.len(), a.rows * b.columns, "matrices do not fit together");
    gemm_into(cpu, a, b, Target::columns(c, b.columns, 0), add);
}

/// As [`gemm`], into some columns of a wider matrix.
pub fn gemm_into(cpu: &Cpu, a: Matrix<'_>, b: Matrix<'_>, c: Target<'_>, add: Option<f32>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(
        b.rows == k && c.from + n <= c.stride && c.data.len() >= m * c.stride,
        "matrices do not fit together"
    );
    let size = panel_bytes(WeightFormat::F32, k).max(1);
    let panels = n.div_ceil(LANES);
    // Few panels and many rows: divide the rows as well. A part packs its own panels.
    let groups = panels.div_ceil(4);
    let row_parts = (cpu.pool.threads() * 2).div_ceil(groups).clamp(1, m.div_ceil(32).max(1));
    let height = m.div_ceil(row_parts).next_multiple_of(8).max(1);
    let row_parts = m.div_ceil(height).max(1);
    let out = Shared::new(c.data);
    let body = |part: usize| {
        let (group, row_part) = (part / row_parts, part % row_parts);
        let (first, last) = (group * 4, (group * 4 + 4).min(panels));
        let rows = row_part * height..((row_part + 1) * height).min(m);
        let mut lines = aligned(size * (last - first));
        let bytes = bytemuck::cast_slice_mut::<Line, u8>(&mut lines);
        for (index, panel) in (first..last).zip(bytes.chunks_exact_mut(size)) {
            pack(b, index * LANES, bytemuck::cast_slice_mut(panel));
        }
        let product = Product {
            rows: Rows::F32 {
                data: a.data.as_ptr(),
                row_stride: a.row_stride,
                step: a.column_stride,
            },
            format: WeightFormat::F32,
            weights: bytes.as_ptr(),
            panel_bytes: size,
            inputs: k,
            outputs: n - first * LANES,
            // SAFETY: the first column of these panels lies inside of `c`.
            out: unsafe { out.ptr().add(c.from + first * LANES) },
            out_stride: c.stride,
            add,
        };
        // SAFETY: the shapes were checked above; parts have their own columns or rows.
        unsafe { cpu.kernels.product(&product, 0..last - first, rows) };
    };
    if m * n * k < 1 << 16 {
        (0..groups * row_parts).for_each(body);
    } else {
        cpu.pool.run(groups * row_parts, &body);
    }
}

/// Columns `from ..` of `b`, up to 16, as `[k][16]`; missing columns stay zero.
fn pack(b: Matrix<'_>, from: usize, out: &mut [f32]) {
    let count = (b.columns - from).min(LANES);
    if b.column_stride == 1 {
        for (k, group) in out.chunks_exact_mut(LANES).enumerate() {
            group[..count].copy_from_slice(&b.data[k * b.row_stride + from..][..count]);
        }
        return;
    }
    for lane in 0..count {
        let column = &b.data[(from + lane) * b.column_stride..];
        for (k, group) in out.chunks_exact_mut(LANES).enumerate() {
            group[lane] = column[k * b.row_stride];
        }
    }
}

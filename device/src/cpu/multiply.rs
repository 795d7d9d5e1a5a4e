//! General f32 products, for the gradients of adapters.

use super::{
    Cpu,
    kernels::{Product, Rows},
    shared::Shared,
};
use crate::{
    WeightFormat,
    host::{elements, elements_mut},
    layout::{LANES, panel_bytes},
    ops::{View, ViewMut},
    packed::{Line, aligned},
};

/// `c = a · b`, or `c += factor · a · b` with `add`; `c` is `[a.rows, b.columns]`.
pub(super) fn multiply(cpu: &Cpu, a: View<'_>, b: View<'_>, c: ViewMut<'_>, add: Option<f32>) {
    let (m, n, k) = (a.rows, b.columns, a.columns);
    let (left, right) = (inside(a), inside(b));
    let (from, stride) = (c.offset, c.stride);
    let out = elements_mut::<f32>(c.buffer);
    assert!(b.rows == k && n <= stride, "matrices do not fit together");
    if m == 0 || n == 0 {
        return;
    }
    assert!(from + (m - 1) * stride + n <= out.len(), "a matrix outside of its buffer");
    if k == 0 {
        // Sums of nothing: a batch of which no row is supervised.
        let rows = out[from..].chunks_mut(stride).take(m).filter(|_| add.is_none());
        return rows.for_each(|row| row[..n].fill(0.0));
    }
    let size = panel_bytes(WeightFormat::F32, k);
    let panels = n.div_ceil(LANES);
    // Few panels and many rows: divide the rows as well. A part packs its own panels.
    let groups = panels.div_ceil(4);
    let row_parts = (cpu.pool.threads() * 2).div_ceil(groups).clamp(1, m.div_ceil(32).max(1));
    let height = m.div_ceil(row_parts).next_multiple_of(8).max(1);
    let row_parts = m.div_ceil(height).max(1);
    let out = Shared::new(out);
    let body = |part: usize| {
        let (group, row_part) = (part / row_parts, part % row_parts);
        let (first, last) = (group * 4, (group * 4 + 4).min(panels));
        let rows = row_part * height..((row_part + 1) * height).min(m);
        let mut lines = aligned(size * (last - first));
        let bytes = bytemuck::cast_slice_mut::<Line, u8>(&mut lines);
        for (index, panel) in (first..last).zip(bytes.chunks_exact_mut(size)) {
            pack(b, right, index * LANES, bytemuck::cast_slice_mut(panel));
        }
        let product = Product {
            rows: Rows::F32 {
                data: left.as_ptr(),
                row_stride: a.row_stride,
                step: a.column_stride,
            },
            format: WeightFormat::F32,
            weights: bytes.as_ptr(),
            panel_bytes: size,
            inputs: k,
            outputs: n - first * LANES,
            // SAFETY: the first column of these panels lies inside of `c`.
            out: unsafe { out.ptr().add(from + first * LANES) },
            out_stride: stride,
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

/// The elements of a view, from its first on to its last.
fn inside(view: View<'_>) -> &[f32] {
    let last = |count: usize, stride: usize| count.saturating_sub(1) * stride;
    let length = match view.rows * view.columns {
        0 => 0,
        _ => last(view.rows, view.row_stride) + last(view.columns, view.column_stride) + 1,
    };
    &elements::<f32>(view.buffer)[view.offset..][..length]
}

/// Columns `from ..` of `b`, up to 16, as `[k][16]`; missing columns stay zero.
fn pack(b: View<'_>, data: &[f32], from: usize, out: &mut [f32]) {
    let count = (b.columns - from).min(LANES);
    if b.column_stride == 1 {
        for (k, group) in out.chunks_exact_mut(LANES).enumerate() {
            group[..count].copy_from_slice(&data[k * b.row_stride + from..][..count]);
        }
        return;
    }
    for lane in 0..count {
        let column = &data[(from + lane) * b.column_stride..];
        for (k, group) in out.chunks_exact_mut(LANES).enumerate() {
            group[lane] = column[k * b.row_stride];
        }
    }
}

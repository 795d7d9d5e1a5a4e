//! Operations on rows, divided among the threads.

use super::{Cpu, kernels::NormRow, shared::Shared};
use crate::{
    Buffer,
    host::{buffer, elements, elements_mut},
    ops::{Activation, Angles, Cap, Dropout, Norm, RowOps},
};

/// Elements below which a row operation is not worth a fork.
const FORK_ELEMENTS: usize = 1 << 12;

/// Runs `body` for each row of `out`, `width` elements long.
pub(super) fn each_row(
    cpu: &Cpu,
    out: &mut [f32],
    width: usize,
    body: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let rows = out.len() / width;
    let shared = Shared::new(out);
    cpu.pool.ranges(rows, FORK_ELEMENTS.div_ceil(width), &|range| {
        for row in range {
            // SAFETY: each row is taken once.
            body(row, unsafe { shared.part(row * width, width) });
        }
    });
}

impl RowOps for Cpu {
    fn norm(&self, norm: Norm<'_>, x: &Buffer, out: &mut Buffer, inverse: Option<&mut Buffer>) {
        let (x, weight) = (elements::<f32>(x), elements::<f32>(norm.weight));
        let (width, out) = (weight.len(), elements_mut::<f32>(out));
        let mut roots = vec![0.0_f32; if inverse.is_some() { x.len() / width } else { 0 }];
        let shared = (!roots.is_empty()).then(|| Shared::new(&mut roots));
        each_row(self, out, width, &|row, out| {
            let root = self.kernels.rms_norm(&x[row * width..][..width], weight, norm.eps, out);
            if let Some(shared) = shared {
                // SAFETY: each row is taken once.
                unsafe { shared.part(row, 1)[0] = root };
            }
        });
        if let Some(inverse) = inverse {
            *inverse = buffer(roots);
        }
    }

    fn norm_backward(
        &self,
        norm: Norm<'_>,
        (x, inverse): (&Buffer, &Buffer),
        gradient: &Buffer,
        dx: &mut Buffer,
    ) {
        let (x, gradient) = (elements::<f32>(x), elements::<f32>(gradient));
        let (weight, inverse) = (elements::<f32>(norm.weight), elements::<f32>(inverse));
        let width = weight.len();
        each_row(self, elements_mut(dx), width, &|row, dx| {
            let x = &x[row * width..][..width];
            let gradient = &gradient[row * width..][..width];
            self.kernels
                .rms_norm_backward(NormRow { x, weight, inverse: inverse[row], gradient }, dx);
        });
    }

    fn rotate(&self, angles: &Angles, head_dim: usize, rows: &mut Buffer, width: usize) {
        let (cos, sin) = (elements(&angles.cos), elements(&angles.sin));
        rotate(self, (cos, sin), head_dim, elements_mut(rows), width);
    }

    fn rotate_backward(&self, angles: &Angles, head_dim: usize, rows: &mut Buffer, width: usize) {
        let negative: Vec<f32> = elements::<f32>(&angles.sin).iter().map(|s| -s).collect();
        // A factor on cosines and sines stays one: the transposed matrix has it as well.
        rotate(self, (elements(&angles.cos), &negative), head_dim, elements_mut(rows), width);
    }

    fn gate(
        &self,
        activation: Activation,
        (gate, up): (&Buffer, &Buffer),
        out: &mut Buffer,
        width: usize,
    ) {
        let (gate, up) = (elements::<f32>(gate), elements::<f32>(up));
        each_row(self, elements_mut(out), width, &|row, out| {
            let at = row * width..(row + 1) * width;
            self.kernels.gated(activation, &gate[at.clone()], &up[at], out);
        });
    }

    fn gate_backward(
        &self,
        activation: Activation,
        (gate, up): (&Buffer, &Buffer),
        d_gate: &mut Buffer,
        width: usize,
    ) -> Buffer {
        let (gate, up) = (elements::<f32>(gate), elements::<f32>(up));
        let mut d_up = vec![0.0; gate.len()];
        assert_eq!(d_gate.len(), d_up.len(), "gradients of another shape");
        let shared = Shared::new(&mut d_up);
        each_row(self, elements_mut(d_gate), width, &|row, d_gate| {
            let at = row * width..(row + 1) * width;
            // SAFETY: each row is taken once, and there are as many as of `d_gate`.
            let d_up = unsafe { shared.part(row * width, width) };
            let row = (&gate[at.clone()], &up[at]);
            self.kernels.gated_backward(activation, row, d_gate, d_up);
        });
        buffer(d_up)
    }

    fn cap(&self, cap: Cap, rows: &mut Buffer, width: usize) {
        each_row(self, elements_mut(rows), width, &|_, row| self.kernels.soft_cap(row, cap));
    }

    fn cap_backward(&self, cap: Cap, capped: &Buffer, gradient: &mut Buffer, width: usize) {
        let capped = elements::<f32>(capped);
        each_row(self, elements_mut(gradient), width, &|row, gradient| {
            self.kernels.soft_cap_backward(&capped[row * width..][..width], gradient, cap);
        });
    }

    fn add_scaled(&self, to: &mut Buffer, from: &Buffer, factor: f32, width: usize) {
        let from = elements::<f32>(from);
        each_row(self, elements_mut(to), width, &|row, to| {
            self.kernels.add_scaled(to, &from[row * width..][..width], factor);
        });
    }

    fn scale(&self, rows: &mut Buffer, factor: f32) {
        elements_mut::<f32>(rows).iter_mut().for_each(|value| *value *= factor);
    }

    fn dropout(&self, dropout: Dropout, x: &Buffer, width: usize) -> Buffer {
        let mut out = elements::<f32>(x).to_vec();
        let factor = dropout.scale();
        each_row(self, &mut out, width, &|row, out| {
            let first = (row * width) as u64;
            for (at, value) in (first..).zip(out) {
                *value = if dropout.drops(at) { 0.0 } else { *value * factor };
            }
        });
        buffer(out)
    }
}

fn rotate(
    cpu: &Cpu,
    (cos, sin): (&[f32], &[f32]),
    head_dim: usize,
    data: &mut [f32],
    width: usize,
) {
    let half = cos.len() / (data.len() / width).max(1);
    each_row(cpu, data, width, &|row, data| {
        let at = row * half..(row + 1) * half;
        for head in data.chunks_exact_mut(head_dim) {
            rotate_head(head, &cos[at.clone()], &sin[at.clone()]);
        }
    });
}

/// Rotates the first elements of one head, those of the first half with those of the second.
fn rotate_head(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    let (low, high) = head[..2 * half].split_at_mut(half);
    for (((a, b), c), s) in low.iter_mut().zip(high).zip(cos).zip(sin) {
        let (x, y) = (*a, *b);
        *a = x * c - y * s;
        *b = y * c + x * s;
    }
}

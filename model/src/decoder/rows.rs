//! Operations on rows, divided among the threads: norm, rotation, gate, caps, and the choice of some rows. Forward and
//! backward stand side by side.

use crate::config::rope::Angles;
use hone_device::{
    kernels::{cap::Cap, gate::Activation, norm::NormRow},
    linear::{Cpu, Shared},
};

/// Elements below which a row operation is not worth a fork.
const FORK_ELEMENTS: usize = 1 << 12;

/// Runs `body` for each row of `out`, `width` elements long.
pub(crate) fn each_row(
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

/// Normed rows, and what the way back reads.
#[derive(Debug)]
pub(crate) struct Normed {
    /// The rows.
    pub(crate) rows: Vec<f32>,
    /// `1 / sqrt(mean(x²) + eps)` of each.
    pub(crate) inverse: Vec<f32>,
}

/// The weight of an RMSNorm, and what is added to the mean square.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm<'a> {
    /// One factor an element.
    pub(crate) weight: &'a [f32],
    /// Keeps the root away from zero.
    pub(crate) eps: f32,
}

impl Norm<'_> {
    /// RMSNorm of all rows.
    pub(crate) fn forward(self, cpu: &Cpu, x: &[f32], out: &mut [f32]) {
        let width = self.weight.len();
        each_row(cpu, out, width, &|row, out| {
            cpu.kernels.rms_norm(&x[row * width..][..width], self.weight, self.eps, out);
        });
    }

    /// The same with the inverse root of each row, which the backward reads.
    pub(crate) fn with_inverse(self, cpu: &Cpu, x: &[f32]) -> Normed {
        let width = self.weight.len();
        let mut normed = vec![0.0; x.len()];
        let mut inverse = vec![0.0; x.len() / width];
        let shared = Shared::new(&mut inverse);
        each_row(cpu, &mut normed, width, &|row, out| {
            let x = &x[row * width..][..width];
            let root = cpu.kernels.rms_norm(x, self.weight, self.eps, out);
            // SAFETY: each row is taken once.
            unsafe { shared.part(row, 1)[0] = root };
        });
        Normed { rows: normed, inverse }
    }

    /// Adds the gradient of `x` to `dx`, from that of the result.
    pub(crate) fn backward(
        self,
        cpu: &Cpu,
        (x, inverse): (&[f32], &[f32]),
        gradient: &[f32],
        dx: &mut [f32],
    ) {
        let width = self.weight.len();
        each_row(cpu, dx, width, &|row, dx| {
            let x = &x[row * width..][..width];
            let gradient = &gradient[row * width..][..width];
            let norm = NormRow { x, weight: self.weight, inverse: inverse[row], gradient };
            cpu.kernels.rms_norm_backward(norm, dx);
        });
    }
}

/// Rotates the heads of rows of `width` by their positions.
pub(crate) fn rotate(cpu: &Cpu, angles: &Angles, head_dim: usize, data: &mut [f32], width: usize) {
    rotate_by(cpu, (&angles.cos, &angles.sin), head_dim, data, width);
}

/// The way back of [`rotate`], for gradients.
pub(crate) fn rotate_backward(
    cpu: &Cpu,
    angles: &Angles,
    head_dim: usize,
    data: &mut [f32],
    width: usize,
) {
    let negative: Vec<f32> = angles.sin.iter().map(|s| -s).collect();
    // A factor on cosines and sines stays one: the transposed matrix has it as well.
    rotate_by(cpu, (&angles.cos, &negative), head_dim, data, width);
}

fn rotate_by(
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

/// `out = activation(gate) * up` for rows of `width`.
pub(crate) fn gate(
    cpu: &Cpu,
    activation: Activation,
    (gate, up): (&[f32], &[f32]),
    out: &mut [f32],
    width: usize,
) {
    each_row(cpu, out, width, &|row, out| {
        let at = row * width..(row + 1) * width;
        cpu.kernels.gated(activation, &gate[at.clone()], &up[at], out);
    });
}

/// Gradients of [`gate`]: reads that of the product from `d_gate`, leaves the gate's there and returns that of `up`.
pub(crate) fn gate_backward(
    cpu: &Cpu,
    activation: Activation,
    (gate, up): (&[f32], &[f32]),
    d_gate: &mut [f32],
    width: usize,
) -> Vec<f32> {
    let mut d_up = vec![0.0; up.len()];
    let shared = Shared::new(&mut d_up);
    each_row(cpu, d_gate, width, &|row, d_gate| {
        let at = row * width..(row + 1) * width;
        // SAFETY: each row is taken once.
        let d_up = unsafe { shared.part(row * width, width) };
        let row = (&gate[at.clone()], &up[at]);
        cpu.kernels.gated_backward(activation, row, d_gate, d_up);
    });
    d_up
}

/// Caps rows of logits in place.
pub(crate) fn cap(cpu: &Cpu, cap: Cap, logits: &mut [f32], width: usize) {
    each_row(cpu, logits, width, &|_, row| cpu.kernels.soft_cap(row, cap));
}

/// `to += factor * from`, rows of `width`.
pub(crate) fn add_scaled(cpu: &Cpu, to: &mut [f32], from: &[f32], factor: f32, width: usize) {
    each_row(cpu, to, width, &|row, to| {
        cpu.kernels.add_scaled(to, &from[row * width..][..width], factor);
    });
}

/// Keeps some rows of `width` in place, ascending; `None` is all.
pub(crate) fn keep_rows(data: &mut Vec<f32>, rows: Option<&[usize]>, width: usize) {
    let Some(rows) = rows else { return };
    for (to, from) in rows.iter().enumerate() {
        data.copy_within(from * width..(from + 1) * width, to * width);
    }
    data.truncate(rows.len() * width);
}

/// The way back of [`keep_rows`]: gradients of `total` rows, zero for those that were not chosen.
pub(crate) fn scatter(
    some: Vec<f32>,
    rows: Option<&[usize]>,
    total: usize,
    width: usize,
) -> Vec<f32> {
    let Some(rows) = rows else { return some };
    let mut all = vec![0.0; total * width];
    for (row, from) in rows.iter().zip(some.chunks_exact(width)) {
        all[row * width..][..width].copy_from_slice(from);
    }
    all
}

//! Operations on rows, from their definitions.

use std::f64::consts::PI;

use super::Reference;
use crate::{
    Buffer,
    host::{buffer, elements, elements_mut},
    ops::{Activation, Angles, Cap, Dropout, Norm, RowOps},
};

/// An activation and its slope.
fn activation(kind: Activation, x: f64) -> (f64, f64) {
    match kind {
        Activation::Silu => {
            let sigmoid = 1.0 / (1.0 + (-x).exp());
            (x * sigmoid, sigmoid * (1.0 + x * (1.0 - sigmoid)))
        }
        Activation::GeluTanh => {
            let root = (2.0 / PI).sqrt();
            let tanh = (root * (x + 0.044_715 * x.powi(3))).tanh();
            let inner_slope = root * (1.0 + 3.0 * 0.044_715 * x * x);
            let slope = 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner_slope;
            (0.5 * x * (1.0 + tanh), slope)
        }
    }
}

/// `most · tanh(scale · x / most)`.
pub(super) fn soft_cap(cap: Cap, x: f64) -> f64 {
    let (x, most) = (f64::from(cap.scale) * x, f64::from(cap.most));
    if most.is_finite() { most * (x / most).tanh() } else { x }
}

/// The slope of [`soft_cap`] where it has the value `capped`.
pub(super) fn soft_cap_slope(cap: Cap, capped: f64) -> f64 {
    f64::from(cap.scale) * (1.0 - (capped / f64::from(cap.most)).powi(2))
}

/// Turns pairs of elements by their angles, one way or back.
fn rotate(angles: &Angles, head_dim: usize, rows: &mut Buffer, width: usize, direction: f64) {
    let rows = elements_mut::<f64>(rows);
    let (cos, sin) = (elements::<f64>(&angles.cos), elements::<f64>(&angles.sin));
    let half = cos.len() / (rows.len() / width).max(1);
    for (row, values) in rows.chunks_exact_mut(width).enumerate() {
        for head in values.chunks_exact_mut(head_dim) {
            for i in 0..half {
                let (cos, sin) = (cos[row * half + i], direction * sin[row * half + i]);
                let (x, y) = (head[i], head[i + half]);
                head[i] = x * cos - y * sin;
                head[i + half] = y * cos + x * sin;
            }
        }
    }
}

impl RowOps for Reference {
    fn norm(&self, norm: Norm<'_>, x: &Buffer, out: &mut Buffer, inverse: Option<&mut Buffer>) {
        let (x, weight) = (elements::<f64>(x), elements::<f64>(norm.weight));
        let out = elements_mut::<f64>(out);
        assert_eq!(x.len(), out.len(), "rows of another shape");
        let mut roots = Vec::new();
        let width = weight.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = x.iter().map(|x| x * x).sum::<f64>() / width as f64;
            let root = 1.0 / (mean + f64::from(norm.eps)).sqrt();
            for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
                *out = x * root * weight;
            }
            roots.push(root);
        }
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
        let (x, gradient) = (elements::<f64>(x), elements::<f64>(gradient));
        let (weight, inverse) = (elements::<f64>(norm.weight), elements::<f64>(inverse));
        let width = weight.len();
        for (row, dx) in elements_mut::<f64>(dx).chunks_exact_mut(width).enumerate() {
            let at = row * width..(row + 1) * width;
            let (x, gradient, root) = (&x[at.clone()], &gradient[at], inverse[row]);
            let along: f64 = (0..width).map(|i| gradient[i] * weight[i] * x[i]).sum();
            for i in 0..width {
                let straight = gradient[i] * weight[i] * root;
                dx[i] += straight - x[i] * along * root.powi(3) / width as f64;
            }
        }
    }

    fn rotate(&self, angles: &Angles, head_dim: usize, rows: &mut Buffer, width: usize) {
        rotate(angles, head_dim, rows, width, 1.0);
    }

    fn rotate_backward(&self, angles: &Angles, head_dim: usize, rows: &mut Buffer, width: usize) {
        rotate(angles, head_dim, rows, width, -1.0);
    }

    fn gate(
        &self,
        kind: Activation,
        (gate, up): (&Buffer, &Buffer),
        out: &mut Buffer,
        _width: usize,
    ) {
        let (gate, up) = (elements::<f64>(gate), elements::<f64>(up));
        for (i, out) in elements_mut::<f64>(out).iter_mut().enumerate() {
            *out = activation(kind, gate[i]).0 * up[i];
        }
    }

    fn gate_backward(
        &self,
        kind: Activation,
        (gate, up): (&Buffer, &Buffer),
        d_gate: &mut Buffer,
        _width: usize,
    ) -> Buffer {
        let (gate, up) = (elements::<f64>(gate), elements::<f64>(up));
        let mut d_up = vec![0.0; gate.len()];
        for (i, d_gate) in elements_mut::<f64>(d_gate).iter_mut().enumerate() {
            let (value, slope) = activation(kind, gate[i]);
            d_up[i] = *d_gate * value;
            *d_gate *= up[i] * slope;
        }
        buffer(d_up)
    }

    fn cap(&self, cap: Cap, rows: &mut Buffer, _width: usize) {
        elements_mut::<f64>(rows).iter_mut().for_each(|x| *x = soft_cap(cap, *x));
    }

    fn cap_backward(&self, cap: Cap, capped: &Buffer, gradient: &mut Buffer, _width: usize) {
        let capped = elements::<f64>(capped);
        for (i, gradient) in elements_mut::<f64>(gradient).iter_mut().enumerate() {
            *gradient *= soft_cap_slope(cap, capped[i]);
        }
    }

    fn add_scaled(&self, to: &mut Buffer, from: &Buffer, factor: f32, _width: usize) {
        let from = elements::<f64>(from);
        for (i, to) in elements_mut::<f64>(to).iter_mut().enumerate() {
            *to += f64::from(factor) * from[i];
        }
    }

    fn scale(&self, rows: &mut Buffer, factor: f32) {
        elements_mut::<f64>(rows).iter_mut().for_each(|value| *value *= f64::from(factor));
    }

    fn dropout(&self, dropout: Dropout, x: &Buffer, _width: usize) -> Buffer {
        let kept = 1.0 / (1.0 - f64::from(dropout.rate));
        let factor = |at: usize| if dropout.drops(at as u64) { 0.0 } else { kept };
        let values = elements::<f64>(x).iter().enumerate();
        buffer(values.map(|(at, value)| value * factor(at)).collect())
    }
}

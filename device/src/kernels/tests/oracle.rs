//! Every row operation in plain f64, written from its definition: what the kernels of all sets are held against.

use super::super::{attention::Scores, cap::Cap, gate::Activation};

/// `activation(x)`.
pub(super) fn activation(kind: Activation, x: f64) -> f64 {
    match kind {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::GeluTanh => {
            let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + inner.tanh())
        }
    }
}

/// `cap · tanh(scale · x / cap)`.
pub(super) fn soft_cap(cap: Cap, x: f64) -> f64 {
    let (x, most) = (x * f64::from(cap.scale), f64::from(cap.most));
    if most.is_finite() { most * (x / most).tanh() } else { x }
}

/// RMSNorm of one row.
pub(super) fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let square = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + eps;
    x.iter().zip(weight).map(|(x, w)| x / square.sqrt() * w).collect()
}

/// One sequence and one key/value head: `queries` are `[rows][group][head_dim]`, keys and values `[positions][head_dim]`;
/// row 0 stands at position `start`.
#[derive(Clone)]
pub(super) struct Heads {
    pub(super) queries: Vec<f64>,
    pub(super) keys: Vec<f64>,
    pub(super) values: Vec<f64>,
    pub(super) group: usize,
    pub(super) head_dim: usize,
    pub(super) start: usize,
}

impl Heads {
    /// The attention of all rows and heads.
    pub(super) fn attend(&self, scores: Scores) -> Vec<f64> {
        let dim = self.head_dim;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut out = Vec::with_capacity(self.queries.len());
        for (index, query) in self.queries.chunks_exact(dim).enumerate() {
            let position = self.start + index / self.group;
            let first = (position + 1).saturating_sub(scores.window);
            let cap = Cap { scale: scores.scale, most: scores.cap.unwrap_or(f32::INFINITY) };
            let weights: Vec<f64> = (first..=position)
                .map(|at| soft_cap(cap, dot(query, &self.keys[at * dim..][..dim])).exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            for d in 0..dim {
                let seen = weights.iter().zip(first..);
                let mixed: f64 = seen.map(|(w, at)| w * self.values[at * dim + d]).sum();
                out.push(mixed / sum);
            }
        }
        out
    }
}

/// The gradient of `f` at `x`, by central differences.
pub(super) fn gradient(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let step = 1e-5;
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let kept = x[i];
            x[i] = kept + step;
            let above = f(&x);
            x[i] = kept - step;
            let below = f(&x);
            x[i] = kept;
            (above - below) / (2.0 * step)
        })
        .collect()
}

//! One decoder layer with its adapter: forward as it serves, and the hand-written backward.
//!
//! The base carries no gradient: of each linear layer only the product with the transposed weight
//! is needed. What the backward reads is kept by the forward or computed again from the layer's
//! input; both ways give the same bits.

use crate::ModelConfig;
use crate::architecture::Module;
use crate::kernels::Attend;
use crate::kernels::simd::LANES;
use crate::layer::Layer as Weights;
use crate::linear::{Activations, Cpu, Linear, Shared, forward_all};
use crate::rope::{Angles, rotate};

use super::adapt::Adapted;
use super::attention::{AttendBackward, transpose};
use super::batch::TrainBatch;
use super::dropout::Dropout;
use super::kernels::{NormRow, RowKernels};
use super::lora::LoraLayout;

/// A layer, its adapter's layout and the batch that passes through.
pub(super) struct Layer<'a> {
    pub(super) cpu: &'a Cpu,
    pub(super) kernels: &'static RowKernels,
    pub(super) config: &'a ModelConfig,
    pub(super) weights: &'a Weights,
    pub(super) layout: &'a LoraLayout,
    pub(super) batch: &'a TrainBatch,
    pub(super) angles: &'a Angles,
    /// `None` outside of training, and with a rate of 0.
    pub(super) dropout: Option<Dropout>,
    /// Rows that go on after attention, ascending; `None` is all. The last layer needs only those
    /// that the loss is taken on.
    pub(super) rows_after: Option<&'a [usize]>,
}

/// What the backward reads beside the layer's input; rows of the batch, row-major.
#[derive(Debug, Default)]
pub(super) struct Kept {
    attention_inverse: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    values: Vec<f32>,
    attended: Vec<f32>,
    middle: Vec<f32>,
    mlp_inverse: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    /// Input of each group times its `A`.
    narrow: [Vec<f32>; 4],
}

impl Kept {
    /// Floats that are kept for each token.
    pub(super) fn floats_per_token(config: &ModelConfig, layout: &LoraLayout) -> usize {
        let narrow: usize = (0..4).map(|g| layout.group(g).slots.len() * layout.rank()).sum();
        let (q, kv) = (config.q_width(), config.kv_width());
        2 * q + 2 * kv + config.hidden_size + 2 * config.intermediate_size + narrow + 2
    }
}

impl Layer<'_> {
    fn linear(&self, module: Module) -> &Linear {
        self.weights.module(module)
    }

    /// The layer's result for `x` (`[rows, hidden]`), and what its backward reads. With
    /// [`Layer::rows_after`] the result has only those rows.
    pub(super) fn forward(&self, x: &[f32], lora: &[f32]) -> (Vec<f32>, Kept) {
        let rows = self.batch.tokens();
        let (q, kv) = (self.config.q_width(), self.config.kv_width());
        let inner = self.config.intermediate_size;
        let mut activations = Activations::default();
        let mut kept = Kept {
            queries: vec![0.0; rows * q],
            keys: vec![0.0; rows * kv],
            values: vec![0.0; rows * kv],
            ..Kept::default()
        };

        let (normed, inverse) = self.norm(x, &self.weights.attn_norm);
        kept.attention_inverse = inverse;
        let mut out = [
            (self.linear(Module::Q), &mut kept.queries[..]),
            (self.linear(Module::K), &mut kept.keys[..]),
            (self.linear(Module::V), &mut kept.values[..]),
        ];
        forward_all(self.cpu, &mut activations, &normed, &mut out, None);
        let results = [&mut kept.queries[..], &mut kept.keys[..], &mut kept.values[..]];
        kept.narrow[0] = self.adapt(0, &normed, lora, results);
        self.rotate_all(&mut kept.queries, false);
        self.rotate_all(&mut kept.keys, false);

        kept.attended = self.after(self.attend(&kept), q);
        kept.middle = self.after(x.to_vec(), self.config.hidden_size);
        let o = self.linear(Module::O);
        o.forward(self.cpu, &mut activations, &kept.attended, &mut kept.middle, Some(1.0));
        kept.narrow[1] = self.adapt(1, &kept.attended, lora, [&mut kept.middle[..]]);

        let (normed, inverse) = self.norm(&kept.middle, &self.weights.mlp_norm);
        kept.mlp_inverse = inverse;
        let rows = kept.mlp_inverse.len();
        kept.gate = vec![0.0; rows * inner];
        kept.up = vec![0.0; rows * inner];
        let mut out = [
            (self.linear(Module::Gate), &mut kept.gate[..]),
            (self.linear(Module::Up), &mut kept.up[..]),
        ];
        forward_all(self.cpu, &mut activations, &normed, &mut out, None);
        kept.narrow[2] = self.adapt(2, &normed, lora, [&mut kept.gate[..], &mut kept.up[..]]);

        let product = self.gated(&kept);
        let mut y = kept.middle.clone();
        let down = self.linear(Module::Down);
        down.forward(self.cpu, &mut activations, &product, &mut y, Some(1.0));
        kept.narrow[3] = self.adapt(3, &product, lora, [&mut y[..]]);
        (y, kept)
    }

    /// Gradients of the layer's input and of its adapter, from that of its result. The input's is
    /// left out with `input` false: nothing below the first layer learns.
    pub(super) fn backward(
        &self,
        x: &[f32],
        lora: &[f32],
        kept: &Kept,
        dy: &[f32],
        input: bool,
    ) -> (Option<Vec<f32>>, Vec<f32>) {
        let rows = kept.mlp_inverse.len();
        let hidden = self.config.hidden_size;
        let (q, kv) = (self.config.q_width(), self.config.kv_width());
        let inner = self.config.intermediate_size;
        let mut activations = Activations::default();
        let mut d_lora = vec![0.0; self.layout.len()];
        let mut back = |module: Module, dy: &[f32], dx: &mut [f32], add: bool| {
            let add = add.then_some(1.0);
            self.linear(module).backward_input(self.cpu, &mut activations, dy, dx, add);
        };

        // y = middle + down(silu(gate) * up)
        let product = self.gated(kept);
        let mut d_gate = vec![0.0; rows * inner];
        back(Module::Down, dy, &mut d_gate, false);
        let pass = Adapted { group: 3, x: &product, narrow: &kept.narrow[3], lora };
        self.adapt_backward(pass, &[dy], Some(&mut d_gate), &mut d_lora);
        let mut d_up = vec![0.0; rows * inner];
        self.ungate(kept, &mut d_gate, &mut d_up);

        // gate and up read the norm of the middle
        let (normed, _) = self.norm(&kept.middle, &self.weights.mlp_norm);
        let mut d_normed = vec![0.0; rows * hidden];
        back(Module::Gate, &d_gate, &mut d_normed, false);
        back(Module::Up, &d_up, &mut d_normed, true);
        let pass = Adapted { group: 2, x: &normed, narrow: &kept.narrow[2], lora };
        self.adapt_backward(pass, &[&d_gate, &d_up], Some(&mut d_normed), &mut d_lora);
        let mut d_middle = dy.to_vec();
        let weight = &self.weights.mlp_norm;
        self.unnorm(&kept.middle, weight, &kept.mlp_inverse, &d_normed, &mut d_middle);

        // middle = x + o(attention)
        let mut d_attended = vec![0.0; rows * q];
        back(Module::O, &d_middle, &mut d_attended, false);
        let pass = Adapted { group: 1, x: &kept.attended, narrow: &kept.narrow[1], lora };
        self.adapt_backward(pass, &[&d_middle], Some(&mut d_attended), &mut d_lora);

        let rows = self.batch.tokens();
        let d_attended = self.before(d_attended, q);
        let mut d_middle = self.before(d_middle, hidden);
        let (mut d_q, mut d_k) = (vec![0.0; rows * q], vec![0.0; rows * kv]);
        let mut d_v = vec![0.0; rows * kv];
        self.unattend(kept, &d_attended, [&mut d_q, &mut d_k, &mut d_v]);
        self.rotate_all(&mut d_q, true);
        self.rotate_all(&mut d_k, true);

        // q, k and v read the norm of the input
        let (normed, _) = self.norm(x, &self.weights.attn_norm);
        let pass = Adapted { group: 0, x: &normed, narrow: &kept.narrow[0], lora };
        if !input {
            self.adapt_backward(pass, &[&d_q, &d_k, &d_v], None, &mut d_lora);
            return (None, d_lora);
        }
        d_normed.resize(rows * hidden, 0.0);
        back(Module::Q, &d_q, &mut d_normed, false);
        back(Module::K, &d_k, &mut d_normed, true);
        back(Module::V, &d_v, &mut d_normed, true);
        self.adapt_backward(pass, &[&d_q, &d_k, &d_v], Some(&mut d_normed), &mut d_lora);
        let weight = &self.weights.attn_norm;
        self.unnorm(x, weight, &kept.attention_inverse, &d_normed, &mut d_middle);
        (Some(d_middle), d_lora)
    }

    /// The rows that go on after attention.
    fn after(&self, all: Vec<f32>, width: usize) -> Vec<f32> {
        let Some(rows) = self.rows_after else { return all };
        let mut some = vec![0.0; rows.len() * width];
        for (row, to) in rows.iter().zip(some.chunks_exact_mut(width)) {
            to.copy_from_slice(&all[row * width..][..width]);
        }
        some
    }

    /// The way back of [`Layer::after`]: gradients of all rows, zero for those that did not go on.
    fn before(&self, some: Vec<f32>, width: usize) -> Vec<f32> {
        let Some(rows) = self.rows_after else { return some };
        let mut all = vec![0.0; self.batch.tokens() * width];
        for (row, from) in rows.iter().zip(some.chunks_exact(width)) {
            all[row * width..][..width].copy_from_slice(from);
        }
        all
    }

    /// Runs `body` for each row of `out`.
    pub(super) fn each_row(
        &self,
        out: &mut [f32],
        width: usize,
        body: &(dyn Fn(usize, &mut [f32]) + Sync),
    ) {
        each_row(self.cpu, out, width, body);
    }

    fn norm(&self, x: &[f32], weight: &[f32]) -> (Vec<f32>, Vec<f32>) {
        norm(self.cpu, x, weight, self.config.rms_norm_eps)
    }

    fn unnorm(&self, x: &[f32], weight: &[f32], inverse: &[f32], gradient: &[f32], dx: &mut [f32]) {
        let width = weight.len();
        self.each_row(dx, width, &|row, dx| {
            let x = &x[row * width..][..width];
            let gradient = &gradient[row * width..][..width];
            let inverse = inverse[row];
            self.kernels.norm_backward(NormRow { x, weight, inverse, gradient }, dx);
        });
    }

    fn gated(&self, kept: &Kept) -> Vec<f32> {
        let inner = self.config.intermediate_size;
        let mut product = vec![0.0; kept.gate.len()];
        self.each_row(&mut product, inner, &|row, out| {
            let at = row * inner..(row + 1) * inner;
            self.cpu.kernels.silu_mul(&kept.gate[at.clone()], &kept.up[at], out);
        });
        product
    }

    fn ungate(&self, kept: &Kept, d_gate: &mut [f32], d_up: &mut [f32]) {
        let inner = self.config.intermediate_size;
        let shared = Shared::new(d_up);
        self.each_row(d_gate, inner, &|row, d_gate| {
            let at = row * inner..(row + 1) * inner;
            // SAFETY: each row is taken once.
            let d_up = unsafe { shared.part(row * inner, inner) };
            self.kernels.silu_backward(&kept.gate[at.clone()], &kept.up[at], d_gate, d_up);
        });
    }

    /// Rotates all heads by their positions, or back.
    fn rotate_all(&self, heads: &mut [f32], back: bool) {
        let half = self.config.head_dim / 2;
        let width = heads.len() / self.batch.tokens().max(1);
        let negative: Vec<f32>;
        let sines = if back {
            negative = self.angles.sin.iter().map(|s| -s).collect();
            &negative
        } else {
            &self.angles.sin
        };
        self.each_row(heads, width, &|row, out| {
            let at = row * half..(row + 1) * half;
            rotate(out, &self.angles.cos[at.clone()], &sines[at]);
        });
    }

    /// Each sequence and key/value head as a part of its own.
    fn each_head(&self, body: &(dyn Fn((usize, usize), usize) + Sync)) {
        let heads = self.config.num_kv_heads;
        let sequences: Vec<_> = self.batch.sequences().collect();
        self.cpu.pool.run(sequences.len() * heads, &|part| {
            body(sequences[part / heads], part % heads);
        });
    }

    fn attend(&self, kept: &Kept) -> Vec<f32> {
        let (q, kv, dim) = (self.config.q_width(), self.config.kv_width(), self.config.head_dim);
        let group = self.config.num_heads / self.config.num_kv_heads;
        let mut attended = vec![0.0; kept.queries.len()];
        let out = Shared::new(&mut attended);
        self.each_head(&|(first, length), head| {
            let mut keys = vec![0.0; length.next_multiple_of(LANES) * dim];
            let at = first * q + head * group * dim;
            // SAFETY: the sequence's rows lie inside of the batch, and each part has its own heads.
            unsafe {
                let rows = kept.keys.as_ptr().add(first * kv + head * dim);
                transpose(rows, kv, length, dim, &mut keys);
                let job = Attend {
                    queries: kept.queries.as_ptr().add(at),
                    out: out.ptr().add(at),
                    row_stride: q,
                    rows: length,
                    group,
                    head_dim: dim,
                    keys: keys.as_ptr(),
                    key_stride: dim * LANES,
                    values: kept.values.as_ptr().add(first * kv + head * dim),
                    value_stride: kv,
                    length: 1,
                };
                self.cpu.kernels.attend(&job, &mut Vec::new());
            }
        });
        attended
    }

    fn unattend(&self, kept: &Kept, d_out: &[f32], gradients: [&mut [f32]; 3]) {
        let (q, kv, dim) = (self.config.q_width(), self.config.kv_width(), self.config.head_dim);
        let group = self.config.num_heads / self.config.num_kv_heads;
        let [d_q, d_k, d_v] = gradients.map(Shared::new);
        self.each_head(&|(first, length), head| {
            let at = first * q + head * group * dim;
            let key = first * kv + head * dim;
            // SAFETY: the sequence's rows lie inside of the batch, and each part has its own heads.
            unsafe {
                let job = AttendBackward {
                    queries: kept.queries.as_ptr().add(at),
                    d_out: d_out.as_ptr().add(at),
                    d_queries: d_q.ptr().add(at),
                    query_stride: q,
                    keys: kept.keys.as_ptr().add(key),
                    values: kept.values.as_ptr().add(key),
                    d_keys: d_k.ptr().add(key),
                    d_values: d_v.ptr().add(key),
                    key_stride: kv,
                    group,
                    head_dim: dim,
                    length,
                };
                self.kernels.attend_backward(&job, &mut Vec::new());
            }
        });
    }
}

/// Runs `body` for each row of `out`, `width` elements long.
pub(super) fn each_row(
    cpu: &Cpu,
    out: &mut [f32],
    width: usize,
    body: &(dyn Fn(usize, &mut [f32]) + Sync),
) {
    let rows = out.len() / width;
    let shared = Shared::new(out);
    cpu.pool.ranges(rows, (1_usize << 14).div_ceil(width), &|range| {
        for row in range {
            // SAFETY: each row is taken once.
            body(row, unsafe { shared.part(row * width, width) });
        }
    });
}

/// RMSNorm of all rows, and the inverse root of each.
pub(super) fn norm(cpu: &Cpu, x: &[f32], weight: &[f32], eps: f32) -> (Vec<f32>, Vec<f32>) {
    let width = weight.len();
    let mut normed = vec![0.0; x.len()];
    let mut inverse = vec![0.0; x.len() / width];
    let shared = Shared::new(&mut inverse);
    each_row(cpu, &mut normed, width, &|row, out| {
        let root = cpu.kernels.rms_norm(&x[row * width..][..width], weight, eps, out);
        // SAFETY: each row is taken once.
        unsafe { shared.part(row, 1)[0] = root };
    });
    (normed, inverse)
}

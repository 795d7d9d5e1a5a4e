//! One decoder layer: attention and feed-forward, each with its norm and residual.
//!
//! Serving and training run the same functions. All intermediate results of a call stay in [`Buffers`], where the
//! backward pass finds them.

use std::ops::Range;

use crate::{
    ModelConfig, Module,
    cache::LayerKv,
    kernels::Attend,
    linear::{Cpu, Linear, Shared},
    lora::{Group, LayerLora, Workspace, forward_adapted},
    rope::{Angles, rotate},
};

/// Query rows of one task of the attention.
const ATTEND_ROWS: usize = 16;
/// Elements below which a row operation is not worth a fork.
const FORK_ELEMENTS: usize = 1 << 12;

/// The weights of a layer.
#[derive(Debug)]
pub(crate) struct Layer {
    /// RMSNorm before attention.
    pub(crate) attn_norm: Vec<f32>,
    /// Queries.
    pub(crate) q: Linear,
    /// Keys.
    pub(crate) k: Linear,
    /// Values.
    pub(crate) v: Linear,
    /// Attention output.
    pub(crate) o: Linear,
    /// RMSNorm before the feed-forward block.
    pub(crate) mlp_norm: Vec<f32>,
    /// Gate.
    pub(crate) gate: Linear,
    /// Up.
    pub(crate) up: Linear,
    /// Down.
    pub(crate) down: Linear,
}

impl Layer {
    /// A linear layer by name.
    pub(crate) fn module(&self, module: Module) -> &Linear {
        match module {
            Module::Q => &self.q,
            Module::K => &self.k,
            Module::V => &self.v,
            Module::O => &self.o,
            Module::Gate => &self.gate,
            Module::Up => &self.up,
            Module::Down => &self.down,
        }
    }
}

/// Rows of one sequence: consecutive positions.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    /// Rows of the step.
    pub(crate) rows: Range<usize>,
    /// Position of the first row.
    pub(crate) start: usize,
}

/// What all layers of a step share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step<'a> {
    /// Kernels and threads.
    pub(crate) cpu: &'a Cpu,
    /// Sizes.
    pub(crate) config: &'a ModelConfig,
    /// The sequences, in the order of their rows.
    pub(crate) spans: &'a [Span],
    /// Rotary angles of the rows.
    pub(crate) angles: &'a Angles,
}

/// Rows with the same adapter, and its share of the layer.
pub(crate) type LoraRun<'a> = (Range<usize>, &'a LayerLora);

/// Intermediate results of a layer, `[rows, width]` each.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// Input of q, k, v.
    pub(crate) attn_in: Vec<f32>,
    /// Queries, rotated.
    pub(crate) q: Vec<f32>,
    /// Keys, rotated.
    pub(crate) k: Vec<f32>,
    /// Values.
    pub(crate) v: Vec<f32>,
    /// Input of o.
    pub(crate) attended: Vec<f32>,
    /// Input of gate and up.
    pub(crate) mlp_in: Vec<f32>,
    /// Gate, before its activation.
    pub(crate) gate: Vec<f32>,
    /// Up.
    pub(crate) up: Vec<f32>,
    /// Input of down: `silu(gate) * up`.
    pub(crate) act: Vec<f32>,
    /// What the products need.
    pub(crate) workspace: Workspace,
}

impl Layer {
    /// `x += attention(norm(x))`; appends the rows' keys and values to `caches`, one for each span, with room made.
    pub(crate) fn attention(
        &self,
        step: Step<'_>,
        caches: &mut [&mut LayerKv],
        loras: &[LoraRun<'_>],
        x: &mut [f32],
        b: &mut Buffers,
    ) {
        let (cpu, config) = (step.cpu, step.config);
        let rows = x.len() / config.hidden_size;
        b.attn_in.resize(x.len(), 0.0);
        b.q.resize(rows * config.q_width(), 0.0);
        b.k.resize(rows * config.kv_width(), 0.0);
        b.v.resize(rows * config.kv_width(), 0.0);
        b.attended.resize(rows * config.q_width(), 0.0);

        norm_rows(cpu, x, &self.attn_norm, config.rms_norm_eps, &mut b.attn_in);
        let mut outputs =
            [(&self.q, &mut b.q[..]), (&self.k, &mut b.k[..]), (&self.v, &mut b.v[..])];
        let adapted = (Group::Qkv, loras);
        forward_adapted(cpu, &mut b.workspace, adapted, &b.attn_in, &mut outputs, None);
        rotate_rows(step, &mut b.q, config.q_width());
        rotate_rows(step, &mut b.k, config.kv_width());
        for (span, cache) in step.spans.iter().zip(caches.iter_mut()) {
            for (index, row) in span.rows.clone().enumerate() {
                let (from, width) = (row * config.kv_width(), config.kv_width());
                cache.put(span.start + index, &b.k[from..][..width], &b.v[from..][..width]);
            }
        }
        attend_rows(step, caches, &b.q, &mut b.attended);

        let (adapted, mut output) = ((Group::O, loras), [(&self.o, x)]);
        forward_adapted(cpu, &mut b.workspace, adapted, &b.attended, &mut output, Some(1.0));
    }

    /// `x += down(silu(gate(norm(x))) * up(norm(x)))`.
    pub(crate) fn mlp(
        &self,
        step: Step<'_>,
        loras: &[LoraRun<'_>],
        x: &mut [f32],
        b: &mut Buffers,
    ) {
        let (cpu, config) = (step.cpu, step.config);
        let (hidden, width) = (config.hidden_size, config.intermediate_size);
        let rows = x.len() / hidden;
        b.mlp_in.resize(x.len(), 0.0);
        for buffer in [&mut b.gate, &mut b.up, &mut b.act] {
            buffer.resize(rows * width, 0.0);
        }
        norm_rows(cpu, x, &self.mlp_norm, config.rms_norm_eps, &mut b.mlp_in);
        let mut outputs = [(&self.gate, &mut b.gate[..]), (&self.up, &mut b.up[..])];
        let adapted = (Group::GateUp, loras);
        forward_adapted(cpu, &mut b.workspace, adapted, &b.mlp_in, &mut outputs, None);
        let out = Shared::new(&mut b.act);
        cpu.pool.ranges(rows, FORK_ELEMENTS.div_ceil(width), &|range| {
            let (from, len) = (range.start * width, range.len() * width);
            // SAFETY: each part writes its own rows.
            let out = unsafe { out.part(from, len) };
            cpu.kernels.silu_mul(&b.gate[from..][..len], &b.up[from..][..len], out);
        });
        let (adapted, mut output) = ((Group::Down, loras), [(&self.down, x)]);
        forward_adapted(cpu, &mut b.workspace, adapted, &b.act, &mut output, Some(1.0));
    }
}

/// RMSNorm of all rows.
pub(crate) fn norm_rows(cpu: &Cpu, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    let out = Shared::new(out);
    cpu.pool.ranges(x.len() / width, FORK_ELEMENTS.div_ceil(width), &|range| {
        for row in range {
            // SAFETY: each row is written by one part.
            let out = unsafe { out.part(row * width, width) };
            cpu.kernels.rms_norm(&x[row * width..][..width], weight, eps, out);
        }
    });
}

fn rotate_rows(step: Step<'_>, data: &mut [f32], width: usize) {
    let half = step.config.head_dim / 2;
    let rows = data.len() / width;
    let data = Shared::new(data);
    step.cpu.pool.ranges(rows, FORK_ELEMENTS.div_ceil(width), &|range| {
        for row in range {
            // SAFETY: each row is written by one part.
            let data = unsafe { data.part(row * width, width) };
            let angles = row * half..(row + 1) * half;
            rotate(data, &step.angles.cos[angles.clone()], &step.angles.sin[angles]);
        }
    });
}

/// Attention of all rows over their sequences, which hold the rows' own keys and values already.
fn attend_rows(step: Step<'_>, caches: &[&mut LayerKv], q: &[f32], out: &mut [f32]) {
    let config = step.config;
    let (width, head_dim) = (config.q_width(), config.head_dim);
    let group = config.num_heads / config.num_kv_heads;
    let mut tasks = Vec::new();
    let mut work = 0;
    for (span, cache) in step.spans.iter().zip(caches) {
        for head in 0..config.num_kv_heads {
            let (keys, key_stride) = cache.keys(head);
            let (values, value_stride) = cache.values(head);
            for first in span.rows.clone().step_by(ATTEND_ROWS) {
                let rows = (span.rows.end - first).min(ATTEND_ROWS);
                let length = span.start + first - span.rows.start + 1;
                let place = first * width + head * group * head_dim;
                work += rows * group * head_dim * (length + rows);
                tasks.push((
                    place,
                    Attend {
                        queries: q[place..].as_ptr(),
                        // Set by the part that runs the task.
                        out: std::ptr::null_mut(),
                        row_stride: width,
                        rows,
                        group,
                        head_dim,
                        keys: keys.as_ptr(),
                        key_stride,
                        values: values.as_ptr(),
                        value_stride,
                        length,
                    },
                ));
            }
        }
    }
    let tasks = Tasks(tasks);
    let out = Shared::new(out);
    let least = if work < FORK_ELEMENTS { tasks.0.len() } else { 1 };
    step.cpu.pool.ranges(tasks.0.len(), least, &|range| {
        let mut scores = Vec::new();
        for (place, task) in tasks.list(range) {
            // SAFETY: queries, keys and values live as long as the borrowed slices; each task writes its own rows and
            // heads of the result, `place` being inside of it.
            unsafe {
                let task = Attend { out: out.ptr().add(*place), ..*task };
                step.cpu.kernels.attend(&task, &mut scores);
            }
        }
    });
}

struct Tasks(Vec<(usize, Attend)>);

// SAFETY: the pointers are read only, and what they point to outlives the tasks.
unsafe impl Sync for Tasks {}

impl Tasks {
    fn list(&self, range: Range<usize>) -> &[(usize, Attend)] {
        &self.0[range]
    }
}

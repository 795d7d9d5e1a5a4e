//! One decoder layer in training: the forward that serves, over whole sequences, and the way back.
//!
//! What the backward reads is saved by the forward or computed again from the layer's input; both ways give the same bits.

use crate::{
    ModelConfig,
    config::{
        rope::Angles,
        spec::{Norms, QkNorm},
    },
    decoder::{
        backward::BackwardPass,
        cache::LayerKv,
        layer::Layer,
        step::{Buffers, LayerPass, LoraRun, Saved, Span, Step},
    },
    lora::{Dropout, LoraLayout},
};
use hone_device::linear::{Activations, Cpu};

use super::{Trainable, batch::TrainBatch};

/// A layer, its adapter's layout and the batch that passes through.
pub(super) struct TrainLayer<'a> {
    cpu: &'a Cpu,
    config: &'a ModelConfig,
    weights: &'a Layer,
    layout: &'a LoraLayout,
    angles: &'a [Angles],
    spans: Vec<Span>,
    /// The last layer needs only those rows that the loss is taken on.
    rows_after: Option<&'a [usize]>,
    dropout: Option<Dropout>,
}

impl<'a> TrainLayer<'a> {
    /// Layer `index` of a model, made ready for a batch.
    pub(super) fn new(
        trainable: &'a Trainable,
        index: usize,
        batch: &'a TrainBatch,
        angles: &'a [Angles],
        dropout: Option<Dropout>,
    ) -> Self {
        let model = &*trainable.model;
        let last = index + 1 == model.config.num_layers;
        let spans =
            batch.sequences().map(|(first, length)| Span { rows: first..first + length, start: 0 });
        Self {
            cpu: &model.cpu,
            config: &model.config,
            weights: &model.decoder.layers[index],
            layout: &trainable.layout,
            angles,
            spans: spans.collect(),
            rows_after: last.then_some(&batch.rows),
            dropout,
        }
    }

    fn step(&self) -> Step<'_> {
        let Self { cpu, config, angles, .. } = *self;
        Step { cpu, config, spans: &self.spans, angles }
    }

    fn pass<'b>(
        &'b self,
        loras: &'b [LoraRun<'b>],
        loras_after: &'b [LoraRun<'b>],
    ) -> LayerPass<'b> {
        let (step, rows_after, dropout) = (self.step(), self.rows_after, self.dropout);
        LayerPass { step, loras, rows_after, loras_after, dropout }
    }

    /// The layer's result for `x` (`[rows, hidden]`) with a flat adapter, empty for none; the last layer's has only the
    /// rows of the loss.
    pub(super) fn forward(&self, x: &[f32], lora: &[f32], sink: Option<&mut Saved>) -> Vec<f32> {
        let rows = self.step().rows();
        let adapter = self.layout.pack(self.config, lora);
        let loras = [(0..rows, &adapter)];
        let loras_after = [(0..self.rows_after.map_or(rows, <[usize]>::len), &adapter)];
        let mut caches: Vec<LayerKv> = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let mut cache = LayerKv::new(self.config);
            cache.reserve(span.rows.len());
            caches.push(cache);
        }
        let mut caches: Vec<&mut LayerKv> = caches.iter_mut().collect();
        let mut y = x.to_vec();
        let pass = self.pass(&loras, &loras_after);
        self.weights.forward(&pass, &mut caches, &mut y, &mut Buffers::default(), sink);
        y
    }

    /// Gradients of the layer's input and of its adapter, from that of its result. The input's is left out with `input`
    /// false: nothing below the first layer learns.
    pub(super) fn backward(
        &self,
        x: &[f32],
        lora: &[f32],
        saved: &Saved,
        dy: &[f32],
        input: bool,
    ) -> (Option<Vec<f32>>, Vec<f32>) {
        let pass = BackwardPass {
            pass: self.pass(&[], &[]),
            layout: self.layout,
            lora,
            d_lora: vec![0.0; self.layout.len()],
            activations: Activations::default(),
        };
        self.weights.backward(pass, x, saved, dy, input)
    }
}

/// Floats that are saved for each token of a layer.
pub(super) fn saved_per_token(config: &ModelConfig, layout: &LoraLayout) -> usize {
    let lora: usize = layout.slots().count() * layout.rank();
    let (q, kv, hidden) = (config.q_width(), config.kv_width(), config.hidden_size);
    let raw = if config.spec.qk_norm == QkNorm::None { 0 } else { q + kv };
    let results = if config.spec.norms == Norms::Before { 0 } else { 2 * hidden };
    2 * q + 2 * kv + hidden + 2 * config.intermediate_size + lora + raw + results
}

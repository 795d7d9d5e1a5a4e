//! One decoder layer in training: the forward that serves, over whole sequences, and the way back.
//!
//! What the backward reads is saved by the forward or computed again from the layer's input; both ways give the same bits.

use hone_device::{
    Buffer, Device, LayerCache,
    ops::{Angles, Dropout, Span},
};

use crate::{
    ModelConfig,
    config::spec::{Norms, QkNorm},
    decoder::{
        backward::BackwardPass,
        layer::Layer,
        prefix::SharedPrefixes,
        step::{Buffers, LayerPass, LoraRun, Saved, Step},
    },
    lora::LoraLayout,
};

use super::{Trainable, batch::TrainBatch};

/// A layer, its adapter's layout and the batch that passes through.
pub(super) struct TrainLayer<'a> {
    device: &'a dyn Device,
    config: &'a ModelConfig,
    weights: &'a Layer,
    layout: &'a LoraLayout,
    angles: &'a [Angles],
    spans: Vec<Span>,
    prefixes: Option<SharedPrefixes>,
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
        Self {
            device: model.device(),
            config: &model.config,
            weights: &model.decoder.layers[index],
            layout: &trainable.layout,
            angles,
            spans: batch.spans(),
            prefixes: batch.shared_prefixes(),
            rows_after: last.then_some(&batch.rows),
            dropout,
        }
    }

    fn step(&self) -> Step<'_> {
        let Self { device, config, angles, .. } = *self;
        Step { device, config, spans: &self.spans, prefixes: self.prefixes.as_ref(), angles }
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
    pub(super) fn forward(&self, mut x: Buffer, lora: &[f32], sink: Option<&mut Saved>) -> Buffer {
        let rows = self.step().rows();
        let adapter = self.layout.hold(self.config, self.device, lora);
        let loras = [(0..rows, &adapter)];
        let loras_after = [(0..self.rows_after.map_or(rows, <[usize]>::len), &adapter)];
        let mut caches: Vec<LayerCache> = Vec::with_capacity(self.spans.len());
        for span in &self.spans {
            let mut cache = LayerCache::new(self.config.heads());
            self.device.reserve(&mut cache, span.rows.len());
            caches.push(cache);
        }
        let mut caches: Vec<&mut LayerCache> = caches.iter_mut().collect();
        let pass = self.pass(&loras, &loras_after);
        self.weights.forward(&pass, &mut caches, &mut x, &mut Buffers::default(), sink);
        x
    }

    /// Gradients of the layer's input and of its adapter, from that of its result. The input's is left out with `input`
    /// false: nothing below the first layer learns.
    pub(super) fn backward(
        &self,
        x: &Buffer,
        lora: &[f32],
        saved: &Saved,
        dy: Buffer,
        input: bool,
    ) -> (Option<Buffer>, Buffer) {
        let pass = BackwardPass {
            pass: self.pass(&[], &[]),
            layout: self.layout,
            lora: &self.device.upload(lora.to_vec()),
            d_lora: self.device.zeros(self.layout.len()),
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

//! Final norm, output head and loss in one operation: cross-entropy where a token is the target, and
//! the divergence from the base where the row is anchored.
//!
//! Only rows that the loss is taken on go through the head, some at a time: the logits of all rows
//! (for a vocabulary of 128 k, half a megabyte a token) never exist. The gradient of the hidden
//! rows is computed along with the loss.

use std::ops::Range;

use crate::ModelConfig;
use crate::linear::{Activations, Cpu, Linear, Shared};

use super::anchor::Anchors;
use super::kernels::{NormRow, RowKernels};
use super::layer::{each_row, norm};
use super::loss::Anchor;

/// Bytes of logits at a time.
const CHUNK_BYTES: usize = 32 << 20;

/// The frozen end of the model.
pub(super) struct Head<'a> {
    pub(super) cpu: &'a Cpu,
    pub(super) kernels: &'static RowKernels,
    pub(super) config: &'a ModelConfig,
    pub(super) norm: &'a [f32],
    pub(super) output: &'a Linear,
}

/// Rows that the loss is taken on.
#[derive(Clone, Copy)]
pub(super) struct LossRows<'a> {
    /// `[rows, hidden]`.
    pub(super) hidden: &'a [f32],
    /// The token that each should predict.
    pub(super) targets: &'a [Option<u32>],
    /// What the base makes of those that are anchored.
    pub(super) anchors: Option<&'a Anchors>,
}

impl Head<'_> {
    /// Rows that go through the head together.
    pub(super) fn chunk_rows(config: &ModelConfig) -> usize {
        (CHUNK_BYTES / (config.vocab_size.max(1) * 4)).clamp(32, 1024)
    }

    /// Sum of the loss of some rows, and with `gradient` the gradient of their hidden values.
    pub(super) fn loss(&self, rows: LossRows<'_>, gradient: bool) -> (f64, Option<Vec<f32>>) {
        let LossRows { hidden, targets, anchors } = rows;
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let mut d_hidden = gradient.then(|| vec![0.0; hidden.len()]);
        let mut activations = Activations::default();
        let mut total = 0.0;
        let chunk = Self::chunk_rows(self.config);
        for (index, targets) in targets.chunks(chunk).enumerate() {
            let at = index * chunk * width..(index * chunk + targets.len()) * width;
            let x = &hidden[at.clone()];
            let (normed, inverse) = norm(self.cpu, x, self.norm, self.config.rms_norm_eps);
            let mut logits = vec![0.0; targets.len() * vocab];
            self.output.forward(self.cpu, &mut activations, &normed, &mut logits, None);
            let first = index * chunk;
            let span = anchors.map_or(0..0, |a| a.within(first..first + targets.len()));
            let mut base = self.base_logits(&mut activations, anchors, span.clone());
            let base = Shared::new(&mut base);
            let mut losses = vec![0.0_f32; targets.len()];
            let shared = Shared::new(&mut losses);
            each_row(self.cpu, &mut logits, vocab, &|row, logits| {
                let target = targets[row].map(|token| token as usize);
                let anchor = anchors.and_then(|a| Some((a.places[first + row]?, a.weight)));
                // SAFETY: each row, and each place among the anchored ones, is taken once.
                unsafe {
                    let anchor = anchor.map(|(place, weight)| Anchor {
                        base: base.part((place - span.start) * vocab, vocab),
                        weight,
                    });
                    shared.part(row, 1)[0] = self.kernels.loss(logits, target, anchor);
                }
            });
            total += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
            let Some(d_hidden) = &mut d_hidden else { continue };
            let mut d_normed = normed;
            self.output.backward_input(self.cpu, &mut activations, &logits, &mut d_normed, None);
            each_row(self.cpu, &mut d_hidden[at], width, &|row, out| {
                let at = row * width..(row + 1) * width;
                let row = NormRow {
                    x: &x[at.clone()],
                    weight: self.norm,
                    inverse: inverse[row],
                    gradient: &d_normed[at],
                };
                self.kernels.norm_backward(row, out);
            });
        }
        (total, d_hidden)
    }

    /// Logits of the base for some of the anchored rows.
    fn base_logits(
        &self,
        activations: &mut Activations,
        anchors: Option<&Anchors>,
        rows: Range<usize>,
    ) -> Vec<f32> {
        let Some(anchors) = anchors.filter(|_| !rows.is_empty()) else { return Vec::new() };
        let width = self.config.hidden_size;
        let x = &anchors.hidden[rows.start * width..rows.end * width];
        let (normed, _) = norm(self.cpu, x, self.norm, self.config.rms_norm_eps);
        let mut logits = vec![0.0; rows.len() * self.config.vocab_size];
        self.output.forward(self.cpu, activations, &normed, &mut logits, None);
        logits
    }
}

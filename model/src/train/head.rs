//! Final norm, output head and masked cross-entropy in one operation.
//!
//! Only rows that the loss is taken on go through the head, some at a time: the logits of all rows
//! (for a vocabulary of 128 k, half a megabyte a token) never exist. The gradient of the hidden
//! rows is computed along with the loss.

use crate::ModelConfig;
use crate::linear::{Activations, Cpu, Linear, Shared};

use super::batch::TrainBatch;
use super::kernels::{NormRow, RowKernels};
use super::layer::{each_row, norm};

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

impl Head<'_> {
    /// Rows that go through the head together.
    pub(super) fn chunk_rows(config: &ModelConfig) -> usize {
        (CHUNK_BYTES / (config.vocab_size.max(1) * 4)).clamp(32, 1024)
    }

    /// Sum of the cross-entropy over the batch's supervised rows, and with `gradient` the gradient
    /// of all hidden rows (`[rows, hidden]`).
    pub(super) fn loss(
        &self,
        hidden: &[f32],
        batch: &TrainBatch,
        gradient: bool,
    ) -> (f64, Option<Vec<f32>>) {
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let mut d_hidden = gradient.then(|| vec![0.0; hidden.len()]);
        let mut activations = Activations::default();
        let mut total = 0.0;
        let chunk = Self::chunk_rows(self.config);
        for (rows, targets) in batch.rows.chunks(chunk).zip(batch.targets.chunks(chunk)) {
            let mut x = vec![0.0; rows.len() * width];
            for (row, x) in rows.iter().zip(x.chunks_exact_mut(width)) {
                x.copy_from_slice(&hidden[row * width..][..width]);
            }
            let (normed, inverse) = norm(self.cpu, &x, self.norm, self.config.rms_norm_eps);
            let mut logits = vec![0.0; rows.len() * vocab];
            self.output.forward(self.cpu, &mut activations, &normed, &mut logits, None);
            let mut losses = vec![0.0_f32; rows.len()];
            let shared = Shared::new(&mut losses);
            each_row(self.cpu, &mut logits, vocab, &|row, logits| {
                let loss = self.kernels.loss(logits, targets[row] as usize);
                // SAFETY: each row is taken once.
                unsafe { shared.part(row, 1)[0] = loss };
            });
            total += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
            let Some(d_hidden) = &mut d_hidden else { continue };
            let mut d_normed = vec![0.0; rows.len() * width];
            self.output.backward_input(self.cpu, &mut activations, &logits, &mut d_normed, None);
            let shared = Shared::new(d_hidden);
            self.cpu.pool.ranges(rows.len(), 32, &|range| {
                for index in range {
                    let at = index * width..(index + 1) * width;
                    // SAFETY: supervised rows are distinct, so each is taken once.
                    let out = unsafe { shared.part(rows[index] * width, width) };
                    let row = NormRow {
                        x: &x[at.clone()],
                        weight: self.norm,
                        inverse: inverse[index],
                        gradient: &d_normed[at],
                    };
                    self.kernels.norm_backward(row, out);
                }
            });
        }
        (total, d_hidden)
    }
}

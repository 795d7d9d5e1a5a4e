//! Final norm, output head and masked cross-entropy in one operation.
//!
//! Only rows that the loss is taken on go through the head, some at a time: the logits of all rows
//! (for a vocabulary of 128 k, half a megabyte a token) never exist. The gradient of the hidden
//! rows is computed along with the loss.

use crate::ModelConfig;
use crate::linear::{Activations, Cpu, Linear, Shared};

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

    /// Sum of the cross-entropy of supervised hidden rows (`[targets, hidden]`), and with `gradient`
    /// the gradient of those.
    pub(super) fn loss(
        &self,
        hidden: &[f32],
        targets: &[u32],
        gradient: bool,
    ) -> (f64, Option<Vec<f32>>) {
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
            let mut losses = vec![0.0_f32; targets.len()];
            let shared = Shared::new(&mut losses);
            each_row(self.cpu, &mut logits, vocab, &|row, logits| {
                let loss = self.kernels.loss(logits, targets[row] as usize);
                // SAFETY: each row is taken once.
                unsafe { shared.part(row, 1)[0] = loss };
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
}

//! Final norm, output head and loss in one operation: cross-entropy where a token is the target, and the divergence from
//! the base where the row is compared with it.
//!
//! Only rows that the loss is taken on go through the head, some at a time: the logits of all rows (for a vocabulary of
//! 128 k, half a megabyte a token) never exist. The gradient of the hidden rows is computed along with the loss.

use std::ops::Range;

use crate::ModelConfig;
use crate::decoder::head::Head;
use crate::decoder::rows::{Normed, each_row};
use hone_device::kernels::loss::BaseRow;
use hone_device::linear::{Activations, Cpu, Shared};

use super::base::BaseRows;

/// Bytes of logits at a time.
const CHUNK_BYTES: usize = 32 << 20;

/// Rows that go through the head together.
pub(super) fn chunk_rows(config: &ModelConfig) -> usize {
    (CHUNK_BYTES / (config.vocab_size.max(1) * 4)).clamp(32, 1024)
}

/// The frozen end of the model.
pub(super) struct LossHead<'a> {
    pub(super) cpu: &'a Cpu,
    pub(super) config: &'a ModelConfig,
    pub(super) head: Head<'a>,
}

/// Rows that the loss is taken on.
#[derive(Clone, Copy)]
pub(super) struct LossRows<'a> {
    /// `[rows, hidden]`.
    pub(super) hidden: &'a [f32],
    /// The token that each should predict.
    pub(super) targets: &'a [Option<u32>],
    /// What the base makes of those that are compared with it.
    pub(super) base: Option<&'a BaseRows>,
}

impl LossHead<'_> {
    /// Sum of the loss of some rows, and with `gradient` the gradient of their hidden values.
    pub(super) fn loss(&self, rows: LossRows<'_>, gradient: bool) -> (f64, Option<Vec<f32>>) {
        let LossRows { hidden, targets, base } = rows;
        let (width, vocab) = (self.config.hidden_size, self.config.vocab_size);
        let mut d_hidden = gradient.then(|| vec![0.0; hidden.len()]);
        let mut activations = Activations::default();
        let mut total = 0.0;
        let chunk = chunk_rows(self.config);
        for (index, targets) in targets.chunks(chunk).enumerate() {
            let at = index * chunk * width..(index * chunk + targets.len()) * width;
            let x = &hidden[at.clone()];
            let Normed { rows: normed, inverse } = self.head.norm.with_inverse(self.cpu, x);
            let mut logits = vec![0.0; targets.len() * vocab];
            self.head.logits(self.cpu, &mut activations, &normed, &mut logits);
            // The loss leaves its gradient in place of the logits, whose cap needs them on the way back.
            let capped = self.head.cap.filter(|_| gradient).map(|_| logits.clone());
            let first = index * chunk;
            let span = base.map_or(0..0, |b| b.within(first..first + targets.len()));
            let mut base_logits = self.base_logits(&mut activations, base, span.clone());
            let base_logits = Shared::new(&mut base_logits);
            let mut losses = vec![0.0_f32; targets.len()];
            let shared = Shared::new(&mut losses);
            each_row(self.cpu, &mut logits, vocab, &|row, logits| {
                let target = targets[row].map(|token| token as usize);
                let place = base.and_then(|b| Some((b.places[first + row]?, b.weight)));
                // SAFETY: each row, and each place among the base's rows, is taken once.
                unsafe {
                    let base = place.map(|(place, weight)| BaseRow {
                        logits: base_logits.part((place - span.start) * vocab, vocab),
                        weight,
                    });
                    shared.part(row, 1)[0] = self.cpu.kernels.loss(logits, target, base);
                }
            });
            total += losses.iter().map(|loss| f64::from(*loss)).sum::<f64>();
            let Some(d_hidden) = &mut d_hidden else { continue };
            if let Some(capped) = &capped {
                self.head.cap_backward(self.cpu, capped, &mut logits);
            }
            let mut d_normed = normed;
            let output = self.head.output;
            output.backward_input(self.cpu, &mut activations, &logits, &mut d_normed, None);
            self.head.norm.backward(self.cpu, (x, &inverse), &d_normed, &mut d_hidden[at]);
        }
        (total, d_hidden)
    }

    /// Logits of the base for some of its rows.
    fn base_logits(
        &self,
        activations: &mut Activations,
        base: Option<&BaseRows>,
        rows: Range<usize>,
    ) -> Vec<f32> {
        let Some(base) = base.filter(|_| !rows.is_empty()) else { return Vec::new() };
        let width = self.config.hidden_size;
        let x = &base.hidden[rows.start * width..rows.end * width];
        let mut normed = vec![0.0; x.len()];
        self.head.norm.forward(self.cpu, x, &mut normed);
        let mut logits = vec![0.0; rows.len() * self.config.vocab_size];
        self.head.logits(self.cpu, activations, &normed, &mut logits);
        logits
    }
}

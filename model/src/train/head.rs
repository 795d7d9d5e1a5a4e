//! Final norm, output head and loss in one operation: cross-entropy where a token is the target, and the divergence from
//! the base where the row is compared with it.
//!
//! Only rows that the loss is taken on go through the head, some at a time: the logits of all rows (for a vocabulary of
//! 128 k, half a megabyte a token) never exist. The gradient of the hidden rows is computed along with the loss.

use hone_device::{Buffer, Device, ops::BaseLogits};

use super::base::BaseRows;
use crate::{
    ModelConfig,
    decoder::{backward::norm_with_inverse, head::Head},
};

/// Bytes of logits at a time.
const CHUNK_BYTES: usize = 32 << 20;

/// Rows that go through the head together.
pub(super) fn chunk_rows(config: &ModelConfig) -> usize {
    (CHUNK_BYTES / (config.vocab_size.max(1) * 4)).clamp(32, 1024)
}

/// The frozen end of the model.
pub(super) struct LossHead<'a> {
    pub(super) device: &'a dyn Device,
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

/// Rows of the loss that go through the head together, as far as the base has a say.
struct ComparedRows<'a> {
    /// The base's logits of those that are compared with it.
    logits: Buffer,
    /// Of each row its place among these.
    places: Vec<Option<usize>>,
    /// What the divergence of each row counts.
    weights: &'a [f32],
}

impl ComparedRows<'_> {
    fn lend(&mut self) -> BaseLogits<'_> {
        BaseLogits { logits: &mut self.logits, places: &self.places, weights: self.weights }
    }
}

impl LossHead<'_> {
    /// Sum of the loss of some rows, and with `gradient` the gradient of their hidden values.
    pub(super) fn loss(&self, rows: LossRows<'_>, gradient: bool) -> (f64, Option<Vec<f32>>) {
        let LossRows { hidden, targets, base } = rows;
        let (device, width, vocab) = (self.device, self.config.hidden_size, self.config.vocab_size);
        let mut d_hidden = gradient.then(|| Vec::with_capacity(hidden.len()));
        let mut total = 0.0;
        let chunk = chunk_rows(self.config);
        for (index, targets) in targets.chunks(chunk).enumerate() {
            let first = index * chunk;
            let x = &hidden[first * width..(first + targets.len()) * width];
            let x = device.upload(x.to_vec());
            let (normed, inverse) = norm_with_inverse(device, self.head.norm, &x);
            let mut logits = device.zeros(targets.len() * vocab);
            self.head.logits(device, &normed, &mut logits);
            // The loss leaves its gradient in place of the logits, whose cap needs them on the way back.
            let capped = self.head.cap.filter(|_| gradient);
            let capped = capped.map(|_| device.copy(&logits, 0..logits.len()));
            let mut base = base.and_then(|base| self.base_logits(base, first, targets.len()));
            let base = base.as_mut().map(ComparedRows::lend);
            total += device.loss(&mut logits, targets, base).iter().sum::<f64>();
            let Some(d_hidden) = &mut d_hidden else { continue };
            let mut d_normed = normed;
            self.head.logits_backward(device, capped.as_ref(), logits, &mut d_normed);
            let mut dx = device.zeros(x.len());
            device.norm_backward(self.head.norm, (&x, &inverse), &d_normed, &mut dx);
            d_hidden.extend(device.download(dx));
        }
        (total, d_hidden)
    }

    /// What the base makes of some of the rows; `None` if none of them is compared with it.
    fn base_logits<'b>(
        &self,
        base: &'b BaseRows,
        first: usize,
        count: usize,
    ) -> Option<ComparedRows<'b>> {
        let rows = base.within(first..first + count);
        if rows.is_empty() {
            return None;
        }
        let (device, width) = (self.device, self.config.hidden_size);
        let x = device.copy(&base.hidden, rows.start * width..rows.end * width);
        let mut normed = device.zeros(x.len());
        device.norm(self.head.norm, &x, &mut normed, None);
        let mut logits = device.zeros(rows.len() * self.config.vocab_size);
        self.head.logits(device, &normed, &mut logits);
        let places = base.places[first..first + count].iter();
        let places = places.map(|place| place.map(|place| place - rows.start)).collect();
        Some(ComparedRows { logits, places, weights: &base.weights[first..first + count] })
    }
}

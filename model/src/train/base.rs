//! The frozen base's own view of sequences whose distributions must stay close to it, or that of the adapter that is kept.

use std::ops::Range;

use hone_device::Buffer;

use super::batch::TrainBatch;
use super::layer::TrainLayer;
use super::{Pass, Trainable};

/// What the base makes of the rows of a batch that are compared with it.
pub(super) struct BaseRows {
    /// The base's rows before the final norm, `[compared rows, hidden]`.
    pub(super) hidden: Buffer,
    /// For each row that the loss is taken on its place among them, ascending.
    pub(super) places: Vec<Option<usize>>,
    /// What the divergence counts, for each row that the loss is taken on.
    pub(super) weights: Vec<f32>,
}

impl BaseRows {
    /// Which of the base's rows belong to some of the rows that the loss is taken on.
    pub(super) fn within(&self, rows: Range<usize>) -> Range<usize> {
        let mut places = self.places[rows].iter().flatten();
        match places.next() {
            None => 0..0,
            Some(first) => *first..places.next_back().unwrap_or(first) + 1,
        }
    }
}

impl Trainable {
    /// Sends the sequences of a batch that are compared with the base through it, without an adapter or with the one that is
    /// kept, and without saving anything for a backward.
    pub(super) fn base_rows(&self, batch: &TrainBatch, pass: &Pass) -> Option<BaseRows> {
        if pass.kl_weight <= 0.0 {
            return None;
        }
        let weights = batch.kl_to_base.iter().map(|count| pass.kl_weight * *count as f32).collect();
        let (batch, places) = batch.kl_to_base()?;
        let (mut hidden, angles) = self.enter(&batch);
        for index in 0..self.model.config().num_layers {
            if let Some(between) = &pass.between {
                between();
            }
            let layer = TrainLayer::new(self, index, &batch, &angles, None);
            let kept = pass.kept.as_ref().and_then(|kept| kept.get(index));
            hidden = layer.forward(hidden, kept.map_or(&[], Vec::as_slice), None);
        }
        Some(BaseRows { hidden, places, weights })
    }
}

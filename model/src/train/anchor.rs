//! The frozen base's own view of anchored sequences: what their distributions must stay close to.

use std::ops::Range;

use super::batch::TrainBatch;
use super::ops::layer;
use super::{Pass, Trainable};

/// What the base makes of the anchored rows of a batch.
pub(super) struct Anchors {
    /// The base's rows before the final norm, `[anchored rows, hidden]`.
    pub(super) hidden: Vec<f32>,
    /// For each row that the loss is taken on its place among them, ascending.
    pub(super) places: Vec<Option<usize>>,
    /// What the divergence counts.
    pub(super) weight: f32,
}

impl Anchors {
    /// Which of the anchored rows belong to some of the rows that the loss is taken on.
    pub(super) fn within(&self, rows: Range<usize>) -> Range<usize> {
        let mut places = self.places[rows].iter().flatten();
        match places.next() {
            None => 0..0,
            Some(first) => *first..places.next_back().unwrap_or(first) + 1,
        }
    }
}

impl Trainable {
    /// Sends the anchored sequences of a batch through the base, without an adapter and without
    /// keeping anything for a backward.
    pub(super) fn anchors(&self, batch: &TrainBatch, pass: &Pass) -> Option<Anchors> {
        if pass.kl_weight <= 0.0 {
            return None;
        }
        let (batch, places) = batch.anchored()?;
        let (mut hidden, angles) = self.enter(&batch);
        for index in 0..self.model.config().num_layers {
            if let Some(between) = &pass.between {
                between();
            }
            hidden = layer(self, index, &batch, &angles, None).forward(&hidden, &[]).0;
        }
        Some(Anchors { hidden, places, weight: pass.kl_weight })
    }
}

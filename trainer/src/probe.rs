//! The memory that a job will need, before its first step.
//!
//! Training that runs out of memory after an hour, or takes the server with it, is what this
//! prevents: the peak is known from the longest batch, and a job that does not fit is refused.

use hone_config::Recompute;
use hone_machine::{Need, Room};
use hone_model::train::{LoraLayout, memory_needed};
use hone_model::{ModelConfig, WeightFormat, packed_bytes};

use crate::Error;

/// What is to be trained, and on how much at once.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// Sizes of the base.
    pub config: &'a ModelConfig,
    /// Form of its weights.
    pub format: WeightFormat,
    /// The adapter.
    pub layout: &'a LoraLayout,
    /// Tokens of the largest batch.
    pub tokens: usize,
    /// Whether intermediates may be kept.
    pub recompute: Recompute,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Keep intermediates for the backward pass.
    pub keep: bool,
    /// Peak beside the mapped base, in bytes.
    pub bytes: u64,
}

impl Work<'_> {
    /// Chooses between keeping and recomputing.
    ///
    /// # Errors
    /// [`Error::Memory`] if even recomputing does not fit.
    pub fn plan(&self, room: &Room) -> Result<Plan, Error> {
        let weights = packed_bytes(self.config, self.format);
        let keep = match self.recompute {
            Recompute::Always => false,
            Recompute::Never => true,
            Recompute::Auto => self.bytes(true) <= room.bytes.saturating_sub(weights) / 2,
        };
        let plan = Plan { keep, bytes: self.bytes(keep) };
        Need::of("weights", weights).and("training", plan.bytes).admit(room)?;
        Ok(plan)
    }

    /// Peak beside the weights.
    fn bytes(&self, keep: bool) -> u64 {
        let (token, fixed) = memory_needed(self.config, self.layout, keep);
        let batch = token.saturating_mul(self.tokens as u64);
        batch.saturating_add(fixed).saturating_add(self.adapter_bytes())
    }

    /// The adapter, its gradients, moments, best copy, the one that is kept and the checkpoint being written.
    fn adapter_bytes(&self) -> u64 {
        (self.layout.len() * self.config.num_layers) as u64 * 4 * 11
    }
}

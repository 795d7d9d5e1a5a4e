//! The decoder as a candle graph for training an adapter.
//!
//! Each layer is one operation of (hidden rows, the layer's flat adapter) with its own backward, and
//! norm, head and loss are one more; candle sees some ten operations, and its autograd gives a
//! gradient for one flat variable per layer. Inside, they run the operations of the device that serves,
//! so what is trained is what is served, also through 4-bit weights.
//!
//! Candle's own operations would allocate a gradient for every frozen weight, and have no backward
//! for fused norms, rotary positions and quantised products.

mod base;
mod batch;
mod head;
mod layer;
mod memory;
mod ops;
mod sequence;
mod sharing;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use candle_core::{Device, Tensor};
use hone_device::{
    Buffer,
    ops::{Angles, Dropout, mix},
};

use crate::{Error, Model, decoder::step::StepAngles};

pub use crate::lora::{LoraLayout, LoraSlot};
pub use batch::TrainBatch;
pub use memory::needed as memory_needed;
pub use sequence::TrainSequence;

use ops::{LayerOp, LossOp};

/// How a batch passes through.
#[derive(Clone, Default)]
pub struct Pass {
    /// Dropout of the adapters' inputs: rate and a number that is new for each batch. `None`
    /// outside of training.
    pub dropout: Option<(f32, u64)>,
    /// Keep each layer's intermediates for the backward instead of computing them again.
    pub keep: bool,
    /// What the divergence from the base's distribution counts on the tokens of `kl_to_base`; with 0 the
    /// base is not asked. The divergence is `KL(base ‖ adapted)` of each token of the sequence, the
    /// prompt's too: distillation of the base into itself, which keeps what it can do beside the
    /// task (Li and Hoiem, *Learning without Forgetting*, 2016).
    pub kl_weight: f32,
    /// The adapter whose distribution is kept in the place of the bare base's: one flat vector of
    /// [`LoraLayout::len`] f32 per layer.
    pub kept: Option<Arc<Vec<Vec<f32>>>>,
    /// No gradient will be asked for.
    pub loss_only: bool,
    /// Called between layers, forward and backward: the place to stand aside for users. It must not
    /// change anything that the arithmetic reads.
    pub between: Option<Arc<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Pass {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pass")
            .field("dropout", &self.dropout)
            .field("keep", &self.keep)
            .field("kl_weight", &self.kl_weight)
            .field("loss_only", &self.loss_only)
            .finish_non_exhaustive()
    }
}

/// A frozen model and the layout of the adapter that is trained on it.
#[derive(Debug, Clone)]
pub struct Trainable {
    model: Arc<Model>,
    layout: Arc<LoraLayout>,
}

impl Trainable {
    /// Puts an adapter's layout on a model.
    #[must_use]
    pub fn new(model: Arc<Model>, layout: LoraLayout) -> Self {
        Self { model, layout: Arc::new(layout) }
    }

    /// The frozen model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// Where the matrices lie in a layer's flat vector.
    #[must_use]
    pub fn layout(&self) -> &LoraLayout {
        &self.layout
    }

    /// Sum of the cross-entropy over the supervised rows of `batch`, and of the weighted divergence
    /// over those of `kl_to_base`, as a scalar that candle can differentiate. `adapters` holds one flat
    /// tensor of [`LoraLayout::len`] f32 per layer.
    ///
    /// # Errors
    /// [`Error::Mismatch`] if the adapters do not fit the model; candle's errors.
    pub fn loss(
        &self,
        adapters: &[Tensor],
        batch: &Arc<TrainBatch>,
        pass: &Pass,
    ) -> Result<Tensor, Error> {
        let config = self.model.config();
        let fits = |tensor: &Tensor| tensor.elem_count() == self.layout.len();
        if adapters.len() != config.num_layers || !adapters.iter().all(fits) {
            return Err(Error::Mismatch {
                what: "adapter",
                reason: format!(
                    "{} tensors for {} layers of {} parameters",
                    adapters.len(),
                    config.num_layers,
                    self.layout.len()
                ),
            });
        }
        let base = self.base_rows(batch, pass);
        let (embedded, angles) = self.enter(batch);
        let shape = (batch.tokens.len(), config.hidden_size);
        let embedded = self.model.device().download(embedded);
        let mut hidden = Tensor::from_vec(embedded, shape, &Device::Cpu)?;
        let angles = Arc::new(angles);
        for (index, adapter) in adapters.iter().enumerate() {
            let dropout = pass
                .dropout
                .filter(|(rate, _)| *rate > 0.0)
                .map(|(rate, key)| Dropout { rate, key: mix(key ^ mix(index as u64)) });
            hidden = hidden.apply_op2(
                adapter,
                LayerOp {
                    trainable: self.clone(),
                    index,
                    batch: Arc::clone(batch),
                    angles: Arc::clone(&angles),
                    dropout,
                    keep: pass.keep && !pass.loss_only,
                    saved: Mutex::new(None),
                    between: pass.between.clone(),
                },
            )?;
        }
        let op = LossOp {
            trainable: self.clone(),
            batch: Arc::clone(batch),
            base,
            want_gradient: !pass.loss_only,
            gradient: Mutex::new(None),
        };
        Ok(hidden.apply_op1(op)?)
    }

    /// The embedded tokens of a batch, `[tokens, hidden]`, and the angles of their positions.
    fn enter(&self, batch: &TrainBatch) -> (Buffer, Vec<Angles>) {
        let mut embedded = Buffer::default();
        self.model.decoder.embed(&batch.tokens, &mut embedded);
        let mut angles = StepAngles::default();
        self.model.decoder.angles(batch.positions(), &mut angles);
        (embedded, angles.of_kinds)
    }

    /// Bytes that one token of a batch needs at the peak, and bytes whatever the batch, beside the
    /// weights and the optimizer.
    #[must_use]
    pub fn memory(&self, keep: bool) -> (u64, u64) {
        memory::needed(self.model.config(), &self.layout, keep)
    }
}

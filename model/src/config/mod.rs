//! `config.json` → the sizes of a decoder and what it computes.
//!
//! A model that needs something this build lacks is refused here, by the name of the thing, before any weight is read.

pub(crate) mod generation;
pub(crate) mod keys;
mod module;
pub(crate) mod rope;
pub(crate) mod spec;

use std::collections::BTreeMap;

use hone_api::sampling::SamplingDefaults;
use hone_device::Heads;
use serde::Serialize;

pub use module::Module;
pub use spec::{DecoderSpec, LoraTarget};

/// Sizes and constants of a decoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside of the feed-forward block.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_layers: usize,
    /// Query heads.
    pub num_heads: usize,
    /// Key and value heads; divides `num_heads`.
    pub num_kv_heads: usize,
    /// Width of one head; a multiple of 16.
    pub head_dim: usize,
    /// Longest context in tokens.
    pub max_positions: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f32,
    /// The output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Tokens that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// Token that begins a text, if the model has one.
    pub bos_token_id: Option<u32>,
    /// How tokens are drawn where a request does not say.
    pub sampling: SamplingDefaults,
    /// What the layers compute.
    pub spec: DecoderSpec,
}

/// The sizes that all families name alike.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) hidden: usize,
    pub(crate) layers: usize,
    pub(crate) head_dim: usize,
    pub(crate) max_positions: usize,
}

impl ModelConfig {
    /// Inputs and outputs of one linear layer.
    #[must_use]
    pub fn module_shape(&self, module: Module) -> (usize, usize) {
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.q_width(), self.kv_width());
        match module {
            Module::Q => (hidden, q),
            Module::K | Module::V => (hidden, kv),
            Module::O => (q, hidden),
            Module::Gate | Module::Up => (hidden, mlp),
            Module::Down => (mlp, hidden),
        }
    }

    /// Inputs and outputs of what an adapter is put on.
    #[must_use]
    pub fn target_shape(&self, target: &LoraTarget) -> (usize, usize) {
        let shapes = target.modules.iter().map(|module| self.module_shape(*module));
        shapes.fold((0, 0), |(_, total), (inputs, outputs)| (inputs, total + outputs))
    }

    /// All that adapters can be put on by PEFT's short name, with inputs and outputs.
    #[must_use]
    pub fn modules(&self) -> BTreeMap<String, (usize, usize)> {
        let targets = self.spec.targets().iter();
        targets.map(|target| (target.name.to_owned(), self.target_shape(target))).collect()
    }

    /// Width of all query heads together.
    #[must_use]
    pub fn q_width(&self) -> usize {
        self.num_heads * self.head_dim
    }

    /// Width of all key (or value) heads together.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// The heads, as attention divides a row into them.
    pub(crate) fn heads(&self) -> Heads {
        let group = self.num_heads / self.num_kv_heads;
        Heads { count: self.num_kv_heads, group, dim: self.head_dim }
    }
}

#[cfg(test)]
mod tests;

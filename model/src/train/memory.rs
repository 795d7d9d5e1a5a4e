//! What training will take, known before any weight is read.

use super::{head::chunk_rows, layer::saved_per_token};
use crate::{ModelConfig, lora::LoraLayout};

/// Bytes that one token of a batch needs at the peak, and bytes whatever the batch, beside the weights and the optimizer.
/// With `keep` each layer's intermediates stay until the backward pass; else they are computed again.
#[must_use]
pub fn needed(config: &ModelConfig, layout: &LoraLayout, keep: bool) -> (u64, u64) {
    let saved = saved_per_token(config, layout);
    let held = if keep { config.num_layers } else { 1 };
    // The rows between the layers, and the gradients and products of the layer at work.
    let between = (config.num_layers + 2) * config.hidden_size;
    let at_work = 4 * config.hidden_size + 3 * config.intermediate_size + 3 * config.q_width();
    // Logits of the adapted model and of the base.
    let chunk = chunk_rows(config) * (2 * config.vocab_size + 5 * config.hidden_size);
    let bytes = |floats: usize| floats as u64 * 4;
    (bytes(held * saved + between + at_work), bytes(chunk))
}

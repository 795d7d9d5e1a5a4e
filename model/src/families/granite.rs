//! Granite 3 (dense): Llama with four multipliers.

use super::shared::{biases, plain};
use crate::{
    Error,
    config::{DecoderSpec, Sizes, keys::Keys},
};

/// Granite.
pub(super) fn spec(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    Ok(DecoderSpec {
        biases: biases(keys)?,
        embedding_scale: keys.positive("embedding_multiplier")?.unwrap_or(1.0),
        residual_scale: keys.positive("residual_multiplier")?.unwrap_or(1.0),
        attention_scale: keys.positive("attention_multiplier")?.unwrap_or(1.0),
        logit_scale: 1.0 / keys.positive("logits_scaling")?.unwrap_or(1.0),
        ..plain(keys, sizes)?
    })
}

//! SmolLM3: Llama without positions in every fourth layer.

use serde_json::Value;

use super::shared::{biases, plain, slide};
use crate::{
    Error,
    config::{
        DecoderSpec, Sizes,
        keys::{Keys, invalid},
    },
};

/// SmolLM3.
pub(super) fn spec(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    let mut spec = DecoderSpec { biases: biases(keys)?, ..plain(keys, sizes)? };
    let interval = keys.size_or("no_rope_layer_interval", 1 << 12, 4)?;
    let rotates: Vec<bool> = match keys.get("no_rope_layers").and_then(Value::as_array) {
        // 1 is a layer with rotation, whatever the key's name says.
        Some(list) => list.iter().map(|value| value.as_u64() == Some(1)).collect(),
        None => (1..=sizes.layers).map(|layer| !layer.is_multiple_of(interval)).collect(),
    };
    if rotates.len() != sizes.layers {
        return Err(invalid(format!("no_rope_layers must have {} numbers", sizes.layers)));
    }
    for (layer, _) in spec.layers.iter_mut().zip(&rotates).filter(|(_, rotates)| !**rotates) {
        layer.rotary = None;
    }
    let used = keys.flag("use_sliding_window")?.unwrap_or(false);
    slide(keys, &mut spec, |layer| used && !rotates[layer])?;
    Ok(spec)
}

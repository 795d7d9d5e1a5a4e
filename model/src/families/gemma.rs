//! Gemma 2 and Gemma 3 (text).

use serde_json::Value;

use super::shared::{biases, plain, rotary_of, slide};
use crate::{
    Error,
    config::{
        DecoderSpec, Sizes,
        keys::{Keys, invalid},
        rope::Rotary,
        spec::{Norms, QkNorm},
    },
};

/// Norms around both blocks with weights stored as the difference from 1, and embeddings scaled by the root of their
/// width.
fn gemma(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    let scalar = keys.positive("query_pre_attn_scalar")?.unwrap_or(256.0);
    keys.refuse("use_bidirectional_attention", "causal attention")?;
    Ok(DecoderSpec {
        norms: Norms::Both,
        norm_offset: 1.0,
        biases: biases(keys)?,
        attention_scale: 1.0 / scalar.sqrt(),
        attention_cap: keys.positive("attn_logit_softcapping")?,
        logit_cap: keys.positive("final_logit_softcapping")?,
        embedding_scale: (sizes.hidden as f32).sqrt(),
        ..plain(keys, sizes)?
    })
}

/// Gemma 2: every other layer slides, the first one does.
pub(super) fn gemma2(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    let mut spec = gemma(keys, sizes)?;
    slide(keys, &mut spec, |layer| layer.is_multiple_of(2))?;
    Ok(spec)
}

/// Gemma 3: norms of each head of queries and keys; five layers of six slide and rotate by a base of their own.
pub(super) fn gemma3(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    let mut spec = DecoderSpec { qk_norm: QkNorm::Head, ..gemma(keys, sizes)? };
    let older = keys.size_or("_sliding_window_pattern", 1 << 12, 6)?;
    let pattern = keys.size_or("sliding_window_pattern", 1 << 12, older)?;
    slide(keys, &mut spec, |layer| !(layer + 1).is_multiple_of(pattern))?;
    spec.rotaries = rotaries(keys, sizes)?;
    for layer in &mut spec.layers {
        layer.rotary = Some(usize::from(layer.window.is_some()));
    }
    Ok(spec)
}

/// The rotation of the layers that see all, and of those that slide.
fn rotaries(keys: &Keys<'_>, sizes: Sizes) -> Result<Vec<Rotary>, Error> {
    let local = keys.positive("rope_local_base_freq")?;
    let newer = keys.get("rope_parameters");
    let of = |kind: &str| newer.and_then(|given| given.get(kind));
    if let (Some(full), Some(sliding)) = (of("full_attention"), of("sliding_attention")) {
        return Ok(vec![
            rotary_of(keys, sizes, Some(full), Some(1_000_000.0))?,
            rotary_of(keys, sizes, Some(sliding), local)?,
        ]);
    }
    if newer.and_then(|given| given.get("rope_type")).is_some_and(|kind| kind != "default") {
        return Err(invalid(
            "rope_parameters must be told for full_attention and sliding_attention",
        ));
    }
    let older = keys.get("rope_scaling");
    let theta = keys.get("rope_theta").and_then(Value::as_f64).map(|theta| theta as f32);
    Ok(vec![
        rotary_of(keys, sizes, older, theta.or(Some(1_000_000.0)))?,
        rotary_of(keys, sizes, None, local)?,
    ])
}

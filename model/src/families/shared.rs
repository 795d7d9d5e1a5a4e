//! What several families read alike.

use serde_json::Value;

use crate::{
    Error,
    config::{
        DecoderSpec, Sizes,
        keys::{Keys, invalid, unsupported},
        rope::{RopeScaling, Rotary},
        spec::{Activation, Biases, LayerSpec, Norms, QkNorm},
    },
};

/// A decoder with norms before its blocks, SiLU, one rotation of whole heads and nothing else: Llama's layout, which the
/// other families change.
pub(super) fn plain(keys: &Keys<'_>, sizes: Sizes) -> Result<DecoderSpec, Error> {
    Ok(DecoderSpec {
        norms: Norms::Before,
        norm_offset: 0.0,
        qk_norm: QkNorm::None,
        biases: Biases::default(),
        activation: activation(keys)?,
        fused: false,
        attention_scale: 1.0 / (sizes.head_dim as f32).sqrt(),
        attention_cap: None,
        embedding_scale: 1.0,
        residual_scale: 1.0,
        logit_scale: 1.0,
        logit_cap: None,
        rotaries: vec![rotary(keys, sizes)?],
        layers: vec![LayerSpec { window: None, rotary: Some(0) }; sizes.layers],
    })
}

/// `hidden_activation` or `hidden_act`.
fn activation(keys: &Keys<'_>) -> Result<Activation, Error> {
    let older = keys.text("hidden_act")?;
    match keys.text("hidden_activation")?.or(older).unwrap_or("silu") {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => Err(unsupported(format!("hidden_act {other:?}"), "silu, gelu_pytorch_tanh")),
    }
}

/// The biases of Llama's keys: `attention_bias` (all four layers of attention) and `mlp_bias`.
pub(super) fn biases(keys: &Keys<'_>) -> Result<Biases, Error> {
    let attention = keys.flag("attention_bias")?.unwrap_or(false);
    let mlp = keys.flag("mlp_bias")?.unwrap_or(false);
    Ok(Biases { qkv: attention, o: attention, mlp })
}

/// The elements of a head that are rotated.
fn rotated_dims(keys: &Keys<'_>, given: Option<&Value>, sizes: Sizes) -> Result<usize, Error> {
    let older = keys.positive("partial_rotary_factor")?;
    let newer = given.and_then(|g| g.get("partial_rotary_factor")).and_then(Value::as_f64);
    let share = newer.map(|share| share as f32).or(older).unwrap_or(1.0);
    let dims = (sizes.head_dim as f32 * share) as usize;
    if dims == 0 || dims > sizes.head_dim || !dims.is_multiple_of(2) {
        return Err(invalid(format!("partial_rotary_factor {share} rotates {dims} of a head")));
    }
    Ok(dims)
}

/// A rotation from its parameters, in transformers' newer spelling or the older one.
pub(super) fn rotary_of(
    keys: &Keys<'_>,
    sizes: Sizes,
    given: Option<&Value>,
    older_theta: Option<f32>,
) -> Result<Rotary, Error> {
    let stated = given.and_then(|g| g.get("rope_theta")).and_then(Value::as_f64);
    let theta = stated.map(|theta| theta as f32).or(older_theta).unwrap_or(10_000.0);
    if !(theta.is_finite() && theta >= 1.0) {
        let reason = format!("rope_theta is {theta}; it must be a finite number of at least 1");
        return Err(invalid(reason));
    }
    let dims = rotated_dims(keys, given, sizes)?;
    let original = keys.size_or("original_max_position_embeddings", 1 << 26, 0)?;
    let original = Some(original).filter(|original| *original > 0);
    let scaling = RopeScaling::parse(given, dims, (sizes.max_positions, original))?;
    Ok(Rotary { theta, scaling, dims })
}

/// The rotation of a family that has one kind. A file may say `rope_scaling` beside `rope_parameters` that say no kind, or
/// the same.
fn rotary(keys: &Keys<'_>, sizes: Sizes) -> Result<Rotary, Error> {
    let newer = keys.get("rope_parameters");
    let older = keys.get("rope_scaling");
    if let (Some(new), Some(old)) = (newer.and_then(kind), older.and_then(kind))
        && new != old
    {
        return Err(invalid(format!(
            "rope_parameters say {new:?} and rope_scaling says {old:?}; delete the one that is wrong, and \
             keep the theta"
        )));
    }
    // Not `number`: what is too large for f32 gets the message about theta.
    let theta = keys.get("rope_theta").and_then(Value::as_f64).map(|theta| theta as f32);
    let given = newer.filter(|given| kind(given).is_some()).or(older).or(newer);
    let stated = newer.and_then(|g| g.get("rope_theta")).and_then(Value::as_f64);
    rotary_of(keys, sizes, given, stated.map(|theta| theta as f32).or(theta))
}

/// Which scaling parameters name.
fn kind(given: &Value) -> Option<&str> {
    given.get("rope_type").or_else(|| given.get("type")).and_then(Value::as_str)
}

/// The window of a sliding layer, if the model has one.
pub(super) fn window(keys: &Keys<'_>) -> Result<Option<usize>, Error> {
    match keys.size_or("sliding_window", 1 << 26, 0)? {
        0 => Ok(None),
        window => Ok(Some(window)),
    }
}

/// Which layers slide: by `layer_types`, or by the family's own rule where the file has none.
pub(super) fn sliding_layers(
    keys: &Keys<'_>,
    layers: usize,
    rule: impl Fn(usize) -> bool,
) -> Result<Vec<bool>, Error> {
    let Some(types) = keys.get("layer_types") else {
        return Ok((0..layers).map(rule).collect());
    };
    let sliding: Option<Vec<bool>> = types.as_array().and_then(|types| {
        let one = |kind: &Value| match kind.as_str()? {
            "sliding_attention" => Some(true),
            "full_attention" => Some(false),
            _ => None,
        };
        types.iter().map(one).collect()
    });
    sliding.filter(|sliding| sliding.len() == layers).ok_or_else(|| {
        unsupported(
            format!("layer_types {types} of config.json"),
            format!("one of full_attention, sliding_attention for each of {layers} layers"),
        )
    })
}

/// Gives the sliding layers their window.
pub(super) fn slide(
    keys: &Keys<'_>,
    spec: &mut DecoderSpec,
    rule: impl Fn(usize) -> bool,
) -> Result<(), Error> {
    let window = window(keys)?;
    let sliding = sliding_layers(keys, spec.layers.len(), rule)?;
    for (layer, _) in spec.layers.iter_mut().zip(sliding).filter(|(_, sliding)| *sliding) {
        layer.window = window;
    }
    Ok(())
}

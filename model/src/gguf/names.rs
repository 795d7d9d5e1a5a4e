//! GGUF's names of tensors for those of Hugging Face, and its layout of queries and keys.

use std::collections::BTreeSet;

use super::{
    Gguf, families,
    header::{Header, Tensor},
};
use crate::{Error, ModelConfig, Norms, tensors};

/// Divisors of the rotary frequencies; the configuration reads them, no weight is packed of them.
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Names outside of the layers.
const OUTER: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// Names within a layer, without `.weight` or `.bias`.
const INNER: [(&str, &str); 16] = [
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("self_attn.o_proj", "attn_output"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    (AFTER_ATTENTION, "post_attention_norm"),
    (BEFORE_MLP, "ffn_norm"),
];

/// Hugging Face calls two norms by the same name: that after attention, where there is one, else that before the
/// feed-forward block.
const POST_ATTENTION: &str = "post_attention_layernorm";
const AFTER_ATTENTION: &str = "post_attention_layernorm (after attention)";
const BEFORE_MLP: &str = "post_attention_layernorm (before the feed-forward block)";

/// GGUF's name of a tensor of the decoder.
fn of(config: &ModelConfig, name: &str) -> Option<String> {
    if let Some((_, outer)) = OUTER.iter().find(|(known, _)| *known == name) {
        return Some((*outer).to_owned());
    }
    let (layer, inner) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (inner, end) = inner.rsplit_once('.')?;
    let inner = match (inner, config.spec.norms) {
        (POST_ATTENTION, Norms::Before) => BEFORE_MLP,
        (POST_ATTENTION, Norms::After | Norms::Both) => AFTER_ATTENTION,
        (other, _) => other,
    };
    let (_, inner) = INNER.iter().find(|(known, _)| *known == inner)?;
    Some(format!("blk.{layer}.{inner}.{end}"))
}

/// Refuses tensors that the decoder does not load: a bias, an expert, a layer beyond the last.
pub(super) fn refuse_unknown(
    file: &str,
    header: &Header<'_>,
    config: &ModelConfig,
) -> Result<(), Error> {
    let needed = tensors::all(config).into_iter();
    let stored = needed.map(|tensor| tensor.part_of.map_or(tensor.name, |part| part.name));
    let known: BTreeSet<String> = stored.filter_map(|name| of(config, &name)).collect();
    let is_known = |name: &str| {
        known.contains(name) || name == ROPE_DIVISORS || families::is_configuration(name)
    };
    match header.tensors.keys().find(|name| !is_known(name)) {
        Some(name) => Err(Error::Unsupported {
            what: format!("the tensor {name} of {file}"),
            supported: format!("those of {} layers of its architecture", config.num_layers),
        }),
        None => Ok(()),
    }
}

/// A tensor of the decoder as f32, its shape checked, laid out as Hugging Face has it.
pub(super) fn read(gguf: &Gguf<'_>, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
    let Gguf { file, header, parsed, layout, .. } = gguf;
    let stored = of(parsed, name).unwrap_or_else(|| name.to_owned());
    let Tensor { shape: found, format, bytes } = header
        .tensors
        .get(stored.as_str())
        .ok_or_else(|| Error::MissingTensor { name: stored.clone(), file: (*file).into() })?;
    if found != shape {
        return Err(Error::Shape { name: stored, found: found.clone(), expected: shape.to_vec() });
    }
    let mut values = format.to_f32(bytes);
    if !values.iter().all(|value| value.is_finite()) {
        return Err(Error::NotFinite { name: stored });
    }
    let is_rotated = name.contains(".q_proj.") || name.contains(".k_proj.");
    if layout.interleaved && is_rotated {
        let row = if shape.len() > 1 { shape[1] } else { 1 };
        values = halves(&values, parsed.head_dim, row);
    }
    if layout.whole_norms && name.contains("norm") {
        values.iter_mut().for_each(|value| *value -= parsed.spec.norm_offset);
    }
    Ok(values)
}

/// llama.cpp rotates neighbours, so its files have row `i` of a head's first half beside row `i` of the second;
/// this puts the halves one after the other again.
fn halves(values: &[f32], head: usize, row: usize) -> Vec<f32> {
    let mut out = Vec::with_capacity(values.len());
    for head in values.chunks_exact(head * row) {
        for half in 0..2 {
            out.extend(head.chunks_exact(2 * row).flat_map(|pair| &pair[half * row..][..row]));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_put_one_after_the_other() {
        // Two heads of four rows of two.
        let interleaved: Vec<f32> = [0, 2, 1, 3, 4, 6, 5, 7]
            .iter()
            .flat_map(|row| [*row as f32, *row as f32 + 0.5])
            .collect();
        let expected: Vec<f32> = (0..16).map(|half| half as f32 / 2.0).collect();
        assert_eq!(halves(&interleaved, 4, 2), expected);
    }

    #[test]
    fn names_are_those_of_llama_cpp() {
        let config = |norms: Norms| {
            let json = serde_json::json!({
                "architectures": ["LlamaForCausalLM"], "vocab_size": 6, "hidden_size": 32,
                "intermediate_size": 64, "num_hidden_layers": 13, "num_attention_heads": 2,
                "max_position_embeddings": 128,
            });
            let mut config = ModelConfig::parse(json.to_string().as_bytes(), None).unwrap();
            config.spec.norms = norms;
            config
        };
        let of = |norms, name: &str| of(&config(norms), name);
        for (norms, name, expected) in [
            (Norms::Before, "model.norm.weight", Some("output_norm.weight")),
            (
                Norms::Before,
                "model.layers.12.self_attn.o_proj.weight",
                Some("blk.12.attn_output.weight"),
            ),
            (Norms::Before, "model.layers.0.self_attn.q_proj.bias", Some("blk.0.attn_q.bias")),
            (
                Norms::Before,
                "model.layers.0.post_attention_layernorm.weight",
                Some("blk.0.ffn_norm.weight"),
            ),
            (
                Norms::Both,
                "model.layers.0.post_attention_layernorm.weight",
                Some("blk.0.post_attention_norm.weight"),
            ),
            (
                Norms::Both,
                "model.layers.0.pre_feedforward_layernorm.weight",
                Some("blk.0.ffn_norm.weight"),
            ),
            (
                Norms::After,
                "model.layers.0.post_feedforward_layernorm.weight",
                Some("blk.0.post_ffw_norm.weight"),
            ),
            (Norms::Before, "model.layers.12.bias", None),
        ] {
            assert_eq!(of(norms, name).as_deref(), expected, "{name}");
        }
    }
}

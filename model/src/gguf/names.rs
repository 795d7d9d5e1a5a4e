//! GGUF's names of tensors for those of Hugging Face, and its layout of queries and keys.

use super::header::{Header, Tensor};
use crate::Error;

/// Divisors of the rotary frequencies; the configuration reads them, no weight is packed of them.
pub(super) const ROPE_DIVISORS: &str = "rope_freqs.weight";

/// Names outside of the layers.
const OUTER: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// Names within a layer.
const INNER: [(&str, &str); 9] = [
    ("input_layernorm.weight", "attn_norm.weight"),
    ("post_attention_layernorm.weight", "ffn_norm.weight"),
    ("self_attn.q_proj.weight", "attn_q.weight"),
    ("self_attn.k_proj.weight", "attn_k.weight"),
    ("self_attn.v_proj.weight", "attn_v.weight"),
    ("self_attn.o_proj.weight", "attn_output.weight"),
    ("mlp.gate_proj.weight", "ffn_gate.weight"),
    ("mlp.up_proj.weight", "ffn_up.weight"),
    ("mlp.down_proj.weight", "ffn_down.weight"),
];

/// GGUF's name of a tensor of the decoder.
fn of(name: &str) -> Option<String> {
    if let Some((_, outer)) = OUTER.iter().find(|(known, _)| *known == name) {
        return Some((*outer).to_owned());
    }
    let (layer, inner) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (_, inner) = INNER.iter().find(|(known, _)| *known == inner)?;
    Some(format!("blk.{layer}.{inner}"))
}

/// Refuses tensors that the decoder does not load: a bias, an expert, a layer beyond the last.
pub(super) fn refuse_unknown(file: &str, header: &Header<'_>, layers: usize) -> Result<(), Error> {
    let is_known = |name: &str| {
        let inner = || {
            let (layer, inner) = name.strip_prefix("blk.")?.split_once('.')?;
            let number = layer.parse::<usize>().ok().filter(|number| *number < layers)?;
            Some(number.to_string() == layer && INNER.iter().any(|(_, known)| *known == inner))
        };
        name == ROPE_DIVISORS
            || OUTER.iter().any(|(_, known)| *known == name)
            || inner() == Some(true)
    };
    match header.tensors.keys().find(|name| !is_known(name)) {
        Some(name) => Err(Error::Unsupported {
            what: format!("the tensor {name} of {file}"),
            supported: format!("those of {layers} layers of a Llama without biases"),
        }),
        None => Ok(()),
    }
}

/// A tensor of the decoder as f32, its shape checked, laid out as Hugging Face has it.
pub(super) fn read(
    file: &str,
    header: &Header<'_>,
    head_dim: usize,
    name: &str,
    shape: &[usize],
) -> Result<Vec<f32>, Error> {
    let stored = of(name).unwrap_or_else(|| name.to_owned());
    let Tensor { shape: found, format, bytes } = header
        .tensors
        .get(stored.as_str())
        .ok_or_else(|| Error::MissingTensor { name: stored.clone(), file: file.into() })?;
    if found != shape {
        return Err(Error::Shape { name: stored, found: found.clone(), expected: shape.to_vec() });
    }
    let values = format.to_f32(bytes);
    if !values.iter().all(|value| value.is_finite()) {
        return Err(Error::NotFinite { name: stored });
    }
    Ok(if name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight") {
        halves(&values, head_dim, shape.last().copied().unwrap_or(1))
    } else {
        values
    })
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
        assert_eq!(of("model.norm.weight").as_deref(), Some("output_norm.weight"));
        assert_eq!(
            of("model.layers.12.self_attn.o_proj.weight").as_deref(),
            Some("blk.12.attn_output.weight")
        );
        assert_eq!(of("model.layers.12.bias"), None);
    }
}

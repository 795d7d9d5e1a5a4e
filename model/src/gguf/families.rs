//! What the files of each family say in keys of their own, and how they store what others store otherwise.

use serde_json::{Map, Value, json};

use super::{header::Header, keys::Keys};
use crate::Error;

/// How one value of `general.architecture` is read.
pub(super) struct Layout {
    /// `general.architecture`, and the prefix of its keys.
    pub(super) name: &'static str,
    /// The class in `config.json`.
    pub(super) class: &'static str,
    /// llama.cpp rotates neighbours in these, so that rows of queries and keys lie interleaved.
    pub(super) interleaved: bool,
    /// Weights of norms are stored as they multiply, where Hugging Face stores the difference from 1.
    pub(super) whole_norms: bool,
    /// Keys of `config.json` beyond those that all have.
    pub(super) more: fn(Said<'_>) -> Result<Map<String, Value>, Error>,
}

/// What a file says, as far as the families ask.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) keys: Keys<'a>,
    pub(super) header: &'a Header<'a>,
    pub(super) name: &'static str,
    pub(super) hidden: u64,
    pub(super) heads: u64,
    pub(super) head: u64,
    pub(super) layers: u64,
}

impl Said<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.name)
    }

    /// A number that is none if it is 0.
    fn real(&self, name: &str) -> Result<Option<f64>, Error> {
        Ok(self.keys.real(&self.key(name))?.filter(|value| *value != 0.0))
    }

    fn whole(&self, name: &str) -> Result<Option<u64>, Error> {
        Ok(self.keys.whole(&self.key(name))?.filter(|value| *value != 0))
    }

    /// The numbers of a tensor.
    fn numbers(&self, name: &str) -> Option<Vec<f32>> {
        self.header.tensors.get(name).map(|tensor| tensor.format.to_f32(tensor.bytes))
    }
}

const fn layout(
    name: &'static str,
    class: &'static str,
    more: fn(Said<'_>) -> Result<Map<String, Value>, Error>,
) -> Layout {
    Layout { name, class, interleaved: false, whole_norms: false, more }
}

const LAYOUTS: [Layout; 9] = [
    Layout { interleaved: true, ..layout("llama", "LlamaForCausalLM", nothing) },
    layout("qwen2", "Qwen2ForCausalLM", nothing),
    layout("qwen3", "Qwen3ForCausalLM", nothing),
    Layout { interleaved: true, ..layout("smollm3", "SmolLM3ForCausalLM", nothing) },
    Layout { whole_norms: true, ..layout("gemma2", "Gemma2ForCausalLM", gemma2) },
    Layout { whole_norms: true, ..layout("gemma3", "Gemma3ForCausalLM", gemma3) },
    layout("phi3", "Phi3ForCausalLM", phi3),
    Layout { interleaved: true, ..layout("granite", "GraniteForCausalLM", granite) },
    layout("olmo2", "Olmo2ForCausalLM", nothing),
];

/// The layout of an architecture.
pub(super) fn of(name: &str) -> Option<&'static Layout> {
    LAYOUTS.iter().find(|layout| layout.name == name)
}

/// All architectures, for refusals.
pub(super) fn supported() -> String {
    LAYOUTS.iter().map(|layout| layout.name).collect::<Vec<_>>().join(", ")
}

fn nothing(_: Said<'_>) -> Result<Map<String, Value>, Error> {
    Ok(Map::new())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// The files do not say what scores are scaled by. llama.cpp knows the one size that does not go by the width of a head.
fn query_scalar(said: Said<'_>, odd_layers: u64) -> u64 {
    if said.layers == odd_layers { said.hidden / said.heads.max(1) } else { said.head }
}

fn gemma2(said: Said<'_>) -> Result<Map<String, Value>, Error> {
    Ok(object(json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": said.whole("attention.sliding_window")?.unwrap_or(4096),
        "attn_logit_softcapping": said.real("attn_logit_softcapping")?,
        "final_logit_softcapping": said.real("final_logit_softcapping")?,
        "query_pre_attn_scalar": query_scalar(said, 46),
    })))
}

fn gemma3(said: Said<'_>) -> Result<Map<String, Value>, Error> {
    Ok(object(json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "sliding_window": said.whole("attention.sliding_window")?.unwrap_or(1024),
        "final_logit_softcapping": said.real("final_logit_softcapping")?,
        "query_pre_attn_scalar": query_scalar(said, 62),
        "rope_local_base_freq": said.real("rope.freq_base_swa")?.unwrap_or(10_000.0),
    })))
}

/// The divisors of LongRoPE are tensors.
fn phi3(said: Said<'_>) -> Result<Map<String, Value>, Error> {
    let rotated = said.whole("rope.dimension_count")?.unwrap_or(said.head);
    let mut map = object(json!({
        "partial_rotary_factor": rotated as f64 / said.head as f64,
        "sliding_window": said.whole("attention.sliding_window")?,
        "original_max_position_embeddings": said.whole("rope.scaling.original_context_length")?,
    }));
    if let Some(factors) = said.numbers(SHORT_FACTORS) {
        map.insert(
            "rope_scaling".into(),
            json!({
                "rope_type": "longrope",
                "short_factor": factors,
                "attention_factor": said.real("rope.scaling.attn_factor")?,
            }),
        );
    }
    Ok(map)
}

/// Phi-3's divisors for texts within the context of pre-training, and for longer ones.
const SHORT_FACTORS: &str = "rope_factors_short.weight";
const LONG_FACTORS: &str = "rope_factors_long.weight";

/// Tensors that the configuration reads; no weight is packed of them.
pub(super) fn is_configuration(tensor: &str) -> bool {
    tensor == SHORT_FACTORS || tensor == LONG_FACTORS
}

fn granite(said: Said<'_>) -> Result<Map<String, Value>, Error> {
    let need = |name: &str| {
        let key = said.key(name);
        said.keys.need(&key, said.real(name)?)
    };
    Ok(object(json!({
        "embedding_multiplier": need("embedding_scale")?,
        "residual_multiplier": need("residual_scale")?,
        "attention_multiplier": need("attention.scale")?,
        "logits_scaling": need("logit_scale")?,
    })))
}

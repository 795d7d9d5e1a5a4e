//! `config.json` → which decoder, and its sizes.
//!
//! A model that needs something this build lacks is refused here, by the name of the thing, before any weight is read.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, rope::RopeScaling};

/// Decoders of this build. Others (Qwen, Mistral, …) get a variant and a file beside `llama.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// `LlamaForCausalLM`.
    Llama,
}

const SUPPORTED: &str = "LlamaForCausalLM";

/// Sizes and constants of a decoder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelConfig {
    /// Which decoder runs it.
    pub architecture: Architecture,
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
    /// Base of the rotary frequencies.
    pub rope_theta: f32,
    /// How the rotary frequencies are stretched for long contexts.
    pub rope_scaling: RopeScaling,
    /// The output head is the embedding table.
    pub tie_word_embeddings: bool,
    /// Tokens that end a generation.
    pub eos_token_ids: Vec<u32>,
    /// Token that begins a text, if the model has one.
    pub bos_token_id: Option<u32>,
}

/// The seven linear layers of a decoder layer, in PEFT's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Module {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention output.
    O,
    /// Gate of the feed-forward block.
    Gate,
    /// Up projection of the feed-forward block.
    Up,
    /// Down projection of the feed-forward block.
    Down,
}

impl Module {
    /// All modules, in the order of the forward pass.
    pub const ALL: [Self; 7] =
        [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The short name that PEFT's `target_modules` uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The path inside of a layer: `self_attn.q_proj`.
    #[must_use]
    pub fn path(self) -> &'static str {
        match self {
            Self::Q => "self_attn.q_proj",
            Self::K => "self_attn.k_proj",
            Self::V => "self_attn.v_proj",
            Self::O => "self_attn.o_proj",
            Self::Gate => "mlp.gate_proj",
            Self::Up => "mlp.up_proj",
            Self::Down => "mlp.down_proj",
        }
    }

    /// The place in [`Module::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}

/// The keys of `config.json` that matter; the rest is ignored.
#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architectures: Vec<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default = "silu")]
    hidden_act: String,
    max_position_embeddings: usize,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_scaling: Option<Value>,
    /// transformers 5 writes theta and scaling here.
    rope_parameters: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    bos_token_id: Option<Value>,
    eos_token_id: Option<Value>,
}

fn silu() -> String {
    "silu".into()
}

impl ModelConfig {
    /// Reads `config.json`, and `generation_config.json` for its end tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a key is missing or inconsistent, [`Error::Unsupported`] for a model of another kind.
    pub fn parse(config: &[u8], generation: Option<&[u8]>) -> Result<Self, Error> {
        let bad = |reason: String| Error::invalid("config.json", reason);
        let names: Value = serde_json::from_slice(config).map_err(|e| bad(e.to_string()))?;
        let architecture = detect(&names)?;
        let raw: Raw = serde_json::from_value(names).map_err(|e| bad(e.to_string()))?;
        refuse_unsupported(&raw)?;

        check_ranges(&raw)?;
        let (rope_theta, rope_scaling) = rope(&raw)?;
        let num_kv_heads = raw.num_key_value_heads.unwrap_or(raw.num_attention_heads);
        if raw.num_attention_heads == 0 || num_kv_heads == 0 || raw.num_hidden_layers == 0 {
            return Err(bad("layers and heads must be at least 1".into()));
        }
        if !raw.num_attention_heads.is_multiple_of(num_kv_heads) {
            return Err(bad(format!(
                "num_attention_heads {} is no multiple of num_key_value_heads {num_kv_heads}",
                raw.num_attention_heads
            )));
        }
        let head_dim = raw.head_dim.unwrap_or(raw.hidden_size / raw.num_attention_heads);
        if head_dim == 0 || !head_dim.is_multiple_of(16) {
            return Err(Error::Unsupported {
                what: format!("head_dim {head_dim}"),
                supported: "multiples of 16".into(),
            });
        }
        let mut eos_token_ids = token_ids(raw.eos_token_id.as_ref());
        let generation: Value = match generation {
            Some(bytes) => serde_json::from_slice(bytes)
                .map_err(|e| Error::invalid("generation_config.json", e))?,
            None => Value::Null,
        };
        for id in token_ids(generation.get("eos_token_id")) {
            if !eos_token_ids.contains(&id) {
                eos_token_ids.push(id);
            }
        }
        Ok(Self {
            architecture,
            vocab_size: raw.vocab_size,
            hidden_size: raw.hidden_size,
            intermediate_size: raw.intermediate_size,
            num_layers: raw.num_hidden_layers,
            num_heads: raw.num_attention_heads,
            num_kv_heads,
            head_dim,
            max_positions: raw.max_position_embeddings,
            rms_norm_eps: raw.rms_norm_eps,
            rope_theta,
            rope_scaling,
            tie_word_embeddings: raw.tie_word_embeddings,
            eos_token_ids,
            bos_token_id: token_ids(raw.bos_token_id.as_ref()).first().copied(),
        })
    }

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

    /// All linear layers by PEFT's short name, with inputs and outputs.
    #[must_use]
    pub fn modules(&self) -> BTreeMap<String, (usize, usize)> {
        Module::ALL.into_iter().map(|m| (m.name().to_string(), self.module_shape(m))).collect()
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
}

fn detect(config: &Value) -> Result<Architecture, Error> {
    let name = config
        .get("architectures")
        .and_then(|list| list.get(0))
        .and_then(Value::as_str)
        .or_else(|| config.get("model_type").and_then(Value::as_str))
        .unwrap_or("none");
    match name {
        "LlamaForCausalLM" | "llama" => Ok(Architecture::Llama),
        other => Err(Error::Unsupported {
            what: format!("architecture {other:?} of config.json"),
            supported: SUPPORTED.into(),
        }),
    }
}

fn refuse_unsupported(raw: &Raw) -> Result<(), Error> {
    let refuse = |what: &str, supported: &str| {
        Err(Error::Unsupported { what: what.to_string(), supported: supported.to_string() })
    };
    if raw.architectures.len() > 1 {
        return refuse("config.json with several architectures", SUPPORTED);
    }
    if raw.hidden_act != "silu" {
        return refuse(&format!("hidden_act {:?}", raw.hidden_act), "silu");
    }
    if raw.attention_bias || raw.mlp_bias {
        return refuse("a bias in the linear layers (attention_bias, mlp_bias)", "no bias");
    }
    Ok(())
}

/// Numbers that no model has, and with which nothing could be computed: refused before anything is made as large.
fn check_ranges(raw: &Raw) -> Result<(), Error> {
    for (key, value, most) in [
        ("vocab_size", Some(raw.vocab_size), 1 << 22),
        ("hidden_size", Some(raw.hidden_size), 1 << 18),
        ("intermediate_size", Some(raw.intermediate_size), 1 << 20),
        ("num_hidden_layers", Some(raw.num_hidden_layers), 1 << 12),
        ("num_attention_heads", Some(raw.num_attention_heads), 1 << 12),
        ("num_key_value_heads", raw.num_key_value_heads, 1 << 12),
        ("head_dim", raw.head_dim, 1 << 12),
        ("max_position_embeddings", Some(raw.max_position_embeddings), 1 << 26),
    ] {
        if let Some(value) = value.filter(|value| !(1..=most).contains(value)) {
            let reason = format!("{key} is {value}; it must be from 1 to {most}");
            return Err(Error::invalid("config.json", reason));
        }
    }
    if !(raw.rms_norm_eps > 0.0 && raw.rms_norm_eps < 1.0) {
        let reason =
            format!("rms_norm_eps is {}; it must be above 0 and below 1", raw.rms_norm_eps);
        return Err(Error::invalid("config.json", reason));
    }
    Ok(())
}

fn rope(raw: &Raw) -> Result<(f32, RopeScaling), Error> {
    let parameters = raw.rope_parameters.as_ref();
    let theta = parameters
        .and_then(|p| p.get("rope_theta"))
        .and_then(Value::as_f64)
        .map(|theta| theta as f32)
        .or(raw.rope_theta)
        .unwrap_or(10_000.0);
    if !(theta.is_finite() && theta >= 1.0) {
        let reason = format!("rope_theta is {theta}; it must be a finite number of at least 1");
        return Err(Error::invalid("config.json", reason));
    }
    let scaling = RopeScaling::parse(parameters.or(raw.rope_scaling.as_ref()))?;
    Ok((theta, scaling))
}

/// One id or a list of ids.
fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Value {
        serde_json::json!({
            "architectures": ["LlamaForCausalLM"], "vocab_size": 100, "hidden_size": 64,
            "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
            "rope_theta": 5000.0, "eos_token_id": 2, "bos_token_id": null
        })
    }

    fn parse(value: &Value) -> Result<ModelConfig, Error> {
        ModelConfig::parse(value.to_string().as_bytes(), None)
    }

    #[test]
    fn reads_both_spellings_of_rope() {
        assert_eq!(parse(&base()).unwrap().rope_theta, 5000.0);
        let mut new = base();
        new["rope_parameters"] =
            serde_json::json!({ "rope_theta": 7000.0, "rope_type": "default" });
        new.as_object_mut().unwrap().remove("rope_theta");
        let config = parse(&new).unwrap();
        assert_eq!(config.rope_theta, 7000.0);
        assert_eq!(config.head_dim, 16);
    }

    #[test]
    fn end_tokens_come_from_both_files() {
        let generation = br#"{"eos_token_id":[2,0]}"#;
        let config = ModelConfig::parse(base().to_string().as_bytes(), Some(generation)).unwrap();
        assert_eq!(config.eos_token_ids, [2, 0]);
    }

    #[test]
    fn refuses_by_name() {
        for (key, value, word) in [
            ("architectures", serde_json::json!(["Qwen3ForCausalLM"]), "Qwen3ForCausalLM"),
            ("hidden_act", serde_json::json!("gelu"), "gelu"),
            ("attention_bias", serde_json::json!(true), "bias"),
            ("head_dim", serde_json::json!(20), "head_dim 20"),
            ("rope_scaling", serde_json::json!({"rope_type": "yarn"}), "yarn"),
            ("num_key_value_heads", serde_json::json!(3), "no multiple"),
            (
                "num_hidden_layers",
                serde_json::json!(1_000_000_000_000_000_000u64),
                "num_hidden_layers",
            ),
            ("num_hidden_layers", serde_json::json!(0), "num_hidden_layers is 0"),
            ("hidden_size", serde_json::json!(1u64 << 40), "hidden_size"),
            ("vocab_size", serde_json::json!(u64::MAX), "vocab_size"),
            ("num_attention_heads", serde_json::json!(1u64 << 60), "num_attention_heads"),
            ("head_dim", serde_json::json!(1u64 << 60), "head_dim"),
            ("max_position_embeddings", serde_json::json!(1u64 << 60), "max_position_embeddings"),
            ("rms_norm_eps", serde_json::json!(-1e-5), "rms_norm_eps"),
            ("rms_norm_eps", serde_json::json!(0), "rms_norm_eps"),
            ("rms_norm_eps", serde_json::json!(1e300), "rms_norm_eps"),
            ("rope_theta", serde_json::json!(0), "rope_theta"),
            ("rope_theta", serde_json::json!(1e300), "rope_theta"),
            ("rope_scaling", serde_json::json!({"type": "linear", "factor": 0}), "factor"),
            ("rope_scaling", serde_json::json!({"type": "linear", "factor": -2}), "factor"),
            (
                "rope_scaling",
                serde_json::json!({"rope_type": "llama3", "factor": 8,
                "low_freq_factor": 4, "high_freq_factor": 4,
                "original_max_position_embeddings": 8192}),
                "high_freq_factor",
            ),
        ] {
            let mut config = base();
            config[key] = value;
            let message = parse(&config).unwrap_err().to_string();
            assert!(message.contains(word), "{message}");
        }
    }
}

//! Everything in which decoders differ, as data: what a family's file fills in, and all that the decoder reads.

use serde::Serialize;

use super::{Module, rope::Rotary};
pub use hone_device::ops::Activation;

/// What one forward pass computes, beside its sizes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecoderSpec {
    /// Where the norms of a layer stand.
    pub norms: Norms,
    /// Added to each stored weight of a norm: 1 where the file holds the difference from 1 (Gemma).
    pub norm_offset: f32,
    /// Norm of queries and keys before the rotation.
    pub qk_norm: QkNorm,
    /// Which linear layers add a bias.
    pub biases: Biases,
    /// What the gate of the feed-forward block passes through.
    pub activation: Activation,
    /// Which linear layers share a matrix in the file, and so an adapter.
    pub fused: bool,
    /// What query times key is multiplied with.
    pub attention_scale: f32,
    /// Scores of attention are bent below this magnitude.
    pub attention_cap: Option<f32>,
    /// What embeddings are multiplied with.
    pub embedding_scale: f32,
    /// What a block's result is multiplied with before it is added to the residual stream.
    pub residual_scale: f32,
    /// What logits are multiplied with.
    pub logit_scale: f32,
    /// Logits are bent below this magnitude, after their scale.
    pub logit_cap: Option<f32>,
    /// The kinds of rotation that the layers use.
    pub rotaries: Vec<Rotary>,
    /// One entry a layer.
    pub layers: Vec<LayerSpec>,
}

/// In what one layer differs from others of the same decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayerSpec {
    /// Positions that a row sees at most, its own included; `None` is all.
    pub window: Option<usize>,
    /// Which of [`DecoderSpec::rotaries`]; `None` is no rotation.
    pub rotary: Option<usize>,
}

/// Where the norms of a layer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Norms {
    /// Before each block (Llama).
    Before,
    /// After each block, before its result is added (OLMo 2).
    After,
    /// Both (Gemma 2 and 3).
    Both,
}

/// Norm of queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QkNorm {
    /// None.
    None,
    /// Of each head (Qwen3, Gemma 3).
    Head,
    /// Of all heads together (OLMo 2).
    Whole,
}

/// Which linear layers add a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Biases {
    /// Queries, keys and values.
    pub qkv: bool,
    /// Attention output.
    pub o: bool,
    /// The feed-forward block.
    pub mlp: bool,
}

/// A place of a norm in a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormPlace {
    /// On the input of attention.
    BeforeAttention,
    /// On the result of attention.
    AfterAttention,
    /// On the input of the feed-forward block.
    BeforeMlp,
    /// On the result of the feed-forward block.
    AfterMlp,
}

/// What one LoRA pair of PEFT adapts: one linear layer of the model's file, which may hold several of the decoder's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoraTarget {
    /// The short name that PEFT's `target_modules` uses.
    pub name: &'static str,
    /// The path inside of a layer.
    pub path: &'static str,
    /// The layers whose outputs it holds, one after the other.
    pub modules: &'static [Module],
}

impl LoraTarget {
    const fn new(path: &'static str, name: &'static str, modules: &'static [Module]) -> Self {
        Self { name, path, modules }
    }
}

const SEPARATE: [LoraTarget; 7] = [
    LoraTarget::new("self_attn.q_proj", "q_proj", &[Module::Q]),
    LoraTarget::new("self_attn.k_proj", "k_proj", &[Module::K]),
    LoraTarget::new("self_attn.v_proj", "v_proj", &[Module::V]),
    LoraTarget::new("self_attn.o_proj", "o_proj", &[Module::O]),
    LoraTarget::new("mlp.gate_proj", "gate_proj", &[Module::Gate]),
    LoraTarget::new("mlp.up_proj", "up_proj", &[Module::Up]),
    LoraTarget::new("mlp.down_proj", "down_proj", &[Module::Down]),
];

const FUSED: [LoraTarget; 4] = [
    LoraTarget::new("self_attn.qkv_proj", "qkv_proj", &[Module::Q, Module::K, Module::V]),
    LoraTarget::new("self_attn.o_proj", "o_proj", &[Module::O]),
    LoraTarget::new("mlp.gate_up_proj", "gate_up_proj", &[Module::Gate, Module::Up]),
    LoraTarget::new("mlp.down_proj", "down_proj", &[Module::Down]),
];

impl DecoderSpec {
    /// What adapters can be put on, in the order of the forward pass.
    #[must_use]
    pub fn targets(&self) -> &'static [LoraTarget] {
        if self.fused { &FUSED } else { &SEPARATE }
    }

    /// The name of a norm in the file, inside of a layer; `None` if the decoder has none there.
    pub(crate) fn norm_name(&self, place: NormPlace) -> Option<&'static str> {
        use NormPlace::{AfterAttention, AfterMlp, BeforeAttention, BeforeMlp};
        match (self.norms, place) {
            (Norms::Before | Norms::Both, BeforeAttention) => Some("input_layernorm"),
            (Norms::Before, BeforeMlp) => Some("post_attention_layernorm"),
            (Norms::After | Norms::Both, AfterAttention) => Some("post_attention_layernorm"),
            (Norms::Both, BeforeMlp) => Some("pre_feedforward_layernorm"),
            (Norms::After | Norms::Both, AfterMlp) => Some("post_feedforward_layernorm"),
            (Norms::Before, AfterAttention | AfterMlp)
            | (Norms::After, BeforeAttention | BeforeMlp) => None,
        }
    }

    /// Whether a linear layer adds a bias.
    pub(crate) fn has_bias(&self, module: Module) -> bool {
        match module {
            Module::Q | Module::K | Module::V => self.biases.qkv,
            Module::O => self.biases.o,
            Module::Gate | Module::Up | Module::Down => self.biases.mlp,
        }
    }
}

//! What an adapter must fit: the linear layers of the base.

use std::collections::BTreeMap;

/// The linear layers of the base model that an adapter may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseShape {
    /// Digest of the packed base weights.
    pub digest: String,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Inputs and outputs of each linear layer, by its short name (`q_proj` … `down_proj`).
    pub modules: BTreeMap<String, (usize, usize)>,
}

/// The sizes of a Llama-like decoder that decide the shapes of its linear layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width within the feed-forward block.
    pub intermediate: usize,
    /// Query heads times head size.
    pub query: usize,
    /// Key/value heads times head size.
    pub key_value: usize,
}

impl BaseShape {
    /// The shape of a Llama-like decoder.
    #[must_use]
    pub fn of_llama(digest: impl Into<String>, sizes: Sizes) -> Self {
        let Sizes { num_layers, hidden, intermediate, query, key_value } = sizes;
        let modules = [
            ("q_proj", (hidden, query)),
            ("k_proj", (hidden, key_value)),
            ("v_proj", (hidden, key_value)),
            ("o_proj", (query, hidden)),
            ("gate_proj", (hidden, intermediate)),
            ("up_proj", (hidden, intermediate)),
            ("down_proj", (intermediate, hidden)),
        ];
        let modules = modules.map(|(name, shape)| (name.to_owned(), shape)).into();
        Self { digest: digest.into(), num_layers, modules }
    }

    /// The block that a linear layer belongs to in tensor names.
    #[must_use]
    pub fn block_of(module: &str) -> &'static str {
        if matches!(module, "gate_proj" | "up_proj" | "down_proj") { "mlp" } else { "self_attn" }
    }

    /// How many bytes the weights of an adapter of this rank can take at most, in f32 and with every
    /// linear layer adapted, without the header.
    pub(crate) fn max_weight_bytes(&self, rank: usize) -> u64 {
        let per_layer: u64 =
            self.modules.values().map(|(inputs, outputs)| (inputs + outputs) as u64).sum();
        per_layer * (self.num_layers as u64) * (rank as u64) * 4
    }
}

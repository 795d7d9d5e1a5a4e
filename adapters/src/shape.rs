//! What an adapter must fit: the linear layers of the base.

use std::collections::BTreeMap;

/// The linear layers of the base model that an adapter may change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseShape {
    /// Digest of the packed base weights.
    pub digest: String,
    /// Number of decoder layers.
    pub num_layers: usize,
    /// Inputs and outputs of what adapters can be put on, by PEFT's short name (`q_proj` … `down_proj`; `qkv_proj` where a
    /// model's file has one matrix for several layers).
    pub modules: BTreeMap<String, (usize, usize)>,
}

impl BaseShape {
    /// The block that a linear layer belongs to in tensor names.
    fn block_of(module: &str) -> &'static str {
        match module {
            "gate_proj" | "up_proj" | "gate_up_proj" | "down_proj" => "mlp",
            _ => "self_attn",
        }
    }

    /// The path of a linear layer inside of a decoder layer.
    #[must_use]
    pub fn path_of(module: &str) -> String {
        format!("{}.{module}", Self::block_of(module))
    }

    /// How many bytes the weights of an adapter of this rank can take at most, in f32 and with every
    /// linear layer adapted, without the header.
    pub(crate) fn max_weight_bytes(&self, rank: usize) -> u64 {
        let per_layer: u64 =
            self.modules.values().map(|(inputs, outputs)| (inputs + outputs) as u64).sum();
        per_layer * (self.num_layers as u64) * (rank as u64) * 4
    }
}

//! The tensors of a decoder by the names of Hugging Face: what is packed, and what is opened again.

use crate::{
    ModelConfig, Module,
    config::spec::{NormPlace, QkNorm},
};

/// The embedding table.
pub(crate) const EMBEDDINGS: &str = "model.embed_tokens.weight";
/// The output head, where it is not the embedding table.
pub(crate) const HEAD: &str = "lm_head.weight";

/// A tensor of the packed file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TensorSpec {
    /// Its name.
    pub(crate) name: String,
    /// What it holds.
    pub(crate) kind: TensorKind,
    /// Where its rows lie in a tensor of the source that holds several; `None` is a tensor of its own.
    pub(crate) part_of: Option<Part>,
}

/// What a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TensorKind {
    /// The embedding table or the head, `[vocab, hidden]`.
    Vocabulary { inputs: usize, outputs: usize },
    /// A linear layer, `[outputs, inputs]`.
    Linear { inputs: usize, outputs: usize },
    /// A norm's weight or a bias.
    Vector { length: usize },
}

/// Some rows of a tensor of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    /// The tensor.
    pub(crate) name: String,
    /// The first row.
    pub(crate) first: usize,
    /// Rows of the whole tensor.
    pub(crate) of: usize,
}

/// The name of something in a layer.
pub(crate) fn in_layer(layer: usize, name: &str) -> String {
    format!("model.layers.{layer}.{name}")
}

impl TensorSpec {
    fn whole(name: impl Into<String>, kind: TensorKind) -> Self {
        Self { name: name.into(), kind, part_of: None }
    }
}

/// All tensors of a decoder, in the order of the file.
pub(crate) fn all(config: &ModelConfig) -> Vec<TensorSpec> {
    let spec = &config.spec;
    let hidden = config.hidden_size;
    let vocabulary = TensorKind::Vocabulary { inputs: hidden, outputs: config.vocab_size };
    let mut tensors = vec![TensorSpec::whole(EMBEDDINGS, vocabulary)];
    for layer in 0..config.num_layers {
        let mut vector = |name: &str, length: usize| {
            tensors.push(TensorSpec::whole(in_layer(layer, name), TensorKind::Vector { length }));
        };
        use NormPlace::{AfterAttention, AfterMlp, BeforeAttention, BeforeMlp};
        for place in [BeforeAttention, AfterAttention, BeforeMlp, AfterMlp] {
            if let Some(name) = spec.norm_name(place) {
                vector(&format!("{name}.weight"), hidden);
            }
        }
        if let Some((q, k)) = qk_norm_lengths(config) {
            vector("self_attn.q_norm.weight", q);
            vector("self_attn.k_norm.weight", k);
        }
        for module in Module::ALL.into_iter().filter(|module| spec.has_bias(*module)) {
            vector(&format!("{}.bias", module.path()), config.module_shape(module).1);
        }
        for target in spec.targets() {
            let (_, of) = config.target_shape(target);
            let mut first = 0;
            for module in target.modules {
                let (inputs, outputs) = config.module_shape(*module);
                let whole = in_layer(layer, &format!("{}.weight", target.path));
                let part = Part { name: whole, first, of };
                tensors.push(TensorSpec {
                    name: in_layer(layer, &format!("{}.weight", module.path())),
                    kind: TensorKind::Linear { inputs, outputs },
                    part_of: (target.modules.len() > 1).then_some(part),
                });
                first += outputs;
            }
        }
    }
    tensors.push(TensorSpec::whole("model.norm.weight", TensorKind::Vector { length: hidden }));
    if !config.tie_word_embeddings {
        tensors.push(TensorSpec::whole(HEAD, vocabulary));
    }
    tensors
}

/// Lengths of the norms of queries and keys, if the decoder has them.
pub(crate) fn qk_norm_lengths(config: &ModelConfig) -> Option<(usize, usize)> {
    match config.spec.qk_norm {
        QkNorm::None => None,
        QkNorm::Head => Some((config.head_dim, config.head_dim)),
        QkNorm::Whole => Some((config.q_width(), config.kv_width())),
    }
}

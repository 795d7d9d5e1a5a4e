//! The Llama decoder: embedding, layers, norm, head.

use crate::{
    Error, ModelConfig, Module,
    layer::{Buffers, Layer, LoraRun, Step},
    linear::Linear,
    pack::Weights,
};

/// The weights of a Llama model.
#[derive(Debug)]
pub(crate) struct Llama {
    /// Token embeddings; the head as well, if they are tied.
    pub(crate) embed: Linear,
    /// The layers.
    pub(crate) layers: Vec<Layer>,
    /// RMSNorm before the head.
    pub(crate) norm: Vec<f32>,
    head: Option<Linear>,
}

impl Llama {
    /// Takes the weights out of a packed file.
    pub(crate) fn open(config: &ModelConfig, packed: &Weights) -> Result<Self, Error> {
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let layers = (0..config.num_layers)
            .map(|index| open_layer(config, packed, index))
            .collect::<Result<_, _>>()?;
        let head = match config.tie_word_embeddings {
            true => None,
            false => Some(packed.linear("lm_head.weight", hidden, vocab)?),
        };
        Ok(Self {
            embed: packed.linear("model.embed_tokens.weight", hidden, vocab)?,
            layers,
            norm: packed.vector("model.norm.weight", hidden)?,
            head,
        })
    }

    /// The output head.
    pub(crate) fn head(&self) -> &Linear {
        self.head.as_ref().unwrap_or(&self.embed)
    }

    /// Embeds tokens, all inside of the vocabulary, into `[tokens, hidden]`.
    pub(crate) fn embed(&self, tokens: impl Iterator<Item = u32>, out: &mut [f32]) {
        for (token, row) in tokens.zip(out.chunks_exact_mut(self.embed.inputs())) {
            self.embed.row(token as usize, row);
        }
    }

    /// Runs one layer over all rows of a step.
    pub(crate) fn layer(
        &self,
        index: usize,
        step: Step<'_>,
        caches: &mut [&mut crate::cache::LayerKv],
        loras: &[LoraRun<'_>],
        x: &mut [f32],
        buffers: &mut Buffers,
    ) {
        let layer = &self.layers[index];
        layer.attention(step, caches, loras, x, buffers);
        layer.mlp(step, loras, x, buffers);
    }
}

fn open_layer(config: &ModelConfig, packed: &Weights, index: usize) -> Result<Layer, Error> {
    let prefix = format!("model.layers.{index}");
    let linear = |module: Module| {
        let (inputs, outputs) = config.module_shape(module);
        packed.linear(&format!("{prefix}.{}.weight", module.path()), inputs, outputs)
    };
    let norm = |name: &str| packed.vector(&format!("{prefix}.{name}.weight"), config.hidden_size);
    Ok(Layer {
        attn_norm: norm("input_layernorm")?,
        q: linear(Module::Q)?,
        k: linear(Module::K)?,
        v: linear(Module::V)?,
        o: linear(Module::O)?,
        mlp_norm: norm("post_attention_layernorm")?,
        gate: linear(Module::Gate)?,
        up: linear(Module::Up)?,
        down: linear(Module::Down)?,
    })
}

//! The decoder: embedding, layers, norm, head; forward for serving and for training, and the way back.
//!
//! What it computes is data ([`crate::DecoderSpec`]): no file here knows a model's family.

mod adapted;
pub(crate) mod attention;
pub(crate) mod backward;
pub(crate) mod cache;
pub(crate) mod head;
pub(crate) mod layer;
pub(crate) mod mlp;
pub(crate) mod prefix;
mod residual;
pub(crate) mod step;

use std::sync::Arc;

use hone_device::{
    Buffer, Device, Matrix,
    ops::{Angles, Cap, Norm, Projection, Scores},
};

use crate::{
    Error, ModelConfig, Module,
    config::{rope::Rope, spec::NormPlace},
    pack::Weights,
    tensors,
};
use attention::Attention;
use head::Head;
use layer::Layer;
use mlp::Mlp;
use step::StepAngles;

/// The weights of a model, held by a device.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Where they are, and what multiplies them.
    pub(crate) device: Arc<dyn Device>,
    /// Token embeddings; the head as well, if they are tied.
    pub(crate) embed: Matrix,
    /// The layers.
    pub(crate) layers: Vec<Layer>,
    /// RMSNorm before the head.
    pub(crate) norm: Buffer,
    head: Option<Matrix>,
    ropes: Vec<Rope>,
    embedding_scale: f32,
    eps: f32,
    cap: Option<Cap>,
}

impl Decoder {
    /// Takes the weights out of a packed file, to a device.
    pub(crate) fn open(
        config: &ModelConfig,
        packed: &Weights,
        device: Arc<dyn Device>,
    ) -> Result<Self, Error> {
        let (hidden, vocab) = (config.hidden_size, config.vocab_size);
        let spec = &config.spec;
        let reader = |index| LayerReader { config, packed, index, device: &*device };
        let layers =
            (0..config.num_layers).map(|index| reader(index).layer()).collect::<Result<_, _>>()?;
        // A configuration may call a head tied that the file has another one of.
        let head = match config.tie_word_embeddings && !packed.has(tensors::HEAD) {
            true => None,
            false => Some(device.hold(packed.matrix(tensors::HEAD, hidden, vocab)?)),
        };
        let cap = Cap { scale: spec.logit_scale, most: spec.logit_cap.unwrap_or(f32::INFINITY) };
        let norm = shifted(packed.vector("model.norm.weight", hidden)?, spec.norm_offset);
        Ok(Self {
            embed: device.hold(packed.matrix(tensors::EMBEDDINGS, hidden, vocab)?),
            layers,
            norm: device.upload(norm),
            head,
            ropes: spec.rotaries.iter().map(Rope::new).collect(),
            embedding_scale: spec.embedding_scale,
            eps: config.rms_norm_eps,
            cap: (cap.scale != 1.0 || cap.most.is_finite()).then_some(cap),
            device,
        })
    }

    /// Norm and output head.
    pub(crate) fn head(&self) -> Head<'_> {
        Head {
            norm: Norm { weight: &self.norm, eps: self.eps },
            output: self.head.as_ref().unwrap_or(&self.embed),
            cap: self.cap,
        }
    }

    /// Embeds tokens, all inside of the vocabulary, into `[tokens, hidden]`.
    pub(crate) fn embed(&self, tokens: &[u32], out: &mut Buffer) {
        self.device.resize(out, tokens.len() * self.embed.inputs());
        self.device.embed(&self.embed, tokens, self.embedding_scale, out);
    }

    /// Makes the angles of rows at these positions, for each kind of rotation.
    pub(crate) fn angles(
        &self,
        positions: impl Iterator<Item = usize> + Clone,
        into: &mut StepAngles,
    ) {
        let StepAngles { of_kinds, cosines, sines } = into;
        of_kinds.resize_with(self.ropes.len(), Angles::default);
        for (rope, angles) in self.ropes.iter().zip(of_kinds) {
            rope.angles(positions.clone(), (&mut *cosines, &mut *sines));
            self.device.write(&mut angles.cos, cosines);
            self.device.write(&mut angles.sin, sines);
        }
    }
}

/// A norm's weight as it multiplies.
fn shifted(mut weight: Vec<f32>, offset: f32) -> Vec<f32> {
    if offset != 0.0 {
        weight.iter_mut().for_each(|value| *value += offset);
    }
    weight
}

/// Takes one layer out of a packed file.
struct LayerReader<'a> {
    config: &'a ModelConfig,
    packed: &'a Weights,
    index: usize,
    device: &'a dyn Device,
}

impl LayerReader<'_> {
    fn layer(&self) -> Result<Layer, Error> {
        let spec = &self.config.spec;
        let kind = spec.layers[self.index];
        let qk_norms = match tensors::qk_norm_lengths(self.config) {
            None => None,
            Some((q, k)) => {
                let norms = [("self_attn.q_norm", q), ("self_attn.k_norm", k)];
                let [q, k] = norms.map(|(name, length)| self.norm(name, length));
                Some([q?, k?])
            }
        };
        Ok(Layer {
            attention: Attention {
                norm: self.norm_at(NormPlace::BeforeAttention)?,
                q: self.projection(Module::Q)?,
                k: self.projection(Module::K)?,
                v: self.projection(Module::V)?,
                qk_norms,
                o: self.projection(Module::O)?,
                norm_after: self.norm_at(NormPlace::AfterAttention)?,
                scores: Scores {
                    scale: spec.attention_scale,
                    cap: spec.attention_cap,
                    window: kind.window.unwrap_or(usize::MAX),
                },
                rotary: kind.rotary,
            },
            mlp: Mlp {
                norm: self.norm_at(NormPlace::BeforeMlp)?,
                gate: self.projection(Module::Gate)?,
                up: self.projection(Module::Up)?,
                down: self.projection(Module::Down)?,
                norm_after: self.norm_at(NormPlace::AfterMlp)?,
            },
        })
    }

    fn name(&self, name: &str) -> String {
        tensors::in_layer(self.index, name)
    }

    fn norm(&self, name: &str, length: usize) -> Result<Buffer, Error> {
        let weight = self.packed.vector(&self.name(&format!("{name}.weight")), length)?;
        Ok(self.device.upload(shifted(weight, self.config.spec.norm_offset)))
    }

    fn norm_at(&self, place: NormPlace) -> Result<Option<Buffer>, Error> {
        let name = self.config.spec.norm_name(place);
        name.map(|name| self.norm(name, self.config.hidden_size)).transpose()
    }

    fn projection(&self, module: Module) -> Result<Projection, Error> {
        let (inputs, outputs) = self.config.module_shape(module);
        let name = self.name(module.path());
        let bias = match self.config.spec.has_bias(module) {
            true => Some(self.device.upload(self.packed.vector(&format!("{name}.bias"), outputs)?)),
            false => None,
        };
        let weight = self.packed.matrix(&format!("{name}.weight"), inputs, outputs)?;
        Ok(Projection { weight: self.device.hold(weight), bias })
    }
}

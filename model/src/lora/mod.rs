//! LoRA adapters: `y += scale · (x · Aᵀ) · Bᵀ` beside the frozen product (Hu and others, *LoRA*, 2021).

mod layout;
mod peft;

pub use layout::{LoraLayout, LoraSlot};

use hone_device::{
    Device, PackedMatrix, WeightFormat,
    ops::{LowRank, LowRankPart},
};

use crate::{Error, ModelConfig, Module, config::LoraTarget};

/// Linear layers that share an input, and so one product with their stacked A matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    /// Queries, keys, values.
    Qkv = 0,
    /// Attention output.
    O = 1,
    /// Gate and up.
    GateUp = 2,
    /// Down.
    Down = 3,
}

impl Group {
    /// All groups, in the order of the forward pass.
    pub(crate) const ALL: [Self; 4] = [Self::Qkv, Self::O, Self::GateUp, Self::Down];

    /// The layers of the group, in the order of their outputs.
    pub(crate) fn modules(self) -> &'static [Module] {
        match self {
            Self::Qkv => &[Module::Q, Module::K, Module::V],
            Self::O => &[Module::O],
            Self::GateUp => &[Module::Gate, Module::Up],
            Self::Down => &[Module::Down],
        }
    }

    /// Whether what an adapter is put on belongs to the group.
    fn has(self, target: &LoraTarget) -> bool {
        target.modules.iter().all(|module| self.modules().contains(module))
    }
}

/// Where an adapter's matrices are held, and in which format.
#[derive(Debug, Clone, Copy)]
pub struct AdapterHome<'a> {
    /// The device of its model.
    pub device: &'a dyn Device,
    /// f32; beside a base in bf16 the same; beside one in fewer bits 8 bits, so that each step reads a quarter of the bytes and the
    /// products are integers as the base's are. What is rounded is lost in the rounding of the base.
    pub format: WeightFormat,
}

/// A loaded adapter.
#[derive(Debug)]
pub struct Adapter {
    layers: Vec<LayerLora>,
    digest: String,
    content_digest: [u8; 32],
    rank: usize,
    alpha: f32,
    bytes: usize,
}

/// The adapter's share of one layer, held by a device.
#[derive(Debug, Default)]
pub(crate) struct LayerLora {
    groups: [Option<LowRank>; 4],
}

/// The matrices of one target, row-major f32: `a` is `[rank, inputs]`, `b` is `[outputs, rank]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair<'a> {
    /// A.
    pub(crate) a: &'a [f32],
    /// B.
    pub(crate) b: &'a [f32],
    /// Rank.
    pub(crate) rank: usize,
    /// alpha / rank, or alpha / √rank.
    pub(crate) scale: f32,
}

impl LayerLora {
    /// Brings the matrices of a layer to a device; targets without a pair add nothing.
    pub(crate) fn hold<'a>(
        config: &ModelConfig,
        home: AdapterHome<'_>,
        pair: impl Fn(&'static LoraTarget) -> Option<Pair<'a>>,
    ) -> Self {
        let groups = Group::ALL.map(|group| {
            let targets = config.spec.targets().iter().filter(|target| group.has(target));
            let pairs: Vec<_> = targets.filter_map(|t| Some((t, pair(t)?))).collect();
            let (inputs, _) = config.module_shape(group.modules()[0]);
            let stacked: Vec<f32> = pairs.iter().flat_map(|(_, p)| p.a).copied().collect();
            if stacked.is_empty() {
                return None;
            }
            let hold = |inputs: usize, weights: &[f32]| {
                let outputs = weights.len() / inputs;
                home.device.hold(PackedMatrix::pack(home.format, inputs, outputs, weights))
            };
            let a = hold(inputs, &stacked);
            let mut parts: Vec<_> = group.modules().iter().map(|_| None).collect();
            let mut begin = 0;
            for (target, pair) in pairs {
                let mut rows = pair.b;
                for module in target.modules {
                    let (_, outputs) = config.module_shape(*module);
                    let (mine, rest) = rows.split_at(outputs * pair.rank);
                    rows = rest;
                    let (b, scale) = (hold(pair.rank, mine), pair.scale);
                    let place = group.modules().iter().position(|other| other == module);
                    if let Some(part) = place.and_then(|place| parts.get_mut(place)) {
                        *part = Some(LowRankPart { b, from: begin, scale });
                    }
                }
                begin += pair.rank;
            }
            Some(LowRank { a, parts })
        });
        Self { groups }
    }

    pub(crate) fn group(&self, group: Group) -> Option<&LowRank> {
        self.groups[group as usize].as_ref()
    }

    fn bytes(&self) -> usize {
        let groups = self.groups.iter().flatten();
        groups
            .map(|g| {
                let parts = g.parts.iter().flatten().map(|part| part.b.bytes());
                g.a.bytes() + parts.sum::<usize>()
            })
            .sum()
    }

    fn fits(&self, config: &ModelConfig) -> bool {
        self.groups.iter().zip(Group::ALL).all(|(lora, group)| {
            let Some(lora) = lora else { return true };
            let modules = group.modules();
            config.module_shape(modules[0]).0 == lora.a.inputs()
                && lora.parts.iter().zip(modules).all(|(part, module)| {
                    let outputs = config.module_shape(*module).1;
                    part.as_ref().is_none_or(|part| part.b.outputs() == outputs)
                })
        })
    }
}

impl Adapter {
    /// The rank in the configuration; single modules may have others.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The alpha in the configuration.
    #[must_use]
    pub fn alpha(&self) -> f32 {
        self.alpha
    }

    /// SHA-256 of `adapter_model.safetensors`, hex.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A digest of all that its products depend on: `adapter_model.safetensors` and `adapter_config.json`, which has the
    /// scale. Equal ones give equal keys and values.
    #[must_use]
    pub fn content_digest(&self) -> &[u8; 32] {
        &self.content_digest
    }

    /// Memory in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn layer(&self, index: usize) -> Option<&LayerLora> {
        self.layers.get(index)
    }

    pub(crate) fn check(&self, config: &ModelConfig) -> Result<(), Error> {
        let fits = self.layers.len() == config.num_layers
            && self.layers.iter().all(|layer| layer.fits(config));
        if fits {
            return Ok(());
        }
        let reason = "its layers differ from the configuration".to_string();
        Err(Error::Mismatch { what: "adapter", reason })
    }
}

//! Where the matrices of a layer's adapter lie in its flat parameter vector.
//!
//! The `A` of modules that share an input lie one below the other, so that one product serves all
//! of them: `[A_q; A_k; A_v] [A_o] [A_gate; A_up] [A_down]`, then every `B`.

use std::ops::Range;

use hone_device::{Device, PackedMatrix, WeightFormat};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{AdapterHome, Group, LayerLora, Pair};
use crate::{Error, ModelConfig, Module, config::LoraTarget};

/// The matrices of one target: `A` is `[rank, inputs]`, `B` is `[outputs, rank]`, both row-major.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoraSlot {
    /// What they adapt.
    pub target: &'static LoraTarget,
    /// Its inputs.
    pub inputs: usize,
    /// Its outputs.
    pub outputs: usize,
    /// `A` in the flat vector.
    pub a: Range<usize>,
    /// `B` in the flat vector.
    pub b: Range<usize>,
}

/// The layout of one layer's adapter; the same for all layers.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraLayout {
    rank: usize,
    scale: f32,
    groups: [GroupSlots; 4],
    length: usize,
}

/// The targets that read one input.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct GroupSlots {
    /// Their matrices; empty if none has an adapter.
    pub(crate) slots: Vec<LoraSlot>,
    /// All their `A`, `[slots * rank, inputs]`.
    pub(crate) a: Range<usize>,
    /// Width of their input.
    pub(crate) inputs: usize,
}

impl LoraLayout {
    /// Adapters of `rank` on `modules` (PEFT's short names), scaled by `alpha / rank`. A name like `q_proj` also stands for
    /// the target that holds this layer beside others.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a module that this decoder does not have.
    pub fn new(
        config: &ModelConfig,
        rank: usize,
        alpha: f32,
        modules: &[String],
    ) -> Result<Self, Error> {
        let targets = config.spec.targets();
        let names = |target: &LoraTarget| {
            let of_parts = target.modules.iter().map(|module| module.name());
            of_parts.chain([target.name]).collect::<Vec<_>>()
        };
        let known: Vec<&str> = targets.iter().flat_map(names).collect();
        if let Some(unknown) = modules.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(Error::Unsupported {
                what: format!("target module {unknown:?}"),
                supported: targets.iter().map(|t| t.name).collect::<Vec<_>>().join(", "),
            });
        }
        let is_wanted = |target: &&LoraTarget| {
            names(target).iter().any(|name| modules.iter().any(|m| m == name))
        };
        let mut length = 0;
        let mut take = |count: usize| {
            length += count;
            length - count..length
        };
        let mut groups: [GroupSlots; 4] = Group::ALL.map(|members| {
            let mut group = GroupSlots::default();
            for target in targets.iter().filter(|t| members.has(t)).filter(is_wanted) {
                let (inputs, outputs) = config.target_shape(target);
                let a = take(rank * inputs);
                if group.slots.is_empty() {
                    group.a.start = a.start;
                }
                group.a.end = a.end;
                group.inputs = inputs;
                group.slots.push(LoraSlot { target, inputs, outputs, a, b: 0..0 });
            }
            group
        });
        for slot in groups.iter_mut().flat_map(|group| &mut group.slots) {
            slot.b = take(slot.outputs * rank);
        }
        Ok(Self { rank, scale: alpha / rank as f32, groups, length })
    }

    /// Parameters of one layer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether no module has an adapter.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The rank.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// `alpha / rank`.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// The matrices of a layer, in the order of the forward pass.
    pub fn slots(&self) -> impl Iterator<Item = &LoraSlot> {
        self.groups.iter().flat_map(|group| &group.slots)
    }

    pub(crate) fn group(&self, group: Group) -> &GroupSlots {
        &self.groups[group as usize]
    }

    /// Rounds a layer's parameters to what an adapter in this format has.
    pub fn round(&self, flat: &mut [f32], format: WeightFormat) {
        for slot in self.slots() {
            for (range, inputs) in [(&slot.a, slot.inputs), (&slot.b, self.rank)] {
                let values = &mut flat[range.clone()];
                let packed = PackedMatrix::pack(format, inputs, values.len() / inputs, values);
                values.copy_from_slice(&packed.unpack());
            }
        }
    }

    /// The matrices of a layer, brought to a device for the forward pass in f32. An empty `flat` is no adapter.
    pub(crate) fn hold(
        &self,
        config: &ModelConfig,
        device: &dyn Device,
        flat: &[f32],
    ) -> LayerLora {
        let home = AdapterHome { device, format: WeightFormat::F32 };
        LayerLora::hold(config, home, |target| {
            let slot = self.slots().find(|slot| slot.target == target)?;
            let (a, b) = (flat.get(slot.a.clone())?, flat.get(slot.b.clone())?);
            Some(Pair { a, b, rank: self.rank, scale: self.scale })
        })
    }

    /// Initial parameters of a layer as PEFT draws them: `A` Kaiming-uniform with `a = √5`, which is
    /// uniform within `1 / √inputs`; `B` zero, so that the first step starts at the base.
    #[must_use]
    pub fn initial(&self, seed: u64, layer: usize) -> Vec<f32> {
        let mut values = vec![0.0; self.length];
        for slot in self.slots() {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream((layer * Module::ALL.len() + slot.target.modules[0].index()) as u64);
            let bound = 1.0 / (slot.inputs as f32).sqrt();
            for value in &mut values[slot.a.clone()] {
                *value = random.random_range(-bound..bound);
            }
        }
        values
    }
}

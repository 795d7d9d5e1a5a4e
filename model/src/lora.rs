//! LoRA adapters: `y += scale · (x · Aᵀ) · Bᵀ` beside the frozen product.
//!
//! Reads PEFT folders. Weights stay separate from the base for good: what was trained against the packed base is served
//! beside the same packed base.

use std::{collections::BTreeMap, ops::Range, path::Path};

use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    Error, ModelConfig, Module, WeightFormat,
    kernels::Rows,
    layer::LoraRun,
    linear::{Activations, Cpu, Linear, run_products},
    load::to_f32,
};

/// The modules that share an input, and so one product with their stacked A matrices.
const GROUPS: [&[Module]; 4] = [
    &[Module::Q, Module::K, Module::V],
    &[Module::O],
    &[Module::Gate, Module::Up],
    &[Module::Down],
];

/// Which group of modules of a layer.
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

/// A loaded adapter.
#[derive(Debug)]
pub struct Adapter {
    layers: Vec<LayerLora>,
    digest: String,
    rank: usize,
    alpha: f32,
    bytes: usize,
}

/// The adapter's share of one layer, packed for the kernels.
#[derive(Debug, Default)]
pub(crate) struct LayerLora {
    groups: [Option<LoraGroup>; 4],
}

#[derive(Debug)]
struct LoraGroup {
    /// All A matrices of the group, one under the other.
    a: Linear,
    /// For each module of the group: B, where its rows of A begin, and the scale.
    parts: Vec<Option<(Linear, usize, f32)>>,
}

/// One module's matrices, row-major f32: `a` is `[rank, inputs]`, `b` is `[outputs, rank]`.
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
    /// Packs the matrices of a layer; modules without a pair add nothing.
    pub(crate) fn pack<'a>(
        config: &ModelConfig,
        pair: impl Fn(Module) -> Option<Pair<'a>>,
    ) -> Self {
        let groups = GROUPS.map(|modules| {
            let pairs: Vec<_> = modules.iter().map(|m| pair(*m)).collect();
            let (inputs, _) = config.module_shape(modules[0]);
            let stacked: Vec<f32> = pairs.iter().flatten().flat_map(|p| p.a).copied().collect();
            if stacked.is_empty() {
                return None;
            }
            let a = Linear::pack(WeightFormat::F32, inputs, stacked.len() / inputs, &stacked);
            let mut begin = 0;
            let parts = modules.iter().zip(pairs).map(|(module, pair)| {
                let pair = pair?;
                let (_, outputs) = config.module_shape(*module);
                let b = Linear::pack(WeightFormat::F32, pair.rank, outputs, pair.b);
                let at = begin;
                begin += pair.rank;
                Some((b, at, pair.scale))
            });
            Some(LoraGroup { parts: parts.collect(), a })
        });
        Self { groups }
    }

    fn group(&self, group: Group) -> Option<&LoraGroup> {
        self.groups[group as usize].as_ref()
    }

    fn bytes(&self) -> usize {
        let groups = self.groups.iter().flatten();
        groups
            .map(|g| {
                let parts = g.parts.iter().flatten().map(|(b, ..)| b.bytes().len());
                g.a.bytes().len() + parts.sum::<usize>()
            })
            .sum()
    }
}

/// What products need beside their input and output, kept from step to step.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Converted activations.
    pub(crate) activations: Activations,
    /// Products with A, of all adapters one after the other.
    low: Vec<f32>,
}

/// The products of a group of modules: the base's of all rows, and each adapter's of its own rows.
///
/// Two forks whatever the number of adapters: the base's products go with those with A, which need the same input; then
/// those with B add to the base's.
pub(crate) fn forward_adapted<'a>(
    cpu: &Cpu,
    workspace: &mut Workspace,
    (group, loras): (Group, &[LoraRun<'a>]),
    x: &[f32],
    outputs: &mut [(&Linear, &mut [f32])],
    add: Option<f32>,
) {
    let Some((first, _)) = outputs.first() else { return };
    let inputs = first.inputs();
    let rows = x.len() / inputs;
    let share = |(rows, lora): &LoraRun<'a>| Some((rows.clone(), lora.group(group)?));
    let adapted: Vec<(Range<usize>, &LoraGroup)> = loras.iter().filter_map(share).collect();
    let Workspace { activations, low } = workspace;
    low.resize(adapted.iter().map(|(rows, lora)| rows.len() * lora.a.outputs()).sum(), 0.0);

    let mut products = Vec::with_capacity(outputs.len() + loras.len());
    let mut room = &mut low[..];
    for (rows, lora) in &adapted {
        let mine = &x[rows.start * inputs..rows.end * inputs];
        let operand = Rows::F32 { data: mine.as_ptr(), row_stride: inputs, step: 1 };
        let y = room.split_off_mut(..rows.len() * lora.a.outputs()).unwrap_or_default();
        products.push((lora.a.product(operand, rows.len(), y, None), rows.len()));
    }
    let operand = activations.rows(cpu, first.format(), x, inputs);
    for (base, y) in outputs.iter_mut() {
        products.push((base.product(operand, rows, y, add), rows));
    }
    // SAFETY: the operands were made for these rows and formats; every product has its own output.
    unsafe { run_products(cpu, &products) };

    products.clear();
    let mut room = &low[..];
    for (rows, lora) in &adapted {
        let width = lora.a.outputs();
        let mine = room.split_off(..rows.len() * width).unwrap_or_default();
        for (part, (base, y)) in lora.parts.iter().zip(outputs.iter_mut()) {
            let Some((b, at, scale)) = part else { continue };
            let y = &mut y[rows.start * base.outputs()..rows.end * base.outputs()];
            let operand = Rows::F32 { data: mine[*at..].as_ptr(), row_stride: width, step: 1 };
            products.push((b.product(operand, rows.len(), y, Some(*scale)), rows.len()));
        }
    }
    // SAFETY: each operand reads its columns of `low`, as many rows of `width` as it has; the outputs are distinct.
    unsafe { run_products(cpu, &products) };
}

/// The keys of PEFT's `adapter_config.json` that matter.
#[derive(Deserialize)]
struct RawConfig {
    peft_type: Option<String>,
    r: usize,
    lora_alpha: f32,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    bias: Option<String>,
    #[serde(default)]
    rank_pattern: BTreeMap<String, usize>,
    #[serde(default)]
    alpha_pattern: BTreeMap<String, f32>,
    modules_to_save: Option<Vec<String>>,
}

impl RawConfig {
    /// Options that ask for nothing (null, false, 0, empty) are as if they were not there, of whatever type.
    fn parse(json: &[u8]) -> serde_json::Result<Self> {
        let mut options: Map<String, Value> = serde_json::from_slice(json)?;
        options.retain(|_, value| match value {
            Value::Null => false,
            Value::Bool(set) => *set,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            Value::Object(table) => !table.is_empty(),
        });
        serde_json::from_value(Value::Object(options))
    }

    fn refuse_unsupported(&self) -> Result<(), Error> {
        let refuse = |what: &str, supported: &str| {
            Err(Error::Unsupported { what: what.into(), supported: supported.into() })
        };
        if self.peft_type.as_deref().is_some_and(|kind| kind != "LORA") {
            return refuse("adapter_config.json: this peft_type", "LORA");
        }
        if self.use_dora {
            return refuse("adapter_config.json: use_dora", "plain LoRA and rsLoRA");
        }
        if self.fan_in_fan_out {
            return refuse("adapter_config.json: fan_in_fan_out", "false");
        }
        if self.bias.as_deref().is_some_and(|bias| bias != "none") {
            return refuse("adapter_config.json: bias", "none");
        }
        if self.modules_to_save.as_ref().is_some_and(|modules| !modules.is_empty()) {
            return refuse("adapter_config.json: modules_to_save", "LoRA matrices only");
        }
        if !self.alpha_pattern.values().chain([&self.lora_alpha]).all(|a| a.is_finite()) {
            return Err(Error::invalid("adapter_config.json", "lora_alpha is not finite"));
        }
        Ok(())
    }

    /// The value of the pattern that names this module (`q_proj`, or a longer tail of its path).
    fn pattern<T: Copy>(patterns: &BTreeMap<String, T>, path: &str, default: T) -> T {
        patterns
            .iter()
            .find(|(key, _)| {
                let key = key.trim_start_matches('^').trim_end_matches('$');
                path == key || path.strip_suffix(key).is_some_and(|head| head.ends_with('.'))
            })
            .map_or(default, |(_, value)| *value)
    }
}

impl Adapter {
    /// Loads a PEFT folder: `adapter_config.json` and `adapter_model.safetensors`, read whole into memory.
    ///
    /// # Errors
    /// If a file is missing or broken, a tensor has another shape than the model asks for, is not finite, lacks its
    /// partner or is unknown, or if the adapter is of a kind other than LoRA.
    pub fn load(dir: &Path, config: &ModelConfig) -> Result<Self, Error> {
        let path = dir.join("adapter_config.json");
        let json = fs_err::read(&path).map_err(Error::io(&path))?;
        let raw = RawConfig::parse(&json).map_err(|e| Error::invalid("adapter_config.json", e))?;
        raw.refuse_unsupported()?;
        let name = "adapter_model.safetensors";
        let path = dir.join(name);
        let bytes = fs_err::read(&path).map_err(Error::io(&path))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| Error::invalid(name, e))?;

        let mut used = 0;
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let mut pairs = Vec::new();
            for module in Module::ALL {
                let pair = read_pair(&raw, &tensors, config, layer, module)?;
                used += 2 * usize::from(pair.is_some());
                pairs.push(pair);
            }
            layers.push(LayerLora::pack(config, |module| {
                let (a, b, rank, scale) = pairs[module.index()].as_ref()?;
                Some(Pair { a, b, rank: *rank, scale: *scale })
            }));
        }
        if used == 0 {
            return Err(Error::invalid(name, "it has no LoRA matrix of this model's layers"));
        }
        if used != tensors.len() {
            let known = |n: &str| config_names(config).any(|known| known == n);
            let stray = tensors.names().into_iter().find(|n| !known(n));
            return Err(Error::Mismatch {
                what: "adapter",
                reason: format!(
                    "tensor {} belongs to no linear layer of the model, or lacks its partner",
                    stray.unwrap_or("(unknown)")
                ),
            });
        }
        let bytes_packed = layers.iter().map(LayerLora::bytes).sum();
        let digest: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        Ok(Self { layers, digest, rank: raw.r, alpha: raw.lora_alpha, bytes: bytes_packed })
    }

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

impl LayerLora {
    fn fits(&self, config: &ModelConfig) -> bool {
        self.groups.iter().zip(GROUPS).all(|(group, modules)| {
            group.as_ref().is_none_or(|group| {
                let inputs = config.module_shape(modules[0]).0 == group.a.inputs();
                inputs
                    && group.parts.iter().zip(modules).all(|(part, module)| {
                        let outputs = config.module_shape(*module).1;
                        part.as_ref().is_none_or(|(b, ..)| b.outputs() == outputs)
                    })
            })
        })
    }
}

/// PEFT's name of a LoRA matrix.
fn tensor_name(layer: usize, module: Module, matrix: char) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{matrix}.weight", module.path())
}

fn config_names(config: &ModelConfig) -> impl Iterator<Item = String> {
    (0..config.num_layers).flat_map(|layer| {
        Module::ALL
            .into_iter()
            .flat_map(move |m| ['A', 'B'].map(|matrix| tensor_name(layer, m, matrix)))
    })
}

type OwnedPair = (Vec<f32>, Vec<f32>, usize, f32);

fn read_pair(
    raw: &RawConfig,
    tensors: &SafeTensors<'_>,
    config: &ModelConfig,
    layer: usize,
    module: Module,
) -> Result<Option<OwnedPair>, Error> {
    let names = ['A', 'B'].map(|matrix| tensor_name(layer, module, matrix));
    let (a, b) = match (tensors.tensor(&names[0]), tensors.tensor(&names[1])) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(_), Err(_)) => return Ok(None),
        (a, _) => {
            let name = names[usize::from(a.is_ok())].clone();
            let file = "adapter_model.safetensors".into();
            return Err(Error::MissingTensor { name, file });
        }
    };
    let path = format!("model.layers.{layer}.{}", module.path());
    let rank = RawConfig::pattern(&raw.rank_pattern, &path, raw.r);
    let alpha = RawConfig::pattern(&raw.alpha_pattern, &path, raw.lora_alpha);
    if rank == 0 {
        return Err(Error::invalid("adapter_config.json", format!("rank 0 for {path}")));
    }
    let (inputs, outputs) = config.module_shape(module);
    let a = to_f32(&names[0], &a, &[rank, inputs])?;
    let b = to_f32(&names[1], &b, &[outputs, rank])?;
    let divisor = if raw.use_rslora { (rank as f32).sqrt() } else { rank as f32 };
    Ok(Some((a, b, rank, alpha / divisor)))
}

//! Reads PEFT folders. Weights stay separate from the base for good: what was trained against the packed base is served
//! beside the same packed base.

use std::{collections::BTreeMap, path::Path};

use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{Adapter, LayerLora, Pair};
use crate::{Error, ModelConfig, config::Target, load::to_f32};

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
            for target in config.spec.targets() {
                let pair = read_pair(&raw, &tensors, config, layer, target)?;
                used += 2 * usize::from(pair.is_some());
                pairs.push((target, pair));
            }
            layers.push(LayerLora::pack(config, |target| {
                let (_, pair) = pairs.iter().find(|(of, _)| *of == target)?;
                let (a, b, rank, scale) = pair.as_ref()?;
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
}

/// PEFT's name of a LoRA matrix.
fn tensor_name(layer: usize, target: &Target, matrix: char) -> String {
    format!("base_model.model.model.layers.{layer}.{}.lora_{matrix}.weight", target.path)
}

fn config_names(config: &ModelConfig) -> impl Iterator<Item = String> {
    (0..config.num_layers).flat_map(|layer| {
        let targets = config.spec.targets().iter();
        targets.flat_map(move |t| ['A', 'B'].map(|matrix| tensor_name(layer, t, matrix)))
    })
}

type OwnedPair = (Vec<f32>, Vec<f32>, usize, f32);

fn read_pair(
    raw: &RawConfig,
    tensors: &SafeTensors<'_>,
    config: &ModelConfig,
    layer: usize,
    target: &Target,
) -> Result<Option<OwnedPair>, Error> {
    let names = ['A', 'B'].map(|matrix| tensor_name(layer, target, matrix));
    let (a, b) = match (tensors.tensor(&names[0]), tensors.tensor(&names[1])) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(_), Err(_)) => return Ok(None),
        (a, _) => {
            let name = names[usize::from(a.is_ok())].clone();
            let file = "adapter_model.safetensors".into();
            return Err(Error::MissingTensor { name, file });
        }
    };
    let path = format!("model.layers.{layer}.{}", target.path);
    let rank = RawConfig::pattern(&raw.rank_pattern, &path, raw.r);
    let alpha = RawConfig::pattern(&raw.alpha_pattern, &path, raw.lora_alpha);
    if rank == 0 {
        return Err(Error::invalid("adapter_config.json", format!("rank 0 for {path}")));
    }
    let (inputs, outputs) = config.target_shape(target);
    let a = to_f32(&names[0], &a, &[rank, inputs])?;
    let b = to_f32(&names[1], &b, &[outputs, rank])?;
    let divisor = if raw.use_rslora { (rank as f32).sqrt() } else { rank as f32 };
    Ok(Some((a, b, rank, alpha / divisor)))
}

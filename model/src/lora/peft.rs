//! Reads PEFT folders. Weights stay separate from the base for good: what was trained against the packed base is served
//! beside the same packed base.

use std::path::Path;

use hone_peft::{CONFIG, Half, PeftConfig, WEIGHTS, tensor_name};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};

use super::{Adapter, AdapterHome, LayerLora, Pair};
use crate::{Error, ModelConfig, config::LoraTarget, load::to_f32};

impl Adapter {
    /// Loads a PEFT folder, `adapter_config.json` and `adapter_model.safetensors`, for a model of these sizes.
    /// [`Model::load_adapter`](crate::Model::load_adapter) does so as the model serves it.
    ///
    /// # Errors
    /// If a file is missing or broken, a tensor has another shape than the model asks for, is not finite, lacks its
    /// partner or is unknown, or if the adapter is of a kind other than LoRA.
    pub fn load(dir: &Path, config: &ModelConfig, home: AdapterHome<'_>) -> Result<Self, Error> {
        let path = dir.join(CONFIG);
        let json = fs_err::read(&path).map_err(Error::io(&path))?;
        let peft = PeftConfig::parse(&json).map_err(|error| match error {
            hone_peft::Error::Unsupported { option, value } => Error::Unsupported {
                what: format!("{CONFIG}: {option} {value}"),
                supported: "plain LoRA and rsLoRA".into(),
            },
            other => Error::invalid(CONFIG, other),
        })?;
        let name = WEIGHTS;
        let path = dir.join(name);
        let bytes = fs_err::read(&path).map_err(Error::io(&path))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| Error::invalid(name, e))?;

        let mut used = 0;
        let mut layers = Vec::with_capacity(config.num_layers);
        for layer in 0..config.num_layers {
            let mut pairs = Vec::new();
            for target in config.spec.targets() {
                let pair = read_pair(&peft, &tensors, config, layer, target)?;
                used += 2 * usize::from(pair.is_some());
                pairs.push((target, pair));
            }
            layers.push(LayerLora::hold(config, home, |target| {
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
        let mut content = blake3::Hasher::new_derive_key("hone adapter: content, 1");
        // The first is of fixed width, so that neither can be taken for a part of the other.
        content.update(blake3::hash(&json).as_bytes()).update(&bytes);
        let content_digest = *content.finalize().as_bytes();
        let (rank, alpha) = (peft.rank, peft.alpha as f32);
        Ok(Self { layers, digest, content_digest, rank, alpha, bytes: bytes_packed })
    }
}

fn config_names(config: &ModelConfig) -> impl Iterator<Item = String> {
    (0..config.num_layers).flat_map(|layer| {
        let targets = config.spec.targets().iter();
        targets.flat_map(move |t| [Half::A, Half::B].map(|half| tensor_name(layer, t.path, half)))
    })
}

type OwnedPair = (Vec<f32>, Vec<f32>, usize, f32);

fn read_pair(
    peft: &PeftConfig,
    tensors: &SafeTensors<'_>,
    config: &ModelConfig,
    layer: usize,
    target: &LoraTarget,
) -> Result<Option<OwnedPair>, Error> {
    let names = [Half::A, Half::B].map(|half| tensor_name(layer, target.path, half));
    let (a, b) = match (tensors.tensor(&names[0]), tensors.tensor(&names[1])) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(_), Err(_)) => return Ok(None),
        (a, _) => {
            let name = names[usize::from(a.is_ok())].clone();
            let file = WEIGHTS.into();
            return Err(Error::MissingTensor { name, file });
        }
    };
    let path = format!("model.layers.{layer}.{}", target.path);
    let rank = peft.rank_of(&path);
    if rank == 0 {
        return Err(Error::invalid(CONFIG, format!("rank 0 for {path}")));
    }
    let (inputs, outputs) = config.target_shape(target);
    let a = to_f32(&names[0], &a, &[rank, inputs])?;
    let b = to_f32(&names[1], &b, &[outputs, rank])?;
    Ok(Some((a, b, rank, peft.scaling_of(&path) as f32)))
}

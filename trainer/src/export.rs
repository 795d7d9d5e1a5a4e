//! The adapter in PEFT's layout: what we train, `peft` loads, and what `peft` trains, we load.

use std::collections::BTreeMap;
use std::path::Path;

use hone_model::train::LoraLayout;
use hone_peft::{CONFIG, Half, WEIGHTS, tensor_name};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use crate::Error;
use crate::checkpoint::tensors;

/// Writes `adapter_config.json` and `adapter_model.safetensors` to `dir`. `base_name` is what PEFT
/// shows, and loads if nobody gives it a base.
///
/// # Errors
/// [`Error::NoEffect`] if every `B` is zero: such an adapter is the base. The disk refuses.
pub fn write(
    dir: &Path,
    base_name: Option<&str>,
    layout: &LoraLayout,
    alpha: f64,
    weights: &[Vec<f32>],
) -> Result<(), Error> {
    let moves = |layer: &Vec<f32>| {
        layout.slots().any(|slot| layer[slot.b.clone()].iter().any(|value| *value != 0.0))
    };
    if !weights.iter().any(moves) {
        return Err(Error::NoEffect);
    }
    fs_err::create_dir_all(dir)?;
    let path = dir.join(WEIGHTS);
    let mut views = Vec::new();
    for (layer, flat) in weights.iter().enumerate() {
        for slot in layout.slots() {
            let pairs = [
                (Half::A, &slot.a, vec![layout.rank(), slot.inputs]),
                (Half::B, &slot.b, vec![slot.outputs, layout.rank()]),
            ];
            for (half, range, shape) in pairs {
                let bytes: &[u8] = bytemuck::cast_slice(&flat[range.clone()]);
                let view = TensorView::new(Dtype::F32, shape, bytes)
                    .map_err(|error| tensors(&path, &error))?;
                views.push((tensor_name(layer, slot.target.path, half), view));
            }
        }
    }
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|error| tensors(&path, &error))?;
    hone_durable::replace(&path, &bytes)?;
    let mut modules: Vec<&str> = layout.slots().map(|slot| slot.target.name).collect();
    modules.sort_unstable();
    let alpha = match alpha.fract() == 0.0 {
        true => json!(alpha as i64), // PEFT writes whole numbers, and some readers want them
        false => json!(alpha),
    };
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "revision": null,
        "r": layout.rank(),
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "use_rslora": false,
        "use_dora": false,
        "modules_to_save": null,
        "rank_pattern": {},
        "alpha_pattern": {},
    });
    let path = dir.join(CONFIG);
    let config = serde_json::to_vec_pretty(&config)
        .map_err(|error| Error::Json { path: path.clone(), error: error.to_string() })?;
    Ok(hone_durable::replace(&path, &config)?)
}

/// BLAKE3 of the files of an adapter, by name.
///
/// # Errors
/// One of them is not there, or cannot be read.
pub(crate) fn checksums(dir: &Path) -> std::io::Result<BTreeMap<String, String>> {
    let hashed = |name: &str| {
        let bytes = fs_err::read(dir.join(name))?;
        Ok((name.to_owned(), blake3::hash(&bytes).to_hex().to_string()))
    };
    [CONFIG, WEIGHTS].into_iter().map(hashed).collect()
}

/// The parameters of an adapter that [`write`] made, layer by layer, as [`LoraLayout`] lays them out.
///
/// # Errors
/// The files are not there, or are of another shape.
pub fn read(dir: &Path, layout: &LoraLayout, layers: usize) -> Result<Vec<Vec<f32>>, Error> {
    let path = dir.join(WEIGHTS);
    let bytes = fs_err::read(&path)?;
    let adapter = SafeTensors::deserialize(&bytes).map_err(|error| tensors(&path, &error))?;
    let mut weights = vec![vec![0.0; layout.len()]; layers];
    for (layer, flat) in weights.iter_mut().enumerate() {
        for slot in layout.slots() {
            for (half, range) in [(Half::A, &slot.a), (Half::B, &slot.b)] {
                let name = tensor_name(layer, slot.target.path, half);
                let view = adapter.tensor(&name).map_err(|error| tensors(&path, &error))?;
                let values = floats(&view);
                if values.len() != range.len() {
                    let found = format!("{name} has {} values, not {}", values.len(), range.len());
                    return Err(tensors(&path, &found));
                }
                flat[range.clone()].copy_from_slice(&values);
            }
        }
    }
    Ok(weights)
}

fn floats(view: &TensorView<'_>) -> Vec<f32> {
    let floats = view.data().chunks_exact(4);
    floats.map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).collect()
}

/// Copies an adapter with its update multiplied by `scale`: every `B` is.
///
/// # Errors
/// The files are not there, or are not what [`write`] makes.
pub fn scaled(from: &Path, to: &Path, scale: f64) -> Result<(), Error> {
    fs_err::create_dir_all(to)?;
    let path = from.join(WEIGHTS);
    let bytes = fs_err::read(&path)?;
    let adapter = SafeTensors::deserialize(&bytes).map_err(|error| tensors(&path, &error))?;
    let mut matrices = Vec::new();
    for (name, view) in adapter.tensors() {
        let mut values = floats(&view);
        if name.contains(".lora_B.") {
            values.iter_mut().for_each(|value| *value *= scale as f32);
        }
        matrices.push((name, view.shape().to_vec(), values));
    }
    let views = matrices.iter().map(|(name, shape, values)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values));
        Ok((name.clone(), view.map_err(|error| tensors(&path, &error))?))
    });
    let views = views.collect::<Result<Vec<_>, Error>>()?;
    let metadata = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|error| tensors(&path, &error))?;
    hone_durable::replace(&to.join(WEIGHTS), &bytes)?;
    let config = fs_err::read(from.join(CONFIG))?;
    Ok(hone_durable::replace(&to.join(CONFIG), &config)?)
}

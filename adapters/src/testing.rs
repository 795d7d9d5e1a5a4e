//! Valid adapters of random weights, for tests. Behind the feature `testing`.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use safetensors::tensor::{Dtype, TensorView};

use crate::{BaseShape, CONFIG, WEIGHTS};
use hone_peft::{Half, tensor_name};

/// A base of two layers, small enough for thousands of cases.
#[must_use]
pub fn tiny_base() -> BaseShape {
    let modules = [
        ("q_proj", (8, 8)),
        ("k_proj", (8, 4)),
        ("v_proj", (8, 4)),
        ("o_proj", (8, 8)),
        ("gate_proj", (8, 12)),
        ("up_proj", (8, 12)),
        ("down_proj", (12, 8)),
    ];
    let modules = modules.map(|(name, shape)| (name.to_owned(), shape)).into();
    BaseShape { digest: "tiny-base".into(), num_layers: 2, modules }
}

/// The tensors of a random adapter: name, shape and f32 elements.
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// Random tensors for every linear layer. The same seed gives the same tensors. Both halves are
/// uniform within ±1/√inputs (A) and ±0.5/√rank (B): a change that shows in every logit.
#[must_use]
pub fn random_tensors(base: &BaseShape, rank: usize, seed: u64) -> Tensors {
    let mut state = seed;
    let mut uniform = move |bound: f32| {
        // SplitMix64
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / (1_u32 << 24) as f32;
        (2.0 * unit - 1.0) * bound
    };
    let mut tensors = Tensors::new();
    for layer in 0..base.num_layers {
        for (module, (inputs, outputs)) in &base.modules {
            let a_bound = 1.0 / (*inputs as f32).sqrt();
            let b_bound = 0.5 / (rank as f32).sqrt();
            let a = (0..rank * inputs).map(|_| uniform(a_bound)).collect();
            let b = (0..outputs * rank).map(|_| uniform(b_bound)).collect();
            let path = BaseShape::path_of(module);
            tensors.insert(tensor_name(layer, &path, Half::A), (vec![rank, *inputs], a));
            tensors.insert(tensor_name(layer, &path, Half::B), (vec![*outputs, rank], b));
        }
    }
    tensors
}

/// Writes tensors as `adapter_model.safetensors` in f32.
///
/// # Panics
/// When the disk refuses, or a shape does not fit its elements.
pub fn write_tensors(dir: &Path, tensors: &Tensors) {
    let bytes: Vec<(&str, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, elements))| {
            let bytes = elements.iter().flat_map(|e| e.to_le_bytes()).collect();
            (name.as_str(), shape.clone(), bytes)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        (*name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join(WEIGHTS), safetensors::serialize(views, None).unwrap()).unwrap();
}

/// The configuration as PEFT writes it, alpha twice the rank.
#[must_use]
pub fn peft_config(base: &BaseShape, rank: usize) -> serde_json::Value {
    serde_json::json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base.digest,
        "r": rank, "lora_alpha": 2 * rank, "lora_dropout": 0.0, "bias": "none",
        "target_modules": base.modules.keys().collect::<Vec<_>>(), "inference_mode": true,
        "fan_in_fan_out": false, "init_lora_weights": true, "modules_to_save": null,
        "rank_pattern": {}, "alpha_pattern": {}, "use_dora": false, "use_rslora": false,
    })
}

/// Writes a valid adapter of random weights for `base` into `dir`, creating it.
///
/// # Panics
/// When the disk refuses.
pub fn write_random_adapter(dir: &Path, base: &BaseShape, rank: usize, seed: u64) {
    write_tensors(dir, &random_tensors(base, rank, seed));
    fs::write(dir.join(CONFIG), peft_config(base, rank).to_string()).unwrap();
}

//! What an adapter says, read by other eyes than Hone's: by the crate of the format's makers, and as plain JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hone_adapters::BaseShape;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::adapter::{CONFIG, WEIGHTS};

/// Options that change the arithmetic and must be as if they were not there.
const CHANGE_ARITHMETIC: [&str; 11] = [
    "fan_in_fan_out",
    "lora_bias",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "megatron_config",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
];
/// No honest layer changes by more, as a root mean square.
const MOST: f64 = 4.0;

/// What is applied.
#[derive(Debug, PartialEq)]
pub(crate) struct Meaning {
    pub(crate) rank: u64,
    pub(crate) alpha: f64,
}

/// What the folder means.
///
/// # Errors
/// What is wrong with it: an adapter of which this says so must not be accepted.
pub(crate) fn read(folder: &Path, base: &BaseShape) -> Result<Meaning> {
    for file in [CONFIG, WEIGHTS] {
        let kind = fs_err::symlink_metadata(folder.join(file))?;
        ensure!(kind.is_file() && kind.len() < 1 << 30, "{file} is no plain file");
    }
    let config: Value = serde_json::from_slice(&fs_err::read(folder.join(CONFIG))?)?;
    ensure!(config["peft_type"] == "LORA", "peft_type");
    ensure!(config["task_type"].is_null() || config["task_type"] == "CAUSAL_LM", "task_type");
    ensure!(config["bias"].is_null() || config["bias"] == "none", "bias");
    for (option, value) in config.as_object().context("no object")? {
        let counts = CHANGE_ARITHMETIC.contains(&option.as_str())
            || (option.starts_with("use_") && option != "use_rslora");
        ensure!(!counts || is_nothing(value), "{option} is {value}");
    }
    let rank = config["r"].as_u64().context("r")?;
    let alpha = config["lora_alpha"].as_f64().context("lora_alpha")?;
    let root = config["use_rslora"] == true;
    let beginning = &config["init_lora_weights"];
    let leaves_the_base =
        beginning.as_str().is_none_or(|b| ["gaussian", "orthogonal", "eva", ""].contains(&b));
    ensure!(leaves_the_base, "init_lora_weights is {beginning}");

    let bytes = fs_err::read(folder.join(WEIGHTS))?;
    let tensors = SafeTensors::deserialize(&bytes)?;
    let mut named: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    let mut strongest = 0.0_f64;
    let mut adapted = Vec::new();
    for layer in 0..base.num_layers {
        for (module, (inputs, outputs)) in &base.modules {
            let path = hone_adapters::BaseShape::path_of(module);
            let name = |half: char| {
                format!("base_model.model.model.layers.{layer}.{path}.lora_{half}.weight")
            };
            let (a, b) = match (named.remove(&name('A')), named.remove(&name('B'))) {
                (Some(a), Some(b)) => (a, b),
                (None, None) => continue,
                _ => anyhow::bail!("half a pair at layer {layer} {module}"),
            };
            let rank = match special(&config, "rank_pattern", &path)? {
                Some(rank) => rank.as_u64().context("a rank that is no number")?,
                None => rank,
            };
            let alpha = match special(&config, "alpha_pattern", &path)? {
                Some(alpha) => alpha.as_f64().context("an alpha that is no number")?,
                None => alpha,
            };
            let scaling = alpha / if root { (rank as f64).sqrt() } else { rank as f64 };
            ensure!(scaling.is_finite() && scaling > 0.0, "it scales by {scaling}");
            ensure!(a.shape() == [rank as usize, *inputs], "{}: {:?}", name('A'), a.shape());
            ensure!(b.shape() == [*outputs, rank as usize], "{}: {:?}", name('B'), b.shape());
            let size = ((inputs * outputs) as f64).sqrt();
            strongest = strongest.max(scaling * norm(&a)? * norm(&b)? / size);
            adapted.push(module.as_str());
        }
    }
    ensure!(named.is_empty(), "tensors without a place: {:?}", named.keys());
    ensure!(strongest > 0.0, "it changes nothing");
    ensure!(strongest <= MOST * 1.000_001, "it changes too much: {strongest}");
    let short = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
    let excluded = config["exclude_modules"].as_array().into_iter().flatten();
    let excluded: Vec<String> = excluded.filter_map(Value::as_str).map(short).collect();
    let is_pattern = config["exclude_modules"].as_str().is_some_and(|text| !text.is_empty());
    for target in config["target_modules"].as_array().into_iter().flatten() {
        let target = target.as_str().context("a target that is no name")?;
        let module = target.rsplit('.').next().unwrap_or(target);
        let is_excluded = is_pattern || excluded.iter().any(|name| name == module);
        ensure!(is_excluded || adapted.contains(&module), "nothing for {target}");
    }
    Ok(Meaning { rank, alpha })
}

/// What a pattern says of a module: the first key that is its path or the end of it.
fn special<'a>(config: &'a Value, option: &str, path: &str) -> Result<Option<&'a Value>> {
    if is_nothing(&config[option]) {
        return Ok(None);
    }
    let pattern = config[option].as_object().context("a pattern that is no object")?;
    let is_of = |key: &str| path == key || path.ends_with(&format!(".{key}"));
    Ok(pattern.iter().find(|(key, _)| is_of(key.trim_matches(['^', '$']))).map(|(_, value)| value))
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
    }
}

/// The Frobenius norm of finite numbers.
fn norm(tensor: &TensorView<'_>) -> Result<f64> {
    let number = |bytes: &[u8]| match tensor.dtype() {
        Dtype::F32 => bytes.try_into().ok().map(f32::from_le_bytes).map(f64::from),
        Dtype::F16 => bytes.try_into().ok().map(half::f16::from_le_bytes).map(f64::from),
        Dtype::BF16 => bytes.try_into().ok().map(half::bf16::from_le_bytes).map(f64::from),
        _ => None,
    };
    let width = tensor.dtype().bitsize() / 8;
    let mut sum = 0.0;
    for bytes in tensor.data().chunks(width) {
        let number = number(bytes).context("a format that no adapter has")?;
        ensure!(number.is_finite(), "{number}");
        sum += number * number;
    }
    Ok(sum.sqrt())
}

//! `adapter_config.json` in PEFT's layout: what Hone can apply, and what it refuses by name.
//!
//! Prevents the silent no-op: an option that Hone would ignore (DoRA, a rank pattern, another kind
//! of adapter) gives other logits than its author saw, so it is refused.

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::Refusal;

/// The file's name.
pub const CONFIG: &str = "adapter_config.json";
/// No honest configuration is larger, in bytes.
pub(crate) const MAX_CONFIG: u64 = 1 << 20;

/// Options that would change the arithmetic, each with the words for it. They must be absent or
/// neutral (null, false, 0, empty).
const UNSUPPORTED: [&str; 13] = [
    "lora_bias",
    "fan_in_fan_out",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "megatron_config",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
];
/// How PEFT names the options that switch another arithmetic on (`use_dora`). One that is not known yet must not be
/// passed over either; `use_rslora` is applied, and read before.
const SWITCHES: &str = "use_";

/// What Hone takes from the configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PeftConfig {
    pub(crate) rank: usize,
    pub(crate) alpha: f64,
    /// What the product of the halves is multiplied by: alpha over the rank, or, with `use_rslora`,
    /// over its root.
    pub(crate) scaling: f64,
    /// The targets as listed; `None` when given as a pattern.
    pub(crate) targets: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Raw {
    peft_type: Option<String>,
    task_type: Option<String>,
    r: Option<u64>,
    lora_alpha: Option<f64>,
    bias: Option<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    target_modules: Value,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Reads the configuration.
pub(crate) fn parse(json: &[u8], max_rank: usize) -> Result<PeftConfig, Refusal> {
    let raw: Raw =
        serde_json::from_slice(json).map_err(|error| Refusal::Config(error.to_string()))?;
    match raw.peft_type.as_deref() {
        Some("LORA") => {}
        Some(other) => return Err(unsupported("peft_type", other)),
        None => return Err(Refusal::Config("`peft_type` is missing".to_owned())),
    }
    if let Some(task) = raw.task_type.filter(|task| task != "CAUSAL_LM") {
        return Err(unsupported("task_type", &task));
    }
    if let Some(bias) = raw.bias.filter(|bias| bias != "none") {
        return Err(unsupported("bias", &bias));
    }
    for (name, value) in &raw.rest {
        let counts = name.starts_with(SWITCHES) || UNSUPPORTED.contains(&name.as_str());
        if counts && !is_neutral(value) {
            return Err(unsupported(name, &value.to_string()));
        }
    }
    let rank = raw.r.ok_or_else(|| Refusal::Config("`r` is missing".to_owned()))?;
    let rank = usize::try_from(rank).unwrap_or(usize::MAX);
    if rank == 0 || rank > max_rank {
        return Err(Refusal::Rank { rank, max: max_rank });
    }
    let alpha =
        raw.lora_alpha.ok_or_else(|| Refusal::Config("`lora_alpha` is missing".to_owned()))?;
    // a pattern (or `all-linear`) says what to look for; the tensors say what was found
    let targets = match raw.target_modules {
        Value::Null | Value::String(_) => None,
        list => Some(serde_json::from_value(list).map_err(|_| {
            Refusal::Config("`target_modules` is neither a list of names nor a pattern".to_owned())
        })?),
    };
    let divisor = if raw.use_rslora { (rank as f64).sqrt() } else { rank as f64 };
    Ok(PeftConfig { rank, alpha, scaling: alpha / divisor, targets })
}

fn unsupported(option: &str, value: &str) -> Refusal {
    Refusal::Unsupported {
        option: option.chars().take(80).collect(),
        value: value.chars().take(80).collect(),
    }
}

fn is_neutral(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(table) => table.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: &str, value: Value) -> Result<PeftConfig, Refusal> {
        let mut json = serde_json::json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "bias": "none",
            "target_modules": ["q_proj"], "use_dora": false, "modules_to_save": null,
            "rank_pattern": {}, "lora_dropout": 0.05, "qalora_group_size": 16, "inference_mode": true,
        });
        json[change] = value;
        parse(json.to_string().as_bytes(), 256)
    }

    #[test]
    fn the_usual_configuration_is_read() {
        let config = config("revision", Value::Null).unwrap();
        let targets = Some(vec!["q_proj".to_owned()]);
        assert_eq!(config, PeftConfig { rank: 8, alpha: 16.0, scaling: 2.0, targets });
    }

    #[test]
    fn what_cannot_be_applied_is_refused_by_name() {
        for (option, value) in [
            ("use_dora", Value::Bool(true)),
            ("use_what_comes_next", Value::Bool(true)),
            ("kasa_config", serde_json::json!({"beta": 1e-4})),
            ("bias", "all".into()),
            ("peft_type", "IA3".into()),
            ("task_type", "SEQ_CLS".into()),
            ("modules_to_save", serde_json::json!(["lm_head"])),
            ("rank_pattern", serde_json::json!({"q_proj": 4})),
        ] {
            let error = config(option, value).unwrap_err();
            assert!(error.to_string().contains(option), "{error}");
        }
    }

    #[test]
    fn rank_stabilised_scaling_divides_by_the_root() {
        let config = config("use_rslora", Value::Bool(true)).unwrap();
        assert!((config.scaling - 16.0 / 8.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn ranks_are_bounded() {
        assert!(matches!(config("r", 0.into()), Err(Refusal::Rank { .. })));
        assert!(matches!(config("r", 257.into()), Err(Refusal::Rank { .. })));
        assert!(config("r", 256.into()).is_ok());
        assert!(config("r", (-1).into()).is_err());
        assert!(config("lora_alpha", "x".into()).is_err());
    }
}

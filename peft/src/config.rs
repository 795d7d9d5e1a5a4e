//! `adapter_config.json`: what is applied, and what is refused by name.
//!
//! An option that would be passed over gives other logits than its author saw. So each one must be known to be harmless, be
//! applied, or ask for nothing (null, false, 0, empty); the rest is refused.

use serde_json::{Map, Value};

use crate::{Error, pattern::Pattern};

/// Options that say how the adapter was made, and nothing about what it computes. Which modules have matrices the tensors
/// tell.
const HARMLESS: [&str; 18] = [
    "auto_mapping",
    "base_model_name_or_path",
    "base_model_class",
    "ensure_weight_tying",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "megatron_core",
    "parent_library",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
    "eva_config",
];

/// Ways to begin that leave the base as it is. The others (`pissa`, `olora`, `corda`, `loftq`, ...) take a part out of the
/// base's weights: their adapters belong to a base that PEFT changes as it loads them.
const BEGINNINGS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

/// What an adapter's configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftConfig {
    /// The rank of modules without one of their own.
    pub rank: usize,
    /// The alpha of modules without one of their own.
    pub alpha: f64,
    /// The targets as listed, without those excluded; `None` when either is a pattern, which says what to look for.
    pub targets: Option<Vec<String>>,
    rank_stabilised: bool,
    rank_pattern: Pattern,
    alpha_pattern: Pattern,
}

impl PeftConfig {
    /// Reads the configuration.
    ///
    /// # Errors
    /// It is no configuration of LoRA, or has an option that cannot be applied.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        let mut options: Map<String, Value> =
            serde_json::from_slice(json).map_err(|error| Error::Invalid(error.to_string()))?;
        // Of these a 0 or an empty text is a wrong value, not none.
        let is_plain =
            |name: &str| matches!(name, "r" | "lora_alpha" | "peft_type" | "task_type" | "bias");
        options.retain(|name, value| asks(value) || (is_plain(name) && !value.is_null()));
        let mut options = Options(options);
        options.must_be("peft_type", "LORA")?;
        options.may_be("task_type", "CAUSAL_LM")?;
        options.may_be("bias", "none")?;
        options.beginning()?;
        let rank = options.0.remove("r").ok_or_else(|| Error::Invalid("`r` is missing".into()))?;
        let rank = rank.as_u64().and_then(|rank| usize::try_from(rank).ok());
        let alpha = options.0.remove("lora_alpha");
        let alpha = alpha.ok_or_else(|| Error::Invalid("`lora_alpha` is missing".into()))?;
        let config = Self {
            rank: rank.ok_or_else(|| Error::Invalid("`r` is no whole number".into()))?,
            alpha: alpha
                .as_f64()
                .filter(|alpha| alpha.is_finite())
                .ok_or_else(|| Error::Invalid("`lora_alpha` is not a finite number".into()))?,
            targets: options.targets()?,
            rank_stabilised: options.flag("use_rslora")?,
            rank_pattern: options.pattern("rank_pattern")?,
            alpha_pattern: options.pattern("alpha_pattern")?,
        };
        options.refuse_rest()?;
        Ok(config)
    }

    /// The rank of a module, by its path (`model.layers.3.self_attn.q_proj`).
    #[must_use]
    pub fn rank_of(&self, path: &str) -> usize {
        self.rank_pattern.of(path).map_or(self.rank, |rank| rank as usize)
    }

    /// What the product of a module's matrices is multiplied by: alpha over the rank, or, with `use_rslora`, over its root.
    #[must_use]
    pub fn scaling_of(&self, path: &str) -> f64 {
        let rank = self.rank_of(path) as f64;
        let alpha = self.alpha_pattern.of(path).unwrap_or(self.alpha);
        alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }

    /// All ranks that any module may have.
    pub fn ranks(&self) -> impl Iterator<Item = usize> + '_ {
        [self.rank].into_iter().chain(self.rank_pattern.values().map(|rank| rank as usize))
    }
}

/// The options that are left to read; those that ask for nothing are as if they were not there.
struct Options(Map<String, Value>);

impl Options {
    fn must_be(&mut self, name: &str, known: &str) -> Result<(), Error> {
        if !self.0.contains_key(name) {
            return Err(Error::Invalid(format!("`{name}` is missing")));
        }
        self.may_be(name, known)
    }

    fn may_be(&mut self, name: &str, known: &str) -> Result<(), Error> {
        match self.0.remove(name) {
            Some(value) if value != known => Err(unsupported(name, &value)),
            _ => Ok(()),
        }
    }

    fn flag(&mut self, name: &str) -> Result<bool, Error> {
        match self.0.remove(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => Err(Error::Invalid(format!("`{name}` must be true or false"))),
        }
    }

    fn pattern(&mut self, name: &str) -> Result<Pattern, Error> {
        self.0.remove(name).map_or(Ok(Pattern::default()), |value| Pattern::parse(name, &value))
    }

    fn beginning(&mut self) -> Result<(), Error> {
        let name = "init_lora_weights";
        match self.0.remove(name) {
            None | Some(Value::Bool(_)) => Ok(()),
            Some(Value::String(kind)) if BEGINNINGS.contains(&kind.as_str()) => Ok(()),
            Some(value) => Err(unsupported(name, &value)),
        }
    }

    fn targets(&mut self) -> Result<Option<Vec<String>>, Error> {
        let targets = self.names("target_modules")?;
        let excluded = self.names("exclude_modules")?;
        Ok(match (targets, excluded) {
            (Names::Listed(targets), Names::Listed(excluded)) => {
                let short = |name: &str| name.rsplit('.').next().unwrap_or(name).to_owned();
                let out: Vec<String> = excluded.iter().map(|name| short(name)).collect();
                Some(targets.into_iter().filter(|name| !out.contains(&short(name))).collect())
            }
            (Names::Listed(targets), Names::Absent) => Some(targets),
            _ => None,
        })
    }

    fn names(&mut self, option: &str) -> Result<Names, Error> {
        let wrong =
            || Error::Invalid(format!("`{option}` is neither a list of names nor a pattern"));
        match self.0.remove(option) {
            None => Ok(Names::Absent),
            // A pattern (or `all-linear`).
            Some(Value::String(_)) => Ok(Names::Pattern),
            Some(list) => serde_json::from_value(list).map(Names::Listed).map_err(|_| wrong()),
        }
    }

    fn refuse_rest(self) -> Result<(), Error> {
        let rest = self.0.iter().find(|(name, _)| !HARMLESS.contains(&name.as_str()));
        rest.map_or(Ok(()), |(name, value)| Err(unsupported(name, value)))
    }
}

enum Names {
    Absent,
    Pattern,
    Listed(Vec<String>),
}

fn unsupported(option: &str, value: &Value) -> Error {
    let short = |text: &str| text.chars().take(80).collect();
    let value = match value {
        Value::String(text) => short(text),
        other => short(&other.to_string()),
    };
    Error::Unsupported { option: short(option), value }
}

/// Whether an option's value asks for something: null, false, 0 and what is empty leave it out.
#[must_use]
pub fn asks(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(set) => *set,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(table) => !table.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "model.layers.0.self_attn.q_proj";

    fn config(change: &str, value: Value) -> Result<PeftConfig, Error> {
        let mut json = serde_json::json!({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 8, "lora_alpha": 16, "bias": "none",
            "target_modules": ["q_proj", "o_proj"], "use_dora": false, "modules_to_save": null,
            "rank_pattern": {}, "lora_dropout": 0.05, "qalora_group_size": 16, "inference_mode": true,
        });
        json[change] = value;
        PeftConfig::parse(json.to_string().as_bytes())
    }

    #[test]
    fn the_usual_configuration_is_read() {
        let config = config("revision", Value::Null).unwrap();
        let targets = Some(vec!["q_proj".to_owned(), "o_proj".to_owned()]);
        assert_eq!((config.rank, config.alpha, config.targets.clone()), (8, 16.0, targets));
        assert_eq!((config.rank_of(Q), config.scaling_of(Q)), (8, 2.0));
    }

    #[test]
    fn what_cannot_be_applied_is_refused_by_name() {
        for (option, value) in [
            ("use_dora", Value::Bool(true)),
            ("use_what_comes_next", Value::Bool(true)),
            ("kasa_config", serde_json::json!({"beta": 1e-4})),
            ("an_option_of_tomorrow", serde_json::json!(1)),
            ("bias", "all".into()),
            ("peft_type", "IA3".into()),
            ("task_type", "".into()),
            ("bias", Value::Bool(false)),
            ("task_type", "SEQ_CLS".into()),
            ("modules_to_save", serde_json::json!(["lm_head"])),
            ("init_lora_weights", "pissa".into()),
            ("init_lora_weights", "pissa_niter_16".into()),
            ("init_lora_weights", "olora".into()),
            ("rank_pattern", serde_json::json!({".*q_proj": 4})),
        ] {
            let error = config(option, value).unwrap_err();
            assert!(error.to_string().contains(option), "{error}");
        }
    }

    #[test]
    fn ways_to_begin_that_leave_the_base_alone_are_no_fault() {
        for value in [Value::Bool(true), Value::Bool(false), "gaussian".into(), "orthogonal".into()]
        {
            assert!(config("init_lora_weights", value).is_ok());
        }
    }

    #[test]
    fn excluded_modules_are_no_targets() {
        let listed = config("exclude_modules", serde_json::json!(["o_proj"])).unwrap();
        assert_eq!(listed.targets, Some(vec!["q_proj".to_owned()]));
        assert_eq!(config("exclude_modules", "layers.1".into()).unwrap().targets, None);
    }

    #[test]
    fn patterns_give_single_modules_other_values() {
        let ranks = config("rank_pattern", serde_json::json!({"^self_attn.q_proj$": 4})).unwrap();
        assert_eq!((ranks.rank_of(Q), ranks.scaling_of(Q)), (4, 4.0));
        assert_eq!(ranks.rank_of("model.layers.0.mlp.up_proj"), 8);
        assert_eq!(ranks.ranks().collect::<Vec<_>>(), [8, 4]);
        let alphas = config("alpha_pattern", serde_json::json!({"q_proj": 24})).unwrap();
        assert_eq!(alphas.scaling_of(Q), 3.0);
        // Not the tail of a name, but of a path.
        assert_eq!(alphas.scaling_of("model.layers.0.self_attn.kq_proj"), 2.0);
    }

    #[test]
    fn rank_stabilised_scaling_divides_by_the_root() {
        let config = config("use_rslora", Value::Bool(true)).unwrap();
        assert!((config.scaling_of(Q) - 16.0 / 8.0_f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn what_is_no_number_is_said() {
        assert!(config("r", (-1).into()).is_err());
        assert!(config("r", "x".into()).unwrap_err().to_string().contains("`r` is no whole"));
        assert!(config("lora_alpha", "x".into()).is_err());
        assert!(PeftConfig::parse(b"[]").is_err());
    }
}

//! The keys of a `config.json`: what was read, and a refusal of what was not.

use std::{cell::RefCell, collections::BTreeSet};

use hone_peft::asks;
use serde_json::{Map, Value};

use crate::Error;

/// Keys that say nothing about the forward pass: how the file was made, how training went, how generation is called,
/// and what belongs to tasks other than text generation.
const HARMLESS: [&str; 59] = [
    "architectures",
    "attention_dropout",
    "attention_probs_dropout_prob",
    "attn_implementation",
    "auto_map",
    "cache_implementation",
    "chunk_size_feed_forward",
    "classifier_dropout",
    "decoder_start_token_id",
    "dtype",
    "embd_pdrop",
    "finetuning_task",
    "hidden_dropout_prob",
    "id2label",
    "initializer_range",
    "is_decoder",
    "is_llama_config",
    "label2id",
    "language",
    "length_penalty",
    "license",
    "max_length",
    "max_new_tokens",
    "mlp_dropout",
    "model_max_length",
    "model_name",
    "model_type",
    "name_or_path",
    "num_beams",
    "num_return_sequences",
    "output_attentions",
    "output_hidden_states",
    "output_router_logits",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "repetition_penalty",
    "resid_pdrop",
    "return_dict",
    "router_aux_loss_coef",
    "rope_interleaved",
    "sep_token_id",
    "task_specific_params",
    "temperature",
    "tf_legacy_loss",
    "tie_encoder_decoder",
    "tokenizer_class",
    "tokenizer_model_max_length",
    "top_k",
    "top_p",
    "torch_dtype",
    "torchscript",
    "transformers.js_config",
    "transformers_version",
    "typical_p",
    "unk_token_id",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// A `config.json` that remembers which of its keys were asked for.
pub(crate) struct Keys<'a> {
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'a str>>,
}

/// A refusal of `config.json`.
pub(crate) fn invalid(reason: impl ToString) -> Error {
    Error::invalid("config.json", reason)
}

/// A refusal of something that this build does not compute.
pub(crate) fn unsupported(what: impl ToString, supported: impl ToString) -> Error {
    Error::Unsupported { what: what.to_string(), supported: supported.to_string() }
}

impl<'a> Keys<'a> {
    /// The keys of a configuration.
    ///
    /// # Errors
    /// It is no JSON object.
    pub(crate) fn new(value: &'a Value) -> Result<Self, Error> {
        let map = value.as_object().ok_or_else(|| invalid("not a JSON object"))?;
        Ok(Self { map, read: RefCell::default() })
    }

    /// The value of a key, if it is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        let (key, value) = self.map.get_key_value(key)?;
        self.read.borrow_mut().insert(key);
        Some(value).filter(|value| !value.is_null())
    }

    /// A count from 1 to `most`.
    pub(crate) fn size(&self, key: &str, most: usize) -> Result<usize, Error> {
        let value = self.get(key).ok_or_else(|| invalid(format!("missing field `{key}`")))?;
        Self::in_range(key, value, most)
    }

    /// A count from 1 to `most`, or a value for those that do not say.
    pub(crate) fn size_or(&self, key: &str, most: usize, default: usize) -> Result<usize, Error> {
        self.get(key).map_or(Ok(default), |value| Self::in_range(key, value, most))
    }

    /// Numbers that no model has, and with which nothing could be computed: refused before anything is made as large.
    fn in_range(key: &str, value: &Value, most: usize) -> Result<usize, Error> {
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.filter(|size| (1..=most).contains(size)).ok_or_else(|| {
            invalid(format!("{key} is {value}; it must be a whole number from 1 to {most}"))
        })
    }

    /// A finite number.
    pub(crate) fn number(&self, key: &str) -> Result<Option<f32>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_f64().map(|number| number as f32).filter(|n| n.is_finite());
        number.map(Some).ok_or_else(|| invalid(format!("{key} is {value}; it must be a number")))
    }

    /// A finite number above 0.
    pub(crate) fn positive(&self, key: &str) -> Result<Option<f32>, Error> {
        match self.number(key)? {
            Some(number) if number <= 0.0 => {
                Err(invalid(format!("{key} is {number}; it must be above 0")))
            }
            number => Ok(number),
        }
    }

    /// True or false.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let flag = value.as_bool();
        flag.map(Some).ok_or_else(|| invalid(format!("{key} is {value}; it must be true or false")))
    }

    /// Text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let text = value.as_str();
        text.map(Some).ok_or_else(|| invalid(format!("{key} is {value}; it must be text")))
    }

    /// Refuses a key that asks for something: null, false, 0 and what is empty ask for nothing.
    pub(crate) fn refuse(&self, key: &str, supported: &str) -> Result<(), Error> {
        match self.get(key).filter(|value| asks(value)) {
            Some(value) => Err(unsupported(format!("{key} {value} of config.json"), supported)),
            None => Ok(()),
        }
    }

    /// Refuses keys that nobody asked for and that may change the computation.
    pub(crate) fn refuse_unread(&self) -> Result<(), Error> {
        let read = self.read.borrow();
        let unknown = self.map.iter().find(|(key, value)| {
            let is_known = read.contains(key.as_str())
                || HARMLESS.contains(&key.as_str())
                || key.starts_with('_');
            !is_known && asks(value)
        });
        match unknown {
            Some((key, _)) => Err(unsupported(
                format!("the key {key:?} of config.json"),
                "keys whose meaning for the computation is known; if this one has none, delete it from config.json",
            )),
            None => Ok(()),
        }
    }
}

/// One id or a list of ids.
pub(crate) fn token_ids(value: Option<&Value>) -> Vec<u32> {
    let one = |v: &Value| v.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(one).collect(),
        Some(value) => one(value).into_iter().collect(),
        None => Vec::new(),
    }
}

//! The fields of chat and completion requests that say how tokens are drawn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::error::Invalid;
use crate::fields::Fields;
use crate::sampling_params::SamplingParams;

/// What requests are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Token ids are below this.
    pub vocab_size: u32,
    /// Tokens of prompt and answer together.
    pub context: u32,
    /// Answers per request (`n`).
    pub answers: u32,
    /// Turns of a conversation.
    pub messages: usize,
    /// Stop strings.
    pub stops: usize,
    /// Entries of `logit_bias`.
    pub biases: usize,
    /// Prompts of one completion request.
    pub prompts: usize,
}

impl Limits {
    /// Hone's limits for a model.
    #[must_use]
    pub const fn of_model(vocab_size: u32, context: u32) -> Self {
        Self {
            vocab_size,
            context,
            answers: 128,
            messages: 2048,
            stops: 4,
            biases: 1024,
            prompts: 128,
        }
    }
}

/// How tokens are drawn where a request does not say: what the model's authors recommend, else OpenAI's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SamplingDefaults {
    /// False: the likeliest token is always taken, as `temperature: 0` asks for.
    pub do_sample: bool,
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus; 1 keeps all.
    pub top_p: f32,
    /// Keep this many; 0 keeps all.
    pub top_k: u32,
    /// Drop tokens less likely than this share of the likeliest; 0 drops none.
    pub min_p: f32,
    /// Divides the logits of tokens seen so far; 1 does nothing.
    pub repetition_penalty: f32,
}

impl Default for SamplingDefaults {
    fn default() -> Self {
        let none = SamplingParams::default();
        Self {
            do_sample: true,
            temperature: none.temperature,
            top_p: none.top_p,
            top_k: none.top_k,
            min_p: none.min_p,
            repetition_penalty: none.repetition_penalty,
        }
    }
}

/// How tokens are drawn, as a client asks for it; what is missing takes the model's default, else OpenAI's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct SamplingOptions {
    /// 0 is greedy; at most 2. The default is the model's (`generation_config` of `GET /v1/models/{id}`), else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 2)]
    pub temperature: Option<f64>,
    /// Nucleus; the default is the model's, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// Keep this many tokens; 0 and -1 keep all. The default is the model's, else all.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -1)]
    pub top_k: Option<i64>,
    /// Drop tokens less likely than this share of the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 1)]
    pub min_p: Option<f64>,
    /// From -2 to 2; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -2, maximum = 2)]
    pub presence_penalty: Option<f64>,
    /// From -2 to 2; default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -2, maximum = 2)]
    pub frequency_penalty: Option<f64>,
    /// From 0.01 to 10; the default is the model's, else 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0.01, maximum = 10)]
    pub repetition_penalty: Option<f64>,
    /// Token id (as a string) to a number from -100 to 100, added to its logit.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<BTreeMap<String, f64>>)]
    pub logit_bias: BTreeMap<u32, f64>,
    /// Same seed, same request, same adapter: same answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// A string, or up to four; the answer ends before the first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = StopForms)]
    pub stop: Vec<String>,
    /// At least so many tokens before an end token or a stop string counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub min_tokens: Option<u32>,
    /// Go on after an end token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
    /// Tokens that end the answer, beside the model's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<u32>>, max_items = 1024)]
    pub stop_token_ids: Vec<u32>,
    /// No other tokens may be drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(min_items = 1)]
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Words that the answer must not have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<String>>, max_items = 256)]
    pub bad_words: Vec<String>,
}

/// Entries of `stop_token_ids`.
const STOP_TOKENS: usize = 1024;
/// Entries of `bad_words`.
const BAD_WORDS: usize = 256;

/// The shapes that `stop` may have on the wire; for the API's description.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum StopForms {
    /// One.
    One(String),
    /// Up to four.
    Many(Vec<String>),
    /// None.
    None(()),
}

impl SamplingOptions {
    /// Takes the fields out of a request.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn take(fields: &mut Fields) -> Result<Self, Invalid> {
        let small = |value: Option<i64>| value.and_then(|v| u32::try_from(v).ok());
        Ok(Self {
            temperature: fields.number("temperature", 0.0, 2.0)?,
            top_p: fields.number("top_p", 0.0, 1.0)?,
            top_k: fields.whole("top_k", -1, i64::from(u32::MAX))?,
            min_p: fields.number("min_p", 0.0, 1.0)?,
            presence_penalty: fields.number("presence_penalty", -2.0, 2.0)?,
            frequency_penalty: fields.number("frequency_penalty", -2.0, 2.0)?,
            repetition_penalty: fields.number("repetition_penalty", 0.01, 10.0)?,
            logit_bias: logit_bias(fields)?,
            seed: fields.whole("seed", i64::MIN, i64::MAX)?,
            stop: stop(fields)?,
            min_tokens: small(fields.whole("min_tokens", 0, i64::from(u32::MAX))?),
            ignore_eos: fields.take("ignore_eos")?,
            stop_token_ids: ids(fields, "stop_token_ids")?.unwrap_or_default(),
            allowed_token_ids: ids(fields, "allowed_token_ids")?,
            bad_words: bad_words(fields)?,
        })
    }

    /// Checks what depends on the model.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        if self.stop.len() > limits.stops {
            let message =
                format!("`stop` has {} entries; at most {}", self.stop.len(), limits.stops);
            return Err(Invalid::field("stop", message));
        }
        if self.stop.iter().any(String::is_empty) {
            return Err(Invalid::field("stop", "`stop` must not hold an empty string"));
        }
        if self.logit_bias.len() > limits.biases {
            let count = self.logit_bias.len();
            let message = format!("`logit_bias` has {count} entries; at most {}", limits.biases);
            return Err(Invalid::field("logit_bias", message));
        }
        if let Some(token) = self.logit_bias.keys().find(|token| **token >= limits.vocab_size) {
            let message = format!(
                "`logit_bias` names token {token}; this model's ids are below {}",
                limits.vocab_size
            );
            return Err(Invalid::field("logit_bias", message));
        }
        if self.stop_token_ids.len() > STOP_TOKENS {
            let count = self.stop_token_ids.len();
            let message = format!("`stop_token_ids` has {count} entries; at most {STOP_TOKENS}");
            return Err(Invalid::field("stop_token_ids", message));
        }
        if self.bad_words.len() > BAD_WORDS || self.bad_words.iter().any(String::is_empty) {
            let message =
                format!("`bad_words` must have at most {BAD_WORDS} entries, none of them empty");
            return Err(Invalid::field("bad_words", message));
        }
        let allowed = self.allowed_token_ids.as_deref();
        if allowed.is_some_and(<[u32]>::is_empty) {
            let message = "`allowed_token_ids` is empty; then nothing can be drawn";
            return Err(Invalid::field("allowed_token_ids", message));
        }
        for (name, ids) in [
            ("stop_token_ids", self.stop_token_ids.as_slice()),
            ("allowed_token_ids", allowed.unwrap_or_default()),
        ] {
            if let Some(token) = ids.iter().find(|token| **token >= limits.vocab_size) {
                let below = limits.vocab_size;
                let message =
                    format!("`{name}` names token {token}; this model's ids are below {below}");
                return Err(Invalid::field(name, message));
            }
        }
        Ok(())
    }

    /// The parameters for the engine; `bad_words` is left to who has the tokenizer. `logprobs`: alternatives per token, if any are wanted.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // all were checked to be small
    pub fn resolve(
        &self,
        defaults: &SamplingDefaults,
        max_tokens: u32,
        logprobs: Option<u8>,
    ) -> SamplingParams {
        let number = |value: Option<f64>, default: f32| value.map_or(default, |v| v as f32);
        SamplingParams {
            temperature: number(self.temperature, defaults.temperature),
            top_p: number(self.top_p, defaults.top_p),
            // -1 keeps all, as 0 does.
            top_k: self.top_k.map_or(defaults.top_k, |k| u32::try_from(k).unwrap_or(0)),
            min_p: number(self.min_p, defaults.min_p),
            presence_penalty: number(self.presence_penalty, 0.0),
            frequency_penalty: number(self.frequency_penalty, 0.0),
            repetition_penalty: number(self.repetition_penalty, defaults.repetition_penalty),
            logit_bias: self.logit_bias.iter().map(|(id, bias)| (*id, *bias as f32)).collect(),
            seed: self.seed.map(i64::cast_unsigned),
            max_tokens,
            min_tokens: self.min_tokens.unwrap_or(0),
            ignore_eos: self.ignore_eos.unwrap_or(false),
            stop: self.stop.clone(),
            stop_token_ids: self.stop_token_ids.clone(),
            allowed_token_ids: self.allowed_token_ids.clone(),
            bad_words: Vec::new(),
            logprobs,
        }
    }
}

fn ids(fields: &mut Fields, name: &str) -> Result<Option<Vec<u32>>, Invalid> {
    match fields.has(name) {
        true => fields.token_ids(name).map(Some),
        false => {
            fields.value(name);
            Ok(None)
        }
    }
}

fn bad_words(fields: &mut Fields) -> Result<Vec<String>, Invalid> {
    let words = fields.value("bad_words").unwrap_or_else(|| Value::Array(Vec::new()));
    serde_json::from_value(words)
        .map_err(|_| Invalid::field("bad_words", "`bad_words` must be an array of strings"))
}

fn stop(fields: &mut Fields) -> Result<Vec<String>, Invalid> {
    match fields.value("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one]),
        Some(many) => serde_json::from_value(many)
            .map_err(|_| Invalid::field("stop", "`stop` must be a string or an array of strings")),
    }
}

fn logit_bias(fields: &mut Fields) -> Result<BTreeMap<u32, f64>, Invalid> {
    let wrong = |message: String| Invalid::field("logit_bias", message);
    let Some(map) = fields.take::<BTreeMap<String, Value>>("logit_bias")? else {
        return Ok(BTreeMap::new());
    };
    map.into_iter()
        .map(|(token, bias)| {
            let digits = token.bytes().all(|byte| byte.is_ascii_digit());
            let id = token.parse().ok().filter(|_| digits).ok_or_else(|| {
                wrong(format!("`logit_bias` has the key `{token:.60}`, which is not a token id"))
            })?;
            match bias.as_f64() {
                Some(bias) if (-100.0..=100.0).contains(&bias) => Ok((id, bias)),
                _ => Err(wrong(format!(
                    "`logit_bias` of token {id} must be a number from -100 to 100"
                ))),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_defaults_hold_where_the_client_says_nothing() {
        let greedy = SamplingDefaults {
            do_sample: false,
            temperature: 0.0,
            top_k: 20,
            repetition_penalty: 1.05,
            ..SamplingDefaults::default()
        };
        let silent = SamplingOptions::default().resolve(&greedy, 8, None);
        assert_eq!((silent.temperature, silent.top_k, silent.top_p), (0.0, 20, 1.0));
        assert_eq!(silent.repetition_penalty, 1.05);
        let asked = SamplingOptions {
            temperature: Some(0.5),
            top_k: Some(-1),
            repetition_penalty: Some(1.0),
            ..SamplingOptions::default()
        };
        let asked = asked.resolve(&greedy, 8, None);
        assert_eq!((asked.temperature, asked.top_k, asked.repetition_penalty), (0.5, 0, 1.0));
    }
}

//! How tokens were sampled: the parameters with every default in its place, as they are kept of each answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How tokens were drawn. Field names are OpenAI's (and vLLM's for `top_k`, `min_p`,
/// `repetition_penalty`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SamplingParams {
    /// 0 is greedy.
    pub temperature: f32,
    /// Nucleus: keep the smallest set whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keep this many; 0 keeps all.
    pub top_k: u32,
    /// Drop tokens less likely than this share of the likeliest; 0 drops none.
    pub min_p: f32,
    /// Subtracted once from the logit of a token that has been generated.
    pub presence_penalty: f32,
    /// Subtracted as often as the token has been generated.
    pub frequency_penalty: f32,
    /// Divides (or multiplies, below zero) the logits of tokens seen so far; 1 does nothing.
    pub repetition_penalty: f32,
    /// Added to the logits of these tokens. Keys of JSON are strings, ids too.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, f32>)]
    pub logit_bias: BTreeMap<u32, f32>,
    /// Same seed, same request, same adapter: same answer.
    pub seed: Option<u64>,
    /// At most so many tokens are generated.
    pub max_tokens: u32,
    /// At least so many tokens before an end token or a stop string counts.
    #[serde(default)]
    pub min_tokens: u32,
    /// Go on after an end token (benchmarks).
    #[serde(default)]
    pub ignore_eos: bool,
    /// The answer ends before the first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// The answer ends after the first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_token_ids: Vec<u32>,
    /// No other tokens are drawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_token_ids: Option<Vec<u32>>,
    /// Sequences of tokens that are not drawn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_words: Vec<Vec<u32>>,
    /// How many alternatives with their log-probabilities are reported per token; `None`: none,
    /// not even the drawn token's.
    pub logprobs: Option<u8>,
}

impl SamplingParams {
    /// The parameters of one of the `n` answers: each draws for itself, from the request's seed on.
    #[must_use]
    pub fn of_answer(&self, index: u32) -> Self {
        let seed = self.seed.map(|seed| seed.wrapping_add(index.into()));
        Self { seed, ..self.clone() }
    }
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: BTreeMap::new(),
            seed: None,
            max_tokens: 256,
            min_tokens: 0,
            ignore_eos: false,
            stop: Vec::new(),
            stop_token_ids: Vec::new(),
            allowed_token_ids: None,
            bad_words: Vec::new(),
            logprobs: None,
        }
    }
}

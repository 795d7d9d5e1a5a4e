//! `/v1/completions`: the legacy endpoint, with token ids as prompt, echo and log-probabilities.
//!
//! lm-evaluation-harness scores multiple-choice questions through it: `echo`, `logprobs` and
//! prompts as token ids.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::request::{
    Accepted, StreamOptions, check_answers, check_stream_options, count, model, stream_options,
    top_logprobs, truncate,
};
use crate::chat::{FinishReason, Usage};
use crate::error::Invalid;
use crate::fields::{Fields, token_ids};
use crate::foreign::refuse_in_completion;
use crate::keeping::Keeping;
use crate::sampling::{Limits, SamplingOptions};
use crate::structured::Form;

/// One prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Prompt {
    /// Text, to be tokenised.
    Text(String),
    /// Token ids.
    Tokens(Vec<u32>),
}

/// The shapes that `prompt` may have on the wire; for the API's description.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum PromptForms {
    /// One text.
    Text(String),
    /// Several texts.
    Texts(Vec<String>),
    /// One prompt as token ids.
    Tokens(Vec<u32>),
    /// Several prompts as token ids.
    Lists(Vec<Vec<u32>>),
}

/// The body of `POST /v1/completions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct CompletionRequest {
    /// As for chat.
    #[schema(min_length = 1)]
    pub model: String,
    /// A string, token ids, or an array of either.
    #[schema(value_type = PromptForms)]
    pub prompt: Vec<Prompt>,
    /// How tokens are drawn.
    #[serde(flatten)]
    pub sampling: SamplingOptions,
    /// What the answer must look like, as vLLM has it here too.
    #[serde(flatten)]
    pub form: Form,
    /// How many answers per prompt; default 1, at most 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 128)]
    pub n: Option<u32>,
    /// At most so many tokens; default 16. 0 is of use with `echo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0)]
    pub max_tokens: Option<u32>,
    /// Report log-probabilities, with so many alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 20)]
    pub logprobs: Option<u8>,
    /// Put the prompt in front of the answer, in `logprobs` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// Send the answer token by token as server-sent events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Only with `stream`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Whose it is, and what is kept of it.
    #[serde(flatten)]
    pub keeping: Keeping,
    /// Add token ids to the answer (as vLLM does).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub return_token_ids: Option<bool>,
    /// As for chat.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -1)]
    pub truncate_prompt_tokens: Option<i64>,
}

impl CompletionRequest {
    /// Tokens of an answer, if the client says nothing.
    pub const DEFAULT_MAX_TOKENS: u32 = 16;

    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong or not supported, by name.
    pub fn from_json(body: Value) -> Result<Accepted<Self>, Invalid> {
        let mut fields = Fields::new(body)?;
        let mut ignored = Vec::new();
        let request = Self {
            model: model(&mut fields)?,
            prompt: prompts(&mut fields, "prompt")?,
            sampling: SamplingOptions::take(&mut fields)?,
            form: Form::take(&mut fields, &mut ignored)?,
            n: count(&mut fields, "n", 1)?,
            max_tokens: count(&mut fields, "max_tokens", 0)?,
            logprobs: top_logprobs(&mut fields, "logprobs")?,
            echo: fields.take("echo")?,
            stream: fields.take("stream")?,
            stream_options: stream_options(&mut fields, &mut ignored)?,
            keeping: Keeping::take(&mut fields)?,
            return_token_ids: fields.take("return_token_ids")?,
            truncate_prompt_tokens: truncate(&mut fields)?,
        };
        refuse_in_completion(&mut fields, request.n.unwrap_or(1))?;
        ignored.extend(fields.unknown());
        Ok(Accepted { request, ignored })
    }

    /// Checks what depends on other fields and on the model.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        if self.prompt.is_empty() {
            return Err(Invalid::field("prompt", "`prompt` is empty; send at least one prompt"));
        }
        if self.prompt.len() > limits.prompts {
            let (count, most) = (self.prompt.len(), limits.prompts);
            let message = format!("`prompt` has {count} entries; at most {most}");
            return Err(Invalid::field("prompt", message));
        }
        for prompt in &self.prompt {
            let Prompt::Tokens(tokens) = prompt else { continue };
            if tokens.is_empty() {
                let message = "`prompt` holds an empty array; send at least one token id";
                return Err(Invalid::field("prompt", message));
            }
            if let Some(token) = tokens.iter().find(|token| **token >= limits.vocab_size) {
                let below = limits.vocab_size;
                let message =
                    format!("`prompt` holds token {token}; this model's ids are below {below}");
                return Err(Invalid::field("prompt", message));
            }
        }
        check_answers(self.n, limits)?;
        check_stream_options(self.stream, self.stream_options)?;
        self.sampling.check(limits)
    }

    /// Whether a last chunk tells the usage.
    #[must_use]
    pub fn include_usage(&self) -> bool {
        self.stream_options.is_some_and(|options| options.include_usage)
    }
}

/// Takes out a field of these shapes.
pub(crate) fn prompts(fields: &mut Fields, name: &str) -> Result<Vec<Prompt>, Invalid> {
    let wrong = || {
        let message = format!(
            "`{name}` must be a string, an array of strings, an array of token ids, or an array of arrays of token ids"
        );
        Invalid::field(name, message)
    };
    match fields.value(name) {
        None => Err(Invalid::field(name, format!("`{name}` is missing; it is required"))),
        Some(Value::String(text)) => Ok(vec![Prompt::Text(text)]),
        Some(Value::Array(items)) => match items.first() {
            None => Ok(Vec::new()),
            Some(Value::Number(_)) => {
                Ok(vec![Prompt::Tokens(token_ids(&items).ok_or_else(wrong)?)])
            }
            Some(_) => items
                .into_iter()
                .map(|item| match item {
                    Value::String(text) => Ok(Prompt::Text(text)),
                    Value::Array(ids) => token_ids(&ids).map(Prompt::Tokens).ok_or_else(wrong),
                    _ => Err(wrong()),
                })
                .collect(),
        },
        Some(_) => Err(wrong()),
    }
}

/// An answer of `/v1/completions`, and each chunk of a streamed one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionResponse {
    /// The interaction's id.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    /// The model's name as the client sent it.
    pub model: String,
    /// The answers: all of the first prompt, then all of the second …
    pub choices: Vec<CompletionChoice>,
    /// What it cost. In chunks as for chat.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::fields::present_or_null"
    )]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// `hone-<version>-<adapter digest prefix or base>`.
    pub system_fingerprint: String,
}

/// One answer, or a piece of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionChoice {
    /// The prompt's place times `n`, plus the answer's place.
    pub index: u32,
    /// The text; with `echo` the prompt's text in front.
    pub text: String,
    /// If they were asked for.
    pub logprobs: Option<LegacyLogProbs>,
    /// Why it ended; null in chunks but the last.
    pub finish_reason: Option<FinishReason>,
    /// Only with `return_token_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
    /// Only with `return_token_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// Log-probabilities as four arrays, one entry per token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LegacyLogProbs {
    /// The tokens' texts.
    pub tokens: Vec<String>,
    /// Natural logarithms; null for the first token of an echoed prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The likeliest tokens at each place; null where `token_logprobs` is.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token begins in `text`, in characters.
    pub text_offset: Vec<usize>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const LIMITS: Limits = Limits::of_model(100, 64);

    fn read(prompt: Value) -> Result<Vec<Prompt>, Invalid> {
        let request = CompletionRequest::from_json(json!({"model": "m", "prompt": prompt}))?;
        request.request.check(&LIMITS)?;
        Ok(request.request.prompt)
    }

    #[test]
    fn a_prompt_comes_in_four_shapes() {
        assert_eq!(read(json!("a")).unwrap(), [Prompt::Text("a".into())]);
        assert_eq!(read(json!(["a", "b"])).unwrap().len(), 2);
        assert_eq!(read(json!([1, 2])).unwrap(), [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(read(json!([[1], [2, 3]])).unwrap()[1], Prompt::Tokens(vec![2, 3]));
        for wrong in [json!([]), json!([[]]), json!([100]), json!([-1]), json!({}), json!([1, "a"])]
        {
            assert_eq!(read(wrong).unwrap_err().param.as_deref(), Some("prompt"));
        }
    }
}

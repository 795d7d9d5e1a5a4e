//! Answers of `/v1/chat/completions`, whole and in chunks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{FinishReason, Role, ToolCall, ToolKind};

/// A whole answer. Its `id` is the interaction's id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChatResponse {
    /// The interaction's id.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Unix seconds.
    pub created: i64,
    /// The model's name as the client sent it.
    pub model: String,
    /// The answers.
    pub choices: Vec<Choice>,
    /// What it cost.
    pub usage: Usage,
    /// `hone-<version>-<adapter digest prefix or base>`.
    pub system_fingerprint: String,
    /// Only for stored completions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
    /// Only with `return_token_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// One answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    /// Counts from 0.
    pub index: u32,
    /// What the model said.
    pub message: AnswerMessage,
    /// If they were asked for.
    pub logprobs: Option<LogProbs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
    /// Only with `return_token_ids`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// The assistant's turn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: Role,
    /// The text; null if there is none beside `tool_calls`.
    pub content: Option<String>,
    /// Always null.
    pub refusal: Option<String>,
    /// The calls that the model asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<ToolCall>>)]
    pub tool_calls: Vec<ToolCall>,
}

impl AnswerMessage {
    /// An answer with a text, calls, or both.
    #[must_use]
    pub fn new(text: String, tool_calls: Vec<ToolCall>) -> Self {
        let content = (tool_calls.is_empty() || !text.is_empty()).then_some(text);
        Self { role: Role::Assistant, content, refusal: None, tool_calls }
    }
}

/// Log-probabilities of an answer's tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogProbs {
    /// One per token.
    pub content: Vec<TokenLogProb>,
    /// Always null.
    pub refusal: Option<Vec<TokenLogProb>>,
}

/// One token and its alternatives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenLogProb {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes, which may be part of a character.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest tokens at this place.
    pub top_logprobs: Vec<TopLogProb>,
}

/// One alternative.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TopLogProb {
    /// Its text.
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
}

/// Tokens counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Of the prompt.
    pub prompt_tokens: u32,
    /// Of all answers.
    pub completion_tokens: u32,
    /// Both.
    pub total_tokens: u32,
    /// Of the prompt, in detail.
    #[serde(default)]
    pub prompt_tokens_details: PromptTokensDetails,
    /// Of the answers, in detail.
    #[serde(default)]
    pub completion_tokens_details: CompletionTokensDetails,
}

impl Usage {
    /// Counts a prompt and its answers.
    #[must_use]
    pub fn new(prompt_tokens: u32, completion_tokens: u32) -> Self {
        Self {
            prompt_tokens,
            completion_tokens,
            total_tokens: prompt_tokens.saturating_add(completion_tokens),
            ..Self::default()
        }
    }

    /// So many of the prompt's tokens were not computed again.
    #[must_use]
    pub fn with_cached(mut self, cached_tokens: u32) -> Self {
        self.prompt_tokens_details.cached_tokens = cached_tokens;
        self
    }
}

/// Where the prompt's tokens came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PromptTokensDetails {
    /// Not computed again: the prefix cache had them.
    pub cached_tokens: u32,
}

/// What the answer's tokens were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CompletionTokensDetails {
    /// Of hidden reasoning; zero.
    pub reasoning_tokens: u32,
}

/// One event of a streamed answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Chunk {
    /// The interaction's id; the same in all chunks.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Unix seconds; the same in all chunks.
    pub created: i64,
    /// The model's name as the client sent it.
    pub model: String,
    /// The same in all chunks.
    pub system_fingerprint: String,
    /// One, but none in the chunk that tells the usage.
    pub choices: Vec<ChunkChoice>,
    /// Absent unless `include_usage` was set; then null in all chunks but the last.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "crate::fields::present_or_null"
    )]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// Only with `return_token_ids`, in the first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_token_ids: Option<Vec<u32>>,
}

/// A piece of one answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ChunkChoice {
    /// Which answer it belongs to.
    pub index: u32,
    /// What is new.
    pub delta: Delta,
    /// Of the new tokens, if they were asked for.
    pub logprobs: Option<LogProbs>,
    /// Only in the answer's last chunk.
    pub finish_reason: Option<FinishReason>,
    /// Only with `return_token_ids`: the new tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
}

/// What a chunk adds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    /// Only in the answer's first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// New text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// A new call, or more of one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<CallDelta>>)]
    pub tool_calls: Vec<CallDelta>,
}

/// What a chunk adds to a call.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CallDelta {
    /// Which of the answer's calls.
    pub index: u32,
    /// Only in the call's first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function`; only in the call's first chunk.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ToolKind>,
    /// What is new.
    pub function: FunctionDelta,
}

/// What a chunk adds to a call's function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FunctionDelta {
    /// Only in the call's first chunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// More of the arguments' text.
    pub arguments: String,
}

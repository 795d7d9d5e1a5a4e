//! What is kept of each answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::{FinishReason, Message, Tool, ToolCall};
use crate::sampling_params::SamplingParams;
use crate::{AdapterId, InteractionId, UnixMillis};

/// Which endpoint produced the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

/// One of the `n` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// Its text; `None` when the text is not kept.
    pub text: Option<String>,
    /// The calls that it asks for; none when the text is not kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The tokens drawn, the end token included.
    pub tokens: Vec<u32>,
    /// Natural log-probability of each token, under the model before temperature; where the answer was held to a
    /// grammar, among the tokens that it allowed.
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// Where the time went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Timings {
    /// From arrival to the first step that computed for it.
    pub queue_ms: f64,
    /// From arrival to the first token.
    pub ttft_ms: f64,
    /// From arrival to the last token.
    pub total_ms: f64,
}

/// What a response tells of its request that the rest of the interaction does not say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResponseEcho {
    /// Whether the first message is its `instructions`.
    pub instructed: bool,
    /// The response that it went on from.
    pub previous: Option<InteractionId>,
    /// `text.format`.
    #[schema(value_type = Object)]
    pub format: Value,
    /// `tool_choice`.
    pub tool_choice: Value,
    /// Tools that the model was not told of, because it was to call none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold_tools: Vec<Tool>,
    /// `parallel_tool_calls`.
    pub parallel_tool_calls: bool,
    /// `max_output_tokens`.
    pub max_output_tokens: Option<u32>,
}

/// One answered request, with all that is needed to train on it or to repeat it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interaction {
    /// Its id, which is the response's id.
    pub id: InteractionId,
    /// When the request arrived.
    pub created_at: UnixMillis,
    /// The endpoint.
    pub endpoint: Endpoint,
    /// The model name as the client sent it.
    pub model: String,
    /// The adapter that answered; `None` is the base.
    pub adapter_id: Option<AdapterId>,
    /// SHA-256 of that adapter's weights, hex; `None` for the base, and where an earlier Hone logged the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_digest: Option<String>,
    /// Digest of the packed base weights.
    pub base_digest: String,
    /// Digest of the chat template.
    pub template_digest: String,
    /// The conversation as sent; empty when the text is not kept. A completion's prompt is one
    /// user message.
    pub messages: Vec<Message>,
    /// The tools that the model was told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// How tokens were drawn. Without a seed in the request one was drawn, and is here.
    pub sampling: SamplingParams,
    /// The grammar that answers were held to, in Lark; none when the text is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grammar: Option<String>,
    /// Hone's version and the instruction set that computed the answers; `None` where an earlier Hone logged them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub computed_by: Option<String>,
    /// The prompt's token ids; empty when the text is not kept.
    pub prompt_tokens: Vec<u32>,
    /// How many of them were not computed again, because an earlier request began alike.
    #[serde(default)]
    pub cached_tokens: u32,
    /// The answers, by `index`.
    pub answers: Vec<Answer>,
    /// Where the time went.
    pub timings: Timings,
    /// The API key's id.
    pub key_id: Option<String>,
    /// The end user whom the app named (`user`, `safety_identifier`, a header): a keyed hash.
    pub user: Option<String>,
    /// The conversation that the app named: a keyed hash.
    #[serde(default)]
    pub conversation: Option<String>,
    /// Who asked: a keyed hash, as that of [`crate::feedback::Feedback::source`]; `None` when unknown.
    #[serde(default)]
    pub source: Option<String>,
    /// The client's `metadata`.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
    /// Whether the client asked with `store: true` that it be listed as a stored completion, or looked up as a response.
    #[serde(default)]
    pub stored: bool,
    /// Only of `/v1/responses`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<ResponseEcho>,
    /// Whether it may teach; false for `store: false` and `x-hone-no-train: 1`.
    pub trainable: bool,
}

//! `/v1/responses`: what is answered.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::chat::{FinishReason, Role, Tool, ToolKind, Usage};

/// What the answer must look like.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TextOptions {
    /// `{"type": "text"}`, `{"type": "json_object"}`, or `{"type": "json_schema", "name", "schema", "strict"?}`.
    #[schema(value_type = Object)]
    pub format: Value,
}

/// A function that the model may ask to be called.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ResponseTool {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: ToolKind,
    /// Its name.
    #[schema(pattern = "^[a-zA-Z0-9_.-]{1,64}$")]
    pub name: String,
    /// What it does; the model reads this.
    pub description: Option<String>,
    /// A JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Value>,
    /// As for chat.
    pub strict: Option<bool>,
}

impl From<Tool> for ResponseTool {
    fn from(tool: Tool) -> Self {
        let function = tool.function;
        Self {
            kind: tool.kind,
            name: function.name,
            description: function.description,
            parameters: function.parameters,
            strict: function.strict,
        }
    }
}

/// How far something has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It comes.
    InProgress,
    /// It is whole.
    Completed,
    /// `max_output_tokens` or the context cut it off.
    Incomplete,
    /// The client left.
    Cancelled,
    /// The engine failed.
    Failed,
}

impl From<FinishReason> for Status {
    fn from(reason: FinishReason) -> Self {
        match reason {
            FinishReason::Stop | FinishReason::ToolCalls => Self::Completed,
            FinishReason::Length => Self::Incomplete,
            FinishReason::Cancelled => Self::Cancelled,
            FinishReason::Error => Self::Failed,
        }
    }
}

/// One thing that the model said or asked for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum OutputItem {
    /// A text.
    Message(OutputMessage),
    /// A call.
    FunctionCall(OutputCall),
}

/// A text that the model said.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OutputMessage {
    /// `msg_…`.
    pub id: String,
    /// Whether it is whole.
    pub status: Status,
    /// `assistant`.
    pub role: Role,
    /// One part, or none yet.
    pub content: Vec<OutputText>,
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OutputText {
    /// `output_text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The text.
    pub text: String,
    /// None.
    #[schema(value_type = Vec<Object>)]
    pub annotations: [(); 0],
    /// None.
    #[schema(value_type = Vec<Object>)]
    pub logprobs: [(); 0],
}

impl OutputText {
    /// A part with this text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self { kind: "output_text", text, annotations: [], logprobs: [] }
    }
}

/// A call that the model asks for.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OutputCall {
    /// `fc_…`.
    pub id: String,
    /// Names the call to its result.
    pub call_id: String,
    /// The function.
    pub name: String,
    /// The text of a JSON object.
    pub arguments: String,
    /// Whether it is whole.
    pub status: Status,
}

/// Why a response is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct IncompleteDetails {
    /// `max_output_tokens`.
    pub reason: &'static str,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ResponseFault {
    /// A word for programs.
    pub code: String,
    /// One sentence.
    pub message: String,
}

/// Tokens read and drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct ResponseUsage {
    /// Of the prompt.
    pub input_tokens: u32,
    /// Of these, some were known from before.
    pub input_tokens_details: InputDetails,
    /// Of the answer.
    pub output_tokens: u32,
    /// Of these, some were thoughts.
    pub output_tokens_details: OutputDetails,
    /// Together.
    pub total_tokens: u32,
}

/// Tokens that were not computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct InputDetails {
    /// From an earlier request.
    pub cached_tokens: u32,
}

/// Tokens that are not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct OutputDetails {
    /// Always 0.
    pub reasoning_tokens: u32,
}

impl From<Usage> for ResponseUsage {
    fn from(usage: Usage) -> Self {
        Self {
            input_tokens: usage.prompt_tokens,
            input_tokens_details: InputDetails {
                cached_tokens: usage.prompt_tokens_details.cached_tokens,
            },
            output_tokens: usage.completion_tokens,
            output_tokens_details: OutputDetails { reasoning_tokens: 0 },
            total_tokens: usage.total_tokens,
        }
    }
}

/// A response.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ResponseObject {
    /// `resp_…`; takes feedback, and names the interaction in the log too.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// Unix seconds.
    pub created_at: i64,
    /// How far it has come.
    pub status: Status,
    /// Always false.
    pub background: bool,
    /// Only of one that failed.
    pub error: Option<ResponseFault>,
    /// Only of one that was cut off.
    pub incomplete_details: Option<IncompleteDetails>,
    /// As sent.
    pub instructions: Option<String>,
    /// As sent.
    pub max_output_tokens: Option<u32>,
    /// As sent.
    pub model: String,
    /// What the model said and asked for, in its order.
    pub output: Vec<OutputItem>,
    /// As sent; default true.
    pub parallel_tool_calls: bool,
    /// As sent.
    pub previous_response_id: Option<String>,
    /// Always null: hints about thinking say nothing here.
    #[schema(value_type = Option<Object>)]
    pub reasoning: Option<()>,
    /// Whether it can be looked up and gone on from.
    pub store: bool,
    /// As tokens were drawn.
    pub temperature: f32,
    /// As sent.
    pub text: TextOptions,
    /// As sent; default `auto`.
    pub tool_choice: Value,
    /// As sent.
    pub tools: Vec<ResponseTool>,
    /// As tokens were drawn.
    pub top_p: f32,
    /// `disabled`.
    pub truncation: &'static str,
    /// Null until it is whole.
    pub usage: Option<ResponseUsage>,
    /// As sent.
    pub metadata: BTreeMap<String, String>,
}

/// The answer of `DELETE /v1/responses/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ResponseDeleted {
    /// Which.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// True.
    pub deleted: bool,
}

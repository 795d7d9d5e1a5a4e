//! `/v1/responses/{id}/input_items`: what a response answered, item by item.

use serde::Serialize;
use utoipa::ToSchema;

use super::object::{OutputItem, Status};
use crate::chat::Role;

/// One item of the conversation that a response answered.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ResponseItem {
    /// A text that a user or the application said.
    Input(AskedMessage),
    /// A text that the model said, or a call that it asked for.
    Output(OutputItem),
    /// What came of one.
    CallOutput(CallResult),
}

impl ResponseItem {
    /// What names it in the list.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Input(message) => &message.id,
            Self::Output(OutputItem::Message(message)) => &message.id,
            Self::Output(OutputItem::FunctionCall(call)) => &call.id,
            Self::CallOutput(result) => &result.id,
        }
    }
}

/// A text that a user or the application said.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AskedMessage {
    /// `message`.
    #[serde(rename = "type")]
    #[schema(pattern = "^message$")]
    pub kind: &'static str,
    /// `msg_…`.
    pub id: String,
    /// `completed`.
    pub status: Status,
    /// `user` or `system`.
    pub role: Role,
    /// One part.
    pub content: [AskedText; 1],
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AskedText {
    /// `input_text`.
    #[serde(rename = "type")]
    #[schema(pattern = "^input_text$")]
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CallResult {
    /// `function_call_output`.
    #[serde(rename = "type")]
    #[schema(pattern = "^function_call_output$")]
    pub kind: &'static str,
    /// `fco_…`.
    pub id: String,
    /// `completed`.
    pub status: Status,
    /// The call.
    pub call_id: String,
    /// Its result.
    pub output: String,
}

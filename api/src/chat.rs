//! `/v1/chat/completions`: request, response, chunk, usage.

pub mod request;
pub mod response;
pub mod tool;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use request::{Accepted, ChatRequest, StreamOptions};
pub use response::{
    AnswerMessage, CallDelta, ChatResponse, Choice, Chunk, ChunkChoice, Delta, FunctionDelta, Usage,
};
pub use tool::{Function, FunctionCall, Tool, ToolCall, ToolChoice, ToolKind, ToolOptions};

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Instructions that hold for the whole conversation; also called `developer`.
    #[serde(alias = "developer")]
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
    /// What a function answered that the model asked to be called.
    Tool,
}

impl Role {
    /// The word that chat templates use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "RawMessage")]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text. On the wire also an array of `{"type":"text","text":…}` parts, which are joined, and beside
    /// `tool_calls` null or nothing.
    #[schema(value_type = ContentForms, required = false)]
    pub content: String,
    /// The speaker's name, if several share a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Only of an assistant's turn: the calls that it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Option<Vec<ToolCall>>)]
    pub tool_calls: Vec<ToolCall>,
    /// Only of a tool's turn, which needs it: the call that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// A turn with nothing but a text.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        let content = content.into();
        Self { role, content, name: None, tool_calls: Vec::new(), tool_call_id: None }
    }

    /// What it says, its calls included, to be compared with other turns.
    #[must_use]
    pub fn said(&self) -> std::borrow::Cow<'_, str> {
        tool::with_calls(&self.content, &self.tool_calls)
    }

    /// All that is said in it.
    pub fn texts(&mut self) -> impl Iterator<Item = &mut String> {
        let calls = self.tool_calls.iter_mut().map(|call| &mut call.function.arguments);
        std::iter::once(&mut self.content).chain(&mut self.name).chain(calls)
    }
}

/// A turn as data sets have it.
#[derive(Deserialize)]
struct RawMessage {
    role: Role,
    #[serde(default, deserialize_with = "text_or_parts")]
    content: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

impl TryFrom<RawMessage> for Message {
    type Error = String;

    fn try_from(raw: RawMessage) -> Result<Self, String> {
        let RawMessage { role, content, name, tool_calls, tool_call_id } = raw;
        let tool_calls = tool_calls.unwrap_or_default();
        if role != Role::Assistant && !tool_calls.is_empty() {
            return Err("tool_calls belong to an assistant's turn".to_owned());
        }
        let content = match content {
            Some(content) => content,
            None if tool_calls.is_empty() => return Err("missing field `content`".to_owned()),
            None => String::new(),
        };
        Ok(Self { role, content, name, tool_calls, tool_call_id })
    }
}

/// The shapes that `content` may have on the wire; for the API's description. Answers have a string.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum ContentForms {
    /// A text.
    Text(String),
    /// Parts of one, which are joined.
    Parts(Vec<TextPart>),
    /// None, beside `tool_calls`.
    None(()),
}

/// A part of a text.
#[derive(Debug, ToSchema)]
pub struct TextPart {
    /// `text`.
    #[schema(pattern = "^text$")]
    pub r#type: String,
    /// The text.
    pub text: String,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// An end token or a stop string.
    Stop,
    /// `max_tokens`, or the context is full.
    Length,
    /// The model asks for tools to be called.
    ToolCalls,
    /// The client left, or has no use for it any more (`x-request-timeout-ms`).
    Cancelled,
    /// The engine failed.
    Error,
}

impl FinishReason {
    /// Why an answer with calls, or without, ended: one that is whole and asks for calls ended for them.
    #[must_use]
    pub const fn with_calls(self, calls: bool) -> Self {
        match self {
            Self::Stop if calls => Self::ToolCalls,
            other => other,
        }
    }

    /// Whether the answer is whole.
    #[must_use]
    pub const fn is_whole(self) -> bool {
        matches!(self, Self::Stop | Self::ToolCalls)
    }
}

fn text_or_parts<'de, D>(deserializer: D) -> Result<Option<String>, D::Error>
where
    D: serde::Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
        None(()),
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(rename = "type")]
        kind: String,
        text: Option<String>,
    }
    match Content::deserialize(deserializer) {
        Ok(Content::Text(text)) => Ok(Some(text)),
        Ok(Content::None(())) => Ok(None),
        Ok(Content::Parts(parts)) => {
            let mut joined = String::new();
            for part in parts {
                match (part.kind.as_str(), part.text) {
                    ("text", Some(text)) => joined.push_str(&text),
                    (kind, _) => {
                        return Err(serde::de::Error::custom(format!(
                            "content parts of type `{kind}` are not supported; send text"
                        )));
                    }
                }
            }
            Ok(Some(joined))
        }
        Err(_) => {
            Err(serde::de::Error::custom("content must be a string or an array of text parts"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_may_come_in_parts() {
        let message: Message = serde_json::from_str(
            r#"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}"#,
        )
        .unwrap();
        assert_eq!(message.content, "ab");
    }

    #[test]
    fn a_call_needs_no_content() {
        let call = r#"{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}]}"#;
        let message: Message = serde_json::from_str(call).unwrap();
        assert_eq!((message.content.as_str(), message.tool_calls.len()), ("", 1));
        let back: Message =
            serde_json::from_str(&serde_json::to_string(&message).unwrap()).unwrap();
        assert_eq!(back, message);
        for (wrong, words) in [
            (r#"{"role":"assistant","content":null}"#, "content"),
            (r#"{"role":"user"}"#, "content"),
            (&call.replace("assistant", "user"), "assistant's turn"),
        ] {
            let error = serde_json::from_str::<Message>(wrong).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn an_image_is_refused_by_name() {
        let error = serde_json::from_str::<Message>(
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("image_url"), "{error}");
    }
}

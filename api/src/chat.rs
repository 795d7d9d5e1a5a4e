//! `/v1/chat/completions`: request, response, chunk, usage.

pub mod request;
pub mod response;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use request::{Accepted, ChatRequest, StreamOptions};
pub use response::{AnswerMessage, ChatResponse, Choice, Chunk, ChunkChoice, Delta, Usage};

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
}

impl Role {
    /// The word that chat templates use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The text. On the wire also an array of `{"type":"text","text":…}` parts, which are joined.
    #[serde(deserialize_with = "text_or_parts")]
    #[schema(value_type = ContentForms)]
    pub content: String,
    /// The speaker's name, if several share a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Message {
    /// A turn without a name.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), name: None }
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
    /// The client left.
    Cancelled,
    /// The engine failed.
    Error,
}

fn text_or_parts<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    #[derive(Deserialize)]
    struct Part {
        #[serde(rename = "type")]
        kind: String,
        text: Option<String>,
    }
    match Content::deserialize(deserializer) {
        Ok(Content::Text(text)) => Ok(text),
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
            Ok(joined)
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
    fn an_image_is_refused_by_name() {
        let error = serde_json::from_str::<Message>(
            r#"{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x"}}]}"#,
        )
        .unwrap_err();
        assert!(error.to_string().contains("image_url"), "{error}");
    }
}

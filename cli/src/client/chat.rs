//! One question to `/v1/chat/completions`, whole or streamed.

use std::collections::BTreeMap;

use hone_api::chat::Message;
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Client, ClientError};

/// A question.
#[derive(Debug, Clone, Serialize)]
pub struct ChatCall<'a> {
    /// Who answers.
    pub model: &'a str,
    /// The conversation so far.
    pub messages: &'a [Message],
    /// Longest answer.
    pub max_tokens: u32,
    /// 0 is greedy.
    pub temperature: f32,
    /// Labels that stay with the interaction.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// `Some(false)` keeps the answer out of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub store: Option<bool>,
}

/// An answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChatAnswer {
    /// The interaction's id.
    pub id: String,
    /// The text.
    pub text: String,
    /// The adapter that answered, or `base`.
    pub adapter: String,
    /// Tokens of the answer, as far as the daemon counted them.
    pub completion_tokens: u64,
}

/// The part of a response, or of one chunk of it, that the commands use.
#[derive(Debug, Deserialize)]
struct Body {
    #[serde(default)]
    id: String,
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
    error: Option<hone_api::error::ErrorDetail>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    #[serde(alias = "delta")]
    message: Text,
}

#[derive(Debug, Deserialize)]
struct Text {
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Usage {
    completion_tokens: u64,
}

impl Client {
    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn chat(&self, call: &ChatCall<'_>) -> Result<ChatAnswer, ClientError> {
        let request = self.request(Method::POST, "/v1/chat/completions").json(call);
        let response = self.send(request).await?;
        let mut answer = ChatAnswer { adapter: adapter_of(&response), ..ChatAnswer::default() };
        let bytes = response.bytes().await.map_err(|error| self.broken(&error))?;
        self.take(&mut answer, &bytes)?;
        Ok(answer)
    }

    /// Asks, and hands on each piece of text as it arrives.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn chat_stream(
        &self,
        call: &ChatCall<'_>,
        mut on_text: impl FnMut(&str),
    ) -> Result<ChatAnswer, ClientError> {
        let mut body = serde_json::to_value(call).unwrap_or_default();
        body["stream"] = Value::Bool(true);
        body["stream_options"] = serde_json::json!({ "include_usage": true });
        let request = self.request(Method::POST, "/v1/chat/completions").json(&body);
        let response = self.send(request.header("accept", "text/event-stream")).await?;
        let mut answer = ChatAnswer { adapter: adapter_of(&response), ..ChatAnswer::default() };
        let mut events = self.read_events(response);
        while let Some(event) = events.next().await? {
            if event.data == "[DONE]" {
                return Ok(answer);
            }
            let from = answer.text.len();
            self.take(&mut answer, event.data.as_bytes())?;
            if let Some(new) = answer.text.get(from..).filter(|new| !new.is_empty()) {
                on_text(new);
            }
        }
        let reason = "it ended before the answer did".to_owned();
        Err(ClientError::Broken { url: self.url().to_owned(), reason })
    }

    /// Adds a body or a chunk to the answer.
    fn take(&self, answer: &mut ChatAnswer, bytes: &[u8]) -> Result<(), ClientError> {
        let body: Body = serde_json::from_slice(bytes).map_err(|error| ClientError::Foreign {
            url: self.url().to_owned(),
            reason: error.to_string(),
        })?;
        if let Some(error) = body.error {
            let message = error.message;
            return Err(ClientError::Refused {
                status: 200,
                message,
                code: error.code,
                retry_after: None,
            });
        }
        if answer.id.is_empty() {
            answer.id = body.id;
        }
        if let Some(text) =
            body.choices.into_iter().next().and_then(|choice| choice.message.content)
        {
            answer.text.push_str(&text);
        }
        if let Some(usage) = body.usage {
            answer.completion_tokens = usage.completion_tokens;
        }
        Ok(())
    }
}

fn adapter_of(response: &reqwest::Response) -> String {
    let header = response.headers().get("x-hone-adapter");
    header.and_then(|value| value.to_str().ok()).unwrap_or("base").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_become_an_answer() {
        let client = Client::new("http://127.0.0.1:1", None, None).unwrap();
        let mut answer = ChatAnswer::default();
        for chunk in [
            r#"{"id":"chatcmpl-1","choices":[{"delta":{"role":"assistant"}}],"usage":null}"#,
            r#"{"id":"chatcmpl-1","choices":[{"delta":{"content":"He"}}],"usage":null}"#,
            r#"{"id":"chatcmpl-1","choices":[{"delta":{"content":"llo"},"finish_reason":"stop"}]}"#,
            r#"{"id":"chatcmpl-1","choices":[],"usage":{"completion_tokens":3}}"#,
        ] {
            client.take(&mut answer, chunk.as_bytes()).unwrap();
        }
        assert_eq!((answer.id.as_str(), answer.text.as_str()), ("chatcmpl-1", "Hello"));
        assert_eq!(answer.completion_tokens, 3);
    }

    #[test]
    fn an_error_in_the_middle_is_told() {
        let client = Client::new("http://127.0.0.1:1", None, None).unwrap();
        let body =
            r#"{"error":{"message":"It broke.","type":"server_error","param":null,"code":null}}"#;
        let error = client.take(&mut ChatAnswer::default(), body.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "It broke.");
    }
}

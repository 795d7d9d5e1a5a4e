//! `POST /v1/chat/completions`: what a client may ask.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::tool::read_calls;
use super::{Message, Role, ToolOptions};
use crate::error::Invalid;
use crate::fields::{Fields, kind};
use crate::foreign::refuse_in_chat;
use crate::keeping::Keeping;
use crate::parts;
use crate::sampling::{Limits, SamplingOptions};
use crate::structured::Form;

/// The body of `POST /v1/chat/completions`. Fields that would change the answer and are not supported are refused by name;
/// hints and fields that nobody knows are accepted and named in the header `x-hone-ignored`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ChatRequest {
    /// The served model's name, `hone`, `<name>:base`, `<name>:<REF>`, or an adapter's name.
    #[schema(min_length = 1)]
    pub model: String,
    /// The conversation.
    #[schema(min_items = 1)]
    pub messages: Vec<Message>,
    /// How tokens are drawn.
    #[serde(flatten)]
    pub sampling: SamplingOptions,
    /// What the answer must look like.
    #[serde(flatten)]
    pub form: Form,
    /// What the model may ask to be called.
    #[serde(flatten)]
    pub tools: ToolOptions,
    /// How many answers; default 1, at most 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 128)]
    pub n: Option<u32>,
    /// At most so many tokens; the default is what the context holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_completion_tokens: Option<u32>,
    /// The older name of `max_completion_tokens`, which wins if both are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_tokens: Option<u32>,
    /// Report each token's log-probability.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// And those of so many alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 20)]
    pub top_logprobs: Option<u8>,
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
    /// `false`: do not end the prompt with the words that open an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// Go on with the last message instead of answering it; it must have a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// Of a longer prompt only so many tokens are kept, the last ones; -1 is what the context holds, but for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = -1)]
    pub truncate_prompt_tokens: Option<i64>,
}

/// `stream_options`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct StreamOptions {
    /// Send one more chunk with the usage before `[DONE]`.
    #[schema(value_type = Option<bool>)]
    pub include_usage: bool,
}

/// A request with the names of the fields that nobody knows.
#[derive(Debug, Clone, PartialEq)]
pub struct Accepted<T> {
    /// The request.
    pub request: T,
    /// For the header `x-hone-ignored`.
    pub ignored: Vec<String>,
}

impl ChatRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong or not supported, by name.
    pub fn from_json(body: Value) -> Result<Accepted<Self>, Invalid> {
        let mut fields = Fields::new(body)?;
        let mut ignored = Vec::new();
        let request = Self {
            model: model(&mut fields)?,
            messages: messages(&mut fields, &mut ignored)?,
            sampling: SamplingOptions::take(&mut fields)?,
            form: Form::take(&mut fields, &mut ignored)?,
            tools: ToolOptions::take(&mut fields, &mut ignored)?,
            n: count(&mut fields, "n", 1)?,
            max_completion_tokens: count(&mut fields, "max_completion_tokens", 1)?,
            max_tokens: count(&mut fields, "max_tokens", 1)?,
            logprobs: fields.take("logprobs")?,
            top_logprobs: top_logprobs(&mut fields, "top_logprobs")?,
            stream: fields.take("stream")?,
            stream_options: stream_options(&mut fields, &mut ignored)?,
            keeping: Keeping::take(&mut fields)?,
            return_token_ids: fields.take("return_token_ids")?,
            add_generation_prompt: fields.take("add_generation_prompt")?,
            continue_final_message: fields.take("continue_final_message")?,
            truncate_prompt_tokens: truncate(&mut fields)?,
        };
        refuse_in_chat(&mut fields)?;
        ignored.extend(fields.unknown());
        Ok(Accepted { request, ignored })
    }

    /// Checks what depends on other fields and on the model.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn check(&self, limits: &Limits) -> Result<(), Invalid> {
        if self.messages.is_empty() {
            let message = "`messages` is empty; send at least one message";
            return Err(Invalid::field("messages", message));
        }
        if self.messages.len() > limits.messages {
            let (count, most) = (self.messages.len(), limits.messages);
            let message = format!("`messages` has {count} entries; at most {most}");
            return Err(Invalid::field("messages", message));
        }
        if self.top_logprobs.is_some() && self.logprobs != Some(true) {
            let message = "`top_logprobs` needs `logprobs` to be true";
            return Err(Invalid::field("top_logprobs", message));
        }
        if self.add_generation_prompt == Some(true) && self.continue_final_message == Some(true) {
            let message = "`continue_final_message` and `add_generation_prompt` exclude each other";
            return Err(Invalid::field("continue_final_message", message));
        }
        check_answers(self.n, limits)?;
        check_stream_options(self.stream, self.stream_options)?;
        self.sampling.check(limits)
    }

    /// The bound on the answer's length, if one is given, with the field that gave it.
    #[must_use]
    pub fn most_tokens(&self) -> Option<(u32, &'static str)> {
        let newer = self.max_completion_tokens.map(|most| (most, "max_completion_tokens"));
        newer.or(self.max_tokens.map(|most| (most, "max_tokens")))
    }

    /// Alternatives per token; `None`: no log-probabilities at all.
    #[must_use]
    pub fn alternatives(&self) -> Option<u8> {
        (self.logprobs == Some(true)).then(|| self.top_logprobs.unwrap_or(0))
    }

    /// Whether a last chunk tells the usage.
    #[must_use]
    pub fn include_usage(&self) -> bool {
        self.stream_options.is_some_and(|options| options.include_usage)
    }
}

fn messages(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<Vec<Message>, Invalid> {
    match fields.value("messages") {
        None => Err(Invalid::field("messages", "`messages` is missing; it is required")),
        Some(Value::Array(turns)) => turns
            .into_iter()
            .enumerate()
            .map(|(at, turn)| message(Fields::nested(turn, &format!("messages[{at}]"))?, ignored))
            .collect(),
        Some(other) => Err(Invalid::field(
            "messages",
            format!("`messages` must be an array of messages, not {}", kind(&other)),
        )),
    }
}

/// Reads an array of messages that stands alone, e.g. of `/v1/tokenize`.
///
/// # Errors
/// The first field that is wrong, by name.
pub fn read_messages(fields: &mut Fields) -> Result<Vec<Message>, Invalid> {
    messages(fields, &mut Vec::new())
}

fn message(mut fields: Fields, ignored: &mut Vec<String>) -> Result<Message, Invalid> {
    let path = fields.path("role");
    let role: String = fields.required("role")?;
    let role = match role.as_str() {
        "system" | "developer" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            return Err(Invalid::field(
                &path,
                format!(
                    "`{path}` is `{other:.40}`; it must be system, developer, user, assistant or tool"
                ),
            ));
        }
    };
    for name in ["function_call", "audio"] {
        fields.unsupported(name, &[json!([])])?;
    }
    let tool_calls = read_calls(&mut fields, ignored)?;
    if role != Role::Assistant && !tool_calls.is_empty() {
        let path = fields.path("tool_calls");
        let message = format!("`{path}` belongs to an assistant's message");
        return Err(Invalid::field(&path, message));
    }
    let tool_call_id = match role {
        Role::Tool => Some(fields.required("tool_call_id")?),
        _ => fields.take("tool_call_id")?,
    };
    // Clients send earlier answers back as they came.
    fields.unsupported("refusal", &[json!("")])?;
    fields.unsupported("annotations", &[json!([])])?;
    let content = match tool_calls.is_empty() || fields.has("content") {
        true => parts::text_of(&mut fields, "content", &["text"])?,
        false => {
            fields.value("content");
            String::new()
        }
    };
    let name = fields.take("name")?;
    ignored.extend(fields.unknown());
    Ok(Message { role, content, name, tool_calls, tool_call_id })
}

pub(crate) fn model(fields: &mut Fields) -> Result<String, Invalid> {
    let model: String = fields.required("model")?;
    if model.is_empty() {
        let message = "`model` is empty; `GET /v1/models` lists the names";
        return Err(Invalid::field("model", message));
    }
    Ok(model)
}

pub(crate) fn count(fields: &mut Fields, name: &str, low: i64) -> Result<Option<u32>, Invalid> {
    let number = fields.whole(name, low, i64::from(i32::MAX))?;
    Ok(number.and_then(|number| u32::try_from(number).ok()))
}

/// Takes `truncate_prompt_tokens` out: -1, or at least 1.
pub(crate) fn truncate(fields: &mut Fields) -> Result<Option<i64>, Invalid> {
    match fields.whole("truncate_prompt_tokens", -1, i64::from(i32::MAX))? {
        Some(0) => {
            let message = "`truncate_prompt_tokens` must be -1 or at least 1, not 0";
            Err(Invalid::field("truncate_prompt_tokens", message))
        }
        other => Ok(other),
    }
}

pub(crate) fn top_logprobs(fields: &mut Fields, name: &str) -> Result<Option<u8>, Invalid> {
    Ok(fields.whole(name, 0, 20)?.and_then(|number| u8::try_from(number).ok()))
}

pub(crate) fn stream_options(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<Option<StreamOptions>, Invalid> {
    let Some(value) = fields.value("stream_options") else { return Ok(None) };
    let mut inner = Fields::nested(value, "stream_options")?;
    let include_usage = inner.take("include_usage")?.unwrap_or(false);
    ignored.extend(inner.unknown());
    Ok(Some(StreamOptions { include_usage }))
}

pub(crate) fn check_answers(n: Option<u32>, limits: &Limits) -> Result<(), Invalid> {
    match n {
        Some(n) if n > limits.answers => {
            Err(Invalid::field("n", format!("`n` is {n}; at most {}", limits.answers)))
        }
        _ => Ok(()),
    }
}

pub(crate) fn check_stream_options(
    stream: Option<bool>,
    options: Option<StreamOptions>,
) -> Result<(), Invalid> {
    if options.is_some() && stream != Some(true) {
        let message = "`stream_options` needs `stream` to be true";
        return Err(Invalid::field("stream_options", message));
    }
    Ok(())
}

//! `/v1/responses`: what a client may ask. It is a chat in other words, and becomes one ([`ResponsesRequest::into_chat`]).

pub mod input;
pub mod items;
pub mod object;
mod words;

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::InteractionId;
use crate::chat::request::{Accepted, count, model};
use crate::chat::tool::ToolChoiceWord;
use crate::chat::{ChatRequest, Message, Role, ToolChoice, ToolKind, ToolOptions};
use crate::error::Invalid;
use crate::fields::{Fields, kind};
use crate::foreign::refuse_in_chat;
use crate::interaction::ResponseEcho;
use crate::keeping::Keeping;
use crate::sampling::SamplingOptions;
use crate::structured::{Form, JsonObject};
use input::InputForms;
use object::{ResponseTool, TextOptions};
pub use words::in_words_of_responses;

/// The body of `POST /v1/responses`. Fields that would change the answer and are not supported are refused by name; hints and
/// fields that nobody knows are accepted and named in the header `x-hone-ignored`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct ResponsesRequest {
    /// As for chat.
    #[schema(min_length = 1)]
    pub model: String,
    /// A text, or items: messages, calls and their results.
    #[schema(value_type = InputForms)]
    pub input: Vec<Message>,
    /// What the model is told first. Those of an earlier response do not go on with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    /// The stored response that this one goes on from; only one of the same API key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_response_id: Option<InteractionId>,
    /// How tokens are drawn.
    #[serde(flatten)]
    pub sampling: SamplingOptions,
    /// What the answer must look like.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<TextAsked>)]
    pub text: Option<TextOptions>,
    /// The same, read.
    #[serde(skip)]
    pub form: Form,
    /// Functions that the model may ask to be called; at most 128.
    #[serde(flatten)]
    #[schema(value_type = ResponsesTools)]
    pub tools: ToolOptions,
    /// At most so many tokens; the default is what the context holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_output_tokens: Option<u32>,
    /// Send the response as typed server-sent events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// Whose it is, and what is kept of it.
    #[serde(flatten)]
    pub keeping: Keeping,
}

/// The fields that have to do with tools; for the API's description.
#[derive(Debug, ToSchema)]
pub struct ResponsesTools {
    /// Functions that the model may ask to be called; at most 128.
    #[schema(max_items = 128)]
    pub tools: Option<Vec<ResponseTool>>,
    /// `none`, `auto`, `required`, or `{"type": "function", "name": …}`.
    pub tool_choice: Option<FlatChoiceForms>,
    /// `false`: at most one call in an answer.
    pub parallel_tool_calls: Option<bool>,
}

/// The shapes that `tool_choice` may have; for the API's description.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub enum FlatChoiceForms {
    /// A word.
    Word(ToolChoiceWord),
    /// A function by its name.
    Named(FlatNamedTool),
}

/// The function that must be called; for the API's description.
#[derive(Debug, ToSchema)]
pub struct FlatNamedTool {
    /// `function`.
    pub r#type: ToolKind,
    /// The name of one of `tools`.
    pub name: String,
}

/// What the answer must look like; for the API's description.
#[derive(Debug, ToSchema)]
pub struct TextAsked {
    /// Default: any text.
    pub format: Option<FlatFormat>,
}

/// `text.format`; for the API's description.
#[derive(Debug, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FlatFormat {
    /// Any text.
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    JsonSchema {
        /// What the client calls it.
        name: String,
        /// What it is for.
        description: Option<String>,
        /// The schema, at most 64 KiB and 32 deep. A keyword that is not supported is refused by name.
        schema: JsonObject,
        /// Answers are held to the schema either way.
        strict: Option<bool>,
    },
}

impl ResponsesRequest {
    /// Reads a body.
    ///
    /// # Errors
    /// The first field that is wrong or not supported, by name.
    pub fn from_json(body: Value) -> Result<Accepted<Self>, Invalid> {
        let mut fields = Fields::new(body)?;
        let mut ignored = Vec::new();
        refuse(&mut fields, &mut ignored)?;
        let (text, form) = text(&mut fields, &mut ignored)?;
        let request = Self {
            model: model(&mut fields)?,
            input: input::take(&mut fields, &mut ignored)?,
            instructions: fields.take("instructions")?,
            previous_response_id: previous(&mut fields)?,
            sampling: SamplingOptions::take(&mut fields)?,
            text,
            form,
            tools: words::tools(&mut fields, &mut ignored)?,
            max_output_tokens: count(&mut fields, "max_output_tokens", 1)?,
            stream: fields.take("stream")?,
            keeping: Keeping::take(&mut fields)?,
        };
        refuse_in_chat(&mut fields)?;
        ignored.extend(fields.unknown());
        Ok(Accepted { request, ignored })
    }

    /// Whether it is to be stored, so that others can go on from it.
    #[must_use]
    pub fn stores(&self) -> bool {
        self.keeping.store.unwrap_or(true)
    }

    /// What is told again with the response.
    #[must_use]
    pub fn echo(&self) -> ResponseEcho {
        let is_told = self.tools.choice() != ToolChoice::None;
        ResponseEcho {
            instructed: self.instructions.is_some(),
            previous: self.previous_response_id,
            format: self.text.as_ref().map_or_else(plain, |text| text.format.clone()),
            tool_choice: words::flat_choice(self.tools.tool_choice.as_ref()),
            untold_tools: if is_told { Vec::new() } else { self.tools.tools.clone() },
            parallel_tool_calls: self.tools.parallel_tool_calls.unwrap_or(true),
            max_output_tokens: self.max_output_tokens,
        }
    }

    /// The same as a chat; `earlier` are the turns of the response that it goes on from.
    #[must_use]
    pub fn into_chat(self, earlier: Vec<Message>) -> ChatRequest {
        let instructions = self.instructions.map(|text| Message::new(Role::System, text));
        ChatRequest {
            model: self.model,
            messages: instructions.into_iter().chain(earlier).chain(self.input).collect(),
            sampling: self.sampling,
            form: self.form,
            tools: self.tools,
            max_completion_tokens: self.max_output_tokens,
            stream: self.stream,
            keeping: self.keeping,
            ..ChatRequest::default()
        }
    }
}

/// `text.format` where nothing is asked for.
fn plain() -> Value {
    json!({"type": "text"})
}

/// Refuses what would change the answer; takes out the hints of which some values are more than that.
fn refuse(fields: &mut Fields, ignored: &mut Vec<String>) -> Result<(), Invalid> {
    for (name, harmless) in [
        ("background", vec![json!(false)]),
        ("conversation", Vec::new()),
        ("prompt", Vec::new()),
        ("truncation", vec![json!("disabled")]),
        ("top_logprobs", vec![json!(0)]),
        ("context_management", vec![json!([])]),
        ("max_tokens", Vec::new()),
        ("max_completion_tokens", Vec::new()),
        ("messages", Vec::new()),
        ("response_format", vec![json!({"type": "text"})]),
        ("n", vec![json!(1)]),
    ] {
        fields.unsupported(name, &harmless)?;
    }
    match fields.value("include") {
        None => {}
        Some(Value::Array(names)) => {
            if names.iter().any(|name| name == "message.output_text.logprobs") {
                let message = "`include` asks for `message.output_text.logprobs`, which is not supported here; \
                               /v1/chat/completions has `logprobs`";
                return Err(Invalid::field("include", message).code("unsupported_parameter"));
            }
            if !names.is_empty() {
                ignored.push("include".to_owned());
            }
        }
        Some(other) => {
            let message = format!("`include` must be an array, not {}", kind(&other));
            return Err(Invalid::field("include", message));
        }
    }
    Ok(())
}

fn previous(fields: &mut Fields) -> Result<Option<InteractionId>, Invalid> {
    let Some(id) = fields.take::<String>("previous_response_id")? else { return Ok(None) };
    id.parse().map(Some).map_err(|_| {
        let message = format!("`previous_response_id` is `{id:.80}`, which is no response's id");
        Invalid::field("previous_response_id", message)
    })
}

/// Takes `text` out: as it came, and as the form that chats have.
fn text(
    fields: &mut Fields,
    ignored: &mut Vec<String>,
) -> Result<(Option<TextOptions>, Form), Invalid> {
    let mut format = None;
    if let Some(value) = fields.value("text") {
        let mut inner = Fields::nested(value, "text")?;
        format = inner.value("format");
        ignored.extend(inner.unknown());
    }
    let form = words::form(fields, format.clone(), ignored)?;
    Ok((format.map(|format| TextOptions { format }), form))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &Value) -> Result<Accepted<ResponsesRequest>, Invalid> {
        let mut body = json!({"model": "m", "input": "x"});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        ResponsesRequest::from_json(body)
    }

    #[test]
    fn a_response_becomes_a_chat() {
        let request = read(&json!({
            "instructions": "Be brief.", "max_output_tokens": 9, "temperature": 0.5, "top_k": 3,
            "metadata": {"a": "b"}, "user": "ann",
            "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": true}],
            "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": false,
            "text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}},
                "verbosity": "low"},
        }))
        .unwrap();
        assert_eq!(request.ignored, ["text.verbosity"]);
        let echo = request.request.echo();
        assert_eq!(echo.tool_choice, json!({"type": "function", "name": "f"}));
        assert!(echo.instructed && !echo.parallel_tool_calls && request.request.stores());
        assert_eq!(echo.format["name"], "s");
        let chat = request.request.into_chat(vec![Message::new(Role::User, "before")]);
        let said: Vec<_> = chat.messages.iter().map(|turn| turn.content.as_str()).collect();
        assert_eq!(said, ["Be brief.", "before", "x"]);
        assert_eq!(chat.most_tokens(), Some((9, "max_completion_tokens")));
        assert_eq!(chat.tools.choice(), ToolChoice::Named("f".to_owned()));
        assert_eq!(chat.tools.tools[0].function.strict, Some(true));
        assert!(chat.form.asked().unwrap().is_some());
    }

    #[test]
    fn constraints_fail_closed_and_hints_fail_open() {
        for (name, value, param) in [
            ("background", json!(true), "background"),
            ("truncation", json!("auto"), "truncation"),
            ("conversation", json!("conv_1"), "conversation"),
            ("include", json!(["message.output_text.logprobs"]), "include"),
            ("tools", json!([{"type": "web_search"}]), "tools[0].type"),
            ("tools", json!([{"type": "function"}]), "tools[0].name"),
            ("tool_choice", json!("perhaps"), "tool_choice"),
            ("text", json!({"format": {"type": "xml"}}), "text.format.type"),
            ("text", json!({"format": {"type": "json_schema", "name": "s"}}), "text.format.schema"),
            ("previous_response_id", json!("nothing"), "previous_response_id"),
            ("max_output_tokens", json!(0), "max_output_tokens"),
            ("mirostat", json!(2), "mirostat"),
            ("messages", json!([]), "messages"),
        ] {
            let error = read(&json!({ name: value })).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{error}");
            assert!(error.message.contains(param), "{error}");
        }
        for (name, value) in [
            ("reasoning", json!({"effort": "low"})),
            ("prompt_cache_key", json!("k")),
            ("service_tier", json!("flex")),
            ("include", json!(["reasoning.encrypted_content"])),
            ("stream_options", json!({"include_obfuscation": false})),
            ("nobody_knows", json!(1)),
        ] {
            assert_eq!(read(&json!({ name: value })).unwrap().ignored, [name]);
        }
        let harmless = json!({"background": false, "truncation": "disabled", "include": [], "top_logprobs": 0});
        assert!(read(&harmless).unwrap().ignored.is_empty());
    }
}

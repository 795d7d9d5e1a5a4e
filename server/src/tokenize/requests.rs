//! What may be turned into token ids, and back.

use hone_api::chat::request::read_messages;
use hone_api::chat::tool::read_tools;
use hone_api::chat::{Message, Tool};
use hone_api::error::Invalid;
use hone_api::fields::Fields;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::chat::Ending;

/// The body of `POST /v1/tokenize`.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
pub(crate) enum TokenizeRequest {
    /// A text.
    Text(TokenizeText),
    /// A conversation, which goes through the chat template.
    Chat(TokenizeChat),
}

impl TokenizeRequest {
    pub(super) fn from_json(body: Value) -> Result<Self, Invalid> {
        let fields = Fields::new(body)?;
        match (fields.has("prompt"), fields.has("messages")) {
            (true, true) => {
                let message = "`prompt` and `messages` are both there; send one of them";
                Err(Invalid::field("messages", message))
            }
            (false, false) => Err(Invalid::field("prompt", "send either `prompt` or `messages`")),
            (true, false) => TokenizeText::take(fields).map(Self::Text),
            (false, true) => TokenizeChat::take(fields).map(Self::Chat),
        }
    }

    pub(super) fn model(&self) -> Option<&str> {
        match self {
            Self::Text(request) => request.model.as_deref(),
            Self::Chat(request) => request.model.as_deref(),
        }
    }

    pub(super) fn return_token_strs(&self) -> bool {
        let asked = match self {
            Self::Text(request) => request.return_token_strs,
            Self::Chat(request) => request.return_token_strs,
        };
        asked == Some(true)
    }
}

/// A text to tokenise.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizeText {
    /// All models have the same tokens; if given, it must exist.
    model: Option<String>,
    /// The text.
    pub(super) prompt: String,
    /// Add what the tokenizer puts around texts; default true.
    pub(super) add_special_tokens: Option<bool>,
    /// Also tell each token's text.
    return_token_strs: Option<bool>,
}

impl TokenizeText {
    fn take(mut fields: Fields) -> Result<Self, Invalid> {
        let request = Self {
            model: fields.take("model")?,
            prompt: fields.required("prompt")?,
            add_special_tokens: fields.take("add_special_tokens")?,
            return_token_strs: fields.take("return_token_strs")?,
        };
        fields.value("messages"); // null
        fields.finish()?;
        Ok(request)
    }
}

/// A conversation to tokenise.
#[derive(Debug, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenizeChat {
    /// All models have the same tokens; if given, it must exist.
    model: Option<String>,
    /// The conversation.
    #[schema(min_items = 1)]
    pub(super) messages: Vec<Message>,
    /// The tools that the model is told of.
    pub(super) tools: Option<Vec<Tool>>,
    /// End with the words that open an answer; default true.
    add_generation_prompt: Option<bool>,
    /// End in the last message, which goes on.
    continue_final_message: Option<bool>,
    /// Says nothing here: the template has the special tokens.
    add_special_tokens: Option<bool>,
    /// Also tell each token's text.
    return_token_strs: Option<bool>,
}

impl TokenizeChat {
    fn take(mut fields: Fields) -> Result<Self, Invalid> {
        let mut ignored = Vec::new();
        let request = Self {
            model: fields.take("model")?,
            tools: Some(read_tools(&mut fields, &mut ignored)?),
            messages: read_messages(&mut fields)?,
            add_generation_prompt: fields.take("add_generation_prompt")?,
            continue_final_message: fields.take("continue_final_message")?,
            add_special_tokens: fields.take("add_special_tokens")?,
            return_token_strs: fields.take("return_token_strs")?,
        };
        for (name, harmless) in [
            ("chat_template", &[][..]),
            ("chat_template_kwargs", &[json!({})]),
            ("mm_processor_kwargs", &[json!({})]),
        ] {
            fields.unsupported(name, harmless)?;
        }
        fields.value("prompt"); // null
        fields.finish()?;
        if let Some(field) = ignored.first() {
            let message = format!("`{field}` is not a field of this request; leave it out");
            return Err(Invalid::field(field, message).code("unknown_parameter"));
        }
        if request.messages.is_empty() {
            let message = "`messages` is empty; send at least one message";
            return Err(Invalid::field("messages", message));
        }
        Ok(request)
    }

    /// How the conversation ends.
    ///
    /// # Errors
    /// The two fields contradict each other.
    pub(super) fn ending(&self) -> Result<Ending, Invalid> {
        match (self.continue_final_message == Some(true), self.add_generation_prompt) {
            (true, Some(true)) => {
                let message =
                    "`continue_final_message` and `add_generation_prompt` exclude each other";
                Err(Invalid::field("continue_final_message", message))
            }
            (true, _) => Ok(Ending::Open),
            (false, Some(false)) => Ok(Ending::Closed),
            (false, _) => Ok(Ending::Answer),
        }
    }
}

/// The body of `POST /v1/detokenize`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DetokenizeRequest {
    /// All models have the same tokens; if given, it must exist.
    pub(super) model: Option<String>,
    /// The ids.
    pub(super) tokens: Vec<u32>,
}

impl DetokenizeRequest {
    pub(super) fn from_json(body: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body)?;
        let request = Self { model: fields.take("model")?, tokens: fields.token_ids("tokens")? };
        fields.finish()?;
        Ok(request)
    }
}

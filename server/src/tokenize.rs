//! `/v1/tokenize` and `/v1/detokenize`, in vLLM's shapes.

use actix_web::{HttpResponse, web};
use hone_api::chat::request::read_messages;
use hone_api::chat::tool::read_tools;
use hone_api::chat::{Message, Tool};
use hone_api::error::{ErrorBody, Invalid};
use hone_api::fields::Fields;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use crate::body::Json;
use crate::caller::{May, to};
use crate::chat::{self, Conversation, Ending};
use crate::error::ApiError;
use crate::state::AppState;
use crate::{route, tokenising};

/// The body of `POST /v1/tokenize`.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code)] // describes what `tokenize` reads field by field
pub(crate) enum TokenizeRequest {
    /// A text.
    Text(TokenizeText),
    /// A conversation, which goes through the chat template.
    Chat(TokenizeChat),
}

/// A text to tokenise.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // as above
pub(crate) struct TokenizeText {
    /// All models have the same tokens; if given, it must exist.
    model: Option<String>,
    /// The text.
    prompt: String,
    /// Add what the tokenizer puts around texts; default true.
    add_special_tokens: Option<bool>,
    /// Also tell each token's text.
    return_token_strs: Option<bool>,
}

/// A conversation to tokenise.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // as above
pub(crate) struct TokenizeChat {
    /// All models have the same tokens; if given, it must exist.
    model: Option<String>,
    /// The conversation.
    #[schema(min_items = 1)]
    messages: Vec<Message>,
    /// The tools that the model is told of.
    tools: Option<Vec<Tool>>,
    /// End with the words that open an answer; default true.
    add_generation_prompt: Option<bool>,
    /// End in the last message, which goes on.
    continue_final_message: Option<bool>,
    /// Says nothing here: the template has the special tokens.
    add_special_tokens: Option<bool>,
    /// Also tell each token's text.
    return_token_strs: Option<bool>,
}

/// The answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct TokenizeResponse {
    /// How many.
    count: usize,
    /// What the context holds.
    max_model_len: u32,
    /// The ids.
    tokens: Vec<u32>,
    /// Only with `return_token_strs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_strs: Option<Vec<String>>,
}

/// The body of `POST /v1/detokenize`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // describes what `detokenize` reads field by field
pub(crate) struct DetokenizeRequest {
    model: Option<String>,
    /// The ids.
    tokens: Vec<u32>,
}

/// The answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct DetokenizeResponse {
    /// The text, special tokens included.
    prompt: String,
}

/// Token ids of a text or of a conversation.
#[utoipa::path(post, path = "/v1/tokenize", tag = "openai",
    security(("api_key" = ["chat"])), request_body = TokenizeRequest,
    responses((status = 200, description = "The ids", body = TokenizeResponse),
        (status = 404, description = "No such model", body = ErrorBody)))]
pub(crate) async fn tokenize(
    _caller: May<to::Chat>,
    state: web::Data<AppState>,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(body.0)?;
    check_model(&state, &mut fields)?;
    let prompt: Option<String> = fields.take("prompt")?;
    let talk = fields.has("messages");
    let mut ignored = Vec::new();
    let tools = read_tools(&mut fields, &mut ignored)?;
    let messages = match &prompt {
        Some(_) if talk => {
            let message = "`prompt` and `messages` are both there; send one of them";
            return Err(ApiError::field("messages", message));
        }
        None if !talk => {
            return Err(ApiError::field("prompt", "send either `prompt` or `messages`"));
        }
        Some(_) => Vec::new(),
        None => read_messages(&mut fields)?,
    };
    if prompt.is_none() && messages.is_empty() {
        return Err(ApiError::field("messages", "`messages` is empty; send at least one message"));
    }
    let special = fields.take("add_special_tokens")?;
    let generation = fields.take("add_generation_prompt")?;
    let goes_on = fields.take("continue_final_message")?.unwrap_or(false);
    let ending = match (goes_on, generation) {
        (true, Some(true)) => {
            let message = "`continue_final_message` and `add_generation_prompt` exclude each other";
            return Err(ApiError::field("continue_final_message", message));
        }
        (true, _) => Ending::Open,
        (false, Some(false)) => Ending::Closed,
        (false, _) => Ending::Answer,
    };
    let strings = fields.take("return_token_strs")?.unwrap_or(false);
    for (name, harmless) in [
        ("chat_template", &[][..]),
        ("chat_template_kwargs", &[json!({})]),
        ("mm_processor_kwargs", &[json!({})]),
    ] {
        fields.unsupported(name, harmless)?;
    }
    fields.finish()?;
    if let Some(field) = ignored.first() {
        let message = format!("`{field}` is not a field of this request; leave it out");
        return Err(Invalid::field(field, message).code("unknown_parameter").into());
    }
    let most = tokenising::listed(state.limits.context);
    let tokens = match prompt {
        Some(text) => {
            let encoded = tokenising::run(&state, text.len(), most, move |front_end, effort| {
                front_end.tokenizer.encode_within(&text, special.unwrap_or(true), effort)
            });
            encoded.await.map_err(|refused| refused.into_listing("prompt"))?
        }
        None => {
            let conversation = Conversation { messages, tools };
            let encoded = chat::encode(&state, conversation, ending, most).await;
            encoded.map_err(|refused| refused.into_listing("messages"))?.1
        }
    };
    let tokenizer = &state.engine.front_end().tokenizer;
    let text = |token: &u32| String::from_utf8_lossy(tokenizer.token_bytes(*token)).into_owned();
    Ok(HttpResponse::Ok().json(TokenizeResponse {
        count: tokens.len(),
        max_model_len: state.limits.context,
        token_strs: strings.then(|| tokens.iter().map(text).collect()),
        tokens,
    }))
}

/// The text of token ids.
#[utoipa::path(post, path = "/v1/detokenize", tag = "openai",
    security(("api_key" = ["chat"])), request_body = DetokenizeRequest,
    responses((status = 200, description = "The text", body = DetokenizeResponse),
        (status = 404, description = "No such model", body = ErrorBody)))]
pub(crate) async fn detokenize(
    _caller: May<to::Chat>,
    state: web::Data<AppState>,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(body.0)?;
    check_model(&state, &mut fields)?;
    let tokens = fields.token_ids("tokens")?;
    fields.finish()?;
    if let Some(token) = tokens.iter().find(|token| **token >= state.limits.vocab_size) {
        let below = state.limits.vocab_size;
        let message = format!("`tokens` holds {token}; this model's ids are below {below}");
        return Err(ApiError::field("tokens", message));
    }
    let most = tokenising::listed(state.limits.context);
    let decoded = tokenising::run(&state, tokens.len(), most, move |front_end, effort| {
        front_end.tokenizer.decode_within(&tokens, effort)
    });
    let prompt = decoded.await.map_err(|refused| refused.into_listing("tokens"))?;
    Ok(HttpResponse::Ok().json(DetokenizeResponse { prompt }))
}

fn check_model(state: &AppState, fields: &mut Fields) -> Result<(), ApiError> {
    match fields.take::<String>("model")? {
        Some(model) => route::meaning(state, &model).map(drop),
        None => Ok(()),
    }
}

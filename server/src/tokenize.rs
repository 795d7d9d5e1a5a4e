//! `/v1/tokenize` and `/v1/detokenize`, in vLLM's shapes.

mod requests;

use actix_web::{HttpResponse, web};
use hone_api::error::ErrorBody;
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::Json;
use crate::chat::{self, Conversation};
use crate::error::ApiError;
use crate::may::{May, to};
use crate::state::AppState;
use crate::{route, tokenising};
use requests::{DetokenizeRequest, TokenizeRequest};

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
    let request = TokenizeRequest::from_json(body.value)?;
    check_model(&state, request.model())?;
    let strings = request.return_token_strs();
    let most = tokenising::listed(state.limits.context);
    let tokens = match request {
        TokenizeRequest::Text(request) => {
            let (text, special) = (request.prompt, request.add_special_tokens.unwrap_or(true));
            let encoded = tokenising::run(&state, text.len(), most, move |front_end, effort| {
                front_end.tokenizer.encode_within(&text, special, effort)
            });
            encoded.await.map_err(|refused| refused.into_listing("prompt"))?
        }
        TokenizeRequest::Chat(request) => {
            let ending = request.ending()?;
            let conversation = Conversation {
                messages: request.messages,
                tools: request.tools.unwrap_or_default(),
            };
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
    let DetokenizeRequest { model, tokens } = DetokenizeRequest::from_json(body.value)?;
    check_model(&state, model.as_deref())?;
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

fn check_model(state: &AppState, model: Option<&str>) -> Result<(), ApiError> {
    model.map_or(Ok(()), |model| route::meaning(state, model).map(drop))
}

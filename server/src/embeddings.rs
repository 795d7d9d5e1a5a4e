//! `POST /v1/embeddings`: texts as vectors, the means of the served model's last hidden states.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hone_api::chat::Accepted;
use hone_api::completion::Prompt;
use hone_api::embedding::{
    EmbeddingRequest, EmbeddingResponse, EmbeddingUsage, EmbeddingView, EncodingFormat, TOKENS,
    VectorForms,
};
use hone_api::error::{ErrorBody, Invalid};
use hone_engine::EmbedRequest;
use serde_json::Value;

use crate::body::Json;
use crate::caller::Caller;
use crate::collect::name_ignored;
use crate::deadline::Deadline;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::state::AppState;
use crate::{route, tokenising};

/// Turns texts into vectors. Nothing of them is kept.
#[utoipa::path(post, path = "/v1/embeddings", tag = "openai",
    security(("api_key" = ["chat"])), request_body = EmbeddingRequest,
    params(("x-hone-user" = Option<String>, Header, description = "The end user, if the body does not tell"),
        ("x-request-timeout-ms" = Option<u64>, Header, minimum = 1, maximum = 86_400_000,
            description = "The answer is of no use later than so many milliseconds after the request")),
    responses((status = 200, description = "The vectors", body = EmbeddingResponse),
        (status = 404, description = "No such model, or embeddings are switched off (`server.embeddings`)", body = ErrorBody),
        (status = 422, description = "The adapter cannot be loaded", body = ErrorBody),
        (status = 504, description = "`x-request-timeout-ms` is over", body = ErrorBody)))]
pub(crate) async fn create(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    deadline: Deadline,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    deadline.within(&state.metrics, embed(&caller, &state, body.value)).await
}

async fn embed(
    caller: &Caller,
    state: &web::Data<AppState>,
    body: Value,
) -> Result<HttpResponse, ApiError> {
    if !state.entry.embeddings {
        let message = "embeddings are switched off here; `server.embeddings = true` in hone.toml switches them on";
        return Err(ApiError::new(StatusCode::NOT_FOUND, message).code("embeddings_off"));
    }
    let Accepted { request, ignored } = EmbeddingRequest::from_json(body)?;
    request.check(state.engine.front_end().hidden_size)?;
    let target = route::resolve(state, &request.model).await?;
    let inputs = encode(state, request.input).await?;
    let count = inputs.iter().map(Vec::len).sum::<usize>();
    let tokens = u32::try_from(count).unwrap_or(u32::MAX);
    let _permit = state.gate.enter()?;
    let _allowance = caller.answer(tokens)?;
    let party = caller.party(&state.sources, request.user.as_deref());
    let embedding = state.engine.embed(EmbedRequest { inputs, target, party });
    let embedding = embedding.map_err(refused)?;
    let adapter = embedding.adapter.map_or_else(|| "base".to_owned(), |id| id.to_string());
    let cut = state.gate.cut.clone();
    let vectors = tokio::select! {
        biased;
        () = cut.cancelled() => return Err(ApiError::shutting_down()),
        vectors = embedding.vectors() => vectors?,
    };
    state.metrics.tokens.with_label_values(&["prompt"]).inc_by(tokens.into());
    let format = request.encoding_format.unwrap_or_default();
    let view = |(index, vector)| EmbeddingView {
        object: "embedding",
        index,
        embedding: written(vector, format),
    };
    let body = EmbeddingResponse {
        object: "list",
        data: vectors.into_iter().enumerate().map(view).collect(),
        model: request.model,
        usage: EmbeddingUsage { prompt_tokens: tokens, total_tokens: tokens },
    };
    let mut response = HttpResponse::Ok();
    response.insert_header(("x-hone-adapter", adapter));
    name_ignored(&mut response, &ignored.join(", "));
    Ok(response.json(body))
}

/// The texts' token ids, each with what the tokenizer puts around a text.
async fn encode(state: &AppState, inputs: Vec<Prompt>) -> Result<Vec<Vec<u32>>, ApiError> {
    let context = state.limits.context;
    let size = |input: &Prompt| match input {
        Prompt::Text(text) => text.len(),
        Prompt::Tokens(tokens) => tokens.len(),
    };
    let size = inputs.iter().map(size).sum();
    let work =
        tokenising::run(state, size, tokenising::counted(context), move |front_end, effort| {
            let mut all = Vec::with_capacity(inputs.len());
            let mut count = 0;
            for input in inputs {
                let tokens = match input {
                    Prompt::Text(text) => front_end.tokenizer.encode_within(&text, true, effort)?,
                    Prompt::Tokens(tokens) => tokens,
                };
                count += tokens.len();
                if count > TOKENS {
                    return Ok(Err(count));
                }
                all.push(tokens);
            }
            Ok(Ok(all))
        });
    let all = work.await.map_err(|refused| refused.into_api("input", context))?;
    let all: Vec<Vec<u32>> = all.map_err(|count| {
        let message = format!(
            "`input` has {count} tokens or more; at most {TOKENS} in one request, send it in parts"
        );
        Invalid::field("input", message)
    })?;
    for (at, tokens) in all.iter().enumerate() {
        let count = tokens.len();
        let fault = match tokens.iter().find(|token| **token >= state.limits.vocab_size) {
            Some(token) => {
                let below = state.limits.vocab_size;
                let message = format!(
                    "entry {at} of `input` holds token {token}; this model's ids are below {below}"
                );
                Invalid::field("input", message)
            }
            None if count > context as usize => {
                let message = format!(
                    "This model's maximum context length is {context} tokens; entry {at} of `input` has {count}. \
                     Shorten it, or send it in parts."
                );
                Invalid::field("input", message).code("context_length_exceeded")
            }
            None if count == 0 => {
                let message = format!("entry {at} of `input` has no tokens; send some text");
                Invalid::field("input", message)
            }
            None => continue,
        };
        return Err(fault.into());
    }
    Ok(all)
}

fn refused(error: hone_engine::Error) -> ApiError {
    let is_about_the_input = matches!(error, hone_engine::Error::OverBudget { .. });
    let error = ApiError::from(error);
    if is_about_the_input { error.param("input") } else { error }
}

fn written(vector: Vec<f32>, format: EncodingFormat) -> VectorForms {
    match format {
        EncodingFormat::Float => VectorForms::Float(vector),
        EncodingFormat::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            VectorForms::Base64(STANDARD.encode(bytes))
        }
    }
}

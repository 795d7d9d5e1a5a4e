//! Stored completions: what clients asked to keep with `store: true`, in OpenAI's shapes.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use hone_api::chat::{Accepted, AnswerMessage, ChatResponse, Choice, Message, Usage};
use hone_api::erasure::Subject;
use hone_api::error::{ErrorBody, Invalid};
use hone_api::fields::Fields;
use hone_api::interaction::{Endpoint, Interaction};
use hone_api::keeping::metadata;
use hone_api::{AdapterRef, InteractionId};
use hone_store::{AuditEntry, InteractionFilter, Order};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::body::Json;
use crate::caller::Caller;
use crate::collect::name_ignored;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::{List, OrderWord, Page, Query};
use crate::state::AppState;

/// Lists stored chat completions: those that the API key asked for itself, or all with the scope `export`.
#[utoipa::path(get, path = "/v1/chat/completions", tag = "openai",
    security(("api_key" = ["chat"])),
    params(("model" = Option<String>, Query, description = "As sent by the client"),
        ("metadata" = Option<BTreeMap<String, String>>, Query, style = DeepObject,
            explode, description = "`metadata[key]=value`, repeatable"),
        ("after" = Option<InteractionId>, Query, description = "Begin behind this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `asc`")),
    responses((status = 200, description = "A page", body = List<ChatResponse>)))]
pub(crate) async fn list(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let filter = InteractionFilter {
        model: query.text("model"),
        metadata: query.metadata()?,
        after: query.after("a completion's id")?,
        limit: query.limit()?,
        order: query.order(Order::Ascending)?,
        stored: Some(true),
        endpoint: Some(Endpoint::Chat),
        response: Some(false),
        key_id: caller.reads_only().map(str::to_owned),
        ..InteractionFilter::default()
    };
    let ignored = query.unknown();
    let page = state.store.interactions(filter).await?;
    let data: Vec<_> =
        page.items.into_iter().map(|interaction| response(&state, interaction)).collect();
    Ok(ok(&ignored).json(List::new(data, page.has_more, |item| item.id.clone())))
}

/// One stored chat completion.
#[utoipa::path(get, path = "/v1/chat/completions/{id}", tag = "openai",
    security(("api_key" = ["chat"])),
    params(("id" = String, Path, description = "The completion's id")),
    responses((status = 200, description = "The completion", body = ChatResponse),
        (status = 404, description = "No such stored completion", body = ErrorBody)))]
pub(crate) async fn get(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let interaction = find(&state, &caller, &id).await?;
    Ok(HttpResponse::Ok().json(response(&state, interaction)))
}

/// The body of `POST /v1/chat/completions/{id}`.
#[derive(Debug, ToSchema)]
pub(crate) struct Update {
    /// Replaces what was there.
    metadata: BTreeMap<String, String>,
}

impl Update {
    fn from_json(body: Value) -> Result<Accepted<Self>, Invalid> {
        let mut fields = Fields::new(body)?;
        let missing = || Invalid::field("metadata", "`metadata` is missing; it is required");
        let request = Self { metadata: metadata(&mut fields)?.ok_or_else(missing)? };
        Ok(Accepted { request, ignored: fields.unknown() })
    }
}

/// Replaces a stored completion's metadata.
#[utoipa::path(post, path = "/v1/chat/completions/{id}", tag = "openai",
    security(("api_key" = ["chat"])), request_body = Update,
    params(("id" = String, Path, description = "The completion's id")),
    responses((status = 200, description = "The completion", body = ChatResponse),
        (status = 404, description = "No such stored completion", body = ErrorBody)))]
pub(crate) async fn update(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let Accepted { request: Update { metadata }, ignored } = Update::from_json(body.value)?;
    let mut interaction = find(&state, &caller, &id).await?;
    // Only that it changed: what it says may be somebody's business, and the audit trail forgets nothing.
    let told = told(&caller, "interaction.metadata_changed", interaction.id);
    state.store.set_metadata(interaction.id, metadata.clone(), told).await?;
    interaction.metadata = metadata;
    Ok(ok(&ignored).json(response(&state, interaction)))
}

/// What a deletion answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Deleted {
    id: String,
    object: &'static str,
    deleted: bool,
}

impl Deleted {
    pub(crate) fn new(id: String, object: &'static str) -> Self {
        Self { id, object, deleted: true }
    }
}

/// Deletes a stored completion with its feedback.
#[utoipa::path(delete, path = "/v1/chat/completions/{id}", tag = "openai",
    security(("api_key" = ["chat"])),
    params(("id" = String, Path, description = "The completion's id")),
    responses((status = 200, description = "Gone", body = Deleted),
        (status = 404, description = "No such stored completion", body = ErrorBody)))]
pub(crate) async fn delete(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let interaction = find(&state, &caller, &id).await?;
    state.control.erase(&caller, Subject::Interaction(interaction.id)).await?;
    let deleted = Deleted::new(interaction.id.to_string(), "chat.completion.deleted");
    Ok(HttpResponse::Ok().json(deleted))
}

fn told(caller: &Caller, action: &str, id: InteractionId) -> AuditEntry {
    AuditEntry::now(caller.actor(), action, id, "through the API")
}

/// One message of a stored completion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct StoredMessage {
    /// The completion's id and the message's place.
    id: String,
    #[serde(flatten)]
    message: Message,
    /// Always null: parts were joined.
    content_parts: Option<Vec<String>>,
}

/// The messages that a stored completion answered.
#[utoipa::path(get, path = "/v1/chat/completions/{id}/messages", tag = "openai",
    security(("api_key" = ["chat"])),
    params(("id" = String, Path, description = "The completion's id"),
        ("after" = Option<String>, Query, description = "Begin behind this message's id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `asc`")),
    responses((status = 200, description = "A page", body = List<StoredMessage>),
        (status = 404, description = "No such stored completion", body = ErrorBody)))]
pub(crate) async fn messages(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let page = Page::of(&mut query, Order::Ascending)?;
    let ignored = query.unknown();
    let interaction = find(&state, &caller, &id).await?;
    let id = interaction.id;
    let all: Vec<_> = interaction
        .messages
        .into_iter()
        .enumerate()
        .map(|(at, message)| StoredMessage {
            id: format!("{id}-{at}"),
            message,
            content_parts: None,
        })
        .collect();
    let list = List::page(all, page, "a message's id", |message| message.id.clone())?;
    Ok(ok(&ignored).json(list))
}

/// A success of one of OpenAI's own requests, in which what nobody knows is named, not refused.
fn ok(ignored: &[String]) -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    name_ignored(&mut response, &ignored.join(", "));
    response
}

async fn find(state: &AppState, caller: &Caller, id: &str) -> Result<Interaction, ApiError> {
    let unknown = || {
        ApiError::not_found(format!(
            "no stored completion `{id:.80}`; only answers to requests with `store: true` are kept \
             as such"
        ))
    };
    let parsed: InteractionId = id.parse().map_err(|_| unknown())?;
    let found = state.store.interaction(parsed).await?;
    let is_one = |kept: &Interaction| {
        kept.stored && kept.endpoint == Endpoint::Chat && kept.response.is_none()
    };
    found.filter(|kept| is_one(kept) && caller.may_read(kept)).ok_or_else(unknown)
}

/// The answer as it was sent.
fn response(state: &AppState, interaction: Interaction) -> ChatResponse {
    let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let adapter = interaction.adapter_id.map(|id| {
        // Deleted meanwhile: its id says which one it was.
        let view = state.registry.get(&AdapterRef::Id(id));
        view.map_or_else(|_| id.to_string(), |view| view.digest)
    });
    let completion = interaction.answers.iter().map(|answer| answer.tokens.len()).sum();
    let usage = Usage::new(small(interaction.prompt_tokens.len()), small(completion))
        .with_cached(interaction.cached_tokens);
    let choices = interaction.answers.into_iter().zip(0..).map(|(answer, index)| Choice {
        index,
        message: match answer.text {
            Some(text) => AnswerMessage::new(text, answer.tool_calls),
            None => {
                AnswerMessage { content: None, ..AnswerMessage::new(String::new(), Vec::new()) }
            }
        },
        logprobs: None,
        finish_reason: answer.finish_reason,
        token_ids: None,
    });
    ChatResponse {
        id: interaction.id.to_string(),
        object: "chat.completion".to_owned(),
        created: interaction.created_at.seconds(),
        model: interaction.model,
        choices: choices.collect(),
        usage,
        system_fingerprint: AppState::fingerprint(adapter.as_deref()),
        metadata: Some(interaction.metadata),
        prompt_token_ids: None,
    }
}

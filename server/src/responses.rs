//! `/v1/responses`: the chat of `chat.rs` in OpenAI's newer words, and stored responses.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::InteractionId;
use hone_api::chat::{Accepted, Message, Role};
use hone_api::erasure::Subject;
use hone_api::error::ErrorBody;
use hone_api::interaction::{Interaction, ResponseEcho};
use hone_api::responses::items::ResponseItem;
use hone_api::responses::object::{ResponseDeleted, ResponseObject};
use hone_api::responses::{ResponsesRequest, in_words_of_responses};
use hone_store::Order;

use crate::ask::Keep;
use crate::body::Json;
use crate::caller::Caller;
use crate::chat::{self, Asked};
use crate::collect::{self, name_ignored};
use crate::deadline::Deadline;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::{List, OrderWord, Page, Query};
use crate::state::AppState;
use crate::stream::{self, SseEvent};

mod frames;
mod input_items;
mod object;
mod output;

use frames::ResponseFrames;

/// Answers a text or a conversation.
#[utoipa::path(post, path = "/v1/responses", tag = "openai",
    security(("api_key" = ["chat"])), request_body = ResponsesRequest,
    params(("x-hone-user" = Option<String>, Header, description = "The end user, if the body does not tell. \
        Without both it is the API key, and without keys the caller's address"),
        ("x-request-timeout-ms" = Option<u64>, Header, minimum = 1, maximum = 86_400_000,
            description = "The answer is of no use later than so many milliseconds after the request")),
    responses(
        (status = 200, description = "The response; with `stream` as server-sent events, from response.created to \
            response.completed, response.incomplete or response.failed", content(
            (ResponseObject = "application/json"), (SseEvent = "text/event-stream"))),
        (status = 404, description = "No such model; no such response to go on from", body = ErrorBody),
        (status = 422, description = "The adapter cannot be loaded", body = ErrorBody),
        (status = 429, description = "The queue is full; see `retry-after`", body = ErrorBody),
        (status = 504, description = "`x-request-timeout-ms` is over", body = ErrorBody)))]
pub(crate) async fn create(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    http: HttpRequest,
    deadline: Deadline,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let Accepted { request, ignored } = ResponsesRequest::from_json(body.value)?;
    let earlier = match request.previous_response_id {
        Some(id) => earlier(&state, &caller, id).await?,
        None => Vec::new(),
    };
    let (keep, echo) = (Keep::of(&http, Some(request.stores())), request.echo());
    let streams = request.stream == Some(true);
    let request = request.into_chat(earlier);
    let asked = Asked { request, ignored, keep, response: Some(echo), deadline };
    let metrics = Arc::clone(&state.metrics);
    let run = deadline.within(&metrics, chat::start(state, &caller, asked)).await;
    let run = run.map_err(|error| error.in_words_of(in_words_of_responses))?;
    if streams {
        let frames = ResponseFrames::new(&run);
        return stream::respond(run, frames, false).await;
    }
    collect::respond(run, object::whole).await
}

/// A stored response.
#[utoipa::path(get, path = "/v1/responses/{id}", tag = "openai",
    security(("api_key" = ["chat"])),
    params(("id" = String, Path, description = "The response's id")),
    responses((status = 200, description = "The response", body = ResponseObject),
        (status = 404, description = "No such stored response", body = ErrorBody)))]
pub(crate) async fn get(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    if query.take("stream", "true or false")? == Some(true) {
        let message = "a stored response is not streamed; leave `stream` out";
        return Err(ApiError::field("stream", message));
    }
    let ignored = query.unknown();
    let (kept, echo) = find(&state, &id, |kept| caller.may_read(kept)).await?;
    let mut response = HttpResponse::Ok();
    name_ignored(&mut response, &ignored.join(", "));
    Ok(response.json(object::of_log(kept, echo)))
}

/// What a stored response answered, item by item.
#[utoipa::path(get, path = "/v1/responses/{id}/input_items", tag = "openai",
    security(("api_key" = ["chat"])),
    params(("id" = String, Path, description = "The response's id"),
        ("after" = Option<String>, Query, description = "Begin behind this item's id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `desc`")),
    responses((status = 200, description = "A page", body = List<ResponseItem>),
        (status = 404, description = "No such stored response", body = ErrorBody)))]
pub(crate) async fn list_input(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    request: HttpRequest,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let page = Page::of(&mut query, Order::Descending)?;
    let ignored = query.unknown();
    let (kept, echo) = find(&state, &id, |kept| caller.may_read(kept)).await?;
    let items = input_items::of_log(kept, &echo);
    let list = List::page(items, page, "an item's id", |item| item.id().to_owned())?;
    let mut response = HttpResponse::Ok();
    name_ignored(&mut response, &ignored.join(", "));
    Ok(response.json(list))
}

/// Deletes a stored response with its feedback.
#[utoipa::path(delete, path = "/v1/responses/{id}", tag = "openai",
    security(("api_key" = ["chat"])),
    params(("id" = String, Path, description = "The response's id")),
    responses((status = 200, description = "Gone", body = ResponseDeleted),
        (status = 404, description = "No such stored response", body = ErrorBody)))]
pub(crate) async fn delete(
    caller: May<to::Chat>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let (kept, _) = find(&state, &id, |kept| caller.may_read(kept)).await?;
    state.control.erase(&caller, Subject::Interaction(kept.id)).await?;
    let id = kept.id.of_response();
    Ok(HttpResponse::Ok().json(ResponseDeleted { id, object: "response", deleted: true }))
}

/// The turns of a response that another goes on from, its answer the last. Only who asked for it may go on: what was said in it
/// is told again by the model.
async fn earlier(
    state: &AppState,
    caller: &Caller,
    id: InteractionId,
) -> Result<Vec<Message>, ApiError> {
    let its_own = |kept: &Interaction| kept.key_id.as_deref() == caller.key_id();
    let found = find(state, &id.of_response(), its_own).await;
    let (kept, echo) = found.map_err(|error| match error.word() {
        Some("not_found") => {
            error.param("previous_response_id").code("previous_response_not_found")
        }
        _ => error,
    })?;
    // Instructions hold for one response.
    let mut turns: Vec<Message> =
        kept.messages.into_iter().skip(usize::from(echo.instructed)).collect();
    if let Some(answer) = kept.answers.into_iter().next() {
        turns.push(Message {
            tool_calls: answer.tool_calls,
            ..Message::new(Role::Assistant, answer.text.unwrap_or_default())
        });
    }
    Ok(turns)
}

async fn find(
    state: &AppState,
    id: &str,
    may_read: impl Fn(&Interaction) -> bool,
) -> Result<(Interaction, ResponseEcho), ApiError> {
    let unknown = || {
        ApiError::not_found(format!(
            "no stored response `{id:.80}`; those to requests with `store: false` are not kept, and those of other API \
             keys are not shown"
        ))
    };
    let parsed: InteractionId = id.parse().map_err(|_| unknown())?;
    let found = state.store.interaction(parsed).await?;
    let kept = found.filter(|kept| kept.stored && may_read(kept)).ok_or_else(unknown)?;
    let echo = kept.response.clone().ok_or_else(unknown)?;
    Ok((kept, echo))
}

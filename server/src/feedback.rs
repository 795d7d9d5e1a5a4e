//! `POST /v1/feedback`: what users say of an answer, in TensorZero's shape.

mod read;
mod request;

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::FeedbackId;
use hone_api::error::{ErrorBody, Invalid};
use hone_api::feedback::Feedback;
use hone_store::{NewFeedback, Order};
use serde::Serialize;
use utoipa::ToSchema;

use crate::body::Json;
use crate::caller::Caller;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::private::said_without_personal_data;
use crate::query::{List, OrderWord, Query};
use crate::state::AppState;
use crate::too_long;
use read::Said;
use request::FeedbackRequest;

/// Tags that decide what the gate asks, and in which groups.
const STEERING: [&str; 2] = ["check", "family"];

/// The answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct FeedbackResponse {
    /// The item's id.
    feedback_id: FeedbackId,
    /// What comes next, in one sentence; not for `dryrun`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// Why a demonstration will not teach although it is kept, and which tags were left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// Keeps a feedback item. When this answers 201, it is on disk.
#[utoipa::path(post, path = "/v1/feedback", tag = "feedback",
    security(("api_key" = ["feedback"])), request_body = FeedbackRequest,
    params(("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255,
        description = "The same key with the same body is the same item. An exported item's id as its \
            key gives the item this id. A repetition is answered with `idempotent-replayed: true`"),
        ("x-hone-user" = Option<String>, Header, description = "Who says it, if the body does not tell. \
            Without both it is the API key, and without keys the caller's address")),
    responses((status = 200, description = "It would be accepted (`dryrun`)", body = FeedbackResponse),
        (status = 201, description = "It is on disk", body = FeedbackResponse),
        (status = 404, description = "No such answer", body = ErrorBody),
        (status = 409, description = "The key came with another body", body = ErrorBody),
        (status = 507, description = "The disk is full, or was when the answer was to be stored", body = ErrorBody)))]
pub(crate) async fn create(
    caller: May<to::Feedback>,
    state: web::Data<AppState>,
    request: HttpRequest,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let asked = FeedbackRequest::from_json(body.value)?;
    let Said { mut feedback, user, dryrun } = read::said(asked, &state.control.feedback_limits())?;
    let idempotency_key = idempotency_key(&request)?;
    if let Some(id) = idempotency_key.as_deref().and_then(own_id) {
        feedback.id = id;
    }
    feedback.source = caller.source(&state.sources, user.as_deref());
    let end_user = caller.end_user(&state.sources, user.as_deref());
    if state.control.redacts_the_log() {
        said_without_personal_data(&mut feedback);
    }
    let left_out = leave_out_steering(&caller, &mut feedback.tags);
    let answered = if dryrun {
        check(&state, feedback, left_out).await
    } else {
        let key_id = caller.key_id().map(str::to_owned);
        keep(&state, NewFeedback { feedback, key_id, user: end_user, idempotency_key }, left_out)
            .await
    };
    answered.map_err(|error| match error {
        error if error.status() == 404 => error.param("inference_id"),
        error => error,
    })
}

/// Takes out the tags by which the gate asks, if they do not count from this caller; says so.
fn leave_out_steering(caller: &Caller, tags: &mut BTreeMap<String, String>) -> Option<String> {
    if caller.may_steer() {
        return None;
    }
    let mut left_out = Vec::new();
    for tag in STEERING {
        if tags.remove(tag).is_some() {
            left_out.push(format!("`{tag}`"));
        }
    }
    let names = left_out.join(" and ");
    (!names.is_empty()).then(|| {
        format!("left out the tags {names}: they steer the gate, and this API key lacks the scope `adapters`")
    })
}

/// What would be answered to an item, which is not kept.
async fn check(
    state: &AppState,
    feedback: Feedback,
    left_out: Option<String>,
) -> Result<HttpResponse, ApiError> {
    if !state.store.takes_feedback(feedback.inference_id).await? {
        return Err(hone_store::Error::UnknownInteraction(feedback.inference_id).into());
    }
    let warning = warning(state, &feedback, left_out).await;
    let response = FeedbackResponse { feedback_id: feedback.id, next: None, warning };
    Ok(HttpResponse::Ok().json(response))
}

/// Puts an item on disk and says what comes of it.
pub(crate) async fn keep(
    state: &AppState,
    new: NewFeedback,
    left_out: Option<String>,
) -> Result<HttpResponse, ApiError> {
    let feedback = new.feedback.clone();
    let appended = state.store.append_feedback(new).await?;
    let mut response = HttpResponse::Created();
    if appended.duplicate {
        response.insert_header(("idempotent-replayed", "true"));
    } else {
        state.metrics.feedback(&feedback.signal);
        state.control.feedback_arrived();
    }
    let next = format!("taken; {}", state.control.after_feedback().await);
    let warning = warning(state, &feedback, left_out).await;
    Ok(response.json(FeedbackResponse { feedback_id: appended.id, next: Some(next), warning }))
}

async fn warning(
    state: &AppState,
    feedback: &Feedback,
    left_out: Option<String>,
) -> Option<String> {
    let too_long = too_long::warning(state, feedback).await;
    let all: Vec<_> = [left_out, too_long].into_iter().flatten().collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Lists all feedback, in the order of its arrival unless `order=desc`.
#[utoipa::path(get, path = "/v1/feedback", tag = "feedback",
    security(("api_key" = ["export"])),
    params(("after" = Option<FeedbackId>, Query, description = "Begin behind this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20"),
        ("order" = Option<OrderWord>, Query, description = "Default `asc`, the order of arrival")),
    responses((status = 200, description = "A page", body = List<Feedback>)))]
pub(crate) async fn list(
    _caller: May<to::Export>,
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let (after, limit) = (query.after("a feedback id")?, query.limit()?);
    let order = query.order(Order::Ascending)?;
    query.finish()?;
    let page = state.store.feedback(after, limit, order).await?;
    Ok(HttpResponse::Ok().json(List::new(page.items, page.has_more, |item| item.id.to_string())))
}

/// The client's `Idempotency-Key`.
fn idempotency_key(request: &HttpRequest) -> Result<Option<String>, Invalid> {
    let Some(value) = request.headers().get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) => Ok(Some(key.to_owned())),
        _ => Err(Invalid::field(
            "Idempotency-Key",
            "the header `Idempotency-Key` must have 1 to 255 plain characters",
        )),
    }
}

/// The id of an item that was exported, here or from another daemon, and comes back under it.
fn own_id(key: &str) -> Option<FeedbackId> {
    key.starts_with(FeedbackId::PREFIX).then(|| key.parse().ok()).flatten()
}

//! `/v1/feedback/waiting`: answers that teach nothing until a person has looked at them.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::error::ErrorBody;
use hone_api::feedback::{Feedback, Signal};
use hone_api::waiting::WaitingView;
use hone_api::{FeedbackId, InteractionId, UnixMillis};
use hone_store::NewFeedback;

use crate::body::OptionalJson;
use crate::error::ApiError;
use crate::feedback::{self, FeedbackResponse};
use crate::may::{May, to};
use crate::nothing::Nothing;
use crate::query::{List, Query, path_id};
use crate::state::AppState;

/// Lists the answers that wait for a person, newest first. A demonstration through `POST /v1/feedback`
/// answers one.
#[utoipa::path(get, path = "/v1/feedback/waiting", tag = "feedback",
    security(("api_key" = ["export"])),
    params(("after" = Option<InteractionId>, Query, description = "Begin behind this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "1 to 1000; default 20")),
    responses((status = 200, description = "A page", body = List<WaitingView>)))]
pub(crate) async fn list(
    caller: May<to::Export>,
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let after: Option<InteractionId> = query.after("an answer's id")?;
    let limit = query.limit()?;
    query.finish()?;
    let all = state.control.waiting(&caller).await?.into_iter();
    let mut rest = all.filter(|view| after.is_none_or(|after| view.id < after));
    let page: Vec<_> = rest.by_ref().take(limit).collect();
    let has_more = rest.next().is_some();
    Ok(HttpResponse::Ok().json(List::new(page, has_more, |view| view.id.to_string())))
}

/// Takes an answer out of what waits: it teaches nothing, unless somebody corrects it later.
#[utoipa::path(post, path = "/v1/feedback/waiting/{id}/discard", tag = "feedback",
    security(("api_key" = ["feedback"])),
    request_body = Option<Nothing>,
    params(("id" = String, Path, description = "The answer's id"),
        ("x-hone-user" = Option<String>, Header, description = "Who says so; else the API key, or the caller's address")),
    responses((status = 201, description = "It is on disk", body = FeedbackResponse),
        (status = 404, description = "No such answer", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)))]
pub(crate) async fn discard(
    caller: May<to::Feedback>,
    state: web::Data<AppState>,
    id: web::Path<String>,
    body: OptionalJson,
) -> Result<HttpResponse, ApiError> {
    Nothing::from_json(body.value)?;
    let feedback = Feedback {
        id: FeedbackId::new(),
        inference_id: path_id(&id)?,
        signal: Signal::Discard,
        tags: BTreeMap::new(),
        source: caller.source(&state.sources, None),
        created_at: UnixMillis::now(),
    };
    let (key_id, user) =
        (caller.key_id().map(str::to_owned), caller.end_user(&state.sources, None));
    let new = NewFeedback { feedback, key_id, user, idempotency_key: None };
    feedback::keep(&state, new, None).await
}

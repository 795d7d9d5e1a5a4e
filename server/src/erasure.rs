//! What is known of a person or of one answer, and its removal.

use actix_web::{HttpResponse, web};
use hone_api::erasure::{ErasureView, RecallView, Subject};
use hone_api::error::{ErrorBody, Invalid};

use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::path_id;
use crate::state::AppState;

/// Which snapshots and adapters saw what one end user asked and said.
#[utoipa::path(get, path = "/v1/subjects/{user}", tag = "feedback", security(("api_key" = ["admin"])),
    params(("user" = String, Path, pattern = r"\S", description = "The name that the app gives (`user`, `x-hone-user`)")),
    responses((status = 200, description = "What there is", body = RecallView)))]
pub(crate) async fn recall_user(
    caller: May<to::Admin>,
    state: web::Data<AppState>,
    user: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let subject = subject(&state, &user)?;
    Ok(HttpResponse::Ok().json(state.control.recall(&caller, subject).await?))
}

/// Removes everything of one end user, and answers with a receipt. Of a user of whom there is nothing it lists
/// nothing.
#[utoipa::path(delete, path = "/v1/subjects/{user}", tag = "feedback", security(("api_key" = ["admin"])),
    params(("user" = String, Path, pattern = r"\S", description = "The name that the app gives (`user`, `x-hone-user`)")),
    responses((status = 200, description = "Removed", body = ErasureView)))]
pub(crate) async fn erase_user(
    caller: May<to::Admin>,
    state: web::Data<AppState>,
    user: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let subject = subject(&state, &user)?;
    Ok(HttpResponse::Ok().json(state.control.erase(&caller, subject).await?))
}

/// Which snapshots and adapters saw one interaction; also after it was erased.
#[utoipa::path(get, path = "/v1/interactions/{id}/recall", tag = "feedback", security(("api_key" = ["export"])),
    params(("id" = String, Path, description = "The answer's id")),
    responses((status = 200, description = "What there is", body = RecallView),
        (status = 404, description = "That is no interaction's id", body = ErrorBody)))]
pub(crate) async fn recall_interaction(
    caller: May<to::Export>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let subject = Subject::Interaction(path_id(&id)?);
    Ok(HttpResponse::Ok().json(state.control.recall(&caller, subject).await?))
}

/// Removes one interaction with all that was said of it, wherever it is, and answers with a receipt.
#[utoipa::path(delete, path = "/v1/interactions/{id}", tag = "feedback", security(("api_key" = ["export"])),
    params(("id" = String, Path, description = "The answer's id")),
    responses((status = 200, description = "Removed", body = ErasureView),
        (status = 404, description = "No such interaction", body = ErrorBody)))]
pub(crate) async fn erase_interaction(
    caller: May<to::Export>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let subject = Subject::Interaction(path_id(&id)?);
    Ok(HttpResponse::Ok().json(state.control.erase(&caller, subject).await?))
}

fn subject(state: &AppState, user: &str) -> Result<Subject, ApiError> {
    let hash = state.sources.user(user.as_bytes());
    let blank = || Invalid::field("user", "the path ends with the name of an end user");
    Ok(Subject::User(hash.ok_or_else(blank)?))
}

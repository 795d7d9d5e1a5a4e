//! `/v1/evals`: evaluation on demand.

use actix_web::{HttpResponse, web};
use hone_api::error::ErrorBody;
use hone_api::evaluation::{EvalRequest, EvalView};
use hone_api::fields::Fields;

use crate::body::Json;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::path_id;
use crate::state::AppState;

/// Starts an evaluation in the background; `GET /v1/evals/{id}` tells how it goes.
#[utoipa::path(post, path = "/v1/evals", tag = "cycles",
    security(("api_key" = ["cycles"])), request_body = EvalRequest,
    responses((status = 201, description = "It runs", body = EvalView),
        (status = 404, description = "No such suite or adapter", body = ErrorBody),
        (status = 422, description = "The suite or the adapter cannot be used", body = ErrorBody),
        (status = 429, description = "As many evaluations or questions are under way as may be", body = ErrorBody)))]
pub(crate) async fn start(
    caller: May<to::Cycles>,
    state: web::Data<AppState>,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let mut fields = Fields::new(body.value)?;
    let request = EvalRequest {
        suite: fields.required("suite")?,
        lines: fields.take("lines")?,
        adapter: fields.take("adapter")?,
        against: fields.take("against")?,
        limit: fields.whole("limit", 0, 1 << 20)?.and_then(|limit| usize::try_from(limit).ok()),
    };
    fields.finish()?;
    Ok(HttpResponse::Created().json(state.control.start_eval(&caller, request).await?))
}

/// One evaluation.
#[utoipa::path(get, path = "/v1/evals/{id}", tag = "cycles",
    security(("api_key" = ["cycles"])),
    params(("id" = String, Path, description = "The evaluation's id")),
    responses((status = 200, description = "The evaluation", body = EvalView),
        (status = 404, description = "No such evaluation", body = ErrorBody)))]
pub(crate) async fn get(
    caller: May<to::Cycles>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(state.control.eval(&caller, path_id(&id)?).await?))
}

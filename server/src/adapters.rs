//! `/v1/adapters…`: what there is, and what serves.

mod requests;

use actix_web::{HttpRequest, HttpResponse, web};
use hone_api::adapter::{AdapterState, AdapterView, LiveView};
use hone_api::error::{ErrorBody, Invalid};
use hone_api::{AdapterId, AdapterRef};
use hone_store::Order;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::body::{Json, OptionalJson};
use crate::control::{ImportAdapter, LiveChange};
use crate::error::ApiError;
use crate::may::{May, to};
use crate::query::{List, OrderWord, Query};
use crate::route;
use crate::state::AppState;
use crate::stored::Deleted;
use requests::{ImportRequest, PromoteRequest, RollbackRequest};

/// A page of adapters, and which one serves.
#[derive(Serialize, ToSchema)]
pub(crate) struct Adapters {
    #[serde(flatten)]
    page: List<AdapterView>,
    /// The live pointer.
    live: LiveView,
}

/// Lists adapters, oldest first unless `order=desc`, and tells which one serves.
#[utoipa::path(get, path = "/v1/adapters", tag = "adapters",
    security(("api_key" = ["adapters"])),
    params(("state" = Option<AdapterState>, Query, description = "Only those that stand there"),
        ("after" = Option<AdapterId>, Query, description = "Begin behind this id"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "1 to 1000; default all, since `promotion.keep` bounds how many there are"),
        ("order" = Option<OrderWord>, Query, description = "Default `asc`")),
    responses((status = 200, description = "A page", body = Adapters)))]
pub(crate) async fn list(
    _caller: May<to::Adapters>,
    state: web::Data<AppState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let mut query = Query::of(&request)?;
    let wanted = query.take::<String>("state", "a word")?;
    let wanted = wanted.map(|word| read_state(&word)).transpose()?;
    let after: Option<AdapterId> = query.after("an adapter's id")?;
    let limit = query.limit_if_given()?.unwrap_or(usize::MAX);
    let order = query.order(Order::Ascending)?;
    query.finish()?;
    let live = state.registry.live().view();
    let mut data = state.registry.list();
    data.retain(|view| wanted.is_none_or(|wanted| view.state == wanted));
    match order {
        Order::Ascending => data.retain(|view| after.is_none_or(|after| view.id > after)),
        Order::Descending => {
            data.retain(|view| after.is_none_or(|after| view.id < after));
            data.reverse();
        }
    }
    let has_more = data.len() > limit;
    data.truncate(limit);
    let page = List::new(data, has_more, |view| view.id.to_string());
    Ok(HttpResponse::Ok().json(Adapters { page, live }))
}

fn read_state(word: &str) -> Result<AdapterState, Invalid> {
    serde_json::from_value(Value::from(word)).map_err(|_| {
        let message = format!(
            "`state` must be staged, candidate, canary, live, retired or rejected, not `{word:.20}`"
        );
        Invalid::field("state", message)
    })
}

/// One adapter, by id, alias (`live`, `previous`, `candidate`) or name.
#[utoipa::path(get, path = "/v1/adapters/{ref}", tag = "adapters",
    security(("api_key" = ["adapters"])),
    params(("ref" = String, Path, description = "An id, an alias or a name")),
    responses((status = 200, description = "The adapter", body = AdapterView),
        (status = 404, description = "No such adapter", body = ErrorBody)))]
pub(crate) async fn get(
    _caller: May<to::Adapters>,
    state: web::Data<AppState>,
    reference: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    Ok(HttpResponse::Ok().json(state.registry.get(&route::parse(&reference))?))
}

/// Imports an adapter from the drop folder.
#[utoipa::path(post, path = "/v1/adapters", tag = "adapters",
    security(("api_key" = ["adapters"])), request_body = ImportRequest,
    responses((status = 201, description = "Verified and loaded", body = AdapterView),
        (status = 404, description = "No such folder", body = ErrorBody),
        (status = 409, description = "The name is taken", body = ErrorBody),
        (status = 422, description = "The folder is refused; the message says why", body = ErrorBody),
        (status = 429, description = "As many adapters are kept as may be", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)))]
pub(crate) async fn import(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    body: Json,
) -> Result<HttpResponse, ApiError> {
    let ImportRequest { folder, name } = ImportRequest::from_json(body.value)?;
    let import = ImportAdapter { folder, name };
    let imported = state.control.import_adapter(&caller, import).await;
    let view = imported.map_err(|error| match ApiError::from(error) {
        error if error.status() == 404 => error.param("folder"),
        error => error,
    })?;
    Ok(HttpResponse::Created().json(view))
}

/// Deletes an adapter that neither serves nor is the one to roll back to.
#[utoipa::path(delete, path = "/v1/adapters/{ref}", tag = "adapters",
    security(("api_key" = ["adapters"])),
    params(("ref" = String, Path, description = "An id, an alias or a name")),
    responses((status = 200, description = "Gone", body = Deleted),
        (status = 404, description = "No such adapter", body = ErrorBody),
        (status = 409, description = "It serves", body = ErrorBody)))]
pub(crate) async fn delete(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    reference: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let id = state.control.delete_adapter(&caller, route::parse(&reference)).await?;
    Ok(HttpResponse::Ok().json(Deleted::new(id.to_string(), "adapter.deleted")))
}

/// Makes an adapter live (or the base, with `base`).
#[utoipa::path(post, path = "/v1/adapters/{ref}/promote", tag = "adapters",
    security(("api_key" = ["adapters"])),
    request_body = Option<PromoteRequest>,
    params(("ref" = String, Path, description = "An id, an alias, a name, or `base`")),
    responses((status = 200, description = "What serves now", body = LiveView),
        (status = 404, description = "No such adapter", body = ErrorBody),
        (status = 409, description = "Something else serves than `expected_live`, or the adapter may \
            not serve", body = ErrorBody),
        (status = 422, description = "The adapter is damaged", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)))]
pub(crate) async fn promote(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    reference: web::Path<String>,
    body: OptionalJson,
) -> Result<HttpResponse, ApiError> {
    let PromoteRequest { expected_live, reason } = PromoteRequest::from_json(body.value)?;
    let expected_live = expected_live.map(|text| serves(&state, text)).transpose()?;
    let change = LiveChange { to: Some(route::parse(&reference)), expected_live, reason };
    Ok(HttpResponse::Ok().json(state.control.promote(&caller, change).await?))
}

/// Returns to what served before, or to `to`.
#[utoipa::path(post, path = "/v1/adapters/rollback", tag = "adapters",
    security(("api_key" = ["adapters"])),
    request_body = Option<RollbackRequest>,
    responses((status = 200, description = "What serves now", body = LiveView),
        (status = 404, description = "No such adapter", body = ErrorBody),
        (status = 409, description = "Nothing to roll back to, or something else serves than \
            `expected_live`", body = ErrorBody),
        (status = 422, description = "The adapter is damaged", body = ErrorBody),
        (status = 507, description = "The disk is full", body = ErrorBody)))]
pub(crate) async fn rollback(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    body: OptionalJson,
) -> Result<HttpResponse, ApiError> {
    let RollbackRequest { to, expected_live, reason } = RollbackRequest::from_json(body.value)?;
    let expected_live = expected_live.map(|text| serves(&state, text)).transpose()?;
    let change = LiveChange { to: to.map(|to| route::parse(&to)), expected_live, reason };
    Ok(HttpResponse::Ok().json(state.control.rollback(&caller, change).await?))
}

/// The adapter that a caller thinks serves; `None`: the base.
fn serves(state: &AppState, reference: Option<String>) -> Result<Option<AdapterId>, ApiError> {
    let Some(reference) = reference else { return Ok(None) };
    match route::parse(&reference) {
        // An id need not exist any more: then it is not what serves, which is a conflict.
        AdapterRef::Id(id) => Ok(Some(id)),
        // Neither can a name that nothing has be what serves.
        parsed => state.registry.resolve(&parsed).map_err(|_| {
            let live = state.registry.live().live;
            let actual = live.map_or_else(|| "base".to_owned(), |id| id.to_string());
            hone_adapters::Error::Conflict { expected: reference, actual }.into()
        }),
    }
}

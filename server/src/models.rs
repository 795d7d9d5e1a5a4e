//! `/v1/models`: every name that may be asked.

use actix_web::{HttpResponse, web};
use hone_api::AdapterRef;
use hone_api::adapter::{AdapterState, AdapterView};
use hone_api::error::ErrorBody;
use hone_api::model_card::{ModelCard, ModelPermission};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::may::{May, to};
use crate::route::{self, HONE, Meaning};
use crate::state::AppState;
use crate::stored::Deleted;

/// The answer of `GET /v1/models`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Models {
    object: &'static str,
    data: Vec<ModelCard>,
}

/// Lists the served model, its base, and its adapters.
#[utoipa::path(get, path = "/v1/models", tag = "openai",
    security(("api_key" = [])),
    responses((status = 200, description = "All names", body = Models)))]
pub(crate) async fn list(_caller: May<to::Look>, state: web::Data<AppState>) -> HttpResponse {
    let name = &state.served_name;
    let mut data = vec![card(&state, name, None)];
    if name != HONE {
        data.push(card(&state, HONE, None));
    }
    data.push(card(&state, &format!("{name}:base"), None));
    for view in state.registry.list() {
        if !matches!(view.state, AdapterState::Staged | AdapterState::Rejected) {
            // Clients that know vLLM look for the bare name.
            let called = view.name.clone().unwrap_or_else(|| format!("{name}:{}", view.id));
            data.push(card(&state, &called, Some(&view)));
        }
    }
    HttpResponse::Ok().json(Models { object: "list", data })
}

/// One name.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai",
    security(("api_key" = [])),
    params(("id" = String, Path, description = "What would be sent as `model`")),
    responses((status = 200, description = "The name exists", body = ModelCard),
        (status = 404, description = "No such model", body = ErrorBody)))]
pub(crate) async fn get(
    _caller: May<to::Look>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let view = match route::meaning(&state, &id)? {
        Meaning::Live | Meaning::Base => None,
        Meaning::Adapter(adapter) => {
            let view = state.registry.get(&AdapterRef::Id(adapter));
            Some(view.map_err(|_| ApiError::model_not_found(&id))?)
        }
    };
    Ok(HttpResponse::Ok().json(card(&state, &id, view.as_ref())))
}

/// Deletes an adapter by any of its names; never the served model or its base.
#[utoipa::path(delete, path = "/v1/models/{id}", tag = "openai",
    security(("api_key" = ["adapters"])),
    params(("id" = String, Path, description = "What would be sent as `model`, if it names an adapter")),
    responses((status = 200, description = "Gone", body = Deleted),
        (status = 404, description = "No such model", body = ErrorBody),
        (status = 409, description = "It serves, or is no adapter", body = ErrorBody)))]
pub(crate) async fn delete(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let Meaning::Adapter(adapter) = route::meaning(&state, &id)? else {
        let message =
            format!("`{id}` is no adapter but the served model; only adapters are deleted");
        return Err(ApiError::conflict(message).param("model"));
    };
    state.control.delete_adapter(&caller, AdapterRef::Id(adapter)).await?;
    Ok(HttpResponse::Ok().json(Deleted::new(id.into_inner(), "model")))
}

fn card(state: &AppState, id: &str, adapter: Option<&AdapterView>) -> ModelCard {
    let abilities = state.engine.abilities();
    let created = adapter.map_or_else(|| state.started.seconds(), |view| view.created_at);
    ModelCard {
        id: id.to_owned(),
        object: "model".to_owned(),
        created,
        owned_by: "hone".to_owned(),
        root: adapter.map_or_else(|| state.served_name.clone(), |view| view.id.to_string()),
        parent: adapter.map(|_| state.served_name.clone()),
        max_model_len: state.limits.context,
        generation_config: state.defaults,
        engine: abilities.engine.to_owned(),
        lacks: abilities.lacks().into_iter().map(str::to_owned).collect(),
        permission: vec![ModelPermission::to_ask(id, created)],
    }
}

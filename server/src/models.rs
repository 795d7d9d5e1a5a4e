//! `/v1/models`: every name that may be asked.

use actix_web::{HttpResponse, web};
use hone_api::AdapterRef;
use hone_api::adapter::{AdapterState, AdapterView};
use hone_api::error::ErrorBody;
use hone_api::model_card::ModelCard;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ApiError;
use crate::route::{self, HONE, Meaning};
use crate::state::AppState;

/// The answer of `GET /v1/models`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Models {
    object: &'static str,
    data: Vec<ModelCard>,
}

/// Lists the served model, its base, and its adapters.
#[utoipa::path(get, path = "/v1/models", tag = "openai",
    responses((status = 200, description = "All names", body = Models)))]
pub(crate) async fn list(state: web::Data<AppState>) -> HttpResponse {
    let name = &state.served_name;
    let mut data = vec![card(&state, name, None)];
    if name != HONE {
        data.push(card(&state, HONE, None));
    }
    data.push(card(&state, &format!("{name}:base"), None));
    for view in state.registry.list() {
        if !matches!(view.state, AdapterState::Staged | AdapterState::Rejected) {
            let called = view.name.clone().unwrap_or_else(|| view.id.to_string());
            data.push(card(&state, &format!("{name}:{called}"), Some(&view)));
        }
    }
    HttpResponse::Ok().json(Models { object: "list", data })
}

/// One name.
#[utoipa::path(get, path = "/v1/models/{id}", tag = "openai",
    params(("id" = String, Path, description = "What would be sent as `model`")),
    responses((status = 200, description = "The name exists", body = ModelCard),
        (status = 404, description = "No such model", body = ErrorBody)))]
pub(crate) async fn get(
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

fn card(state: &AppState, id: &str, adapter: Option<&AdapterView>) -> ModelCard {
    ModelCard {
        id: id.to_owned(),
        object: "model".to_owned(),
        created: adapter.map_or_else(|| state.started.seconds(), |view| view.created_at),
        owned_by: "hone".to_owned(),
        root: adapter.map_or_else(|| state.served_name.clone(), |view| view.id.to_string()),
        parent: adapter.map(|_| state.served_name.clone()),
        max_model_len: state.limits.context,
    }
}

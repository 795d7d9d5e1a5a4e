//! `/v1/load_lora_adapter` and `/v1/unload_lora_adapter`, in vLLM's shapes and error shapes.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use hone_api::fields::Fields;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::body::Json;
use crate::caller::{May, to};
use crate::control::{ControlError, LoadLora};
use crate::error::ApiError;
use crate::key_ring::without_secrets;
use crate::state::AppState;

/// The body of `POST /v1/load_lora_adapter`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // describes what `load` reads field by field
pub(crate) struct LoadRequest {
    /// The name to ask for it by.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    lora_name: String,
    /// A path below the drop folder.
    #[schema(min_length = 1)]
    lora_path: String,
    /// Replace an adapter of the same name.
    load_inplace: Option<bool>,
}

/// The body of `POST /v1/unload_lora_adapter`.
#[derive(ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)] // describes what `unload` reads field by field
pub(crate) struct UnloadRequest {
    /// The name it was loaded under.
    #[schema(min_length = 1)]
    lora_name: String,
    /// Accepted for vLLM's clients; says nothing here.
    lora_int_id: Option<i64>,
}

/// vLLM's error: `code` is the status.
#[derive(Serialize, ToSchema)]
pub(crate) struct VllmError {
    error: VllmDetail,
}

/// What went wrong.
#[derive(Serialize, ToSchema)]
pub(crate) struct VllmDetail {
    message: String,
    /// `InvalidUserInput`, `NotFoundError` or `InternalServerError`.
    r#type: &'static str,
    param: Option<String>,
    code: u16,
}

/// Imports an adapter from the drop folder and loads it.
#[utoipa::path(post, path = "/v1/load_lora_adapter", tag = "adapters",
    security(("api_key" = ["adapters"])), request_body = LoadRequest,
    responses((status = 200, description = "Loaded", content_type = "text/plain", body = String),
        (status = 400, description = "A field is missing, the name is taken or live, or the folder \
            is refused", body = VllmError),
        (status = 404, description = "No such folder", body = VllmError),
        (status = 429, description = "As many adapters are kept as may be", body = VllmError),
        (status = 500, description = "Hone is at fault", body = VllmError)))]
pub(crate) async fn load(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    body: Result<Json, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let body = match parsed(body)? {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    let (mut name, mut path, mut in_place) = (None, None, false);
    let read = Fields::new(body).and_then(|mut fields| {
        name = text(&mut fields, "lora_name")?;
        path = text(&mut fields, "lora_path")?;
        in_place = fields.take("load_inplace")?.unwrap_or(false);
        fields.finish()
    });
    if let Err(invalid) = read {
        return Ok(invalid_input(invalid.message));
    }
    let (Some(name), Some(path)) = (name, path) else {
        return Ok(invalid_input("Both 'lora_name' and 'lora_path' must be provided."));
    };
    let done = format!("Success: LoRA adapter '{name}' added successfully.");
    Ok(match state.control.load_lora(&caller, LoadLora { name, path, in_place }).await {
        Ok(()) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(done),
        Err(error) => refused(error),
    })
}

/// Takes an adapter out; its name is free again.
#[utoipa::path(post, path = "/v1/unload_lora_adapter", tag = "adapters",
    security(("api_key" = ["adapters"])),
    request_body = UnloadRequest,
    responses((status = 200, description = "Gone", content_type = "text/plain", body = String),
        (status = 400, description = "A field is missing, or the adapter serves", body = VllmError),
        (status = 404, description = "No such adapter", body = VllmError),
        (status = 500, description = "Hone is at fault", body = VllmError)))]
pub(crate) async fn unload(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    body: Result<Json, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let body = match parsed(body)? {
        Ok(body) => body,
        Err(refusal) => return Ok(refusal),
    };
    let mut name = None;
    let read = Fields::new(body).and_then(|mut fields| {
        name = text(&mut fields, "lora_name")?;
        let _: Option<Value> = fields.take("lora_int_id")?;
        fields.finish()
    });
    if let Err(invalid) = read {
        return Ok(invalid_input(invalid.message));
    }
    let Some(name) = name else {
        let message = "'lora_name' needs to be provided to unload a LoRA adapter.";
        return Ok(invalid_input(message));
    };
    let done = format!("Success: LoRA adapter '{name}' removed successfully.");
    Ok(match state.control.unload_lora(&caller, name).await {
        Ok(()) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(done),
        Err(error) => refused(error),
    })
}

/// A body that is no JSON is told in vLLM's shape too.
fn parsed(body: Result<Json, ApiError>) -> Result<Result<Value, HttpResponse>, ApiError> {
    match body {
        Ok(body) => Ok(Ok(body.0)),
        Err(error) if error.status() == StatusCode::BAD_REQUEST => {
            Ok(Err(invalid_input(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// A text field; an empty one counts as missing.
fn text(fields: &mut Fields, name: &str) -> Result<Option<String>, hone_api::error::Invalid> {
    Ok(fields.take::<String>(name)?.filter(|text| !text.is_empty()))
}

fn invalid_input(message: impl Into<String>) -> HttpResponse {
    answer(StatusCode::BAD_REQUEST, "InvalidUserInput", message.into())
}

fn refused(error: ControlError) -> HttpResponse {
    match error {
        ControlError::NotFound(message) => answer(StatusCode::NOT_FOUND, "NotFoundError", message),
        ControlError::Conflict(message)
        | ControlError::Invalid { message, .. }
        | ControlError::Refused(message) => invalid_input(message),
        error => {
            let error = ApiError::from(error);
            answer(error.status(), "InternalServerError", error.to_string())
        }
    }
}

fn answer(status: StatusCode, kind: &'static str, message: String) -> HttpResponse {
    let message = without_secrets(&message).into_owned();
    let error = VllmDetail { message, r#type: kind, param: None, code: status.as_u16() };
    HttpResponse::build(status).json(VllmError { error })
}

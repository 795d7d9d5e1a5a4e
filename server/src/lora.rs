//! `/v1/load_lora_adapter` and `/v1/unload_lora_adapter`, in vLLM's shapes and error shapes.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use hone_api::error::Invalid;
use hone_api::fields::Fields;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::body::Json;
use crate::control::{ControlResult, LoadLora};
use crate::control_error::ControlError;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::secrets::without_secrets;
use crate::state::AppState;

/// The body of `POST /v1/load_lora_adapter`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LoadRequest {
    /// The name to ask for it by.
    #[schema(pattern = "^[A-Za-z0-9](\\.?[A-Za-z0-9_-])*\\.?$", max_length = 64)]
    lora_name: String,
    /// A path below the drop folder.
    #[schema(
        pattern = "^([A-Za-z0-9](\\.?[A-Za-z0-9_-]){0,31}/)*[A-Za-z0-9](\\.?[A-Za-z0-9_-]){0,31}/?$"
    )]
    lora_path: String,
    /// Replace an adapter of the same name.
    load_inplace: Option<bool>,
}

impl LoadRequest {
    fn from_json(body: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body)?;
        let (name, path) = (text(&mut fields, "lora_name")?, text(&mut fields, "lora_path")?);
        let load_inplace = fields.take("load_inplace")?;
        fields.finish()?;
        let missing = || Invalid::new("Both 'lora_name' and 'lora_path' must be provided.");
        let (lora_name, lora_path) = name.zip(path).ok_or_else(missing)?;
        Ok(Self { lora_name, lora_path, load_inplace })
    }
}

/// The body of `POST /v1/unload_lora_adapter`.
#[derive(Debug, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct UnloadRequest {
    /// The name it was loaded under.
    #[schema(min_length = 1)]
    lora_name: String,
    /// Accepted for vLLM's clients; says nothing here.
    lora_int_id: Option<i64>,
}

impl UnloadRequest {
    fn from_json(body: Value) -> Result<Self, Invalid> {
        let mut fields = Fields::new(body)?;
        let name = text(&mut fields, "lora_name")?;
        let lora_int_id = fields.whole("lora_int_id", i64::MIN, i64::MAX)?;
        fields.finish()?;
        let missing = "'lora_name' needs to be provided to unload a LoRA adapter.";
        Ok(Self { lora_name: name.ok_or_else(|| Invalid::new(missing))?, lora_int_id })
    }
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
    /// `InvalidUserInput` or `NotFoundError`.
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
        (status = 404, description = "No such folder", body = VllmError)))]
pub(crate) async fn load(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    body: Result<Json, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let LoadRequest { lora_name: name, lora_path: path, load_inplace } =
        match read(body, LoadRequest::from_json)? {
            Ok(request) => request,
            Err(refusal) => return Ok(refusal),
        };
    let done = format!("Success: LoRA adapter '{name}' added successfully.");
    let load = LoadLora { name, path, in_place: load_inplace.unwrap_or(false) };
    answered(state.control.load_lora(&caller, load).await, done)
}

/// Takes an adapter out; its name is free again.
#[utoipa::path(post, path = "/v1/unload_lora_adapter", tag = "adapters",
    security(("api_key" = ["adapters"])),
    request_body = UnloadRequest,
    responses((status = 200, description = "Gone", content_type = "text/plain", body = String),
        (status = 400, description = "A field is missing, or the adapter serves", body = VllmError),
        (status = 404, description = "No such adapter", body = VllmError)))]
pub(crate) async fn unload(
    caller: May<to::Adapters>,
    state: web::Data<AppState>,
    body: Result<Json, ApiError>,
) -> Result<HttpResponse, ApiError> {
    let name = match read(body, UnloadRequest::from_json)? {
        Ok(request) => request.lora_name,
        Err(refusal) => return Ok(refusal),
    };
    let done = format!("Success: LoRA adapter '{name}' removed successfully.");
    answered(state.control.unload_lora(&caller, name).await, done)
}

/// Reads a body; what is wrong with it is told in vLLM's shape, also that it is no JSON.
fn read<T>(
    body: Result<Json, ApiError>,
    request: impl FnOnce(Value) -> Result<T, Invalid>,
) -> Result<Result<T, HttpResponse>, ApiError> {
    match body {
        Ok(body) => Ok(request(body.value).map_err(|invalid| invalid_input(invalid.message))),
        Err(error) if error.status() == StatusCode::BAD_REQUEST => {
            Ok(Err(invalid_input(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// A text field; an empty one counts as missing.
fn text(fields: &mut Fields, name: &str) -> Result<Option<String>, Invalid> {
    Ok(fields.take::<String>(name)?.filter(|text| !text.is_empty()))
}

fn invalid_input(message: impl Into<String>) -> HttpResponse {
    answer(StatusCode::BAD_REQUEST, "InvalidUserInput", message.into())
}

/// What vLLM has no answer for is told as everywhere.
fn answered(done: ControlResult<()>, words: String) -> Result<HttpResponse, ApiError> {
    match done {
        Ok(()) => Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(words)),
        Err(ControlError::NotFound(message)) => {
            Ok(answer(StatusCode::NOT_FOUND, "NotFoundError", message))
        }
        Err(
            ControlError::Conflict(message)
            | ControlError::Invalid { message, .. }
            | ControlError::Refused(message),
        ) => Ok(invalid_input(message)),
        Err(error) => Err(error.into()),
    }
}

fn answer(status: StatusCode, kind: &'static str, message: String) -> HttpResponse {
    let message = without_secrets(&message).into_owned();
    let error = VllmDetail { message, r#type: kind, param: None, code: status.as_u16() };
    HttpResponse::build(status).json(VllmError { error })
}

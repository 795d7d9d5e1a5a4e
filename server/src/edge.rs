//! Around every request: its id, its span, its figures, and who is turned away at the door.

use std::borrow::Cow;
use std::time::Instant;

use actix_web::body::{EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::{Error, ResponseError, web};
use tracing::Instrument;

use crate::error::ApiError;
use crate::secrets::without_secrets;
use crate::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The outermost middleware.
pub(crate) async fn edge<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B>>, Error> {
    let began = Instant::now();
    let id = request_id(&request);
    let state = request.app_data::<web::Data<AppState>>().cloned();
    let span = tracing::info_span!(
        "request", id = %id.to_str().unwrap_or_default(), method = %request.method(),
        path = %without_secrets(request.path())
    );
    let mut response = match state.as_ref().and_then(|state| refusal(&request, state)) {
        Some(refusal) => {
            if let (Some(state), Some(reason)) = (&state, refusal.word()) {
                state.metrics.rejected.with_label_values(&[reason]).inc();
            }
            request.into_response(refusal.error_response()).map_into_right_body()
        }
        None => next.call(request).instrument(span).await?.map_into_left_body(),
    };
    response.headers_mut().insert(REQUEST_ID, id);
    if let Some(state) = state {
        let pattern = response.request().match_pattern();
        let route = pattern.as_deref().map_or("unknown".into(), route);
        state.metrics.request(&route, response.status().as_u16(), began.elapsed());
    }
    Ok(response)
}

/// A path's pattern as people write it: `/v1/models/{id}`, whatever `id` may consist of.
fn route(pattern: &str) -> Cow<'_, str> {
    match pattern.split_once(':') {
        Some((name, _)) if name.contains('{') => format!("{name}}}").into(),
        _ => pattern.into(),
    }
}

/// The client's id, if it is a sane one, else a new one.
fn request_id(request: &ServiceRequest) -> HeaderValue {
    let sane = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=128).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(b))
    };
    request.headers().get(&REQUEST_ID).filter(sane).cloned().unwrap_or_else(|| {
        let id = format!("req-{}", uuid::Uuid::now_v7().simple());
        HeaderValue::from_str(&id).unwrap_or_else(|_| HeaderValue::from_static("req"))
    })
}

/// Why a request is turned away before anybody looks at it.
fn refusal(request: &ServiceRequest, state: &AppState) -> Option<ApiError> {
    if let Some(refusal) = state.entry.door.refusal(request.request()) {
        return Some(refusal);
    }
    // What users say of an answer that is just ending is taken to the last.
    let always = [
        "/livez",
        "/readyz",
        "/startupz",
        "/health",
        "/ping",
        "/version",
        "/metrics",
        "/feedback",
        "/v1/feedback",
    ];
    let closed = state.gate.draining.is_cancelled() && !always.contains(&request.path());
    closed.then(ApiError::shutting_down)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn figures_name_paths_without_their_patterns() {
        assert_eq!(route("/v1/models/{id:.+}"), "/v1/models/{id}");
        assert_eq!(route("/v1/cycles/{id}/events"), "/v1/cycles/{id}/events");
    }

    #[test]
    fn only_sane_ids_are_echoed() {
        let id = |value: &str| {
            request_id(&TestRequest::get().insert_header(("x-request-id", value)).to_srv_request())
        };
        assert_eq!(id("abc-1.2_3:4"), "abc-1.2_3:4");
        assert_ne!(id("a b"), "a b");
        assert_ne!(id(&"x".repeat(200)), "x".repeat(200).as_str());
    }
}

//! Probes. They mean three different things; liveness never depends on the disk or on training.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::AppState;

/// The answer of a probe.
#[derive(Serialize, ToSchema)]
pub(crate) struct Probe {
    /// `ok`, or what is wrong.
    status: String,
}

fn answer(wrong: Option<&str>) -> HttpResponse {
    let mut response = match wrong {
        None => HttpResponse::Ok(),
        Some(_) => HttpResponse::ServiceUnavailable(),
    };
    response.json(Probe { status: wrong.unwrap_or("ok").to_owned() })
}

/// Whether the process should live on: the engine made a step lately, or has nothing to do.
#[utoipa::path(get, path = "/livez", tag = "operation",
    responses((status = 200, description = "Yes", body = Probe),
        (status = 503, description = "Restart it", body = Probe)))]
pub(crate) async fn live(state: web::Data<AppState>) -> HttpResponse {
    answer(state.engine.health().fault())
}

/// Whether it may take traffic: it takes requests, and what it would keep of them can be kept.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, description = "Yes", body = Probe),
        (status = 503, description = "Send requests elsewhere", body = Probe)))]
pub(crate) async fn ready(state: web::Data<AppState>) -> HttpResponse {
    let health = state.engine.health();
    if state.gate.draining.is_cancelled() {
        answer(Some("shutting down"))
    } else if !(health.alive && health.accepting) {
        answer(Some("the engine accepts no requests"))
    } else {
        let gone = state.store.check_presence().err().map(|error| error.to_string());
        answer(gone.as_deref())
    }
}

/// The same, under the name that load balancers of other servers know.
#[utoipa::path(get, path = "/health", tag = "operation",
    responses((status = 200, description = "It may take traffic", body = Probe),
        (status = 503, description = "Send requests elsewhere", body = Probe)))]
pub(crate) async fn health(state: web::Data<AppState>) -> HttpResponse {
    ready(state).await
}

/// The same, under one more such name.
#[utoipa::path(get, path = "/ping", tag = "operation",
    responses((status = 200, description = "It may take traffic", body = Probe),
        (status = 503, description = "Send requests elsewhere", body = Probe)))]
pub(crate) async fn ping(state: web::Data<AppState>) -> HttpResponse {
    ready(state).await
}

/// The answer of `/version`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Version {
    /// Hone's.
    version: &'static str,
}

/// Which Hone this is.
#[utoipa::path(get, path = "/version", tag = "operation",
    responses((status = 200, description = "Its version", body = Version)))]
pub(crate) async fn version() -> HttpResponse {
    HttpResponse::Ok().json(Version { version: env!("CARGO_PKG_VERSION") })
}

/// Whether the model is loaded. The server listens only when it is.
#[utoipa::path(get, path = "/startupz", tag = "operation",
    responses((status = 200, description = "Yes", body = Probe)))]
pub(crate) async fn started() -> HttpResponse {
    answer(None)
}

//! Probes. They mean three different things; liveness never depends on the disk or on training.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use crate::state::AppState;

/// A worker that has work but makes no step for so long hangs.
const STUCK: Duration = Duration::from_secs(30);

/// The answer of a probe.
#[derive(Serialize, ToSchema)]
pub(crate) struct Probe {
    /// `ok`, or what is wrong.
    status: &'static str,
}

fn answer(wrong: Option<&'static str>) -> HttpResponse {
    match wrong {
        None => HttpResponse::Ok().json(Probe { status: "ok" }),
        Some(status) => HttpResponse::ServiceUnavailable().json(Probe { status }),
    }
}

/// Whether the process should live on: the engine made a step lately, or has nothing to do.
#[utoipa::path(get, path = "/livez", tag = "operation",
    responses((status = 200, description = "Yes", body = Probe),
        (status = 503, description = "Restart it", body = Probe)))]
pub(crate) async fn live(state: web::Data<AppState>) -> HttpResponse {
    let health = state.engine.health();
    let busy = health.running + health.waiting > 0;
    let stuck = busy && health.last_step_age.is_some_and(|age| age > STUCK);
    answer(if !health.alive {
        Some("the engine's thread has ended")
    } else if stuck {
        Some("the engine makes no steps")
    } else {
        None
    })
}

/// Whether it may take traffic.
#[utoipa::path(get, path = "/readyz", tag = "operation",
    responses((status = 200, description = "Yes", body = Probe),
        (status = 503, description = "Send requests elsewhere", body = Probe)))]
pub(crate) async fn ready(state: web::Data<AppState>) -> HttpResponse {
    let health = state.engine.health();
    answer(if state.gate.draining.is_cancelled() {
        Some("shutting down")
    } else if !(health.alive && health.accepting) {
        Some("the engine accepts no requests")
    } else {
        None
    })
}

/// Whether the model is loaded. The server listens only when it is.
#[utoipa::path(get, path = "/startupz", tag = "operation",
    responses((status = 200, description = "Yes", body = Probe)))]
pub(crate) async fn started() -> HttpResponse {
    answer(None)
}

//! `/metrics`.

use actix_web::{HttpResponse, web};

use crate::error::ApiError;
use crate::may::{May, to};
use crate::state::AppState;

/// Takes what others count.
fn sample(state: &AppState) {
    let metrics = &state.metrics;
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let health = state.engine.health();
    metrics.queue_depth.set(count(health.waiting));
    metrics.running.set(count(health.running));
    metrics.kv_bytes.set(count(health.kv_bytes));
    metrics.prefix_bytes.set(count(health.prefix_bytes));
    for (counter, total) in [
        (&metrics.prefix_queries, health.prefix_queries),
        (&metrics.prefix_hits, health.prefix_hits),
        (&metrics.draft_tokens, health.draft_tokens),
        (&metrics.accepted_tokens, health.accepted_tokens),
        (&metrics.preempted, health.preempted),
        (&metrics.warmed_tokens, health.warmed_tokens),
    ] {
        counter.inc_by(total.saturating_sub(counter.get()));
    }
    metrics.steps.set(i64::try_from(health.steps).unwrap_or(i64::MAX));
    metrics.live_epoch.set(i64::try_from(state.registry.live().epoch).unwrap_or(i64::MAX));
    metrics.adapters.reset();
    for view in state.registry.list() {
        let word = serde_json::to_value(view.state).unwrap_or_default();
        let labels = [view.id.to_string(), word.as_str().unwrap_or_default().to_owned()];
        metrics.adapters.with_label_values(&labels).set(1);
    }
}

/// Figures in Prometheus' text format. With `telemetry.metrics_listen` they are at an address of their own instead.
#[utoipa::path(get, path = "/metrics", tag = "operation",
    security(("api_key" = [])),
    responses((status = 200, description = "Figures", content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(
    _caller: May<to::Look>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    text(state).await
}

/// The same for who needs no key.
pub(crate) async fn text(state: web::Data<AppState>) -> Result<HttpResponse, ApiError> {
    sample(&state);
    let text = state.metrics.encoded().map_err(ApiError::internal)?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

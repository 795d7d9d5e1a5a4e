//! Pages without scripts and without the network; one of them says how things are.

use std::fmt::Write;

use actix_web::{HttpResponse, web};

use crate::error::ApiError;
use crate::may::{May, to};
use crate::state::AppState;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#1a1a1a;background:#fff}code,pre{font:14px/1.4 ui-monospace,monospace}\
    pre{background:#f4f4f4;padding:.8rem;overflow:auto}summary{cursor:pointer;padding:.2rem 0}\
    .m{display:inline-block;width:4.5rem;font-weight:700}td,th{text-align:left;padding:.1rem .8rem \
    .1rem 0;vertical-align:top}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}\
    pre{background:#242424}a{color:#8ab4f8}}";

/// A page with a title and a body.
pub(crate) fn page(title: &str, body: &str) -> HttpResponse {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style>{body}</html>"
    );
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header(("content-security-policy", "default-src 'none'; style-src 'unsafe-inline'"))
        .insert_header(("x-content-type-options", "nosniff"))
        .body(html)
}

/// A text as HTML shows it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// How things are. The operators' console takes its place later.
#[utoipa::path(get, path = "/", tag = "operation",
    security(("api_key" = [])),
    responses((status = 200, description = "HTML", content_type = "text/html", body = String)))]
pub(crate) async fn status(
    _caller: May<to::Look>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let counts = state.store.counts().await?;
    let (health, pointer) = (state.engine.health(), state.registry.live());
    let live =
        pointer.live.map_or_else(|| "the base, without an adapter".to_owned(), |id| id.to_string());
    let feedback: u64 = counts.feedback.values().sum();
    let mut body = String::from("<h1>Hone</h1><table>");
    for (name, value) in [
        ("model", state.served_name.clone()),
        ("serves", format!("{live} (epoch {})", pointer.epoch)),
        ("adapters", state.registry.list().len().to_string()),
        ("running, waiting", format!("{}, {}", health.running, health.waiting)),
        ("answers kept", counts.interactions.to_string()),
        ("feedback kept", feedback.to_string()),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ] {
        let _ = write!(body, "<tr><th>{name}<td>{}", escape(&value));
    }
    body.push_str(
        "</table><p><a href=\"/docs\">API</a> · <a href=\"/v1/adapters\">adapters</a> · \
         <a href=\"/v1/cycles\">cycles</a> · <a href=\"/metrics\">metrics</a></p>",
    );
    Ok(page("Hone", &body))
}

//! Two pages without scripts and without the network: what the API offers, and how things are.

use std::fmt::Write;

use actix_web::{HttpResponse, web};
use serde_json::Value;

use crate::caller::{May, to};
use crate::error::ApiError;
use crate::openapi;
use crate::state::AppState;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#1a1a1a;background:#fff}code,pre{font:14px/1.4 ui-monospace,monospace}\
    pre{background:#f4f4f4;padding:.8rem;overflow:auto}summary{cursor:pointer;padding:.2rem 0}\
    .m{display:inline-block;width:4.5rem;font-weight:700}td,th{text-align:left;padding:.1rem .8rem \
    .1rem 0;vertical-align:top}@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}\
    pre{background:#242424}a{color:#8ab4f8}}";

fn page(title: &str, body: &str) -> HttpResponse {
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

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A page that lists all operations of the OpenAPI document.
#[utoipa::path(get, path = "/docs", tag = "operation",
    security(("api_key" = [])),
    responses((status = 200, description = "HTML", content_type = "text/html", body = String)))]
pub(crate) async fn docs(
    _caller: May<to::Look>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let document: Value =
        serde_json::from_str(openapi::text(&state)).map_err(ApiError::internal)?;
    let mut body = String::from(
        "<h1>Hone's API</h1><p>The whole document: <a href=\"/openapi.json\">openapi.json</a>.</p>",
    );
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = tag["name"].as_str().unwrap_or_default();
        let words = escape(tag["description"].as_str().unwrap_or_default());
        let _ = write!(body, "<h2>{}</h2><p>{words}</p>", escape(name));
        for (path, item) in document["paths"].as_object().into_iter().flatten() {
            for (method, operation) in item.as_object().into_iter().flatten() {
                if operation["tags"][0] == name {
                    describe(&mut body, path, method, operation);
                }
            }
        }
    }
    body.push_str("<h2>Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let (name, schema) = (escape(name), escape(&format!("{schema:#}")));
        let _ = write!(
            body,
            "<details id=\"{name}\"><summary><code>{name}</code></summary><pre>{schema}</pre></details>"
        );
    }
    Ok(page("Hone's API", &body))
}

fn describe(body: &mut String, path: &str, method: &str, operation: &Value) {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let summary = text(&operation["summary"]);
    let _ = write!(
        body,
        "<details><summary><code><span class=\"m\">{}</span>{}</code> {summary}</summary><table>",
        method.to_uppercase(),
        escape(path)
    );
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let (name, place) = (text(&parameter["name"]), text(&parameter["in"]));
        let words = text(&parameter["description"]);
        let _ = write!(body, "<tr><td><code>{name}</code><td>{place}<td>{words}");
    }
    if let Some(schema) = schema_name(&operation["requestBody"]["content"]) {
        let _ = write!(body, "<tr><td>body<td colspan=2><a href=\"#{schema}\">{schema}</a>");
    }
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let words = text(&response["description"]);
        let link = schema_name(&response["content"])
            .map(|name| format!("<a href=\"#{name}\">{name}</a>"))
            .unwrap_or_default();
        let _ = write!(body, "<tr><td><code>{status}</code><td>{link}<td>{words}");
    }
    body.push_str("</table></details>");
}

fn schema_name(content: &Value) -> Option<String> {
    let schema = &content.as_object()?.values().next()?["schema"];
    let reference = schema["$ref"].as_str().or_else(|| schema["oneOf"][1]["$ref"].as_str())?;
    reference.rsplit('/').next().map(escape)
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

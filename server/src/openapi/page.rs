//! The document as a page, without scripts and without the network.

use std::fmt::Write;

use actix_web::{HttpResponse, web};
use serde_json::Value;

use super::text as document_text;
use crate::error::ApiError;
use crate::may::{May, to};
use crate::pages::{escape, page};
use crate::state::AppState;

/// A page that lists all operations of the OpenAPI document.
#[utoipa::path(get, path = "/docs", tag = "operation",
    security(("api_key" = [])),
    responses((status = 200, description = "HTML", content_type = "text/html", body = String)))]
pub(crate) async fn docs(
    _caller: May<to::Look>,
    state: web::Data<AppState>,
) -> Result<HttpResponse, ApiError> {
    let document: Value =
        serde_json::from_str(document_text(&state)).map_err(ApiError::internal)?;
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

//! The OpenAPI 3.1 document, made from the handlers themselves.

mod conditions;
pub(crate) mod model;
pub(crate) mod page;
mod together;

use actix_web::http::header::ContentType;
use actix_web::{HttpResponse, web};
use hone_api::chat::Chunk;
use hone_api::cycle::CycleEvent;
use hone_api::error::ErrorBody;
use utoipa::openapi::header::Header;
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, ResponseBuilder, Schema};
use utoipa::{Modify, OpenApi};

use crate::documents::Documents;
use crate::may::{May, to};
use crate::query::OrderWord;
use crate::state::AppState;
use crate::{
    adapters, audit, chat, completions, cycles, embeddings, erasure, evals, feedback, health,
    interactions, keys, lora, metrics_page, models, pages, replay, responses, stored, tokenize,
    tokenizer_info, waiting,
};
use model::Described;

#[derive(OpenApi)]
#[openapi(
    info(title = "Hone", description = "A model that learns from its users' corrections, behind \
        OpenAI's API."),
    paths(
        chat::create, stored::list, stored::get, stored::update, stored::delete, stored::messages,
        completions::create, responses::create, responses::get, responses::list_input, responses::delete, embeddings::create, models::list, models::get, models::delete, tokenize::tokenize, tokenize::detokenize,
        tokenizer_info::get,
        feedback::create, feedback::list, waiting::list, waiting::discard, interactions::list, interactions::get, replay::replay,
        erasure::recall_interaction, erasure::erase_interaction, erasure::recall_user, erasure::erase_user,
        adapters::list, adapters::import, adapters::get, adapters::delete, adapters::promote,
        adapters::rollback, lora::load, lora::unload,
        cycles::start, cycles::list, cycles::get, cycles::cancel, cycles::events,
        evals::start, evals::get,
        keys::list, keys::create, keys::revoke, audit::list,
        metrics_page::metrics, health::live, health::ready, health::started, health::health, health::ping,
        health::version, document,
        page::docs, pages::status,
    ),
    components(schemas(ErrorBody, Chunk, CycleEvent, OrderWord)),
    tags(
        (name = "openai", description = "As OpenAI's clients know it"),
        (name = "feedback", description = "What users said, and of what"),
        (name = "adapters", description = "What serves, and what could"),
        (name = "cycles", description = "Training and evaluation"),
        (name = "keys", description = "Who may call"),
        (name = "operation", description = "Probes, figures, pages"),
    ),
    modifiers(&ApiKey, &CommonErrors, &Headers, &Parameters, &Aliases)
)]
struct Document;

/// Paths that need no key: whoever asks whether the daemon is well has none.
pub(crate) const PUBLIC: [&str; 6] =
    ["/livez", "/readyz", "/startupz", "/health", "/ping", "/version"];

/// Paths that do the same as others.
pub(crate) const ALIASES: [(&str, &str); 3] = [
    ("/feedback", "/v1/feedback"),
    ("/tokenize", "/v1/tokenize"),
    ("/detokenize", "/v1/detokenize"),
];

/// How callers say who they are. Which scope an operation needs stands with its handler.
struct ApiKey;

impl Modify for ApiKey {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let words = "An API key (`hone keys create`). The scopes of an operation are those that the key needs; none: any key \
                     will do. While no key was made, none is needed";
        let scheme =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("hone-<id>-<secret>");
        let scheme = SecurityScheme::Http(scheme.description(Some(words)).build());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("api_key", scheme);
    }
}

struct Aliases;

impl Modify for Aliases {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (alias, path) in ALIASES {
            let Some(mut item) = document.paths.paths.get(path).cloned() else { continue };
            for operation in [&mut item.post, &mut item.get].into_iter().flatten() {
                operation.operation_id =
                    operation.operation_id.as_ref().map(|id| format!("{id}_short"));
            }
            if alias == "/feedback" {
                item.get = None;
            }
            document.paths.paths.insert(alias.to_owned(), item);
        }
    }
}

/// Answers that many routes can give.
struct CommonErrors;

impl Modify for CommonErrors {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in
                [("get", &mut item.get), ("post", &mut item.post), ("delete", &mut item.delete)]
            {
                let Some(operation) = operation else { continue };
                // Two operations of one module would have the same name otherwise.
                let words = path.replace(['/', '{', '}', '.'], "_");
                operation.operation_id = Some(format!("{method}{}", words.trim_end_matches('_')));
                let reads = operation.request_body.is_some();
                let public = PUBLIC.contains(&path.as_str());
                let probe = public || path == "/metrics";
                for (status, applies, words) in [
                    ("400", true, "The request is wrong; `param` names the field, if it is one"),
                    (
                        "401",
                        !public,
                        "There are API keys, and this is none of them; 429 after too many such requests",
                    ),
                    (
                        "403",
                        true,
                        "The API key lacks the scope; a page of another origin; another name than this machine's",
                    ),
                    ("429", !public, "The API key's limit, or a full queue; see `retry-after`"),
                    ("408", reads, "The body was not there in time"),
                    ("413", reads, "The body is too long"),
                    ("415", reads, "The body has a `content-encoding`"),
                    ("500", true, "An error inside Hone"),
                    ("503", !probe, "Shutting down, or busy; see `retry-after`"),
                ] {
                    if applies {
                        add(operation, status, words);
                    }
                }
            }
        }
    }
}

/// Headers that answers have.
struct Headers;

impl Modify for Headers {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut document.paths.paths {
            let answers =
                ["/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/embeddings"]
                    .contains(&path.as_str());
            let stored =
                path.starts_with("/v1/chat/completions") || path.starts_with("/v1/responses");
            for (method, operation) in
                [("get", &mut item.get), ("post", &mut item.post), ("delete", &mut item.delete)]
            {
                let Some(operation) = operation else { continue };
                for (status, response) in &mut operation.responses.responses {
                    let RefOr::T(response) = response else { continue };
                    let (good, names) = (status.as_str() == "200", &mut response.headers);
                    for (name, applies, words) in [
                        ("x-request-id", true, "The client's, or a new one"),
                        (
                            "x-hone-adapter",
                            good && answers && method == "post",
                            "Who answered: an \
                            adapter's id, or `base`",
                        ),
                        (
                            "x-hone-ignored",
                            good && (answers || stored) && method != "delete",
                            "Fields or parameters that nobody knows, if there were any",
                        ),
                        (
                            "retry-after",
                            ["429", "503"].contains(&status.as_str()),
                            "Seconds; `retry-after-ms` is more exact",
                        ),
                        (
                            "x-should-retry",
                            ["409", "507"].contains(&status.as_str()),
                            "`false`: the same request would fail again",
                        ),
                    ] {
                        if applies {
                            let mut header = Header::default(); // a string
                            header.description = Some(words.to_owned());
                            names.insert(name.to_owned(), header.into());
                        }
                    }
                }
            }
        }
    }
}

/// A header can be left out, but it cannot be null.
struct Parameters;

impl Modify for Parameters {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let items = document.paths.paths.values_mut();
        let operations =
            items.flat_map(|item| [&mut item.get, &mut item.post, &mut item.delete]).flatten();
        for parameter in operations.flat_map(|operation| &mut operation.parameters).flatten() {
            if let RefOr::T(parameter) = parameter
                && let Some(RefOr::T(Schema::Object(schema))) = &mut parameter.schema
                && let SchemaType::Array(types) = &mut schema.schema_type
            {
                types.retain(|kind| *kind != Type::Null);
                if let [one] = types.as_slice() {
                    schema.schema_type = SchemaType::Type(one.clone());
                }
            }
        }
    }
}

fn add(operation: &mut Operation, status: &str, words: &str) {
    let schema = Ref::from_schema_name("ErrorBody");
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response =
        ResponseBuilder::new().description(words).content("application/json", content).build();
    operation.responses.responses.entry(status.to_owned()).or_insert_with(|| response.into());
}

/// Those of a daemon that serves this model.
fn documents(model: Described) -> Documents {
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_else(|error| {
        tracing::error!(%error, "the OpenAPI document cannot be written");
        serde_json::json!({})
    });
    conditions::add(&mut document);
    together::add(&mut document["components"]["schemas"]);
    model::add(&mut document["components"]["schemas"], model);
    let keyed = document.to_string();
    let paths = document["paths"].as_object_mut().into_iter().flat_map(|all| all.values_mut());
    for operation in
        paths.filter_map(|path| path.as_object_mut()).flat_map(|path| path.values_mut())
    {
        let ways = operation.get_mut("security").and_then(serde_json::Value::as_array_mut);
        if let Some(ways) = ways {
            ways.push(serde_json::json!({}));
        }
    }
    Documents { keyed, open: document.to_string() }
}

/// What a daemon tells now.
pub(crate) fn text(state: &AppState) -> &str {
    let width = state.engine.front_end().hidden_size;
    let model = Described { limits: state.limits, width };
    let documents = state.documents.get_or_init(|| documents(model));
    if state.keys.is_empty() { &documents.open } else { &documents.keyed }
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operation",
    security(("api_key" = [])),
    responses((status = 200, description = "OpenAPI 3.1", content_type = "application/json",
        body = serde_json::Value)))]
pub(crate) async fn document(_caller: May<to::Look>, state: web::Data<AppState>) -> HttpResponse {
    HttpResponse::Ok().insert_header(ContentType::json()).body(text(&state).to_owned())
}

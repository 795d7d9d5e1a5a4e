//! The HTTP surface: extract, call, map errors, stream, record.
//!
//! | module | one idea |
//! |---|---|
//! | [`control`] | what the API may ask of the daemon |
//! | [`state`] | what every handler can reach |
//! | [`error`] | every crate's error to a status and OpenAI's envelope |
//! | `edge` | around every request: id, span, figures |
//! | [`address`] `visitors` | where requests come from; how much an address may do |
//! | [`door`] | by which names and from which pages requests may come; CORS |
//! | `body` `query` | bodies and query strings, faults told by name |
//! | `bodies` | the memory that bodies share |
//! | `limits` | the gate that closes at shutdown; the room of a context |
//! | `route` | which adapter answers to a model name |
//! | `ask` `generate` | a checked request; from it to answers under way |
//! | `collect` `stream` | whole answers; server-sent events |
//! | `record` `private` | what was answered goes to the store, without personal data if so set |
//! | `replay` | a logged answer, computed again |
//! | [`caller`] `may` | who calls; whether it may, before a body is read |
//! | [`key_ring`] `key` `secrets` `keys` `meter` | API keys in memory; one of them; their secrets in other texts; their endpoint; how much each may do |
//! | [`source`] | who asks, and who says what |
//! | `chat` `responses` `completions` `embeddings` `stored` `models` `tokenize` `tokenizer_info` | OpenAI's endpoints |
//! | `feedback` `waiting` `interactions` `erasure` `adapters` `lora` `cycles` `evals` `audit` | Hone's |
//! | `bad_words` | words that answers must not have |
//! | `constraint` `grammar_source` `grammars` | what answers are held to becomes a grammar; its text; those that are kept |
//! | `tools` | a request's tools, and the calls of its answers |
//! | `tokenising` `places` | texts become tokens, within bounds |
//! | `too_long` | what a correction is too long for |
//! | [`tls`] `metrics_listener` | certificates that change while it serves; `/metrics` on an address of its own |
//! | `health` [`metrics`] `metrics_page` `openapi` `documents` `pages` | operation |
#![forbid(unsafe_code)]

mod adapters;
pub mod address;
mod ask;
mod audit;
mod bad_words;
mod bodies;
mod body;
pub mod caller;
mod chat;
mod collect;
mod completions;
mod constraint;
pub mod control;
pub mod control_error;
mod cycles;
mod deadline;
mod documents;
pub mod door;
mod edge;
mod embeddings;
mod erasure;
pub mod error;
mod evals;
mod feedback;
mod generate;
mod grammar_source;
mod grammars;
mod health;
mod interactions;
mod key;
pub mod key_ring;
mod keys;
mod limits;
mod lora;
mod may;
mod meter;
pub mod metrics;
mod metrics_listener;
mod metrics_page;
mod models;
mod nothing;
mod openapi;
mod pages;
mod phase;
mod places;
mod private;
mod query;
mod record;
mod replay;
mod responses;
mod route;
mod secrets;
pub mod source;
pub mod state;
mod stored;
mod stream;
pub mod tls;
mod token_text;
mod tokenising;
mod tokenize;
mod tokenizer_info;
mod too_long;
mod tools;
mod visitors;
mod waiting;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{ServerHandle, ServiceFactory, ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{Condition, from_fn};
use actix_web::{
    App, HttpRequest, HttpResponse, HttpServer, Resource, ResponseError, Route, guard, web,
};
use hone_api::key::KeyLimits;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use address::Proxies;
use door::Door;
use error::ApiError;
pub use error::Error;
use state::{AppState, Dependencies, Entry};
use tls::{Certificate, TlsFiles};

/// How the server listens.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where; port 0 takes a free one.
    pub listen: SocketAddr,
    /// HTTP threads.
    pub workers: usize,
    /// Names beside the loopback ones by which requests may call a daemon on loopback.
    pub hosts: Vec<String>,
    /// Origins whose pages may use the API.
    pub cors_origins: Vec<String>,
    /// Proxies that tell where requests come from.
    pub proxies: Proxies,
    /// How much each address may do while there are no keys.
    pub per_address: KeyLimits,
    /// Longest request body in bytes.
    pub body_limit: usize,
    /// All bodies together, in bytes.
    pub body_memory: usize,
    /// Whether `/v1/embeddings` answers.
    pub embeddings: bool,
    /// TLS, if it is spoken.
    pub tls: Option<TlsFiles>,
    /// An address of its own for `/metrics`.
    pub metrics: Option<SocketAddr>,
    /// How long answers under way may take when the server stops.
    pub drain: Duration,
}

/// A server that listens.
pub struct Running {
    address: SocketAddr,
    tls: bool,
    handle: ServerHandle,
    ended: JoinHandle<std::io::Result<()>>,
    metrics: Option<(SocketAddr, ServerHandle)>,
    state: Arc<AppState>,
    drain: Duration,
}

/// Time for connections to close after the last answer has ended.
const CLOSE: Duration = Duration::from_secs(5);
/// Longer than the pools of the usual clients keep idle connections.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Binds and serves. Call it on the runtime that shall write interactions; it returns at once.
///
/// # Errors
/// [`Error::Bind`], [`Error::BindMetrics`]: an address is taken, or is none of this machine. [`Error::Tls`].
pub fn run(dependencies: Dependencies, options: &Options) -> Result<Running, Error> {
    let door = |address: SocketAddr, origins: &[String]| {
        Door::new(address.ip().is_loopback(), &options.hosts, origins)
    };
    let entry = Entry {
        door: door(options.listen, &options.cors_origins),
        proxies: options.proxies.clone(),
        per_address: options.per_address,
        body_limit: options.body_limit,
        body_memory: options.body_memory,
        embeddings: options.embeddings,
        metrics: options.metrics.is_none(),
    };
    let state = Arc::new(AppState::new(dependencies, entry));
    let bind = |source| Error::Bind { address: options.listen, source };
    let certificate = options.tls.clone().map(Certificate::open).transpose()?;
    let tls = certificate.as_ref().map(Certificate::config).transpose()?;
    let metrics = options
        .metrics
        .map(|address| metrics_listener::bind(address, door(address, &[]), Arc::clone(&state)));
    let metrics = metrics.transpose()?;
    let shared = Arc::clone(&state);
    let server = HttpServer::new(move || app(Arc::clone(&shared)))
        .workers(options.workers.max(1))
        .keep_alive(KEEP_ALIVE)
        .tcp_nodelay(true)
        // A client that has left must be noticed, so that its place is free.
        .h1_allow_half_closed(false)
        .shutdown_timeout(CLOSE.as_secs())
        // Who is refused while still sending has this long to hear it.
        .client_disconnect_timeout(CLOSE)
        .disable_signals();
    let server = match tls {
        Some(tls) => server.bind_rustls_0_23(options.listen, tls),
        None => server.bind(options.listen),
    };
    let server = server.map_err(bind)?;
    let address = server.addrs().first().copied().unwrap_or(options.listen);
    let (tasks, server) = (TaskTracker::new(), server.run());
    let handle = server.handle();
    let ended = tasks.spawn(server);
    let metrics = metrics.map(|(address, server)| {
        let handle = server.handle();
        tasks.spawn(server);
        (address, handle)
    });
    if let Some(certificate) = certificate {
        tasks.spawn(certificate.follow(state.gate.cut.clone()));
    }
    Ok(Running {
        address,
        tls: options.tls.is_some(),
        handle,
        ended,
        metrics,
        state,
        drain: options.drain,
    })
}

impl Running {
    /// Where it listens, with the real port.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The same as an address that clients take.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where `/metrics` is, if it has an address of its own.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics.as_ref().map(|(address, _)| *address)
    }

    /// Ends in order: new requests get 503, answers under way may end (after the drain time they
    /// end with an error event), connections close, every interaction is on disk.
    pub async fn stop(self) {
        self.state.gate.drain(self.drain).await;
        self.handle.stop(true).await;
        // To the last: that it drains is a figure too.
        if let Some((_, metrics)) = self.metrics {
            metrics.stop(true).await;
        }
        if let Ok(Err(error)) = self.ended.await {
            tracing::warn!(%error, "the HTTP server ended with an error");
        }
        self.state.tasks.close();
        self.state.tasks.wait().await;
    }
}

/// The application: middleware and routes.
pub fn app(
    state: Arc<AppState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl actix_web::body::MessageBody>,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    let door = &state.entry.door;
    let cors = Condition::new(door.has_pages(), door.cors());
    let figures_here = state.entry.metrics;
    App::new()
        .app_data(web::Data::from(state))
        .configure(openai)
        .configure(own)
        .configure(operation)
        .configure(move |config| {
            if figures_here {
                figures(config);
            }
        })
        .default_service(web::to(unknown_route))
        .wrap(cors)
        .wrap(from_fn(edge::edge))
}

/// A path with the methods that are possible on it; others are answered 405.
fn resource(path: &str, allow: &'static str) -> Resource {
    let refuse = move |request: HttpRequest| {
        let response = wrong_method(&request, allow);
        async move { response }
    };
    web::resource(path).default_service(web::to(refuse))
}

/// GET, and HEAD, which is GET without the body: the protocol leaves that out by itself.
fn get() -> Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn openai(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/chat/completions", "POST, GET, HEAD")
                .route(web::post().to(chat::create))
                .route(get().to(stored::list)),
        )
        .service(
            resource("/v1/chat/completions/{id}", "GET, HEAD, POST, DELETE")
                .route(get().to(stored::get))
                .route(web::post().to(stored::update))
                .route(web::delete().to(stored::delete)),
        )
        .service(
            resource("/v1/chat/completions/{id}/messages", "GET, HEAD")
                .route(get().to(stored::messages)),
        )
        .service(resource("/v1/completions", "POST").route(web::post().to(completions::create)))
        .service(resource("/v1/responses", "POST").route(web::post().to(responses::create)))
        .service(
            resource("/v1/responses/{id}", "GET, HEAD, DELETE")
                .route(get().to(responses::get))
                .route(web::delete().to(responses::delete)),
        )
        .service(
            resource("/v1/responses/{id}/input_items", "GET, HEAD")
                .route(get().to(responses::list_input)),
        )
        .service(resource("/v1/embeddings", "POST").route(web::post().to(embeddings::create)))
        .service(resource("/v1/models", "GET, HEAD").route(get().to(models::list)))
        .service(
            resource("/v1/models/{id:.+}", "GET, HEAD, DELETE")
                .route(get().to(models::get))
                .route(web::delete().to(models::delete)),
        )
        .service(resource("/v1/tokenize", "POST").route(web::post().to(tokenize::tokenize)))
        .service(resource("/tokenize", "POST").route(web::post().to(tokenize::tokenize)))
        .service(resource("/v1/detokenize", "POST").route(web::post().to(tokenize::detokenize)))
        .service(resource("/detokenize", "POST").route(web::post().to(tokenize::detokenize)))
        .service(resource("/tokenizer_info", "GET, HEAD").route(get().to(tokenizer_info::get)));
}

fn own(config: &mut web::ServiceConfig) {
    config
        .service(
            resource("/v1/feedback", "POST, GET, HEAD")
                .route(web::post().to(feedback::create))
                .route(get().to(feedback::list)),
        )
        .service(resource("/feedback", "POST").route(web::post().to(feedback::create)))
        .service(resource("/v1/feedback/waiting", "GET, HEAD").route(get().to(waiting::list)))
        .service(
            resource("/v1/feedback/waiting/{id}/discard", "POST")
                .route(web::post().to(waiting::discard)),
        )
        .service(resource("/v1/interactions", "GET, HEAD").route(get().to(interactions::list)))
        .service(
            resource("/v1/interactions/{id}", "GET, HEAD, DELETE")
                .route(get().to(interactions::get))
                .route(web::delete().to(erasure::erase_interaction)),
        )
        .service(
            resource("/v1/interactions/{id}/replay", "POST").route(web::post().to(replay::replay)),
        )
        .service(
            resource("/v1/interactions/{id}/recall", "GET, HEAD")
                .route(get().to(erasure::recall_interaction)),
        )
        .service(
            resource("/v1/subjects/{user:.+}", "GET, HEAD, DELETE")
                .route(get().to(erasure::recall_user))
                .route(web::delete().to(erasure::erase_user)),
        )
        .service(
            resource("/v1/adapters", "GET, HEAD, POST")
                .route(get().to(adapters::list))
                .route(web::post().to(adapters::import)),
        )
        .service(
            resource("/v1/adapters/rollback", "POST").route(web::post().to(adapters::rollback)),
        )
        .service(
            resource("/v1/adapters/{ref}", "GET, HEAD, DELETE")
                .route(get().to(adapters::get))
                .route(web::delete().to(adapters::delete)),
        )
        .service(
            resource("/v1/adapters/{ref}/promote", "POST").route(web::post().to(adapters::promote)),
        )
        .service(resource("/v1/load_lora_adapter", "POST").route(web::post().to(lora::load)))
        .service(resource("/v1/unload_lora_adapter", "POST").route(web::post().to(lora::unload)))
        .service(
            resource("/v1/cycles", "POST, GET, HEAD")
                .route(web::post().to(cycles::start))
                .route(get().to(cycles::list)),
        )
        .service(resource("/v1/cycles/{id}", "GET, HEAD").route(get().to(cycles::get)))
        .service(resource("/v1/cycles/{id}/cancel", "POST").route(web::post().to(cycles::cancel)))
        .service(resource("/v1/cycles/{id}/events", "GET").route(web::get().to(cycles::events)))
        .service(
            resource("/v1/keys", "GET, HEAD, POST")
                .route(get().to(keys::list))
                .route(web::post().to(keys::create)),
        )
        .service(resource("/v1/keys/{id}", "DELETE").route(web::delete().to(keys::revoke)))
        .service(resource("/v1/audit", "GET, HEAD").route(get().to(audit::list)))
        .service(resource("/v1/evals", "POST").route(web::post().to(evals::start)))
        .service(resource("/v1/evals/{id}", "GET, HEAD").route(get().to(evals::get)));
}

fn figures(config: &mut web::ServiceConfig) {
    config.service(resource("/metrics", "GET, HEAD").route(get().to(metrics_page::metrics)));
}

fn operation(config: &mut web::ServiceConfig) {
    config
        .service(resource("/livez", "GET, HEAD").route(get().to(health::live)))
        .service(resource("/readyz", "GET, HEAD").route(get().to(health::ready)))
        .service(resource("/startupz", "GET, HEAD").route(get().to(health::started)))
        .service(resource("/health", "GET, HEAD").route(get().to(health::health)))
        .service(resource("/ping", "GET, HEAD").route(get().to(health::ping)))
        .service(resource("/version", "GET, HEAD").route(get().to(health::version)))
        .service(resource("/openapi.json", "GET, HEAD").route(get().to(openapi::document)))
        .service(resource("/docs", "GET, HEAD").route(get().to(openapi::page::docs)))
        .service(resource("/", "GET, HEAD").route(get().to(pages::status)));
}

async fn unknown_route(request: HttpRequest) -> HttpResponse {
    let message = format!("there is no `{}`; /docs lists what there is", request.path());
    ApiError::not_found(message).error_response()
}

fn wrong_method(request: &HttpRequest, allow: &'static str) -> HttpResponse {
    let (method, path) = (request.method(), request.path());
    let message = format!("{method} is not possible on `{path}`, only {allow}");
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, message).code("method_not_allowed");
    let mut response = error.error_response();
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    response
}

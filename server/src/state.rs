//! What every handler can reach.

use std::sync::Arc;

use hone_adapters::Registry;
use hone_api::UnixMillis;
use hone_api::sampling::Limits;
use hone_engine::Generate;
use hone_store::Store;
use tokio_util::task::TaskTracker;

use crate::control::Control;
use crate::door::Door;
use crate::key_ring::KeyRing;
use crate::limits::Gate;
use crate::metrics::Metrics;
use crate::source::SourceHasher;
use crate::tokenising::Tokenising;

/// What the daemon gives to the server.
#[derive(Clone)]
pub struct Parts {
    /// Answers requests.
    pub engine: Arc<dyn Generate>,
    /// The adapters.
    pub registry: Arc<Registry>,
    /// The log.
    pub store: Store,
    /// The daemon itself.
    pub control: Arc<dyn Control>,
    /// Counters; the daemon adds to some of them.
    pub metrics: Arc<Metrics>,
    /// The model's name in the API.
    pub served_name: String,
    /// Tells who speaks.
    pub sources: SourceHasher,
    /// Who may call.
    pub keys: Arc<KeyRing>,
}

/// What every handler can reach.
pub struct AppState {
    pub(crate) engine: Arc<dyn Generate>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) store: Store,
    pub(crate) control: Arc<dyn Control>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) served_name: String,
    pub(crate) sources: SourceHasher,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) limits: Limits,
    /// Longest request body in bytes.
    pub(crate) body_limit: usize,
    /// From where requests may come.
    pub(crate) door: Door,
    /// Requests in flight, and whether new ones are let in.
    pub(crate) gate: Arc<Gate>,
    /// Work that outlives its request: the writing of interactions.
    pub(crate) tasks: TaskTracker,
    /// Where that work runs. HTTP workers' own runtimes end with their worker.
    pub(crate) runtime: tokio::runtime::Handle,
    /// How many texts become tokens at once.
    pub(crate) tokenising: Tokenising,
    /// One adapter is loaded at a time.
    pub(crate) loading: tokio::sync::Mutex<()>,
    pub(crate) started: UnixMillis,
}

impl AppState {
    /// State for a server. Call it on the runtime that shall write interactions.
    #[must_use]
    pub fn new(parts: Parts, body_limit: usize, door: Door) -> Self {
        let config = parts.engine.model().config();
        let small = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let limits = Limits::of_model(small(config.vocab_size), small(config.max_positions));
        Self {
            limits,
            engine: parts.engine,
            registry: parts.registry,
            store: parts.store,
            control: parts.control,
            metrics: parts.metrics,
            served_name: parts.served_name,
            sources: parts.sources,
            keys: parts.keys,
            body_limit,
            door,
            gate: Arc::default(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            tokenising: Tokenising::default(),
            loading: tokio::sync::Mutex::default(),
            started: UnixMillis::now(),
        }
    }

    /// `hone-<version>-<adapter digest prefix or base>`.
    pub(crate) fn fingerprint(digest: Option<&str>) -> String {
        let adapter = digest.map_or("base", |digest| digest.get(..12).unwrap_or(digest));
        format!("hone-{}-{adapter}", env!("CARGO_PKG_VERSION"))
    }
}

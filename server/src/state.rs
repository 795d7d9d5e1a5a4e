//! What every handler can reach.

use std::sync::{Arc, OnceLock};

use hone_adapters::Registry;
use hone_api::UnixMillis;
use hone_api::key::KeyLimits;
use hone_api::sampling::{Limits, SamplingDefaults};
use hone_engine::Generate;
use hone_store::Store;
use tokio_util::task::TaskTracker;

use crate::address::Proxies;
use crate::bodies::Room;
use crate::control::Control;
use crate::documents::Documents;
use crate::door::Door;
use crate::grammars::Grammars;
use crate::key_ring::KeyRing;
use crate::limits::Gate;
use crate::metrics::Metrics;
use crate::places::Tokenising;
use crate::source::SourceHasher;
use crate::visitors::Visitors;

/// What the daemon gives to the server.
#[derive(Clone)]
pub struct Dependencies {
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

/// What is asked of requests before anybody looks at what they want.
#[derive(Debug, Clone)]
pub struct Entry {
    /// By which names and from which pages they may come.
    pub door: Door,
    /// Who tells where they come from.
    pub proxies: Proxies,
    /// How much each address may do while there are no keys.
    pub per_address: KeyLimits,
    /// Longest request body in bytes.
    pub body_limit: usize,
    /// All bodies together, in bytes.
    pub body_memory: usize,
    /// Whether `/v1/embeddings` answers.
    pub embeddings: bool,
    /// Whether `/metrics` is beside the API.
    pub metrics: bool,
}

impl Entry {
    /// Through this door, with bodies of 2 MiB and no other bounds.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self {
            door,
            proxies: Proxies::default(),
            per_address: KeyLimits::default(),
            body_limit: 2 << 20,
            body_memory: 64 << 20,
            embeddings: true,
            metrics: true,
        }
    }
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
    /// The served model's, for requests that do not say.
    pub(crate) defaults: SamplingDefaults,
    pub(crate) entry: Entry,
    /// What addresses may do, and have done.
    pub(crate) visitors: Visitors,
    /// The memory for bodies.
    pub(crate) bodies: Arc<Room>,
    /// Requests in flight, and whether new ones are let in.
    pub(crate) gate: Arc<Gate>,
    /// Work that outlives its request: the writing of interactions.
    pub(crate) tasks: TaskTracker,
    /// Where that work runs. HTTP workers' own runtimes end with their worker.
    pub(crate) runtime: tokio::runtime::Handle,
    /// How many texts become tokens at once.
    pub(crate) tokenising: Tokenising,
    pub(crate) grammars: Grammars,
    /// One adapter is loaded at a time.
    pub(crate) loading: tokio::sync::Mutex<()>,
    pub(crate) started: UnixMillis,
    /// `/openapi.json`, once somebody has asked for it.
    pub(crate) documents: OnceLock<Documents>,
}

impl AppState {
    /// State for a server. Call it on the runtime that shall write interactions.
    #[must_use]
    pub fn new(dependencies: Dependencies, entry: Entry) -> Self {
        let front_end = dependencies.engine.front_end();
        let small = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
        let limits =
            Limits::of_model(small(front_end.vocab_size), small(dependencies.engine.context()));
        Self {
            limits,
            defaults: front_end.sampling,
            engine: dependencies.engine,
            registry: dependencies.registry,
            store: dependencies.store,
            control: dependencies.control,
            metrics: dependencies.metrics,
            served_name: dependencies.served_name,
            sources: dependencies.sources,
            keys: dependencies.keys,
            visitors: Visitors::new(entry.per_address),
            bodies: Arc::new(Room::new(entry.body_memory)),
            entry,
            gate: Arc::default(),
            tasks: TaskTracker::new(),
            runtime: tokio::runtime::Handle::current(),
            tokenising: Tokenising::default(),
            grammars: Grammars::default(),
            loading: tokio::sync::Mutex::default(),
            started: UnixMillis::now(),
            documents: OnceLock::new(),
        }
    }

    /// `hone-<version>-<adapter digest prefix or base>`.
    pub(crate) fn fingerprint(digest: Option<&str>) -> String {
        let adapter = digest.map_or("base", |digest| digest.get(..12).unwrap_or(digest));
        format!("hone-{}-{adapter}", env!("CARGO_PKG_VERSION"))
    }
}

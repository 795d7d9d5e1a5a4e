//! From settings to parts: the store, the model, the adapters and the engine, in this order.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use hone_adapters::{BaseShape, Registry};
use hone_config::Config;
use hone_engine::{Engine, EngineConfig, Generate};
use hone_model::{Model, Pack, Source, WeightFormat};
use hone_server::key_ring::KeyRing;
use hone_server::metrics::Metrics;
use hone_server::source::SourceHasher;
use serde_json::json;

use crate::dirs::Dirs;
use crate::journal::{Decision, Journal};
use crate::memory;
use crate::parts::Parts;
use crate::promote::Promoter;
use crate::settings::Settings;
use crate::{database, exposure, import, source_key};

/// A daemon's parts, and the engine as what it is, for its shutdown.
#[derive(Debug)]
pub struct Assembled {
    /// The parts.
    pub parts: Arc<Parts>,
    /// The engine.
    pub engine: Arc<Engine>,
}

/// Opens everything and lets the live adapter serve.
///
/// # Errors
/// The first part that cannot be opened, in words that say what to do.
pub async fn assemble(settings: Arc<Settings>, dirs: Dirs) -> anyhow::Result<Assembled> {
    let config = settings.now();
    let store = database::open(&dirs)?;
    let kept = store.keys().await?;
    exposure::check(&config, !kept.is_empty())?;
    let keys = Arc::new(KeyRing::new(store.clone(), kept));
    let sources = SourceHasher::new(source_key::open(&dirs.source_key())?);
    let hasher = sources.clone();
    store.hash_end_users(move |name| hasher.user(name.as_bytes())).await?;
    let began = Instant::now();
    let (base, model) = {
        let (config, dirs) = (config.clone(), dirs.clone());
        tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let base = pack(&config, &dirs.base())?;
            let model = open_packed(&config, &base)?;
            Ok((base, model))
        })
        .await??
    };
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(digest = model.digest(), weights = %config.model.weights, seconds, "model open");
    let registry = {
        let (root, shape) = (dirs.root().to_owned(), shape(&model));
        tokio::task::spawn_blocking(move || Registry::open(&root, shape)).await??
    };
    let registry = Arc::new(registry);
    let engine = Engine::start(model, engine_config(&config, &dirs))?;
    let journal = Journal::new(store.clone());
    if let Some(repair) = base.repaired() {
        tracing::warn!("{repair}");
        journal.audit(repaired("base.repaired", "base", repair)).await?;
    }
    for warning in registry.warnings() {
        match warning.unusable {
            // It is found at each start, and told once.
            Some(id) => {
                let decision = repaired("adapter.unusable", &id.to_string(), &warning.text);
                journal.audit_once(decision).await?;
            }
            None => {
                journal.audit(repaired("registry.repaired", "adapters", &warning.text)).await?;
            }
        }
    }
    import::tell_of_strangers(&registry, &store, &journal).await?;
    let generate: Arc<dyn Generate> = engine.clone();
    let promoter = Promoter::new(registry.clone(), generate.clone(), journal.clone());
    let live = promoter.recover(&store).await?;
    tracing::info!(live = ?live.live, epoch = live.epoch, "the live adapter serves");
    let parts = Parts {
        settings,
        dirs,
        store,
        registry,
        engine: generate,
        base: base.folder().to_owned(),
        journal,
        promoter: Arc::new(promoter),
        metrics: Arc::new(Metrics::new()?),
        sources,
        keys,
    };
    Ok(Assembled { parts: Arc::new(parts), engine })
}

/// Packs the configured model into a folder below `base_dir`, unless that was done before and every byte is still
/// there.
///
/// # Errors
/// The model is not there, or is none that Hone knows; the words name its folder.
pub fn pack(config: &Config, base_dir: &Path) -> anyhow::Result<Pack> {
    let format: WeightFormat = config.model.weights.to_string().parse()?;
    Pack::prepare(&source(config), format, base_dir).with_context(|| unusable(config))
}

/// Where the configured model comes from.
pub fn source(config: &Config) -> Source {
    if config.model.is_starter() {
        Source::Starter
    } else {
        Source::at(Path::new(&config.model.source))
    }
}

/// The model of a packed base.
///
/// # Errors
/// Its tokenizer or its template is broken, or it cannot answer a plain question; the words name the
/// model's own folder.
pub fn open_packed(config: &Config, pack: &Pack) -> anyhow::Result<Arc<Model>> {
    let model = Model::of(pack, config.model.cores()).with_context(|| unusable(config))?;
    model.try_out().with_context(|| unusable(config))?;
    Ok(Arc::new(model))
}

fn unusable(config: &Config) -> String {
    format!("the model `{}` cannot be used", config.model.source)
}

/// What adapters must fit.
pub fn shape(model: &Model) -> BaseShape {
    let config = model.config();
    let (digest, num_layers) = (model.digest().to_owned(), config.num_layers);
    BaseShape { digest, num_layers, modules: config.modules() }
}

fn engine_config(config: &Config, dirs: &Dirs) -> EngineConfig {
    let engine = &config.engine;
    EngineConfig {
        max_sequences: engine.max_sequences,
        max_queue: engine.max_queue,
        max_step_tokens: engine.max_step_tokens,
        kv_bytes: memory::kv_bytes(engine),
        adapter_bytes: engine.adapter_memory.len(),
        pressure: Some(dirs.pressure()),
    }
}

fn repaired(action: &'static str, subject: &str, warning: &str) -> Decision {
    Decision {
        actor: "daemon".to_owned(),
        action,
        subject: subject.to_owned(),
        reason: warning.to_owned(),
        data: json!({}),
    }
}

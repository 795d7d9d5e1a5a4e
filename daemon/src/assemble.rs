//! From settings to parts: the store, the model, the adapters and the engine, in this order.

use std::sync::Arc;
use std::time::Instant;

use hone_adapters::{BaseShape, Registry};
use hone_config::Config;
use hone_engine::{Engine, EngineConfig, Generate};
use hone_machine::available;
use hone_model::Model;
use hone_server::key_ring::KeyRing;
use hone_server::metrics::Metrics;
use hone_server::source::SourceHasher;
use serde_json::json;

use crate::base_model::{BaseModel, open_packed};
use crate::dirs::Dirs;
use crate::journal::{Decision, Journal};
use crate::memory::Budget;
use crate::parts::Parts;
use crate::preparing;
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
    let (base, model, budget) = {
        let (config, asked, dirs) = (config.clone(), settings.asked(), dirs.clone());
        tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
            let mut preparing = preparing::log();
            let found = BaseModel::find(&config, &dirs.base(), &mut preparing)?;
            let budget = found.budget(&config.engine, asked)?;
            budget.tell(&config, (&found.config, found.format), &available());
            let base = found.pack(&mut preparing)?;
            let model = open_packed(&config, &base)?;
            Ok((base, model, budget))
        })
        .await??
    };
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(digest = model.digest(), weights = %model.format(), seconds, "model open");
    let registry = {
        let (root, shape) = (dirs.root().to_owned(), shape(&model));
        tokio::task::spawn_blocking(move || Registry::open(&root, shape)).await??
    };
    let registry = Arc::new(registry);
    let model_config = model.config().clone();
    let engine = Engine::start(model, engine_config(&config, budget, &dirs))?;
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
        model_config,
        journal,
        promoter: Arc::new(promoter),
        metrics: Arc::new(Metrics::new()?),
        sources,
        keys,
    };
    Ok(Assembled { parts: Arc::new(parts), engine })
}

/// What adapters must fit.
pub fn shape(model: &Model) -> BaseShape {
    let config = model.config();
    let (digest, num_layers) = (model.digest().to_owned(), config.num_layers);
    BaseShape { digest, num_layers, modules: config.modules() }
}

fn engine_config(config: &Config, budget: Budget, dirs: &Dirs) -> EngineConfig {
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let engine = &config.engine;
    EngineConfig {
        max_sequences: engine.max_sequences,
        max_queue: engine.max_queue,
        max_step_tokens: engine.max_step_tokens,
        target_token_gap: engine.target_token_gap.0,
        kv_bytes: bytes(budget.kv),
        prefix_cache_bytes: bytes(budget.prefix_cache(engine)),
        adapter_bytes: bytes(budget.adapters),
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

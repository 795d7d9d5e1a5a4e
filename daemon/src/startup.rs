//! From settings to services: the store, the model, the adapters and the engine, in this order.

use std::sync::Arc;

use hone_adapters::Registry;
use hone_server::key_ring::KeyRing;
use hone_server::metrics::Metrics;
use hone_server::source::SourceHasher;
use serde_json::json;

use crate::dirs::Dirs;
use crate::journal::{Decision, Journal};
use crate::promote::Promoter;
use crate::services::Services;
use crate::settings::Settings;
use crate::{database, exposure, import, served, source_key};

/// Opens everything and lets the live adapter serve.
///
/// # Errors
/// The first part that cannot be opened, in words that say what to do.
pub async fn open_services(settings: Arc<Settings>, dirs: Dirs) -> anyhow::Result<Arc<Services>> {
    let config = settings.now();
    let store = database::open(&dirs)?;
    let kept = store.keys().await?;
    exposure::check(&config, !kept.is_empty())?;
    let keys = Arc::new(KeyRing::new(store.clone(), kept));
    let sources = SourceHasher::new(source_key::open(&dirs.source_key())?);
    let hasher = sources.clone();
    store.hash_end_users(move |name| hasher.user(name.as_bytes())).await?;
    let served = {
        let (config, asked, dirs) = (config.clone(), settings.asked(), dirs.clone());
        tokio::task::spawn_blocking(move || served::open(&config, asked, &dirs)).await??
    };
    let registry = {
        let (root, shape) = (dirs.root().to_owned(), served.shape);
        tokio::task::spawn_blocking(move || Registry::open(&root, shape)).await??
    };
    let registry = Arc::new(registry);
    let engine = served.engine;
    let journal = Journal::new(store.clone());
    if let Some(repair) = served.repaired {
        tracing::warn!("{repair}");
        journal.audit(repaired("base.repaired", "base", &repair)).await?;
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
    let promoter = Promoter::new(registry.clone(), engine.clone(), journal.clone());
    let live = promoter.recover(&store).await?;
    tracing::info!(live = ?live.live, epoch = live.epoch, "the live adapter serves");
    Ok(Arc::new(Services {
        settings,
        dirs,
        store,
        registry,
        engine,
        base: served.base,
        journal,
        promoter: Arc::new(promoter),
        metrics: Arc::new(Metrics::new()?),
        sources,
        keys,
    }))
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

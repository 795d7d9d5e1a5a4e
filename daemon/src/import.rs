//! Adapters from outside: copied in, verified, loaded, or refused with the reason.
//!
//! Importing never promotes. What changes no logit is not kept.

use std::path::{Path, PathBuf};

use hone_adapters::{Import, Registry};
use hone_api::adapter::{AdapterView, Provenance};
use hone_api::{AdapterId, UnixMillis};
use hone_store::Store;
use serde_json::{Value, json};

use crate::journal::{Decision, Journal};
use crate::promote::Error;
use crate::services::Services;

/// What to import, and who wants it.
#[derive(Debug, Clone)]
pub struct ImportRequest {
    /// The folder, below the drop folder.
    pub source: PathBuf,
    /// The name the adapter shall have.
    pub name: Option<String>,
    /// `operator`, an API key's id, or `drop folder`.
    pub actor: String,
}

/// Imports a folder as a candidate that can be asked for, evaluated and promoted.
///
/// # Errors
/// It is refused, or cannot be loaded, or changes nothing; nothing is left of it then.
pub async fn run(services: &Services, request: ImportRequest) -> Result<AdapterView, Error> {
    let folder = folder_name(&request.source);
    let imported = import(services, &request, &folder).await;
    let (action, subject, reason, data) = match &imported {
        // It was here already.
        Ok((view, false)) => return Ok(view.clone()),
        Ok((view, true)) => (
            "adapter.imported",
            view.id.to_string(),
            format!("from `{folder}`"),
            json!({ "digest": view.digest, "name": view.name, "rank": view.rank }),
        ),
        Err(error) => ("adapter.refused", folder.clone(), error.to_string(), json!({})),
    };
    let actor = request.actor.clone();
    services.journal.audit_or_owe(Decision { actor, action, subject, reason, data }).await;
    imported.map(|(view, _)| view)
}

/// At the start: notes every adapter that the audit trail does not know. The daemon ended between its import and
/// its row, or somebody put it into the data directory by hand.
///
/// # Errors
/// The store's.
pub async fn tell_of_strangers(
    registry: &Registry,
    store: &Store,
    journal: &Journal,
) -> hone_store::Result<()> {
    let unfinished = store.unfinished_cycles().await?;
    for view in registry.list() {
        // A cycle that goes on tells of it itself.
        let goes_on = matches!(view.provenance, Provenance::Cycle { cycle_id, .. }
            if unfinished.iter().any(|cycle| cycle.id == cycle_id));
        if !goes_on && !store.is_in_trail(view.id.to_string()).await? {
            let decision = Decision {
                actor: "daemon".to_owned(),
                action: "adapter.found",
                subject: view.id.to_string(),
                reason: "it was there at the start, and no row told of it".to_owned(),
                data: json!({ "digest": view.digest, "name": view.name, "rank": view.rank }),
            };
            // A full disk must not keep the daemon from serving.
            journal.audit_or_owe(decision).await;
        }
    }
    Ok(())
}

/// The adapter, and whether it is new here.
async fn import(
    services: &Services,
    request: &ImportRequest,
    folder: &str,
) -> Result<(AdapterView, bool), Error> {
    let kept = services.registry.list().len();
    if kept >= services.settings.now().retention.adapters {
        return Err(Error::TooMany(kept));
    }
    if let Some(name) = &request.name {
        check_not_served(&services.settings.now().model.name(), name)?;
    }
    let id = AdapterId::new();
    let import = Import {
        id,
        source: request.source.clone(),
        name: request.name.clone(),
        provenance: Provenance::Import { folder: folder.to_owned() },
        now: UnixMillis::now(),
    };
    let registry = services.registry.clone();
    let view = tokio::task::spawn_blocking(move || registry.import(import)).await??;
    warn_of_another_base(services, view.id);
    if let Err(error) = services.promoter.load(view.id).await {
        // The same weights may have been here before: those stay.
        if view.id == id {
            let registry = services.registry.clone();
            tokio::task::spawn_blocking(move || registry.delete(id)).await??;
        }
        return Err(error);
    }
    let is_new = view.id == id;
    Ok((view, is_new))
}

/// Who asks for the served model must not be answered by one adapter of that name, and who asks for
/// the adapter must not be answered by whatever is live.
fn check_not_served(served: &str, name: &str) -> hone_adapters::Result<()> {
    if name.eq_ignore_ascii_case(served) {
        return Err(hone_adapters::Error::ServedName(name.to_owned()));
    }
    Ok(())
}

/// The shapes fit, or the adapter would have been refused; but equal shapes are no equal base. The
/// same base has many names (a path, a hub id), so another name is no reason to refuse.
fn warn_of_another_base(services: &Services, id: AdapterId) {
    let path = services.registry.dir(id).join("adapter_config.json");
    let Ok(bytes) = fs_err::read(path) else { return };
    let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let here = &services.settings.now().model;
    if let Some(made_for) = config["base_model_name_or_path"].as_str()
        && ![here.name(), here.source.clone()]
            .iter()
            .any(|name| last_part(name) == last_part(made_for))
    {
        let here = here.name();
        tracing::warn!(adapter = %id, made_for, here, "the adapter names another base; evaluate it");
    }
}

/// `Llama` of `meta/Llama` and of `/models/llama/`.
fn last_part(name: &str) -> String {
    let name = name.trim_end_matches('/');
    name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase()
}

/// The folder's own name, for people.
pub fn folder_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rig;

    #[tokio::test(flavor = "multi_thread")]
    async fn an_adapter_that_changes_nothing_leaves_nothing() {
        let rig = Rig::new().await;
        let source = rig.drop_adapter("zero", 1e-20, 1);
        let request = ImportRequest { source, name: Some("zero".into()), actor: "operator".into() };
        let error = run(&rig.services, request).await.unwrap_err();
        assert!(matches!(error, Error::Engine(hone_engine::Error::NoEffect(_))), "{error}");
        assert!(rig.services.registry.list().is_empty());
        let trail = rig.services.store.audit(1).await.unwrap();
        assert_eq!((&*trail[0].action, &*trail[0].subject), ("adapter.refused", "zero"));
        // Repaired, the same name is free.
        let source = rig.drop_adapter("zero", 1.0, 1);
        let request = ImportRequest { source, name: Some("zero".into()), actor: "operator".into() };
        let view = run(&rig.services, request).await.unwrap();
        assert!(rig.services.engine.is_loaded(view.id));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_import_that_is_repeated_and_fails_deletes_nothing() {
        let rig = Rig::new().await;
        let source = rig.drop_adapter("mine", 1.0, 1);
        let request = || ImportRequest {
            source: source.clone(),
            name: Some("mine".into()),
            actor: "operator".into(),
        };
        let first = run(&rig.services, request()).await.unwrap();
        assert_eq!(run(&rig.services, request()).await.unwrap().id, first.id);
        assert_eq!(rig.services.store.audit(9).await.unwrap().len(), 1, "that changed nothing");
        // It is in the registry, but the engine cannot load it.
        rig.services.engine.unload(first.id);
        fs_err::write(rig.services.registry.dir(first.id).join(hone_adapters::WEIGHTS), "x")
            .unwrap();
        run(&rig.services, request()).await.unwrap_err();
        assert_eq!(rig.services.registry.list().len(), 1, "it was there before");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_adapter_that_nobody_told_of_is_told_of_once() {
        let rig = Rig::new().await;
        rig.adapter(1).await;
        let import = Import {
            id: AdapterId::new(),
            source: rig.drop_adapter("stranger", 1.0, 2),
            name: None,
            provenance: Provenance::Import { folder: "stranger".to_owned() },
            now: UnixMillis::now(),
        };
        let stranger = rig.services.registry.import(import).unwrap().id.to_string();
        for _ in 0..2 {
            let services = &rig.services;
            tell_of_strangers(&services.registry, &services.store, &services.journal)
                .await
                .unwrap();
        }
        let trail = rig.services.store.audit(9).await.unwrap();
        assert_eq!(
            (trail.len(), &*trail[0].action, &*trail[0].subject),
            (2, "adapter.found", &*stranger)
        );
    }

    #[test]
    fn a_base_has_the_same_name_at_the_hub_and_in_a_folder() {
        assert_eq!(last_part("meta/Llama-1B"), last_part("/models/llama-1b/"));
        assert_ne!(last_part("meta/Llama-1B"), last_part("meta/Llama-3B"));
        assert_eq!(last_part(""), "");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_adapter_cannot_take_the_served_models_name() {
        let rig = Rig::new().await;
        let served = rig.services.settings.now().model.name();
        for name in [&served, "Tiny", "hone", "Hone"] {
            let source = rig.drop_adapter("good", 1.0, 1);
            let request =
                ImportRequest { source, name: Some(name.into()), actor: "operator".into() };
            let error = run(&rig.services, request).await.unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        assert!(rig.services.registry.list().is_empty());
    }
}

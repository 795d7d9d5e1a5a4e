//! What is deleted after a cycle: old adapters, run folders, snapshots that no adapter came from.
//!
//! A failure here is told in the log and otherwise harmless: the next cycle tries again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hone_api::adapter::Provenance;
use hone_store::Order;
use serde_json::json;

use crate::journal::{Decision, is_over};
use crate::services::Services;

/// Deletes what the settings do not keep.
pub async fn tidy(services: &Services) {
    if let Err(error) = try_tidy(services).await {
        tracing::warn!("old files stay: {}", crate::error_chain::describe(&error));
    }
}

async fn try_tidy(services: &Services) -> anyhow::Result<()> {
    crate::stained::sweep(services).await?;
    let config = services.settings.now();
    let registry = services.registry.clone();
    let keep = config.promotion.keep;
    let deleted = tokio::task::spawn_blocking(move || registry.gc(keep)).await??;
    for id in deleted {
        note(services, "adapter.deleted", id.to_string()).await;
        services.promoter.unload(id).await?;
    }
    // What is used: by cycles that are not over, and by adapters that are still there.
    let unfinished = services.store.unfinished_cycles().await?;
    let cycles = services.store.cycles(None, 1000, Order::Descending).await?.items;
    let mut snapshots: BTreeSet<String> =
        unfinished.iter().filter_map(|cycle| cycle.snapshot.clone()).collect();
    snapshots.extend(services.registry.list().into_iter().filter_map(
        |view| match view.provenance {
            Provenance::Cycle { snapshot, .. } => Some(snapshot),
            Provenance::Import { .. } => None,
        },
    ));
    let over = cycles.iter().filter(|cycle| is_over(cycle));
    snapshots
        .extend(over.take(config.retention.snapshots).filter_map(|cycle| cycle.snapshot.clone()));
    // Only runs of cycles: `hone train` may have one of its own here.
    let runs: Vec<PathBuf> = cycles
        .iter()
        .filter(|cycle| is_over(cycle))
        .skip(config.retention.runs)
        .map(|cycle| services.dirs.run(cycle.id))
        .collect();
    let mut answers = BTreeSet::from(["base.jsonl".to_owned()]);
    answers.extend(services.registry.list().into_iter().map(|view| format!("{}.jsonl", view.id)));
    let answers_dir = services.dirs.answers();
    let snapshot_dir = services.dirs.snapshots();
    let old = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
        let snapshots = doomed(&snapshot_dir, &snapshots)?;
        let runs: Vec<PathBuf> = runs.into_iter().filter(|run| run.exists()).collect();
        let answers = doomed(&answers_dir, &answers)?;
        Ok([("snapshot.deleted", snapshots), ("run.deleted", runs), ("answers.deleted", answers)])
    })
    .await??;
    for (action, paths) in old {
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            tokio::task::spawn_blocking(move || remove(&path)).await??;
            note(services, action, name).await;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> std::io::Result<()> {
    if path.is_dir() { fs_err::remove_dir_all(path) } else { fs_err::remove_file(path) }
}

/// What is gone is gone, so its row does not wait for a disk that refuses it.
async fn note(services: &Services, action: &'static str, subject: String) {
    let decision = Decision {
        actor: "retention".to_owned(),
        action,
        subject,
        reason: "the settings keep no more".to_owned(),
        data: json!({}),
    };
    services.journal.audit_or_owe(decision).await;
}

/// What is not among what is kept. Hidden things are being written.
fn doomed(dir: &Path, kept: &BTreeSet<String>) -> std::io::Result<Vec<PathBuf>> {
    let mut doomed = Vec::new();
    if !dir.exists() {
        return Ok(doomed);
    }
    for entry in fs_err::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') && !kept.contains(&name) {
            doomed.push(entry.path());
        }
    }
    Ok(doomed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rig;

    #[tokio::test(flavor = "multi_thread")]
    async fn each_thing_that_goes_leaves_a_row() {
        let rig = Rig::new().await;
        fs_err::create_dir(rig.services.dirs.snapshots().join("old")).unwrap();
        for _ in 0..2 {
            tidy(&rig.services).await;
        }
        let trail = rig.services.store.audit(9).await.unwrap();
        let rows: Vec<_> =
            trail.iter().map(|row| (&*row.actor, &*row.action, &*row.subject)).collect();
        assert_eq!(rows, [("retention", "snapshot.deleted", "old")]);
    }

    #[test]
    fn only_what_nobody_needs_goes() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["kept", "old", ".writing"] {
            fs_err::create_dir(dir.path().join(name)).unwrap();
        }
        assert!(doomed(&dir.path().join("none"), &BTreeSet::new()).unwrap().is_empty());
        let gone = doomed(dir.path(), &BTreeSet::from(["kept".to_owned()])).unwrap();
        assert_eq!(gone, [dir.path().join("old")]);
    }
}

//! What is deleted after a cycle: old adapters, run folders, snapshots that no adapter came from.
//!
//! A failure here is told in the log and otherwise harmless: the next cycle tries again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hone_api::RunId;
use hone_api::adapter::Provenance;

use crate::dirs::ANSWERS;
use crate::journal::is_over;
use crate::parts::Parts;

/// Deletes what the settings do not keep.
pub async fn tidy(parts: &Parts) {
    if let Err(error) = try_tidy(parts).await {
        tracing::warn!("old files stay: {error:#}");
    }
}

async fn try_tidy(parts: &Parts) -> anyhow::Result<()> {
    let config = parts.settings.now();
    let registry = parts.registry.clone();
    let keep = config.promotion.keep;
    let deleted = tokio::task::spawn_blocking(move || registry.gc(keep)).await??;
    for id in deleted {
        parts.promoter.unload(id).await?;
        tracing::info!(adapter = %id, "deleted an old adapter");
    }
    // What is used: by cycles that are not over, and by adapters that are still there.
    let unfinished = parts.store.unfinished_cycles().await?;
    let cycles = parts.store.cycles(None, 1000).await?.items;
    let mut snapshots: BTreeSet<String> =
        unfinished.iter().filter_map(|cycle| cycle.snapshot.clone()).collect();
    snapshots.extend(parts.registry.list().into_iter().filter_map(|view| match view.provenance {
        Provenance::Cycle { snapshot, .. } => Some(snapshot),
        Provenance::Import { .. } => None,
    }));
    let over = cycles.iter().filter(|cycle| is_over(cycle));
    snapshots
        .extend(over.take(config.retention.snapshots).filter_map(|cycle| cycle.snapshot.clone()));
    let mut runs: BTreeSet<String> = unfinished
        .iter()
        .chain(cycles.iter().filter(|cycle| is_over(cycle)).take(config.retention.runs))
        .map(|cycle| RunId::from_uuid(cycle.id.uuid()).to_string())
        .collect();
    runs.insert(ANSWERS.to_owned());
    let mut answers = BTreeSet::from(["base.jsonl".to_owned()]);
    answers.extend(parts.registry.list().into_iter().map(|view| format!("{}.jsonl", view.id)));
    let answers_dir = parts.dirs.answers();
    let (snapshot_dir, run_dir) = (parts.dirs.snapshots(), parts.dirs.runs());
    tokio::task::spawn_blocking(move || -> std::io::Result<()> {
        for (dir, kept) in [(snapshot_dir, snapshots), (run_dir, runs), (answers_dir, answers)] {
            for old in doomed(&dir, &kept)? {
                if old.is_dir() {
                    fs_err::remove_dir_all(&old)?;
                } else {
                    fs_err::remove_file(&old)?;
                }
            }
        }
        Ok(())
    })
    .await??;
    Ok(())
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

//! Reads the settings again when their file changes, and on SIGHUP.
//!
//! The folder is watched, not the file: editors replace files, and a watch on the old one would
//! see nothing more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use notify_debouncer_full::notify::{RecommendedWatcher, RecursiveMode};
use notify_debouncer_full::{
    DebounceEventResult, DebouncedEvent, Debouncer, RecommendedCache, new_debouncer,
};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::journal::{Decision, Journal};
use crate::settings::Settings;
use crate::systemd;

/// Editors write a file in several steps.
const QUIET: Duration = Duration::from_millis(300);

/// What asks for a reload.
pub struct Reload {
    settings: Arc<Settings>,
    hangup: Signal,
    changes: mpsc::UnboundedReceiver<()>,
    _watcher: Option<Debouncer<RecommendedWatcher, RecommendedCache>>,
}

impl Reload {
    /// Begins to watch.
    ///
    /// # Errors
    /// The system refuses to deliver signals.
    pub fn watch(settings: Arc<Settings>) -> anyhow::Result<Self> {
        let (send, changes) = mpsc::unbounded_channel();
        let watcher = settings.file().and_then(|file| match watch(file, send) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                let why = crate::error_chain::describe(&error);
                tracing::warn!("{} is not watched ({why}); use SIGHUP", file.display());
                None
            }
        });
        let hangup = signal(SignalKind::hangup()).context("SIGHUP")?;
        Ok(Self { settings, hangup, changes, _watcher: watcher })
    }

    /// Reloads until `stop`, and notes in the audit trail what that changed.
    pub async fn run(mut self, journal: Journal, stop: CancellationToken) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {}
                Some(()) = self.changes.recv() => while self.changes.try_recv().is_ok() {},
                () = stop.cancelled() => return,
            }
            let changed = systemd::while_reloading(|| self.settings.reload_and_tell());
            if !changed.is_empty() {
                // Their names: a value may be a secret.
                let decision = Decision {
                    actor: "daemon".to_owned(),
                    action: "settings.reloaded",
                    subject: "settings".to_owned(),
                    reason: "the file was changed, or SIGHUP came".to_owned(),
                    data: json!({ "keys": changed }),
                };
                journal.audit_or_owe(decision).await;
            }
        }
    }
}

fn watch(
    file: &Path,
    send: mpsc::UnboundedSender<()>,
) -> anyhow::Result<Debouncer<RecommendedWatcher, RecommendedCache>> {
    let file = fs_err::canonicalize(file)?;
    let folder = file.parent().context("a file has a folder")?.to_owned();
    let mut watcher = new_debouncer(QUIET, None, move |events: DebounceEventResult| {
        // Reading is told of as well, and each reload reads.
        let hit = |event: &DebouncedEvent| event.paths.contains(&file) && !event.kind.is_access();
        if events.is_ok_and(|events| events.iter().any(hit)) {
            let _ = send.send(()); // nobody listens when the daemon stops
        }
    })?;
    watcher.watch(&folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_config::ConfigSources;

    #[tokio::test]
    async fn saving_the_file_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hone.toml");
        fs_err::write(&file, "[training]\nrank = 4\n").unwrap();
        let sources = ConfigSources { file: Some(file.clone()), ..ConfigSources::default() };
        let settings = Arc::new(Settings::new(sources.load().unwrap(), sources));
        let mut changed = settings.subscribe();
        let reload = Reload::watch(settings.clone()).unwrap();
        let stop = CancellationToken::new();
        let edit = async {
            // As editors do: a new file takes the name.
            fs_err::write(dir.path().join("new"), "[training]\nrank = 8\n").unwrap();
            fs_err::rename(dir.path().join("new"), &file).unwrap();
            tokio::time::timeout(Duration::from_secs(10), changed.changed())
                .await
                .unwrap()
                .unwrap();
            stop.cancel();
        };
        let store = hone_store::Store::open(&dir.path().join("hone.db")).unwrap();
        tokio::join!(reload.run(Journal::new(store.clone()), stop.clone()), edit);
        assert_eq!(settings.now().training.rank, 8);
        let told = store.audit(9).await.unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].data, json!({ "keys": ["training.rank"] }));
    }
}

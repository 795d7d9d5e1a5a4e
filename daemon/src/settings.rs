//! The settings that hold now, and their reload.
//!
//! A file that is being edited is sometimes wrong. Then the old settings stay, and the error says
//! which key of which layer is to blame; a running cycle keeps the settings it began a step with.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hone_config::{Config, ConfigSources, Error, LoadedConfig};
use tokio::sync::watch;

use crate::load;
use crate::memory::AskedMemory;

/// The settings, shared by all parts of the daemon.
#[derive(Debug)]
pub struct Settings {
    sources: ConfigSources,
    file: Option<PathBuf>,
    asked: AskedMemory,
    /// What the daemon started with: the sections that only a restart changes.
    started_with: Config,
    now: ArcSwap<Config>,
    changed: watch::Sender<u64>,
}

/// What a reload changed.
#[derive(Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys whose new values hold from now on.
    pub changed: Vec<String>,
    /// Keys whose new values wait for a restart.
    pub needs_restart: Vec<String>,
}

impl Settings {
    /// Settings that can be read again from the same sources.
    pub fn new(loaded: LoadedConfig, sources: ConfigSources) -> Self {
        Self {
            asked: AskedMemory::of(&loaded),
            file: loaded.file,
            sources,
            started_with: loaded.config.clone(),
            now: ArcSwap::from_pointee(loaded.config),
            changed: watch::Sender::new(0),
        }
    }

    /// The settings that hold now.
    pub fn now(&self) -> Arc<Config> {
        self.now.load_full()
    }

    /// Which figures of memory somebody asked for.
    pub const fn asked(&self) -> AskedMemory {
        self.asked
    }

    /// The file to watch.
    pub const fn file(&self) -> Option<&PathBuf> {
        self.file.as_ref()
    }

    /// Wakes when settings changed.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Reads all layers again.
    ///
    /// # Errors
    /// The new settings are wrong, or their file is gone; the old ones stay.
    pub fn reload(&self) -> Result<Reloaded, Error> {
        // Its name may be free for a moment while it is saved; the defaults are not what was meant.
        if let Some(file) = self.file.as_ref().filter(|file| !file.exists()) {
            let gone =
                format!("{} is gone; put it back, or restart for the defaults", file.display());
            return Err(Error::Read(std::io::Error::new(std::io::ErrorKind::NotFound, gone)));
        }
        let newer = load::load(&self.sources)?.config;
        let needs_restart = self.started_with.needs_restart(&newer);
        // What only a restart changes stays as it was, so that no part sees half of it.
        let kept = self.started_with.clone();
        let newer = Config {
            server: kept.server,
            auth: kept.auth,
            model: kept.model,
            engine: kept.engine,
            ..newer
        };
        let changed = self.now.load_full().changes(&newer);
        if !changed.is_empty() {
            self.now.store(Arc::new(newer));
            self.changed.send_modify(|count| *count += 1);
        }
        Ok(Reloaded { changed, needs_restart })
    }

    /// Reloads and tells the log how it went; the keys whose new values hold from now on.
    pub fn reload_and_tell(&self) -> Vec<String> {
        let Reloaded { changed, needs_restart } = match self.reload() {
            Ok(reloaded) => reloaded,
            Err(error) => {
                tracing::error!("{error}; the old settings stay");
                return Vec::new();
            }
        };
        if !changed.is_empty() {
            if let Err(error) = crate::telemetry::set_filter(&self.now().telemetry.log) {
                tracing::error!("{error:#}; the old filter stays");
            }
            tracing::info!("settings reloaded");
        }
        if !needs_restart.is_empty() {
            let keys = needs_restart.join(", ");
            tracing::warn!(keys, "these keys take effect at the next start");
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_file_leaves_the_old_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hone.toml");
        fs_err::write(&file, "[training]\nrank = 4\n").unwrap();
        let sources = ConfigSources { file: Some(file.clone()), ..ConfigSources::default() };
        let settings = Settings::new(sources.load().unwrap(), sources);
        let mut woken = settings.subscribe();

        fs_err::write(&file, "[training]\nrnak = 8\n").unwrap();
        assert!(settings.reload().unwrap_err().to_string().contains("training.rnak"));
        assert_eq!(settings.now().training.rank, 4);
        assert!(!woken.has_changed().unwrap());

        fs_err::write(&file, "[evaluation]\nsuites = [\"nonexist\"]\n").unwrap();
        assert!(settings.reload().unwrap_err().to_string().contains("evaluation.suites"));
        assert_eq!(settings.now().evaluation.suites, ["starter"]);

        fs_err::write(&file, "[training]\nrank = 8\n[engine]\nmax_queue = 3\n").unwrap();
        let reloaded = settings.reload().unwrap();
        assert_eq!(reloaded.needs_restart, ["engine.max_queue"]);
        assert_eq!((settings.now().training.rank, settings.now().engine.max_queue), (8, 256));
        assert!(woken.has_changed().unwrap());
        woken.mark_unchanged();
        settings.reload().unwrap();
    }

    #[test]
    fn a_file_that_is_gone_leaves_the_old_settings() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hone.toml");
        fs_err::write(&file, "[training]\nrank = 4\n").unwrap();
        // Found in the working directory, not named: without it the defaults would hold.
        let sources =
            ConfigSources { working_dir: Some(dir.path().to_owned()), ..ConfigSources::default() };
        let settings = Settings::new(sources.load().unwrap(), sources);
        fs_err::remove_file(&file).unwrap();
        assert!(settings.reload().unwrap_err().to_string().contains("hone.toml is gone"));
        assert_eq!(settings.now().training.rank, 4);
        fs_err::write(&file, "[training]\nrank = 8\n").unwrap();
        assert_eq!(settings.reload().unwrap().changed, ["training.rank"]);
        assert_eq!(settings.now().training.rank, 8);
    }
}

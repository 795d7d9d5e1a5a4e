//! A daemon's services over a tiny random model, without HTTP: for tests.
#![allow(clippy::unwrap_used)] // a test whose daemon cannot be made has failed

use std::path::Path;
use std::sync::Arc;

use hone_api::AdapterId;
use hone_config::{ConfigSources, Flag, LoadedConfig};
use hone_engine::testing::{random_adapter, tiny_model};

use crate::dirs::Dirs;
use crate::import;
use crate::services::Services;
use crate::settings::Settings;
use crate::startup::open_services;

/// The defaults, but for a tiny model in `dir/tiny`, data in `dir/data`, and a free port.
pub fn settings_of_tiny(dir: &Path) -> (LoadedConfig, ConfigSources) {
    tiny_model(&dir.join("tiny"), 1).unwrap();
    let flag = |key: &str, value: String| Flag { name: "test".into(), key: key.into(), value };
    let path = |name: &str| dir.join(name).display().to_string();
    let flags = vec![
        flag("model.source", path("tiny")),
        flag("model.weights", "f32".into()),
        flag("model.threads", "1".into()),
        flag("server.data_dir", path("data")),
        flag("server.listen", "127.0.0.1:0".into()),
    ];
    let sources = ConfigSources { flags, ..ConfigSources::default() };
    (sources.load().unwrap(), sources)
}

/// Everything, in a folder of its own.
pub struct Rig {
    /// The services.
    pub services: Arc<Services>,
    _dir: tempfile::TempDir,
}

impl Rig {
    /// With the defaults, but for the model.
    pub async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (loaded, sources) = settings_of_tiny(dir.path());
        let settings = Arc::new(Settings::new(loaded, sources));
        let dirs = Dirs::open(&settings.now().server.data_dir).unwrap();
        let services = open_services(settings, dirs).await.unwrap();
        Self { services, _dir: dir }
    }

    /// A folder with a random adapter in the drop folder.
    pub fn drop_adapter(&self, name: &str, strength: f32, seed: u64) -> std::path::PathBuf {
        let folder = self.services.registry.drop_dir().join(name);
        let config = &self.services.trainable().unwrap().config;
        random_adapter(&folder, config, 4, strength, seed).unwrap();
        folder
    }

    /// An imported and loaded random adapter.
    pub async fn adapter(&self, seed: u64) -> AdapterId {
        let source = self.drop_adapter(&format!("random-{seed}"), 1.0, seed);
        let request = import::ImportRequest { source, name: None, actor: "operator".to_owned() };
        import::run(&self.services, request).await.unwrap().id
    }
}

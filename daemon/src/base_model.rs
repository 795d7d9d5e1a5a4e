//! The configured model: where it is, in which format it is served, and what it takes; before any of its weights is read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use hone_config::{Config, EngineSettings, Weights};
use hone_hub::{Hub, HubSettings, HubSnapshot, Name, Pins};
use hone_machine::{available, limit};
use hone_model::{Model, ModelConfig, Pack, PackStage, Source, WeightFormat};

use crate::memory::{AskedMemory, Budget};
use crate::preparing::Preparing;

/// Beside the packed folders: which commits of hub models they are made from.
const PINS: &str = "hub.json";

/// A model that was found and fits.
#[derive(Debug)]
pub struct BaseModel {
    /// Where it comes from.
    pub source: Source,
    /// How its weights are served.
    pub format: WeightFormat,
    /// Its sizes.
    pub config: ModelConfig,
    name: String,
    base_dir: PathBuf,
}

impl BaseModel {
    /// Finds the configured model, and downloads it if it is a hub id and not here yet.
    ///
    /// # Errors
    /// It is not there, or is none that Hone knows; the words name it.
    pub fn find(
        config: &Config,
        base_dir: &Path,
        preparing: &mut dyn Preparing,
    ) -> anyhow::Result<Self> {
        let source = locate(config, base_dir, preparing)?;
        Self::of(config, source, base_dir)
    }

    /// The model of a source.
    ///
    /// # Errors
    /// It is none that Hone's decoder knows; the words name it.
    pub fn of(config: &Config, source: Source, base_dir: &Path) -> anyhow::Result<Self> {
        let name = config.model.source.clone();
        let find = || -> anyhow::Result<Self> {
            let model = source.inspect()?;
            let format = match config.model.weights {
                Weights::Auto => Pack::choose(&source, base_dir, limit().bytes)?,
                format => format.to_string().parse()?,
            };
            Ok(Self {
                source,
                format,
                config: model,
                name: name.clone(),
                base_dir: base_dir.to_owned(),
            })
        };
        find().with_context(|| unusable(&name))
    }

    /// What serving it takes.
    ///
    /// # Errors
    /// It does not fit, with the figures and what to do.
    pub fn budget(&self, engine: &EngineSettings, asked: AskedMemory) -> anyhow::Result<Budget> {
        Budget::of(engine, asked, (&self.config, self.format), &available())
            .with_context(|| unusable(&self.name))
    }

    /// Packs it into a folder below the one of bases, unless that was done before and every byte is still there.
    ///
    /// # Errors
    /// It is damaged, or the folder cannot be written.
    pub fn pack(&self, preparing: &mut dyn Preparing) -> anyhow::Result<Pack> {
        let mut progress = |stage: PackStage, done, total| {
            let what = match stage {
                PackStage::Reading => "Read the model",
                PackStage::Packing => "Pack the model",
            };
            preparing.at(what, done, total);
        };
        Pack::prepare_with(&self.source, self.format, &self.base_dir, &mut progress)
            .with_context(|| unusable(&self.name))
    }
}

/// Where the configured model comes from; it is downloaded if it is a hub id and not here yet.
///
/// # Errors
/// It is neither here nor at the hub.
pub fn locate(
    config: &Config,
    base_dir: &Path,
    preparing: &mut dyn Preparing,
) -> anyhow::Result<Source> {
    let name = &config.model.source;
    let source = match local(config) {
        Some(source) => source,
        None => Name::parse(name)
            .map_err(Into::into)
            .and_then(|id| from_hub(&id, base_dir, preparing))
            .with_context(|| unusable(name))?,
    };
    Ok(templated(config, source))
}

/// The model with the configured chat template, if one is.
fn templated(config: &Config, source: Source) -> Source {
    let file = &config.model.chat_template;
    if file.as_os_str().is_empty() { source } else { source.with_chat_template(file) }
}

/// Where the configured model itself comes from, if nobody needs to be asked.
fn local(config: &Config) -> Option<Source> {
    if config.model.is_starter() {
        return Some(Source::Starter);
    }
    let path = Path::new(&config.model.source);
    // What lies here goes before a hub id; what is no id can only be a path.
    (path.exists() || !Name::looks_like(&config.model.source)).then(|| Source::at(path))
}

/// Where the configured model comes from, if it lies here or in the cache of a hub. Opens no connection.
pub fn at_hand(config: &Config, base_dir: &Path) -> Option<Source> {
    let in_a_cache = || {
        let name = Name::parse(&config.model.source).ok()?;
        let hub = Hub::new(HubSettings::from_process().ok()?);
        Some(source_of(&hub.cached(&pinned(&name, base_dir))?))
    };
    local(config).or_else(in_a_cache).map(|source| templated(config, source))
}

/// A hub's model: what lies in the cache at the commit that this data directory stays with, else what the hub has.
fn from_hub(name: &Name, base_dir: &Path, preparing: &mut dyn Preparing) -> anyhow::Result<Source> {
    let hub = Hub::new(HubSettings::from_process()?);
    let wanted = pinned(name, base_dir);
    let snapshot = match hub.cached(&wanted) {
        Some(snapshot) => snapshot,
        None => hub
            .pull(&wanted, &mut |done, total| preparing.at("Download the model", done, total))
            .context("nothing lies here by that name, and the hub was asked")?,
    };
    pins(base_dir).set(name, &snapshot.commit)?;
    Ok(source_of(&snapshot))
}

/// Asks the hub which commit a model is now, and downloads what is missing. From now on the data directory stays with it.
///
/// # Errors
/// The name is none, or the hub's refusal.
pub fn pull(
    name: &str,
    base_dir: &Path,
    preparing: &mut dyn Preparing,
) -> anyhow::Result<HubSnapshot> {
    let name = Name::parse(name)?;
    let hub = Hub::new(HubSettings::from_process()?);
    let snapshot =
        hub.pull(&name, &mut |done, total| preparing.at("Download the model", done, total))?;
    pins(base_dir).set(&name, &snapshot.commit)?;
    Ok(snapshot)
}

fn source_of(snapshot: &HubSnapshot) -> Source {
    Source::at(&snapshot.path)
}

fn pinned(name: &Name, base_dir: &Path) -> Name {
    pins(base_dir).get(name).map_or_else(|| name.clone(), |commit| name.at(&commit))
}

/// Beside the folders of bases, where nothing takes it for one.
fn pins(base_dir: &Path) -> Pins {
    Pins::new(base_dir.join("sources").join(PINS))
}

/// The model of a packed base.
///
/// # Errors
/// Its tokenizer or its template is broken, or it cannot answer a plain question; the words name the
/// model's own folder.
pub fn open_packed(config: &Config, pack: &Pack) -> anyhow::Result<Arc<Model>> {
    let name = &config.model.source;
    let model = Model::of(pack, config.model.cores()).with_context(|| unusable(name))?;
    model.try_out().with_context(|| unusable(name))?;
    Ok(Arc::new(model))
}

/// What a refusal of a model begins with.
pub(crate) fn unusable(name: &str) -> String {
    format!("the model `{name}` cannot be used")
}

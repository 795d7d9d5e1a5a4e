//! The base model of the commands that work without a daemon.

use std::path::PathBuf;
use std::sync::Arc;

use hone_config::{Config, Weights};
use hone_model::{Model, Source, WeightFormat};

use super::{Context, Failure, model_flags};
use crate::cli::ModelArgs;

/// A packed base and what it was packed by.
#[derive(Debug)]
pub struct Base {
    /// The settings.
    pub config: Config,
    /// The packed folder.
    pub folder: PathBuf,
}

impl Base {
    /// Packs the configured model, unless that was done before.
    ///
    /// # Errors
    /// The configuration does not hold, or the folder is no model.
    pub fn prepare(context: &Context, args: &ModelArgs) -> Result<Self, Failure> {
        let config = context.config(model_flags(args))?.config;
        let source = if config.model.is_starter() {
            Source::Starter
        } else {
            Source::Folder(PathBuf::from(&config.model.source))
        };
        let format = match config.model.weights {
            Weights::F32 => WeightFormat::F32,
            Weights::Bf16 => WeightFormat::Bf16,
            Weights::Q8 => WeightFormat::Q8,
            Weights::Q4 => WeightFormat::Q4,
        };
        let base_dir = config.server.data_dir.join("base");
        fs_err::create_dir_all(&base_dir)?;
        let folder = fs_err::canonicalize(hone_model::prepare(&source, format, &base_dir)?)?;
        Ok(Self { config, folder })
    }

    /// Opens it.
    ///
    /// # Errors
    /// The packed folder is damaged.
    pub fn open(&self) -> Result<Arc<Model>, Failure> {
        Ok(Arc::new(Model::open(&self.folder, self.config.model.cores())?))
    }
}

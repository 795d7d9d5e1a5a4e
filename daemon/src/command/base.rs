//! The base model of the commands that work without a daemon.

use std::path::PathBuf;
use std::sync::Arc;

use hone_config::Config;
use hone_model::Model;

use super::{Context, Failure, model_flags};
use crate::cli::ModelArgs;
use crate::{assemble, dirs};

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
        dirs::make(&config.server.data_dir)?;
        let base_dir = config.server.data_dir.join("base");
        dirs::make(&base_dir)?;
        let folder = fs_err::canonicalize(assemble::pack(&config, &base_dir)?)?;
        Ok(Self { config, folder })
    }

    /// Opens it.
    ///
    /// # Errors
    /// The packed folder is damaged.
    pub fn open(&self) -> Result<Arc<Model>, Failure> {
        Ok(assemble::open_packed(&self.config, &self.folder)?)
    }
}

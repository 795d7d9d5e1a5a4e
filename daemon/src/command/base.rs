//! The base model of the commands that work without a daemon.

use std::path::Path;
use std::sync::Arc;

use hone_config::Config;
use hone_model::{Model, Pack};

use super::{Context, Failure, model_flags};
use crate::cli::ModelArgs;
use crate::{assemble, dirs};

/// A packed base and what it was packed by.
#[derive(Debug)]
pub struct Base {
    /// The settings.
    pub config: Config,
    pack: Pack,
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
        let pack = assemble::pack(&config, &fs_err::canonicalize(base_dir)?)?;
        if let Some(repair) = pack.repaired() {
            context.output.say(format_args!("{repair}"));
        }
        Ok(Self { config, pack })
    }

    /// The packed folder.
    pub fn folder(&self) -> &Path {
        self.pack.folder()
    }

    /// Opens it.
    ///
    /// # Errors
    /// The model cannot be used.
    pub fn open(&self) -> Result<Arc<Model>, Failure> {
        Ok(assemble::open_packed(&self.config, &self.pack)?)
    }
}

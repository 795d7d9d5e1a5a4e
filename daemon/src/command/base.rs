//! The base model of the commands that work without a daemon.

use std::path::Path;
use std::sync::Arc;

use hone_config::Config;
use hone_model::{Model, Pack};

use super::{Context, Failure, model_flags};
use crate::base_model::{BaseModel, open_packed};
use crate::cli::ModelArgs;
use crate::dirs;
use crate::memory::{Asked, Budget};
use crate::output::Preparing;

/// A packed base and what it was packed by.
#[derive(Debug)]
pub struct Base {
    /// The settings.
    pub config: Config,
    /// What serving it takes.
    pub budget: Budget,
    pack: Pack,
}

impl Base {
    /// Packs the configured model, unless that was done before.
    ///
    /// # Errors
    /// The configuration does not hold, the model is none, or it does not fit.
    pub fn prepare(context: &Context, args: &ModelArgs) -> Result<Self, Failure> {
        Self::prepare_if(context, args, |_, _| Ok(()))
    }

    /// The same if `admit` takes it: asked with the settings and what was found, before any weight is read.
    ///
    /// # Errors
    /// Also those of `admit`.
    pub fn prepare_if(
        context: &Context,
        args: &ModelArgs,
        admit: impl FnOnce(&Config, &BaseModel) -> anyhow::Result<()>,
    ) -> Result<Self, Failure> {
        let loaded = context.config(model_flags(args))?;
        let asked = Asked::of(&loaded);
        let config = loaded.config;
        dirs::make(&config.server.data_dir)?;
        let base_dir = config.server.data_dir.join("base");
        dirs::make(&base_dir)?;
        let mut preparing = Preparing::new(context.output);
        let base_dir = fs_err::canonicalize(base_dir)?;
        let found = BaseModel::find(&config, asked, &base_dir, &mut preparing)?;
        admit(&config, &found)?;
        let pack = found.pack(&mut preparing)?;
        if let Some(repair) = pack.repaired() {
            context.output.say(format_args!("{repair}"));
        }
        Ok(Self { config, budget: found.budget, pack })
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
        Ok(open_packed(&self.config, &self.pack)?)
    }
}

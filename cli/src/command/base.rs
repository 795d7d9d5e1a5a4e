//! The base model of the commands that work without a daemon.

use std::path::Path;
use std::sync::Arc;

use hone_config::{Config, LoadedConfig};
use hone_model::{Model, Pack};

use crate::cli::ModelArgs;
use crate::context::{Context, Failure, model_flags};
use crate::output::preparing;
use hone_daemon::base_model::{BaseModel, open_packed};
use hone_daemon::dirs;
use hone_daemon::memory::{AskedMemory, Budget};

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
    /// The configuration does not hold, or the model is none.
    pub fn prepare(context: &Context, args: &ModelArgs) -> Result<Self, Failure> {
        Ok(Self::prepare_if(context, args, |_, _| Ok(()))?.0)
    }

    /// The same for serving, if it fits into memory; also what that takes.
    ///
    /// # Errors
    /// Also [`hone_machine::TooMuch`].
    pub fn prepare_to_serve(
        context: &Context,
        args: &ModelArgs,
    ) -> Result<(Self, Budget), Failure> {
        Self::prepare_if(context, args, |loaded, found| {
            found.budget(&loaded.config.engine, AskedMemory::of(loaded))
        })
    }

    /// The same if `admit` takes it: asked with the settings and what was found, before any weight is read.
    ///
    /// # Errors
    /// Also those of `admit`.
    pub fn prepare_if<T>(
        context: &Context,
        args: &ModelArgs,
        admit: impl FnOnce(&LoadedConfig, &BaseModel) -> anyhow::Result<T>,
    ) -> Result<(Self, T), Failure> {
        let loaded = context.config(model_flags(args))?;
        let config = &loaded.config;
        dirs::make(&config.server.data_dir)?;
        let base_dir = config.server.data_dir.join("base");
        dirs::make(&base_dir)?;
        let mut preparing = preparing(context.output);
        let base_dir = fs_err::canonicalize(base_dir)?;
        let found = BaseModel::find(config, &base_dir, &mut *preparing)?;
        let admitted = admit(&loaded, &found)?;
        let pack = found.pack(&mut *preparing)?;
        if let Some(repair) = pack.repaired() {
            context.output.say(format_args!("{repair}"));
        }
        Ok((Self { config: loaded.config, pack }, admitted))
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

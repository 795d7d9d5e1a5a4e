//! The model that is served: where it is, and what starting its engine gives.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hone_adapters::BaseShape;
use hone_engine::Generate;
use hone_model::{ModelConfig, Source};

use crate::memory::AskedMemory;

/// An engine that answers, and its model.
pub struct Served {
    /// The engine.
    pub engine: Arc<dyn Generate>,
    /// What adapters must fit.
    pub shape: BaseShape,
    /// What candidates are trained on; `None` where Hone's decoder does not compute the model.
    pub base: Option<PackedBase>,
    /// What was found damaged and made anew.
    pub repaired: Option<String>,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("base", &self.base).finish_non_exhaustive()
    }
}

/// A model that Hone's decoder computes, packed.
#[derive(Debug, Clone)]
pub struct PackedBase {
    /// Where.
    pub folder: PathBuf,
    /// What it computes.
    pub config: ModelConfig,
}

/// Where the model is.
#[derive(Debug, Clone, Copy)]
pub struct ModelPlace<'a> {
    /// Where it comes from.
    pub source: &'a Source,
    /// The folder of bases.
    pub base_dir: &'a Path,
    /// Which memory somebody asked for.
    pub asked: AskedMemory,
}

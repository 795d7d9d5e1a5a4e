//! The services of a running daemon, as its own code uses them.

use std::sync::Arc;

use hone_adapters::Registry;
use hone_engine::Generate;
use hone_server::key_ring::KeyRing;
use hone_server::metrics::Metrics;
use hone_server::source::SourceHasher;
use hone_store::Store;

use crate::dirs::Dirs;
use crate::journal::Journal;
use crate::promote::Promoter;
use crate::served_model::PackedBase;
use crate::settings::Settings;

/// What cycles, the drop folder and operators work with.
#[derive(Clone)]
pub struct Services {
    /// The settings that hold now.
    pub settings: Arc<Settings>,
    /// Where things lie.
    pub dirs: Dirs,
    /// The database.
    pub store: Store,
    /// Adapters on disk.
    pub registry: Arc<Registry>,
    /// Adapters at work.
    pub engine: Arc<dyn Generate>,
    /// The packed base that serves, and that candidates are trained on; `None` where Hone's decoder does not compute it.
    pub base: Option<PackedBase>,
    /// Cycles and the audit trail.
    pub journal: Journal,
    /// Moves the pointer.
    pub promoter: Arc<Promoter>,
    /// Figures for Prometheus.
    pub metrics: Arc<Metrics>,
    /// Tells who speaks.
    pub sources: SourceHasher,
    /// Who may call.
    pub keys: Arc<KeyRing>,
}

/// Cycles train what Hone's own decoder computes.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the {0} engine serves this model, and cycles train only models of families that Hone's own decoder knows; train an \
     adapter elsewhere and import it (`hone adapters import`)"
)]
pub struct Untrainable(pub &'static str);

impl Services {
    /// What candidates are trained on.
    ///
    /// # Errors
    /// Hone's decoder does not compute the model.
    pub fn trainable(&self) -> Result<&PackedBase, Untrainable> {
        self.base.as_ref().ok_or_else(|| Untrainable(self.engine.abilities().engine))
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("dirs", &self.dirs).finish_non_exhaustive()
    }
}

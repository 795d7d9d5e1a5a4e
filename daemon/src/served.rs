//! What serves the configured model, and what the rest of the daemon has to know of it.

use std::time::Instant;

use hone_adapters::BaseShape;
use hone_config::{Config, EngineKind};
use hone_engine::{Engine, EngineConfig};
use hone_machine::available;
use hone_model::Model;

use crate::base_model::{self, BaseModel, open_packed};
use crate::dirs::Dirs;
use crate::memory::AskedMemory;
use crate::mistral;
use crate::preparing::{self, Preparing};
use crate::served_model::{ModelPlace, PackedBase, Served};

/// Finds the model, sees that it fits, and starts the engine that computes it. Blocks.
///
/// # Errors
/// The model is not there, unknown to the engines that may serve it, or does not fit, in words that say what to do.
pub fn open(config: &Config, asked: AskedMemory, dirs: &Dirs) -> anyhow::Result<Served> {
    let base_dir = dirs.base();
    let mut preparing = preparing::log();
    let source = base_model::locate(config, &base_dir, &mut preparing)?;
    let place = ModelPlace { source: &source, base_dir: &base_dir, asked };
    match config.engine.kind {
        EngineKind::Hone => hone(config, &place, dirs, &mut preparing),
        EngineKind::Mistralrs => mistral::open(config, &place, &mut preparing),
        EngineKind::Auto => match hone(config, &place, dirs, &mut preparing) {
            Err(error) if is_of_another_family(&error) && mistral::IS_BUILT_IN => {
                mistral::open(config, &place, &mut preparing)
            }
            Err(error) if is_of_another_family(&error) => Err(error.context(mistral::NOT_BUILT_IN)),
            served => served,
        },
    }
}

/// Whether Hone's decoder refused a model because it does not know its family.
fn is_of_another_family(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<hone_model::Error>();
    matches!(error, Some(hone_model::Error::Family { .. }))
}

fn hone(
    config: &Config,
    place: &ModelPlace<'_>,
    dirs: &Dirs,
    preparing: &mut dyn Preparing,
) -> anyhow::Result<Served> {
    let began = Instant::now();
    let found = BaseModel::of(config, place.source.clone(), place.base_dir)?;
    let budget = found.budget(&config.engine, place.asked)?;
    budget.tell(config, (&found.config, found.format), &available());
    let pack = found.pack(preparing)?;
    let model = open_packed(config, &pack)?;
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(digest = model.digest(), weights = %model.format(), seconds, "model open");
    let shape = shape(&model);
    let base = PackedBase { folder: pack.folder().to_owned(), config: model.config().clone() };
    let settings =
        EngineConfig { load_signal: Some(dirs.load_signal()), ..budget.engine(&config.engine) };
    let engine = Engine::start(model, settings)?;
    let repaired = pack.repaired().map(str::to_owned);
    Ok(Served { engine, shape, base: Some(base), repaired })
}

/// What adapters must fit.
pub fn shape(model: &Model) -> BaseShape {
    let config = model.config();
    let (digest, num_layers) = (model.digest().to_owned(), config.num_layers);
    BaseShape { digest, num_layers, modules: config.modules() }
}

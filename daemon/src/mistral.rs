//! The mistralrs engine, where it is built in.

/// What to do where it is not.
pub const NOT_BUILT_IN: &str = "Hone's own decoder does not know this family, and mistralrs, which may know it, is not in this \
                                build (cargo build --release --features mistralrs)";

/// Whether this build has it.
pub const IS_BUILT_IN: bool = cfg!(feature = "mistralrs");

pub use engine::open;

#[cfg(feature = "mistralrs")]
mod engine {
    use std::sync::Arc;
    use std::time::Instant;

    use anyhow::Context;
    use hone_adapters::BaseShape;
    use hone_config::Config;
    use hone_engine::Generate;
    use hone_machine::{available, limit};
    use hone_mistral::{MistralEngine, MistralSettings, WeightForm};
    use hone_model::Foreign;

    use crate::base_model;
    use crate::memory::Budget;
    use crate::preparing::Preparing;
    use crate::served_model::{ModelPlace, Served};

    /// Within the folder of bases: the weights that an adapter changes, while they are loaded.
    const SCRATCH: &str = "merged";
    /// With a cache for fewer positions a request would hardly ever fit.
    const LEAST_POSITIONS: usize = 512;

    /// Starts the engine.
    ///
    /// # Errors
    /// The model is none that mistralrs takes, or does not fit.
    pub fn open(
        config: &Config,
        place: &ModelPlace<'_>,
        preparing: &mut dyn Preparing,
    ) -> anyhow::Result<Served> {
        start(config, place, preparing).with_context(|| base_model::unusable(&config.model.source))
    }

    fn start(
        config: &Config,
        place: &ModelPlace<'_>,
        preparing: &mut dyn Preparing,
    ) -> anyhow::Result<Served> {
        let began = Instant::now();
        let mut progress = |_, done, total| preparing.at("Read the model", done, total);
        let (model, front_end) = Foreign::open(place.source, place.base_dir, &mut progress)?;
        let form = WeightForm::choose(&config.model.weights.to_string(), &model, limit().bytes)?;
        let positions = front_end.context.min(LEAST_POSITIONS);
        let least = model.kv_width * size_of::<f32>() * positions;
        let weights = form.bytes(&model);
        let budget =
            Budget::of_another(&config.engine, place.asked, (weights, least as u64), &available())?;
        tracing::info!(
            "memory: {}; {} MiB more while an adapter is loaded; no cycles: they train what Hone's own decoder computes",
            budget.need(),
            weights >> 20
        );
        let (num_layers, modules) = (model.num_layers, model.modules());
        let class = model.class.clone();
        let settings = MistralSettings {
            form,
            max_queue: config.engine.max_queue,
            kv_bytes: usize::try_from(budget.kv).unwrap_or(usize::MAX),
            scratch: place.base_dir.join(SCRATCH),
        };
        let engine = MistralEngine::start(model, front_end, settings)?;
        let digest = engine.front_end().base_digest.clone();
        let seconds = began.elapsed().as_secs_f64();
        tracing::info!(digest, class, weights = form.name(), seconds, "model open in mistralrs");
        let shape = BaseShape { digest, num_layers, modules };
        Ok(Served { engine: engine as Arc<dyn Generate>, shape, base: None, repaired: None })
    }
}

#[cfg(not(feature = "mistralrs"))]
mod engine {
    use anyhow::bail;
    use hone_config::Config;

    use crate::preparing::Preparing;
    use crate::served_model::{ModelPlace, Served};

    /// Refuses.
    ///
    /// # Errors
    /// Always: this build does not have it.
    pub fn open(
        _config: &Config,
        _place: &ModelPlace<'_>,
        _preparing: &mut dyn Preparing,
    ) -> anyhow::Result<Served> {
        bail!(
            "engine.kind is mistralrs, which is not in this build of Hone; build it with it \
             (cargo build --release --features mistralrs), or set engine.kind to auto"
        )
    }
}

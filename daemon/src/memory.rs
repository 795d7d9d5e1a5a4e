//! The memory that this process may have, before anything is promised from it.

use anyhow::{Context as _, ensure};
use hone_config::{Config, EngineSettings, LoadedConfig};
use hone_engine::EngineConfig;
use hone_machine::{Need, Room, available, limit};
use hone_model::train::LoraLayout;
use hone_model::{KvCache, ModelConfig, WeightFormat, packed_bytes};
use hone_trainer::TrainingConfig;
use hone_trainer::probe::Work;

/// The key of the memory for attention's caches.
const KV: &str = "engine.kv_memory";
/// The key of the memory for adapters.
const ADAPTERS: &str = "engine.adapter_memory";
/// What Hone takes beside what is counted: the program, the tokenizer, the database.
const OWN: u64 = 48 << 20;
/// With caches for fewer positions a request would hardly ever fit.
const LEAST_POSITIONS: usize = 512;

/// Refuses caches that no state of this machine could hold, before anything else is looked at.
///
/// # Errors
/// One sentence with both figures.
pub fn check(loaded: &LoadedConfig) -> anyhow::Result<()> {
    let (asked, limit) = (loaded.config.engine.kv_memory.0, limit());
    ensure!(
        !AskedMemory::of(loaded).kv || asked <= limit.promised(),
        "{KV} is {} MiB, and this process may have {limit} in all; ask for at most {} MiB",
        asked >> 20,
        limit.promised() >> 20
    );
    Ok(())
}

/// Which figures somebody asked for; the others are defaults, which may be less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedMemory {
    kv: bool,
    adapters: bool,
}

impl AskedMemory {
    /// What layers above the defaults say.
    pub fn of(loaded: &LoadedConfig) -> Self {
        let asked = |key: &str| loaded.layer_of(key).is_some_and(|layer| layer != "default");
        Self { kv: asked(KV), adapters: asked(ADAPTERS) }
    }
}

/// What serving will take, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The packed weights.
    pub weights: u64,
    /// Attention's caches.
    pub kv: u64,
    /// Adapters.
    pub adapters: u64,
}

impl Budget {
    /// Divides the room. What was asked for is taken as it is; defaults take less where there is less.
    ///
    /// # Errors
    /// It does not fit, with all figures and what to do.
    pub fn of(
        engine: &EngineSettings,
        asked: AskedMemory,
        (config, format): (&ModelConfig, WeightFormat),
        room: &Room,
    ) -> anyhow::Result<Self> {
        let weights = packed_bytes(config, format);
        let positions = config.max_positions.min(LEAST_POSITIONS);
        let least = KvCache::bytes_for(config, positions) as u64;
        let rest = room.promised().saturating_sub(weights + OWN);
        let budget = Self {
            weights,
            kv: share(asked.kv, engine.kv_memory.0, (rest / 2).max(least)),
            adapters: share(asked.adapters, engine.adapter_memory.0, rest / 4),
        };
        let fewer_bits = format != WeightFormat::Q4;
        budget.need().admit(room).with_context(|| way_out(asked, fewer_bits))?;
        Ok(budget)
    }

    /// The same where another engine computes the model: of its weights and the least cache only the bytes are known, and each
    /// adapter is a copy of the weights, for which there is room or is not when it is loaded.
    ///
    /// # Errors
    /// It does not fit, with all figures and what to do.
    pub fn of_another(
        engine: &EngineSettings,
        asked: AskedMemory,
        (weights, least): (u64, u64),
        room: &Room,
    ) -> anyhow::Result<Self> {
        let rest = room.promised().saturating_sub(weights + OWN);
        let kv = share(asked.kv, engine.kv_memory.0, (rest / 4).max(least));
        let budget = Self { weights, kv, adapters: 0 };
        budget.need().admit(room).with_context(|| way_out(asked, true))?;
        Ok(budget)
    }

    /// The engine by the settings, with no more memory than this.
    pub fn engine(&self, settings: &EngineSettings) -> EngineConfig {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        EngineConfig {
            kv_bytes: bytes(self.kv),
            prefix_cache_bytes: bytes(settings.prefix_cache_of(self.kv)),
            adapter_bytes: bytes(self.adapters),
            ..EngineConfig::from(settings)
        }
    }

    /// In named parts.
    pub fn need(&self) -> Need {
        Need::of("weights", self.weights)
            .and("attention's caches", self.kv)
            .and("adapters", self.adapters)
            .and("Hone itself", OWN)
    }

    /// Says what was promised, and whether training will have room beside it.
    pub fn tell(&self, config: &Config, base: (&ModelConfig, WeightFormat), room: &Room) {
        let engine = &config.engine;
        if self.kv < engine.kv_memory.0 || self.adapters < engine.adapter_memory.0 {
            let (kv, adapters) = (self.kv >> 20, self.adapters >> 20);
            tracing::warn!(
                kv,
                adapters,
                "there is less memory (MiB) than {KV} and {ADAPTERS} take by default"
            );
        }
        let beside = Room {
            bytes: room.bytes.saturating_sub(self.need().bytes() - self.weights),
            by: room.by.clone(),
        };
        let training = training(config, base, &beside);
        match &training {
            Ok(bytes) => tracing::info!(
                "memory: {}; {} MiB more while a cycle trains",
                self.need(),
                bytes >> 20
            ),
            Err(error) => tracing::warn!("memory: {}; cycles will fail: {error}", self.need()),
        }
    }
}

/// What the largest batch of a cycle will take beside the weights.
fn training(
    config: &Config,
    (base, format): (&ModelConfig, WeightFormat),
    room: &Room,
) -> Result<u64, hone_trainer::Error> {
    let training = TrainingConfig::from(&config.training);
    let length = match training.max_length {
        0 => base.max_positions,
        length => length,
    };
    let layout =
        LoraLayout::new(base, training.rank, training.alpha as f32, &training.target_modules)?;
    let tokens = (length * training.batch_size).min(training.batch_tokens).max(length);
    let work =
        Work { config: base, format, layout: &layout, tokens, recompute: training.recompute };
    Ok(work.plan(room)?.bytes)
}

/// Refuses training that could not take a single token: how long the rows are is not known yet.
///
/// # Errors
/// With the figures.
pub fn admit_training(
    training: &TrainingConfig,
    config: &ModelConfig,
    format: WeightFormat,
) -> anyhow::Result<()> {
    let layout =
        LoraLayout::new(config, training.rank, training.alpha as f32, &training.target_modules)?;
    let work = Work { config, format, layout: &layout, tokens: 1, recompute: training.recompute };
    work.plan(&available())?;
    Ok(())
}

/// What was asked for, or, of a default, no more than a share of what there is.
fn share(asked: bool, wanted: u64, share: u64) -> u64 {
    if asked { wanted } else { wanted.min(share) }
}

/// What helps, the least painful first.
fn way_out(asked: AskedMemory, fewer_bits: bool) -> String {
    let mut ways = Vec::new();
    if asked.kv {
        ways.push(format!("lower {KV}"));
    }
    if asked.adapters {
        ways.push(format!("lower {ADAPTERS}"));
    }
    if fewer_bits {
        ways.push("serve it in fewer bits (--weights q4)".to_owned());
    }
    ways.push("choose a smaller model".to_owned());
    ways.push("let this process have more".to_owned());
    format!("the model does not fit into memory; {}", ways.join(", or "))
}

#[cfg(test)]
mod tests {
    use hone_config::ConfigSources;
    use hone_model::Source;

    use super::*;

    fn with(key: &str, value: &str) -> LoadedConfig {
        let environment = vec![(format!("HONE__ENGINE__{key}"), value.to_owned())];
        ConfigSources { environment, ..ConfigSources::default() }.load().unwrap()
    }

    fn budget(loaded: &LoadedConfig, mebibytes: u64) -> anyhow::Result<Budget> {
        let config = Source::Starter.inspect().unwrap();
        let room = Room { bytes: mebibytes << 20, by: "the test".to_owned() };
        Budget::of(
            &loaded.config.engine,
            AskedMemory::of(loaded),
            (&config, WeightFormat::Q4),
            &room,
        )
    }

    #[test]
    fn what_no_machine_has_is_refused_with_the_figure() {
        assert!(check(&with("KV_MEMORY", "64 MiB")).is_ok());
        assert!(
            check(&ConfigSources::default().load().unwrap()).is_ok(),
            "the default is no demand"
        );
        let error = check(&with("KV_MEMORY", "100000 GiB")).unwrap_err().to_string();
        assert!(error.contains("engine.kv_memory is 102400000 MiB"), "{error}");
    }

    #[test]
    fn defaults_take_less_where_there_is_less_and_demands_are_refused() {
        let plain = ConfigSources::default().load().unwrap();
        let roomy = budget(&plain, 64 << 10).unwrap();
        assert_eq!((roomy.kv, roomy.adapters), (1 << 30, 1 << 30));
        let tight = budget(&plain, 256).unwrap();
        assert!(tight.kv < 100 << 20 && tight.adapters < 60 << 20, "{tight:?}");
        let nothing = crate::error_chain::describe(&budget(&plain, 40).unwrap_err());
        assert!(
            nothing.contains("40 MiB (the test)") && nothing.contains("smaller model"),
            "{nothing}"
        );
        for (key, name) in [("KV_MEMORY", KV), ("ADAPTER_MEMORY", ADAPTERS)] {
            assert!(budget(&with(key, "300 MiB"), 1024).is_ok());
            let error =
                crate::error_chain::describe(&budget(&with(key, "3000 MiB"), 1024).unwrap_err());
            assert!(
                error.contains(&format!("lower {name}")) && error.contains("3000 for"),
                "{error}"
            );
        }
    }

    #[test]
    fn another_engines_weights_are_admitted_before_they_are_read() {
        let plain = ConfigSources::default().load().unwrap();
        let budget = |mebibytes: u64| {
            let room = Room { bytes: mebibytes << 20, by: "the test".to_owned() };
            let (engine, asked) = (&plain.config.engine, AskedMemory::of(&plain));
            Budget::of_another(engine, asked, (100 << 20, 1 << 20), &room)
        };
        let roomy = budget(64 << 10).unwrap();
        assert_eq!((roomy.weights, roomy.kv, roomy.adapters), (100 << 20, 1 << 30, 0));
        let tight = budget(256).unwrap();
        assert!(tight.kv < 30 << 20, "a copy with an adapter shall have room as well: {tight:?}");
        let nothing = crate::error_chain::describe(&budget(120).unwrap_err());
        assert!(
            nothing.contains("100 for weights") && nothing.contains("--weights q4"),
            "{nothing}"
        );
    }
}

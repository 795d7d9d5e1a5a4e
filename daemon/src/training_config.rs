//! From the section `[training]` to what the trainer is told: by cycles, and by `hone train`.

use hone_config::{Config, Recompute, Training};
use hone_trainer::TrainingConfig;

/// The schedule runs once more if the corrections are not learned by then.
const ROUNDS: usize = 2;
/// Mean loss by token from which on corrections are not learned: they are not said by heart yet.
const LEARNED_LOSS: f64 = 0.15;

/// What is not known yet in other words may be shown so often more in a pass.
const FOCUS: usize = 3;

/// The hyper-parameters of a configuration; those that it does not have are the trainer's defaults.
pub fn of(training: &Training) -> TrainingConfig {
    TrainingConfig {
        rank: training.rank,
        alpha: training.alpha,
        dropout: training.dropout,
        kl_weight: training.kl_weight,
        learning_rate: training.learning_rate,
        warmup_ratio: training.warmup_percent.ratio(),
        epochs: training.epochs,
        rounds: ROUNDS,
        learned_loss: LEARNED_LOSS,
        focus: FOCUS,
        batch_size: training.batch_size,
        accumulation: training.accumulation,
        clip: training.clip,
        weight_decay: training.weight_decay,
        max_length: training.max_length,
        early_stop_patience: training.patience,
        seed: training.seed,
        recompute: match training.recompute {
            Recompute::Auto => hone_trainer::Recompute::Auto,
            Recompute::Always => hone_trainer::Recompute::Always,
            Recompute::Never => hone_trainer::Recompute::Never,
        },
        checkpoint_every: training.checkpoint_every,
        ..TrainingConfig::default()
    }
}

/// Cores for training: `training.threads`, else as many as the model has.
pub fn threads(config: &Config) -> usize {
    match config.training.threads {
        0 => config.model.cores(),
        threads => threads,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_settings_make_an_adapter_that_is_taken() {
        let limits = hone_adapters::verify::VerifyLimits::default();
        let with = |rank: usize, alpha: f64| {
            let set = |key: &str, value: String| (format!("HONE__TRAINING__{key}"), value);
            let environment = vec![set("RANK", rank.to_string()), set("ALPHA", alpha.to_string())];
            hone_config::Sources { environment, ..hone_config::Sources::default() }.load()
        };
        let alpha = |rank: usize| limits.scaling * rank as f64;
        assert!(with(limits.rank, alpha(limits.rank)).is_ok());
        assert!(with(limits.rank + 1, 1.0).is_err());
        assert!(with(4, alpha(4)).is_ok() && with(4, alpha(4) + 1.0).is_err());
    }

    #[test]
    fn the_default_settings_are_a_valid_job() {
        let mut config = Config::defaults(std::path::Path::new("d")).unwrap();
        of(&config.training).check().unwrap();
        config.model.threads = 3;
        assert_eq!(threads(&config), 3);
        config.training.threads = 2;
        assert_eq!(threads(&config), 2);
    }
}

//! How candidates of models other than the starter are trained.
//!
//! The starter is small, so that what it does not rehearse it loses, and its own suites are asked within half a point. What other models
//! are asked, against their own answers, leaves more room, and with the starter's recipe nearly none of it was used: of 240 answers of
//! SmolLM2-135M all stayed, while it learned too little ([ADR 29](../../../docs/adr/0029-other-models-learn-faster.md)).

use hone_config::LearningRate;
use hone_dataset::Mix;
use hone_trainer::TrainingConfig;

/// Times the starter's rows that keep.
const REHEARSAL: f64 = 0.5;
/// Times the starter's learning rate, where none is set and the model is as wide as [`MEASURED_WIDTH`].
const RATE: f64 = 2.0;
/// Times the loss by token at which the starter has learned: a loss of 0.15 was half of SmolLM2's answers right.
const LEARNED: f64 = 0.5;
/// The width of the model that it was measured on. Wider ones take less, in proportion, as the update of an adapter's A moves
/// their results by as much more (Yang and others, *Tensor Programs V*, 2022).
const MEASURED_WIDTH: f64 = 576.0;

/// The rows of such a run.
pub(super) fn rehearse_less(mix: Mix) -> Mix {
    Mix { rehearsal: mix.rehearsal * REHEARSAL, ..mix }
}

/// How such a run learns, for a model of this width, where `training` is the starter's. A rate that was `set` stays.
pub(super) fn learn_more(
    training: TrainingConfig,
    set: LearningRate,
    hidden_size: usize,
) -> TrainingConfig {
    let faster = match set {
        LearningRate::Auto => RATE * (MEASURED_WIDTH / hidden_size.max(1) as f64).min(1.0),
        LearningRate::Set(_) => 1.0,
    };
    TrainingConfig {
        learning_rate: training.learning_rate * faster,
        learned_loss: training.learned_loss * LEARNED,
        ..training
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_models_take_smaller_steps() {
        let set = TrainingConfig { learning_rate: 0.1, ..TrainingConfig::shipped().unwrap() };
        let rate = |by, width| learn_more(set.clone(), by, width).learning_rate;
        assert_eq!([288, 576, 1152].map(|width| rate(LearningRate::Auto, width)), [0.2, 0.2, 0.1]);
        assert_eq!(rate(LearningRate::Set(0.1), 576), 0.1, "as it was set");
        assert_eq!(rehearse_less(Mix { rehearsal: 0.4, ..Mix::default() }).rehearsal, 0.2);
    }
}

//! How a job trains.
//!
//! What a person can set comes from the section `[training]`, whose defaults stand in `config/hone.toml`; what nobody needs to
//! set, and `hone train` has a flag for all the same, is said here.

use hone_config::{Config, LearningRate, Recompute, TrainingSettings};
use serde::{Deserialize, Serialize};

use crate::Error;

/// The seven linear layers of a decoder block, as PEFT names them.
const ALL_LINEAR: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// What models have in place of some of these that keep several layers in one matrix. The names of those layers stand for
/// them, so that [`ALL_LINEAR`] is all of any model.
const FUSED: [&str; 2] = ["qkv_proj", "gate_up_proj"];

/// The peak of the learning rate that is right for the starter, and of `hone train` where no other is set.
const LEARNING_RATE: f64 = 0.0005;
/// The schedule runs once more if the corrections are not learned by then.
const ROUNDS: usize = 2;
/// Mean loss by token from which on corrections are not learned: they are not said by heart yet.
const LEARNED_LOSS: f64 = 0.15;
/// What is not known yet in other words may be shown so often more in a pass.
const FOCUS: usize = 3;
/// What goes through the model at once: enough to keep the cores busy, and little beside the weights.
const BATCH_TOKENS: usize = 4096;
/// AdamW's, as PyTorch has them.
const BETAS: (f64, f64) = (0.9, 0.999);
/// AdamW's, as PyTorch has it.
const EPSILON: f64 = 1e-8;
/// Of rows that mark none.
const VALIDATION_SHARE: f64 = 0.05;
/// With more broken rows than good ones the file is not what it was taken for.
const MAX_REFUSED_SHARE: f64 = 0.5;

/// The shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// Half a cosine down to zero.
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// Stays at the top.
    Constant,
}

/// The training configuration: hyper-parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingConfig {
    /// Rank of the update.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Share of the adapter's inputs that is dropped in training.
    pub dropout: f64,
    /// What the divergence from the base's distribution counts on every token of replay rows,
    /// beside the cross-entropy of a supervised token; 0 is nothing.
    pub kl_weight: f64,
    /// Top of the learning rate.
    pub learning_rate: f64,
    /// Share of all steps in which the learning rate rises.
    pub warmup_ratio: f64,
    /// Its shape afterwards.
    pub scheduler: Scheduler,
    /// Passes over the rows in one run of the learning rate's schedule.
    pub epochs: usize,
    /// Runs of the schedule at most: another one follows while the mean loss of the taught rows is
    /// above [`TrainingConfig::learned_loss`].
    pub rounds: usize,
    /// Mean loss by token at which what is taught counts as learned.
    pub learned_loss: f64,
    /// Showings that a taught row with other wordings may have in an epoch beyond its usual ones, while
    /// its answer is not likely yet behind the last of them; 0 is none.
    pub focus: usize,
    /// Rows of one micro-batch group; `batch_size * accumulation` rows make an optimizer step.
    pub batch_size: usize,
    /// Groups of one optimizer step.
    pub accumulation: usize,
    /// Most tokens that go through the model at once; longer groups are cut, with the same result.
    pub batch_tokens: usize,
    /// Largest global gradient norm; larger gradients are scaled down to it.
    pub clip: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    pub beta2: f64,
    /// AdamW's denominator floor.
    pub epsilon: f64,
    /// Longest row in tokens; 0 means the model's context. Longer rows are refused.
    pub max_length: usize,
    /// Which linear layers get an adapter.
    pub target_modules: Vec<String>,
    /// Epochs without a better validation loss after which training ends; 0 means never.
    pub early_stop_patience: usize,
    /// Share of the rows that is held for validation when the file marks none.
    pub validation_share: f64,
    /// Largest share of refused rows that is not yet a failure of the job.
    pub max_refused_share: f64,
    /// Seed of the initial weights, the order of rows and the dropout.
    pub seed: u64,
    /// Whether intermediates are computed again in the backward pass.
    pub recompute: Recompute,
    /// Steps between checkpoints; 0 means one per epoch.
    pub checkpoint_every: usize,
}

impl From<&TrainingSettings> for TrainingConfig {
    /// As the settings say, and on all linear layers.
    fn from(settings: &TrainingSettings) -> Self {
        Self {
            rank: settings.rank,
            alpha: settings.alpha,
            dropout: settings.dropout,
            kl_weight: settings.kl_weight,
            learning_rate: match settings.learning_rate {
                LearningRate::Auto => LEARNING_RATE,
                LearningRate::Set(rate) => rate,
            },
            warmup_ratio: settings.warmup_percent.ratio(),
            scheduler: Scheduler::Cosine,
            epochs: settings.epochs,
            rounds: ROUNDS,
            learned_loss: LEARNED_LOSS,
            focus: FOCUS,
            batch_size: settings.batch_size,
            accumulation: settings.accumulation,
            batch_tokens: BATCH_TOKENS,
            clip: settings.clip,
            weight_decay: settings.weight_decay,
            beta1: BETAS.0,
            beta2: BETAS.1,
            epsilon: EPSILON,
            max_length: settings.max_length,
            target_modules: ALL_LINEAR.map(str::to_owned).to_vec(),
            early_stop_patience: settings.patience,
            validation_share: VALIDATION_SHARE,
            max_refused_share: MAX_REFUSED_SHARE,
            seed: settings.seed,
            recompute: settings.recompute,
            checkpoint_every: settings.checkpoint_every,
        }
    }
}

impl TrainingConfig {
    /// By the settings that ship with Hone.
    ///
    /// # Errors
    /// None in practice, as [`Config::shipped`].
    pub fn shipped() -> Result<Self, Error> {
        Ok(Self::from(&Config::shipped()?.training))
    }

    /// Passes over the rows at most.
    pub(crate) fn most_epochs(&self) -> usize {
        self.epochs * self.rounds
    }

    /// Refuses values that cannot train.
    ///
    /// # Errors
    /// [`Error::TrainingConfig`] with the name of the field and its range.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |name, range| Err(Error::TrainingConfig { name, range });
        if self.rank == 0 || self.rank > 1024 {
            return refuse("rank", "between 1 and 1024");
        }
        if !(self.alpha > 0.0 && self.alpha.is_finite()) {
            return refuse("alpha", "above 0");
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return refuse("dropout", "at least 0 and below 1");
        }
        if !(self.kl_weight >= 0.0 && self.kl_weight.is_finite()) {
            return refuse("kl_weight", "at least 0");
        }
        if !(self.learning_rate > 0.0 && self.learning_rate.is_finite()) {
            return refuse("learning_rate", "above 0");
        }
        if !(0.0..=1.0).contains(&self.warmup_ratio) {
            return refuse("warmup_ratio", "between 0 and 1");
        }
        for (name, value) in [
            ("epochs", self.epochs),
            ("rounds", self.rounds),
            ("batch_size", self.batch_size),
            ("accumulation", self.accumulation),
            ("batch_tokens", self.batch_tokens),
        ] {
            if value == 0 {
                return refuse(name, "at least 1");
            }
        }
        if self.clip.is_nan() || self.clip <= 0.0 {
            return refuse("clip", "above 0");
        }
        if !(self.learned_loss >= 0.0 && self.learned_loss.is_finite()) {
            return refuse("learned_loss", "at least 0");
        }
        if !(self.weight_decay >= 0.0 && self.weight_decay.is_finite()) {
            return refuse("weight_decay", "at least 0");
        }
        if !(0.0..1.0).contains(&self.beta1) || !(0.0..1.0).contains(&self.beta2) {
            return refuse("beta1 and beta2", "at least 0 and below 1");
        }
        if self.epsilon.is_nan() || self.epsilon <= 0.0 {
            return refuse("epsilon", "above 0");
        }
        if !(0.0..=0.5).contains(&self.validation_share) {
            return refuse("validation_share", "between 0 and 0.5");
        }
        if !(0.0..=1.0).contains(&self.max_refused_share) {
            return refuse("max_refused_share", "between 0 and 1");
        }
        let is_known = |name: &String| ALL_LINEAR.iter().chain(&FUSED).any(|known| known == name);
        if self.target_modules.is_empty() || !self.target_modules.iter().all(is_known) {
            return refuse(
                "target_modules",
                "some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
impl TrainingConfig {
    /// What tests train with: one pass of the schedule, each row as often as it says, and rows of any length.
    pub(crate) fn plain() -> Self {
        let shipped = Self::shipped().unwrap();
        Self { rounds: 1, focus: 0, learned_loss: 0.05, max_length: 0, seed: 0, ..shipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_that_ship_can_train() {
        let training = TrainingConfig::shipped().unwrap();
        training.check().unwrap();
        assert_eq!(training.rank, Config::shipped().unwrap().training.rank);
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let refused = |change: fn(&mut TrainingConfig)| {
            let mut training = TrainingConfig::plain();
            change(&mut training);
            training.check().unwrap_err().to_string()
        };
        assert!(refused(|h| h.rank = 0).contains("rank"));
        assert!(refused(|h| h.dropout = 1.0).contains("dropout"));
        assert!(refused(|h| h.kl_weight = -1.0).contains("kl_weight"));
        assert!(refused(|h| h.learning_rate = f64::NAN).contains("learning_rate"));
        assert!(refused(|h| h.clip = f64::NAN).contains("clip"));
        assert!(refused(|h| h.target_modules = vec!["lm_head".into()]).contains("target_modules"));
    }
}

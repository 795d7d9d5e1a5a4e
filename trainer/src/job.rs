//! The job directory: what is asked for, what happens, what came out.
//!
//! ```text
//! <job>/job.json          the order: base, rows, hyper-parameters
//! <job>/progress.jsonl    one line a step
//! <job>/events.out.…      the same figures for TensorBoard, a file for each process
//! <job>/checkpoints/      the newest two, for a resume after a crash
//! <job>/adapter/          the result in PEFT's layout
//! <job>/outcome.json      the figures; present only when the job is complete
//! ```
//!
//! `job.json` and `outcome.json` carry their own checksum; a `job.json` that a person wrote needs none.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::json::{read_json, write_json};

/// The seven linear layers of a decoder block, as PEFT names them.
pub const ALL_LINEAR: [&str; 7] =
    ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// What models have in place of some of these that keep several layers in one matrix. The names of those layers stand for
/// them, so that [`ALL_LINEAR`] is all of any model.
const FUSED: [&str; 2] = ["qkv_proj", "gate_up_proj"];

/// One order: train an adapter for `base` on `data`.
///
/// Relative paths are relative to the job directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The packed base folder. Its weight format decides what is trained through (4-bit: QLoRA).
    pub base: PathBuf,
    /// What the adapter's configuration calls the base, for people and for PEFT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_name: Option<String>,
    /// JSON lines: rows of a snapshot, or OpenAI chat rows.
    pub data: PathBuf,
    /// BLAKE3 of that file, hex; without one it is taken as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_digest: Option<String>,
    /// The adapter to go on from, of the same shape and made by a job; without one the run begins at
    /// the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// Where the adapter goes.
    #[serde(default = "default_out")]
    pub out: PathBuf,
    /// How to train.
    #[serde(default, rename = "hyper")]
    pub training: TrainingConfig,
    /// Compute threads; 0 means all cores.
    #[serde(default)]
    pub threads: usize,
    /// The engine's load signal; without one the job never yields.
    #[serde(rename = "pressure", default, skip_serializing_if = "Option::is_none")]
    pub load_signal: Option<PathBuf>,
}

fn default_out() -> PathBuf {
    PathBuf::from("adapter")
}

impl Job {
    /// A job with the default hyper-parameters, which writes to `adapter/` in its directory.
    pub fn new(base: impl Into<PathBuf>, data: impl Into<PathBuf>) -> Self {
        Self {
            base: base.into(),
            base_name: None,
            data: data.into(),
            data_digest: None,
            start: None,
            out: default_out(),
            training: TrainingConfig::default(),
            threads: 0,
            load_signal: None,
        }
    }

    /// Reads `<job_dir>/job.json` and makes its paths absolute or relative to the process.
    ///
    /// # Errors
    /// The file is missing, is not a job, or its hyper-parameters are out of range.
    pub fn read(job_dir: &Path) -> Result<Self, Error> {
        let path = job_dir.join("job.json");
        let mut job: Self = read_json(&path)?;
        job.training.check()?;
        for path in [&mut job.base, &mut job.data, &mut job.out] {
            *path = job_dir.join(&*path);
        }
        for path in [&mut job.load_signal, &mut job.start].into_iter().flatten() {
            *path = job_dir.join(&*path);
        }
        Ok(job)
    }

    /// Writes `<job_dir>/job.json`, replacing one that is there.
    ///
    /// # Errors
    /// The hyper-parameters are out of range, or the disk refuses.
    pub fn write(&self, job_dir: &Path) -> Result<(), Error> {
        self.training.check()?;
        fs_err::create_dir_all(job_dir)?;
        write_json(&job_dir.join("job.json"), self)
    }

    /// Whether its rows are still the ones that it was made for.
    ///
    /// # Errors
    /// [`Error::Rows`] if they are not; the disk's.
    pub fn check_rows(&self) -> Result<(), Error> {
        match &self.data_digest {
            None => Ok(()),
            Some(_) => {
                let found = blake3::hash(&fs_err::read(&self.data)?);
                self.check_digest(found.to_hex().as_str())
            }
        }
    }

    pub(crate) fn check_digest(&self, found: &str) -> Result<(), Error> {
        match &self.data_digest {
            Some(expected) if expected != found => Err(Error::Rows { path: self.data.clone() }),
            _ => Ok(()),
        }
    }
}

/// The shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scheduler {
    /// Half a cosine down to zero.
    #[default]
    Cosine,
    /// A straight line down to zero.
    Linear,
    /// Stays at the top.
    Constant,
}

/// Whether a layer's intermediates are computed again in the backward pass instead of kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recompute {
    /// Keep them while they fit in half of the memory that is free at the start.
    #[default]
    Auto,
    /// Always compute again: less memory, about a third more time.
    Always,
    /// Always keep.
    Never,
}

/// The training configuration: hyper-parameters, each with a default that fine-tunes the starter model well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            rank: 16,
            alpha: 64.0,
            dropout: 0.0,
            kl_weight: 6.0,
            learning_rate: 5e-4,
            warmup_ratio: 0.05,
            scheduler: Scheduler::Cosine,
            epochs: 3,
            rounds: 1,
            learned_loss: 0.05,
            focus: 0,
            batch_size: 8,
            accumulation: 1,
            batch_tokens: 4096,
            clip: 1.0,
            weight_decay: 0.0,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            max_length: 0,
            target_modules: ALL_LINEAR.map(str::to_owned).to_vec(),
            early_stop_patience: 1,
            validation_share: 0.05,
            max_refused_share: 0.5,
            seed: 0,
            recompute: Recompute::Auto,
            checkpoint_every: 50,
        }
    }
}

impl TrainingConfig {
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

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Reads the rows and plans the memory.
    Prepare,
    /// Made an optimizer step.
    Train,
    /// Measured the validation loss.
    Validate,
    /// Writes the adapter.
    Export,
    /// Complete; `outcome.json` is there.
    Finished,
}

/// One line of `progress.jsonl`, and the argument of the callback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What the job is doing.
    pub phase: Phase,
    /// Optimizer steps done.
    pub step: usize,
    /// Optimizer steps of the whole job.
    pub steps: usize,
    /// Epochs done, with the fraction of the one that runs.
    pub epoch: f64,
    /// Loss of this step by supervised token, the divergence of replay rows included.
    pub loss: Option<f64>,
    /// Mean over the validation rows' supervised tokens, when this line measured it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validation_loss: Option<f64>,
    /// Of this step.
    pub learning_rate: f64,
    /// Global norm of the gradient before clipping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<f64>,
    /// Tokens through the model since the start of the job, resumed parts included.
    pub tokens: u64,
    /// Those of them that the loss is taken on.
    pub supervised_tokens: u64,
    /// Over the time of this process, waiting included.
    pub tokens_per_second: f64,
    /// Of this process.
    pub seconds: f64,
    /// Seconds of them in which the job stood aside for users.
    pub waited_seconds: f64,
    /// One sentence for a person.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_disk_and_resolves_its_paths() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = Job::new("/base", "rows.jsonl");
        job.training.rank = 4;
        job.write(dir.path()).unwrap();
        let read = Job::read(dir.path()).unwrap();
        assert_eq!(read.base, PathBuf::from("/base"));
        assert_eq!(read.data, dir.path().join("rows.jsonl"));
        assert_eq!(read.out, dir.path().join("adapter"));
        assert_eq!(read.training, job.training);
    }

    #[test]
    fn impossible_values_are_refused_by_name() {
        let refused = |change: fn(&mut TrainingConfig)| {
            let mut training = TrainingConfig::default();
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

    #[test]
    fn a_flipped_bit_is_no_other_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.json");
        Job::new("/base", "rows.jsonl").write(dir.path()).unwrap();
        let bytes = fs_err::read(&path).unwrap();
        let rank = bytes.windows(10).position(|it| it == br#""rank": 16"#).unwrap();
        let mut flipped = bytes.clone();
        flipped[rank + 9] ^= 1;
        fs_err::write(&path, flipped).unwrap();
        let error = Job::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("its checksum does not fit its content"), "{error}");
    }

    #[test]
    fn rows_must_be_the_ones_it_was_made_for() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("rows.jsonl"), "{}").unwrap();
        let mut job = Job::new("/base", dir.path().join("rows.jsonl"));
        job.check_rows().unwrap();
        job.data_digest = Some(blake3::hash(b"{}").to_hex().to_string());
        job.check_rows().unwrap();
        fs_err::write(dir.path().join("rows.jsonl"), "[]").unwrap();
        assert!(matches!(job.check_rows(), Err(Error::Rows { .. })));
    }

    #[test]
    fn unknown_fields_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"base":"b","data":"d","hyper":{"rnak":4}}"#;
        fs_err::write(dir.path().join("job.json"), text).unwrap();
        assert!(Job::read(dir.path()).unwrap_err().to_string().contains("rnak"));
    }
}

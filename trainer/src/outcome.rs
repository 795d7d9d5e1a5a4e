//! `outcome.json`: what came out of a job.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::json::read_json;
use crate::{Error, TrainingConfig, export};

/// `outcome.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingOutcome {
    /// The folder with `adapter_config.json` and `adapter_model.safetensors`.
    pub adapter: PathBuf,
    /// Digest of `adapter_model.safetensors`, as `Adapter::digest` of the model crate gives it.
    pub adapter_digest: String,
    /// BLAKE3 of the adapter's files, by name.
    pub adapter_files: BTreeMap<String, String>,
    /// Of the base that it was trained on.
    pub base_digest: String,
    /// blake3 of the rows' file, in hex.
    pub data_digest: String,
    /// Rows in training.
    pub train_rows: usize,
    /// Rows in validation.
    pub validation_rows: usize,
    /// Refused rows, by reason.
    pub refused: BTreeMap<String, usize>,
    /// Optimizer steps.
    pub steps: usize,
    /// Epochs.
    pub epochs: f64,
    /// Whether the validation loss ended it before its time.
    pub stopped_early: bool,
    /// The step whose weights were exported.
    pub best_step: usize,
    /// Mean loss of the last epoch.
    pub train_loss: f64,
    /// Validation loss of the exported weights.
    pub validation_loss: Option<f64>,
    /// Validation loss before the first step.
    pub initial_validation_loss: Option<f64>,
    /// Tokens through the model.
    pub tokens: u64,
    /// Those of them that the loss is taken on.
    pub supervised_tokens: u64,
    /// Time of the process that finished the job.
    pub seconds: f64,
    /// Of it, standing aside.
    pub waited_seconds: f64,
    /// Over the process that finished the job, validation excluded.
    pub tokens_per_second: f64,
    /// The step that a resume began at.
    pub resumed_at: Option<usize>,
    /// The planner's estimate of the peak, beside the mapped base.
    pub planned_bytes: u64,
    /// The hyper-parameters.
    #[serde(rename = "hyper")]
    pub training: TrainingConfig,
}

impl TrainingOutcome {
    /// Reads `<job_dir>/outcome.json`; `None` while the job is not complete. What is damaged counts as not there: the job
    /// then goes on from its last checkpoint, and ends with the same bytes.
    ///
    /// # Errors
    /// The disk's.
    pub fn read(job_dir: &Path) -> Result<Option<Self>, Error> {
        let path = job_dir.join("outcome.json");
        if !path.exists() {
            return Ok(None);
        }
        match read_json(&path) {
            Ok(outcome) => Ok(Some(outcome)),
            Err(error @ Error::Json { .. }) => {
                tracing::warn!("{error}; the run makes it again");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the adapter's files are still those that the job made.
    pub fn has_its_adapter(&self) -> bool {
        export::checksums(&self.adapter).is_ok_and(|found| found == self.adapter_files)
    }
}

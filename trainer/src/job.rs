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
use serde_json::Value;

use crate::json::{read_json, write_json};
use crate::{Error, TrainingConfig};

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
    /// The adapter of the same shape whose distribution is kept on rows that keep; without one the base's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
    /// Where the adapter goes.
    #[serde(default = "default_out")]
    pub out: PathBuf,
    /// How to train.
    #[serde(rename = "hyper")]
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
    /// A job that writes to `adapter/` in its directory.
    pub fn new(
        base: impl Into<PathBuf>,
        data: impl Into<PathBuf>,
        training: TrainingConfig,
    ) -> Self {
        Self {
            base: base.into(),
            base_name: None,
            data: data.into(),
            data_digest: None,
            start: None,
            kept: None,
            out: default_out(),
            training,
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
        let written = filled_in(read_json(&path)?)?;
        let mut job: Self = serde_json::from_value(written)
            .map_err(|error| Error::Json { path, error: error.to_string() })?;
        job.training.check()?;
        for path in [&mut job.base, &mut job.data, &mut job.out] {
            *path = job_dir.join(&*path);
        }
        for path in [&mut job.load_signal, &mut job.start, &mut job.kept].into_iter().flatten() {
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

/// A file by a person, or by a version that knew fewer hyper-parameters, need not name them all: what it does not say is as
/// in the settings that ship.
fn filled_in(mut job: Value) -> Result<Value, Error> {
    let shipped = serde_json::to_value(TrainingConfig::shipped()?);
    if let (Some(fields), Ok(Value::Object(mut training))) = (job.as_object_mut(), shipped) {
        match fields.get_mut("hyper") {
            Some(Value::Object(said)) => {
                training.append(said);
                *said = training;
            }
            Some(_) => {} // for the parser to refuse
            None => drop(fields.insert("hyper".to_owned(), Value::Object(training))),
        }
    }
    Ok(job)
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
pub struct TrainingProgress {
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
    use crate::Scheduler;

    fn new(data: impl Into<PathBuf>) -> Job {
        Job::new("/base", data, TrainingConfig::plain())
    }

    #[test]
    fn a_job_survives_the_disk_and_resolves_its_paths() {
        let dir = tempfile::tempdir().unwrap();
        let mut job = new("rows.jsonl");
        job.training.rank = 4;
        job.write(dir.path()).unwrap();
        let read = Job::read(dir.path()).unwrap();
        assert_eq!(read.base, PathBuf::from("/base"));
        assert_eq!(read.data, dir.path().join("rows.jsonl"));
        assert_eq!(read.out, dir.path().join("adapter"));
        assert_eq!(read.training, job.training);
    }

    #[test]
    fn a_flipped_bit_is_no_other_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("job.json");
        new("rows.jsonl").write(dir.path()).unwrap();
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
        let mut job = new(dir.path().join("rows.jsonl"));
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
        fs_err::write(dir.path().join("job.json"), r#"{"base":"b","data":"d","hyper":4}"#).unwrap();
        assert!(Job::read(dir.path()).is_err());
    }

    #[test]
    fn what_a_person_does_not_say_is_as_the_settings_that_ship() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            fs_err::write(dir.path().join("job.json"), text).unwrap();
            Job::read(dir.path()).unwrap().training
        };
        let shipped = TrainingConfig::shipped().unwrap();
        assert_eq!(read(r#"{"base":"b","data":"d"}"#), shipped);
        let said = read(r#"{"base":"b","data":"d","hyper":{"rank":4,"scheduler":"linear"}}"#);
        let expected = TrainingConfig { rank: 4, scheduler: Scheduler::Linear, ..shipped };
        assert_eq!(said, expected);
    }
}

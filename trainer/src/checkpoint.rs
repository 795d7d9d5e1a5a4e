//! Checkpoints: everything that the rest of the run depends on, in one file.
//!
//! A resume that restarts the schedule, the order of rows or the moments trains another adapter;
//! this file holds weights, moments, the step, the position in the data and the digests of what it
//! belongs to, so that an interrupted job ends with the same bytes. Random numbers need no state:
//! order and dropout are functions of the seed, the epoch and the step.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::optim::AdamW;
use crate::schedule::EarlyStop;

/// How many checkpoints stay; the second is for a disk that tears the first.
const KEEP: usize = 2;

/// What a checkpoint belongs to. A checkpoint of anything else is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Digest of the packed base.
    pub base: String,
    /// Digest of the rows' file.
    pub data: String,
    /// Digest of the hyper-parameters that change the result.
    #[serde(rename = "hyper")]
    pub training: String,
}

/// Counters of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// The epoch that runs, from 0.
    pub epoch: usize,
    /// Epochs done; fewer than [`Counters::epoch`] where training ended early.
    #[serde(default)]
    pub epochs_done: usize,
    /// Optimizer steps done in it: the position in the data.
    pub step_in_epoch: usize,
    /// How often each row is shown in it beyond the usual; empty for not at all.
    #[serde(default)]
    pub extra_showings: Vec<usize>,
    /// Optimizer steps done.
    pub step: usize,
    /// Tokens through the model in training.
    pub tokens: u64,
    /// Those of them that the loss was taken on.
    pub supervised_tokens: u64,
    /// Sum of losses in this epoch (bits of an f64, so that JSON cannot round it).
    pub epoch_loss_bits: u64,
    /// Supervised tokens in this epoch.
    pub epoch_supervised: u64,
    /// Bits of the best validation loss.
    pub best_bits: Option<u64>,
    /// The step it was measured after.
    pub best_step: usize,
    /// Measurements since.
    pub since_best: usize,
    /// Bits of the validation loss before the first step.
    pub initial_bits: Option<u64>,
}

impl Counters {
    /// Mean loss of the epoch that runs, so far, by supervised token.
    pub fn epoch_loss(&self) -> f64 {
        f64::from_bits(self.epoch_loss_bits) / self.epoch_supervised.max(1) as f64
    }

    /// The early-stopping state.
    pub fn early_stop(&self) -> EarlyStop {
        let best = self.best_bits.map(|bits| (f64::from_bits(bits), self.best_step));
        EarlyStop { best, since: self.since_best }
    }

    /// Stores the early-stopping state.
    pub fn set_early_stop(&mut self, stop: EarlyStop) {
        self.best_bits = stop.best.map(|(loss, _)| loss.to_bits());
        self.best_step = stop.best.map_or(0, |(_, step)| step);
        self.since_best = stop.since;
    }
}

/// The state of a run between two optimizer steps.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// Where the run stands.
    pub counters: Counters,
    /// Weights, one flat vector per layer.
    pub weights: Vec<Vec<f32>>,
    /// Weights with the best validation loss, if one was measured.
    pub best: Option<Vec<Vec<f32>>>,
    /// The optimizer.
    pub optimizer: AdamW,
}

impl Checkpoint {
    /// Writes `<dir>/step-NNNNNNNN.safetensors` atomically and removes all but the newest two.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write(&self, dir: &Path, identity: &Identity) -> Result<(), Error> {
        let path = dir.join(format!("step-{:08}.safetensors", self.counters.step));
        let mut groups: Vec<(&str, &[Vec<f32>])> = vec![
            ("weights", &self.weights),
            ("first", &self.optimizer.first),
            ("second", &self.optimizer.second),
        ];
        if let Some(best) = &self.best {
            groups.push(("best", best));
        }
        let (identity, counters) = (json(&path, identity)?, json(&path, &self.counters)?);
        let mut hash = begin_hash(&identity, &counters);
        let mut views = Vec::new();
        for (group, vectors) in groups {
            for (index, vector) in vectors.iter().enumerate() {
                let bytes: &[u8] = bytemuck::cast_slice(vector);
                hash.update(bytes);
                let view = TensorView::new(Dtype::F32, vec![vector.len()], bytes)
                    .map_err(|error| tensors(&path, &error))?;
                views.push((format!("{group}.{index:04}"), view));
            }
        }
        let metadata = HashMap::from([
            ("identity".to_owned(), identity),
            ("counters".to_owned(), counters),
            ("blake3".to_owned(), hash.finalize().to_hex().to_string()),
        ]);
        let bytes = safetensors::serialize(views, Some(metadata))
            .map_err(|error| tensors(&path, &error))?;
        fs_err::create_dir_all(dir)?;
        hone_durable::replace(&path, &bytes)?;
        let files = list(dir)?;
        for old in &files[..files.len().saturating_sub(KEEP)] {
            fs_err::remove_file(old)?;
        }
        Ok(())
    }

    /// The newest checkpoint of `dir` that is whole; torn ones are passed over.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] if it belongs to another job; the disk refuses.
    pub fn newest(dir: &Path, identity: &Identity) -> Result<Option<Self>, Error> {
        if !dir.exists() {
            return Ok(None);
        }
        for path in list(dir)?.into_iter().rev() {
            let bytes = fs_err::read(&path)?;
            let Some((found, checkpoint)) = Self::parse(&bytes) else {
                tracing::warn!(path = %path.display(), "a torn checkpoint is passed over");
                continue;
            };
            if found != *identity {
                return Err(Error::Checkpoint { path });
            }
            return Ok(Some(checkpoint));
        }
        Ok(None)
    }

    fn parse(bytes: &[u8]) -> Option<(Identity, Self)> {
        let (_, header) = SafeTensors::read_metadata(bytes).ok()?;
        let metadata = header.metadata().as_ref()?;
        let (identity, counters) = (metadata.get("identity")?, metadata.get("counters")?);
        let mut hash = begin_hash(identity, counters);
        let identity = serde_json::from_str(identity).ok()?;
        let counters: Counters = serde_json::from_str(counters).ok()?;
        let file = SafeTensors::deserialize(bytes).ok()?;
        let mut group = |name: &str| -> Option<Vec<Vec<f32>>> {
            let mut vectors = Vec::new();
            while let Ok(view) = file.tensor(&format!("{name}.{:04}", vectors.len())) {
                hash.update(view.data());
                let values = view.data().chunks_exact(4);
                vectors
                    .push(values.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect());
            }
            (!vectors.is_empty()).then_some(vectors)
        };
        let (weights, first, second) = (group("weights")?, group("first")?, group("second")?);
        let best = group("best");
        if hash.finalize().to_hex().as_str() != metadata.get("blake3")? {
            return None;
        }
        let optimizer = AdamW { first, second, step: counters.step };
        Some((identity, Self { counters, weights, best, optimizer }))
    }
}

/// Where a run stands is covered by the checksum as its weights are.
fn begin_hash(identity: &str, counters: &str) -> blake3::Hasher {
    let mut hash = blake3::Hasher::new();
    for part in [identity, counters] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("step-") && name.ends_with(".safetensors") {
            files.push(dir.join(name));
        }
    }
    files.sort();
    Ok(files)
}

fn json<T: Serialize>(path: &Path, value: &T) -> Result<String, Error> {
    serde_json::to_string(value)
        .map_err(|error| Error::Json { path: path.to_owned(), error: error.to_string() })
}

pub(crate) fn tensors(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::Tensors { path: path.to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { base: "b".into(), data: "d".into(), training: "h".into() }
    }

    fn sample(step: usize) -> Checkpoint {
        let mut counters = Counters { step, epoch: 1, tokens: 77, ..Counters::default() };
        counters.set_early_stop(EarlyStop { best: Some((0.1 + 0.2, 3)), since: 1 });
        Checkpoint {
            counters,
            weights: vec![vec![0.1, f32::MIN_POSITIVE], vec![3.0]],
            best: (step > 1).then(|| vec![vec![1.0, 2.0], vec![5.0]]),
            optimizer: AdamW {
                first: vec![vec![1e-9, 2.0], vec![1.0]],
                second: vec![vec![1e-20, 4.0], vec![0.5]],
                step,
            },
        }
    }

    #[test]
    fn nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        for step in 1..=4 {
            sample(step).write(dir.path(), &identity()).unwrap();
            let read = Checkpoint::newest(dir.path(), &identity()).unwrap().unwrap();
            assert_eq!(read, sample(step));
            assert_eq!(read.counters.early_stop().best, Some((0.1 + 0.2, 3)));
        }
        assert_eq!(list(dir.path()).unwrap().len(), KEEP);
    }

    #[test]
    fn a_torn_file_is_passed_over_and_a_foreign_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Checkpoint::newest(&dir.path().join("none"), &identity()).unwrap().is_none());
        sample(1).write(dir.path(), &identity()).unwrap();
        sample(2).write(dir.path(), &identity()).unwrap();
        let newest = list(dir.path()).unwrap().pop().unwrap();
        let mut bytes = fs_err::read(&newest).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs_err::write(&newest, &bytes).unwrap();
        assert_eq!(Checkpoint::newest(dir.path(), &identity()).unwrap(), Some(sample(1)));
        bytes.truncate(40);
        fs_err::write(&newest, &bytes).unwrap();
        assert_eq!(Checkpoint::newest(dir.path(), &identity()).unwrap(), Some(sample(1)));
        sample(2).write(dir.path(), &identity()).unwrap();
        let mut bytes = fs_err::read(&newest).unwrap();
        let tokens = bytes.windows(2).position(|two| two == b"77").unwrap();
        bytes[tokens] ^= 1;
        fs_err::write(&newest, &bytes).unwrap();
        assert_eq!(Checkpoint::newest(dir.path(), &identity()).unwrap(), Some(sample(1)));
        let other = Identity { training: "other".into(), ..identity() };
        assert!(matches!(Checkpoint::newest(dir.path(), &other), Err(Error::Checkpoint { .. })));
    }
}

//! The immutable data set of one cycle: `rows.jsonl` and `manifest.json`, named by their hash.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use fs_err as fs;
use hone_api::InteractionId;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::example::{Example, Kind, Split};
use crate::policy::Policy;
use crate::redact::Entity;
use crate::select::Reason;

const ROWS: &str = "rows.jsonl";
const MANIFEST: &str = "manifest.json";
/// Raised when the same inputs would give other rows than before.
const FORMAT: u32 = 2;

/// What is in a snapshot and what was left out. Nothing in it depends on when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// BLAKE3 over the rows and over this manifest without the hash, hex.
    pub hash: String,
    /// Version of the rules that made it.
    pub format: u32,
    /// The settings.
    pub policy: Policy,
    /// Rows by kind and split.
    pub counts: BTreeMap<Kind, BTreeMap<Split, usize>>,
    /// Rows by family and split.
    pub families: BTreeMap<String, BTreeMap<Split, usize>>,
    /// Groups of similar prompts among the rows and their duplicates.
    pub clusters: usize,
    /// Labelled interactions that are not among the rows, by reason.
    pub dropped: BTreeMap<Reason, usize>,
    /// Placeholders put in for personal data, by kind.
    pub redacted: BTreeMap<Entity, usize>,
    /// Bad answers that nobody corrected yet.
    pub waiting: Vec<InteractionId>,
    /// Keys to add to the ledger of held-out prompts: those of the held-out rows and of everything
    /// similar to them.
    pub holdout_keys: BTreeSet<String>,
}

impl Manifest {
    /// The number of rows of a kind in a split.
    #[must_use]
    pub fn count(&self, kind: Kind, split: Split) -> usize {
        self.counts.get(&kind).and_then(|by_split| by_split.get(&split)).copied().unwrap_or(0)
    }
}

/// The data set of one cycle.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// What is in it.
    pub manifest: Manifest,
    /// The rows, by interaction id.
    pub examples: Vec<Example>,
}

/// What [`Snapshot::seal`] adds to the rows.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) clusters: usize,
    pub(crate) dropped: BTreeMap<Reason, usize>,
    pub(crate) redacted: BTreeMap<Entity, usize>,
    pub(crate) waiting: Vec<InteractionId>,
    pub(crate) holdout_keys: BTreeSet<String>,
}

impl Snapshot {
    /// Sorts and counts the rows and computes the hash.
    pub(crate) fn seal(
        policy: &Policy,
        mut examples: Vec<Example>,
        ledger: Ledger,
    ) -> Result<Self> {
        examples.sort_by_key(|example| example.id);
        let mut counts: BTreeMap<Kind, BTreeMap<Split, usize>> = BTreeMap::new();
        let mut families: BTreeMap<String, BTreeMap<Split, usize>> = BTreeMap::new();
        for example in &examples {
            *counts.entry(example.kind).or_default().entry(example.split).or_default() += 1;
            let family = families.entry(example.family.clone()).or_default();
            *family.entry(example.split).or_default() += 1;
        }
        let mut manifest = Manifest {
            hash: String::new(),
            format: FORMAT,
            policy: policy.clone(),
            counts,
            families,
            clusters: ledger.clusters,
            dropped: ledger.dropped,
            redacted: ledger.redacted,
            waiting: ledger.waiting,
            holdout_keys: ledger.holdout_keys,
        };
        manifest.hash = hash(&rows(&examples)?, &manifest)?;
        Ok(Self { manifest, examples })
    }

    /// The rows of one split, by interaction id.
    pub fn split(&self, split: Split) -> impl Iterator<Item = &Example> {
        self.examples.iter().filter(move |example| example.split == split)
    }

    /// Writes the snapshot into `<folder>/<hash>/`, which appears whole or not at all, and returns
    /// that path. A whole one that is there already is left alone; a damaged one is replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let target = folder.join(&self.manifest.hash);
        if target.exists() {
            if Self::read(&target).is_ok() {
                return Ok(target);
            }
            fs::remove_dir_all(&target)?;
        }
        fs::create_dir_all(folder)?;
        let staged = tempfile::Builder::new().prefix(".snapshot-").tempdir_in(folder)?;
        let manifest = serde_json::to_vec_pretty(&self.manifest)?;
        for (name, bytes) in [(ROWS, rows(&self.examples)?), (MANIFEST, manifest)] {
            let mut file = fs::File::create(staged.path().join(name))?;
            file.write_all(&bytes)?;
            file.sync_all()?;
        }
        fs::File::open(staged.path())?.sync_all()?;
        fs::rename(staged.path(), &target)?;
        // The folder has moved: nothing is left for the guard to delete.
        let _ = staged.keep();
        fs::File::open(folder)?.sync_all()?;
        Ok(target)
    }

    /// Reads `<snapshots>/<hash>/` and verifies the hash.
    ///
    /// # Errors
    /// [`Error::Io`] if a file is missing, [`Error::Corrupt`] if the content is not what the hash
    /// says.
    pub fn read(folder: &Path) -> Result<Self> {
        let corrupt = |detail: String| Error::Corrupt { path: folder.to_owned(), detail };
        let manifest = fs::read(folder.join(MANIFEST))?;
        let bytes = fs::read(folder.join(ROWS))?;
        let manifest: Manifest = serde_json::from_slice(&manifest)
            .map_err(|error| corrupt(format!("{MANIFEST}: {error}")))?;
        if hash(&bytes, &manifest)? != manifest.hash {
            return Err(corrupt("the content does not have the hash of the manifest".to_owned()));
        }
        let mut examples = Vec::new();
        for (number, line) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            if !line.is_empty() {
                let example = serde_json::from_slice(line)
                    .map_err(|error| corrupt(format!("{ROWS}, line {number}: {error}")))?;
                examples.push(example);
            }
        }
        Ok(Self { manifest, examples })
    }
}

fn rows(examples: &[Example]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for example in examples {
        serde_json::to_writer(&mut bytes, example)?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

fn hash(rows: &[u8], manifest: &Manifest) -> Result<String> {
    let unnamed = Manifest { hash: String::new(), ..manifest.clone() };
    let manifest = serde_json::to_vec(&unnamed)?;
    let mut hasher = blake3::Hasher::new_derive_key("hone dataset 2026 snapshot");
    hasher.update(&(rows.len() as u64).to_le_bytes());
    hasher.update(rows);
    hasher.update(&manifest);
    Ok(hasher.finalize().to_hex().to_string())
}

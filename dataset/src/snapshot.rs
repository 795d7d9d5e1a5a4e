//! The immutable data set of one cycle: `rows.jsonl` and `manifest.json`, named by their hash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fail::fail_point;
use fs_err as fs;
use hone_durable::{AsideFolder, write_synced};
use serde::{Deserialize, Serialize};

use crate::erased::Erased;
use crate::error::{Error, Result};
use crate::example::{Example, Kind};
use crate::policy::Policy;
use crate::redact::Entity;
use crate::rehearse::Rehearsal;
use crate::select::Reason;
use crate::waiting::Waiting;

pub(crate) const ROWS: &str = "rows.jsonl";
pub(crate) const REHEARSAL: &str = "rehearsal.jsonl";
pub(crate) const MANIFEST: &str = "manifest.json";
/// Raised when the same inputs would give other rows than before.
const FORMAT: u32 = 4;

/// What is in a snapshot and what was left out. Nothing in it depends on when it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotManifest {
    /// BLAKE3 over the rows and over this manifest without the hash, hex.
    pub hash: String,
    /// Version of the rules that made it.
    pub format: u32,
    /// The settings.
    pub policy: Policy,
    /// Rows by kind.
    pub counts: BTreeMap<Kind, usize>,
    /// Corrections that the adapter that serves was not trained on.
    pub new: usize,
    /// Those of them that judge an adapter that did not see them.
    pub judged: usize,
    /// Folds that judge.
    pub folds: usize,
    /// Rows by family and kind.
    pub families: BTreeMap<String, BTreeMap<Kind, usize>>,
    /// Everyone who said something.
    pub sources: usize,
    /// Groups of similar prompts among the rows and their duplicates.
    pub clusters: usize,
    /// Labelled interactions that are not among the rows, by reason.
    pub dropped: BTreeMap<Reason, usize>,
    /// Placeholders put in for personal data, by kind.
    pub redacted: BTreeMap<Entity, usize>,
    /// What a person must look at first.
    pub waiting: Vec<Waiting>,
}

impl SnapshotManifest {
    /// The number of rows of a kind.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or(0)
    }
}

/// The data set of one cycle.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// What is in it.
    pub manifest: SnapshotManifest,
    /// The rows, by interaction id.
    pub examples: Vec<Example>,
    /// What keeps the model from forgetting, the most wanted first.
    pub rehearsal: Vec<Rehearsal>,
}

/// What [`Snapshot::seal`] adds to the rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Ledger {
    pub(crate) clusters: usize,
    pub(crate) sources: usize,
    pub(crate) dropped: BTreeMap<Reason, usize>,
    pub(crate) redacted: BTreeMap<Entity, usize>,
    pub(crate) waiting: Vec<Waiting>,
}

impl Snapshot {
    /// Counts the rows and computes the hash.
    pub(crate) fn seal(
        policy: &Policy,
        mut examples: Vec<Example>,
        rehearsal: Vec<Rehearsal>,
        ledger: Ledger,
    ) -> Result<Self> {
        examples.sort_by_key(|example| example.id);
        let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
        let mut families: BTreeMap<String, BTreeMap<Kind, usize>> = BTreeMap::new();
        for example in &examples {
            *counts.entry(example.kind).or_default() += 1;
            let family = families.entry(example.family.clone()).or_default();
            *family.entry(example.kind).or_default() += 1;
        }
        if !rehearsal.is_empty() {
            counts.insert(Kind::Rehearsal, rehearsal.len());
        }
        let corrections = || examples.iter().filter(|it| it.kind == Kind::Supervised);
        let folds = corrections().filter_map(|it| it.fold).max().map_or(0, |last| last + 1);
        let mut manifest = SnapshotManifest {
            hash: String::new(),
            format: FORMAT,
            policy: policy.clone(),
            counts,
            new: corrections().filter(|it| !it.older).count(),
            judged: corrections().filter(|it| it.fold.is_some()).count(),
            folds,
            families,
            sources: ledger.sources,
            clusters: ledger.clusters,
            dropped: ledger.dropped,
            redacted: ledger.redacted,
            waiting: ledger.waiting,
        };
        manifest.hash = hash(&lines(&examples)?, &lines(&rehearsal)?, &manifest)?;
        Ok(Self { manifest, examples, rehearsal })
    }

    /// Writes the snapshot into `<folder>/<hash>/`, which appears whole or not at all, and returns
    /// that path. A whole one that is there already is left alone; a damaged one is replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, folder: &Path) -> Result<PathBuf> {
        let target = folder.join(&self.manifest.hash);
        if target.exists() {
            if Self::read(&target).is_ok() && !Self::is_erased(&target) {
                return Ok(target);
            }
            fs::remove_dir_all(&target)?;
        }
        fs::create_dir_all(folder)?;
        let aside = AsideFolder::within(folder)?;
        let manifest = serde_json::to_vec_pretty(&self.manifest)?;
        for (name, bytes) in [
            (ROWS, lines(&self.examples)?),
            (REHEARSAL, lines(&self.rehearsal)?),
            (MANIFEST, manifest),
        ] {
            write_synced(&aside.path().join(name), &bytes)?;
        }
        aside.publish(&target)?;
        Ok(target)
    }

    /// Reads `<snapshots>/<hash>/` and verifies the hash, or that of what an erasure has left.
    ///
    /// # Errors
    /// [`Error::Io`] if a file is missing, [`Error::Corrupt`] if the content is not what the hash
    /// says.
    pub fn read(folder: &Path) -> Result<Self> {
        let corrupt = |detail: String| Error::Corrupt { path: folder.to_owned(), detail };
        let manifest = fs::read(folder.join(MANIFEST))?;
        let rows = fs::read(folder.join(ROWS))?;
        let rehearsal = fs::read(folder.join(REHEARSAL))?;
        let manifest: SnapshotManifest = serde_json::from_slice(&manifest)
            .map_err(|error| corrupt(format!("{MANIFEST}: {error}")))?;
        let erased = Erased::read(folder)?;
        let expected = erased.as_ref().map_or(&manifest.hash, |erased| &erased.left);
        if hash(&rows, &rehearsal, &manifest)? != *expected {
            return Err(corrupt("the content does not have the hash of the manifest".to_owned()));
        }
        let examples = read_lines(&rows).map_err(|error| corrupt(format!("{ROWS}, {error}")))?;
        let rehearsal =
            read_lines(&rehearsal).map_err(|error| corrupt(format!("{REHEARSAL}, {error}")))?;
        Ok(Self { manifest, examples, rehearsal })
    }
}

pub(crate) fn read_lines<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
) -> std::result::Result<Vec<T>, String> {
    let lines = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))
        })
        .collect()
}

pub(crate) fn lines<T: Serialize>(rows: &[T]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for row in rows {
        serde_json::to_writer(&mut bytes, row)?;
        fail_point!("dataset.row");
        bytes.push(b'\n');
    }
    Ok(bytes)
}

pub(crate) fn hash(rows: &[u8], rehearsal: &[u8], manifest: &SnapshotManifest) -> Result<String> {
    let unnamed = SnapshotManifest { hash: String::new(), ..manifest.clone() };
    let manifest = serde_json::to_vec(&unnamed)?;
    let mut hasher = blake3::Hasher::new_derive_key("hone dataset 2026 snapshot");
    for part in [rows, rehearsal] {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    hasher.update(&manifest);
    Ok(hasher.finalize().to_hex().to_string())
}

//! `manifest.json`: what Hone knows of an adapter, beside its weights.
//!
//! Prevents weights from being served that are not the ones that were verified: the manifest holds
//! their hashes, and the folder is only ever created together with it.

use std::collections::BTreeMap;
use std::path::Path;

use hone_api::adapter::{AdapterState, AdapterView, Provenance};
use hone_api::{AdapterId, UnixMillis, sealed};
use serde::{Deserialize, Serialize};

use crate::fs::read_bounded;
use crate::state;
use crate::verify::Verified;
use crate::{Error, Result};

/// The file's name within an adapter's folder.
pub const MANIFEST: &str = "manifest.json";
/// The layout that this version writes.
const FORMAT: u32 = 1;
/// No honest manifest is larger.
const MAX_BYTES: u64 = 4 << 20;
/// So many steps of an adapter's life are kept: its first two and the newest. The audit trail has them
/// all; here they would grow with every promotion until the manifest were too large to be read.
const MAX_STEPS: usize = 200;
/// The first steps: copied, verified.
const FIRST_STEPS: usize = 2;

/// One step in an adapter's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transition {
    /// The state it came to.
    pub state: AdapterState,
    /// When.
    pub at: UnixMillis,
    /// Why, in words.
    pub reason: String,
    /// The epoch of the live pointer that this step belongs to; from it the pointer is rebuilt
    /// should `live.json` be lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
}

/// `manifest.json`; it carries its own checksum. One from before checksums is read as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterManifest {
    /// Layout of this file.
    pub format: u32,
    /// The adapter.
    pub id: AdapterId,
    /// The name given at import.
    pub name: Option<String>,
    /// Its life so far, oldest first; never empty. Of a long life the middle is left out.
    pub history: Vec<Transition>,
    /// SHA-256 of `adapter_model.safetensors`, hex.
    pub sha256: String,
    /// BLAKE3 of `adapter_model.safetensors`, hex.
    pub blake3: String,
    /// BLAKE3 of `adapter_config.json`, hex.
    pub config_blake3: String,
    /// Size of the weights in bytes.
    pub bytes: u64,
    /// Digest of the base that it was verified against.
    pub base_digest: String,
    /// LoRA rank.
    pub rank: u32,
    /// LoRA alpha.
    pub alpha: f64,
    /// The linear layers it changes.
    pub target_modules: Vec<String>,
    /// Where its weights come from.
    pub provenance: Provenance,
    /// Accuracy by family at its last evaluation.
    #[serde(default)]
    pub scores: BTreeMap<String, f64>,
    /// When it was imported.
    pub created_at: UnixMillis,
    /// Whether a person made it serve: retention leaves it alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub chosen: bool,
}

impl AdapterManifest {
    /// Whether a cycle of this daemon made it.
    #[must_use]
    pub const fn is_of_a_cycle(&self) -> bool {
        matches!(self.provenance, Provenance::Cycle { .. })
    }

    /// Whether a person brought it, named it, or made it serve.
    #[must_use]
    pub const fn belongs_to_a_person(&self) -> bool {
        self.chosen || self.name.is_some() || !self.is_of_a_cycle()
    }

    /// The manifest of weights that have just been verified: a candidate.
    #[must_use]
    pub fn of_candidate(
        id: AdapterId,
        name: Option<String>,
        provenance: Provenance,
        base_digest: String,
        verified: &Verified,
        now: UnixMillis,
    ) -> Self {
        let step = |state, reason: &str| Transition {
            state,
            at: now,
            reason: reason.to_owned(),
            epoch: None,
        };
        Self {
            format: FORMAT,
            id,
            name,
            history: vec![
                step(AdapterState::Staged, "copied"),
                step(AdapterState::Candidate, "verified"),
            ],
            sha256: verified.sha256.clone(),
            blake3: verified.blake3.clone(),
            config_blake3: verified.config_blake3.clone(),
            bytes: verified.bytes,
            base_digest,
            rank: verified.rank,
            alpha: verified.alpha,
            target_modules: verified.target_modules.clone(),
            provenance,
            scores: BTreeMap::new(),
            created_at: now,
            chosen: false,
        }
    }

    /// Where the adapter stands by its own record. What serves is said by `live.json` alone.
    #[must_use]
    pub fn state(&self) -> AdapterState {
        self.history.last().map_or(AdapterState::Staged, |step| step.state)
    }

    /// Why it stands there.
    #[must_use]
    pub fn reason(&self) -> &str {
        self.history.last().map_or("", |step| step.reason.as_str())
    }

    /// Adds a step to its life.
    ///
    /// # Errors
    /// [`Error::Transition`] when there is no such step.
    pub fn step(&mut self, to: AdapterState, at: UnixMillis, reason: &str) -> Result<()> {
        state::check(self.id, self.state(), to)?;
        self.push(to, at, reason, None);
        Ok(())
    }

    fn push(&mut self, state: AdapterState, at: UnixMillis, reason: &str, epoch: Option<u64>) {
        self.history.push(Transition { state, at, reason: reason.to_owned(), epoch });
        if let Some(excess @ 1..) = self.history.len().checked_sub(MAX_STEPS) {
            self.history.drain(FIRST_STEPS..FIRST_STEPS + excess);
        }
    }

    /// Notes that the live pointer's move to `epoch` began or ended this adapter's time.
    pub(crate) fn note_pointer(&mut self, serves: bool, at: UnixMillis, reason: &str, epoch: u64) {
        let state = if serves { AdapterState::Live } else { AdapterState::Retired };
        self.push(state, at, reason, Some(epoch));
    }

    /// The newest epoch that this adapter took part in, and whether it served from then on.
    pub(crate) fn last_epoch(&self) -> Option<(u64, bool)> {
        self.history
            .iter()
            .filter_map(|step| Some((step.epoch?, step.state == AdapterState::Live)))
            .max()
    }

    /// As operators see it.
    #[must_use]
    pub fn view(&self) -> AdapterView {
        AdapterView {
            id: self.id,
            object: "adapter".to_owned(),
            name: self.name.clone(),
            state: self.state(),
            digest: self.sha256.clone(),
            base_digest: Some(self.base_digest.clone()),
            rank: self.rank,
            alpha: self.alpha,
            target_modules: self.target_modules.clone(),
            provenance: self.provenance.clone(),
            scores: self.scores.clone(),
            created_at: self.created_at.seconds(),
        }
    }

    /// Reads the manifest of an adapter's folder.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it cannot be read, or belongs to another adapter.
    pub fn read(dir: &Path, id: AdapterId) -> Result<Self> {
        let damaged = |what: String| Error::Damaged { id, what };
        let bytes = read_bounded(&dir.join(MANIFEST), MAX_BYTES)
            .map_err(|error| damaged(error.to_string()))?;
        let manifest: Self = sealed::open_or_plain(&bytes)
            .map_err(|error| damaged(format!("{MANIFEST}: {error}")))?;
        if manifest.format != FORMAT {
            return Err(damaged(format!("{MANIFEST} has format {}", manifest.format)));
        }
        if manifest.id != id || manifest.history.is_empty() {
            return Err(damaged(format!("{MANIFEST} belongs to {}", manifest.id)));
        }
        Ok(manifest)
    }

    /// Writes it, durably and in one step.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, dir: &Path) -> Result<()> {
        let bytes = sealed::seal(self).map_err(std::io::Error::from)?;
        Ok(hone_durable::replace(&dir.join(MANIFEST), &bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> AdapterManifest {
        let verified = Verified {
            rank: 4,
            alpha: 8.0,
            target_modules: vec!["q_proj".to_owned()],
            sha256: "a".repeat(64),
            blake3: "b".repeat(64),
            config_blake3: "c".repeat(64),
            bytes: 17,
        };
        let provenance = Provenance::Import { folder: "mine".to_owned() };
        let base = "base".to_owned();
        AdapterManifest::of_candidate(
            AdapterId::new(),
            None,
            provenance,
            base,
            &verified,
            UnixMillis(5),
        )
    }

    #[test]
    fn what_is_written_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut written = manifest();
        written.note_pointer(true, UnixMillis(7), "promoted", 3);
        written.write(dir.path()).unwrap();
        assert_eq!(AdapterManifest::read(dir.path(), written.id).unwrap(), written);
        assert_eq!(written.last_epoch(), Some((3, true)));
        assert!(matches!(
            AdapterManifest::read(dir.path(), AdapterId::new()),
            Err(Error::Damaged { .. })
        ));
    }

    #[test]
    fn a_long_life_leaves_a_manifest_that_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let mut manifest = manifest();
        let first = manifest.history.clone();
        let reason = "promoted ".repeat(200);
        for epoch in 0..20_001 {
            manifest.note_pointer(epoch % 2 == 0, UnixMillis(7), &reason, epoch);
        }
        assert_eq!(manifest.history[..2], first);
        assert_eq!(manifest.history.len(), MAX_STEPS);
        assert_eq!(
            (manifest.last_epoch(), manifest.state()),
            (Some((20_000, true)), AdapterState::Live)
        );
        manifest.write(dir.path()).unwrap();
        assert_eq!(AdapterManifest::read(dir.path(), manifest.id).unwrap(), manifest);
    }

    #[test]
    fn a_flipped_bit_is_damage() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = manifest();
        manifest.write(dir.path()).unwrap();
        let path = dir.path().join(MANIFEST);
        let bytes = fs_err::read(&path).unwrap();
        for bit in (0..bytes.len() * 8).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs_err::write(&path, flipped).unwrap();
            assert!(AdapterManifest::read(dir.path(), manifest.id).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn garbage_is_damage_not_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join(MANIFEST), b"{\"format\":1").unwrap();
        let error = AdapterManifest::read(dir.path(), AdapterId::new()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
    }
}

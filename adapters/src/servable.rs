//! Whether an adapter's files may serve.
//!
//! Prevents weights from being loaded that are not the verified ones, and a healthy adapter from being called
//! damaged because the system ran short of something.

use std::path::Path;

use crate::fs::open_plain;
use crate::shortage::is_shortage;
use crate::{AdapterManifest, BaseShape, Error, Result, WEIGHTS};

/// Whether an adapter may serve: made for this base, and its weights are the verified ones.
pub(crate) fn check_servable(
    dir: &Path,
    manifest: &AdapterManifest,
    base: &BaseShape,
) -> Result<()> {
    let id = manifest.id;
    if manifest.base_digest != base.digest {
        let made_for = manifest.base_digest.clone();
        return Err(Error::OtherBase { id, made_for, here: base.digest.clone() });
    }
    manifest.check_files(dir)
}

impl AdapterManifest {
    /// Whether an adapter's files are the ones that were verified.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::Io`] where the system is short of something.
    pub fn check_files(&self, dir: &Path) -> Result<()> {
        check_hashes(dir, self)
    }
}

fn check_hashes(dir: &Path, manifest: &AdapterManifest) -> Result<()> {
    let id = manifest.id;
    for (file, expected) in [(crate::CONFIG, &manifest.config_blake3), (WEIGHTS, &manifest.blake3)]
    {
        let mut hasher = blake3::Hasher::new();
        let hashed = open_plain(&dir.join(file)).and_then(|file| {
            hasher.update_reader(file)?;
            Ok(())
        });
        if let Err(error) = hashed {
            if is_shortage(&error) {
                return Err(Error::Io(error));
            }
            return Err(Error::Damaged { id, what: error.to_string() });
        }
        if hasher.finalize().to_hex().as_str() != expected {
            return Err(Error::Damaged { id, what: format!("{file} has changed since import") });
        }
    }
    Ok(())
}

//! What lies packed in a folder of bases.

use std::path::{Path, PathBuf};

use super::{Manifest, remembered::origins};
use crate::WeightFormat;

/// A packed base, as far as its manifest tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// Digest of the source files, the format and the layout; hex.
    pub digest: String,
    /// Number format of its linear layers.
    pub format: WeightFormat,
    /// Bytes of its weights.
    pub bytes: u64,
    /// The folder that has it.
    pub folder: PathBuf,
    /// The folders and files that it was packed from, or `starter`; none if nobody remembers.
    pub sources: Vec<PathBuf>,
}

/// The packed bases below `base_dir` that have a whole manifest, by digest. Their weights are not read.
#[must_use]
pub fn packed(base_dir: &Path) -> Vec<Packed> {
    let origins = origins(base_dir);
    let entries = fs_err::read_dir(base_dir).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .filter_map(|entry| {
            let manifest = Manifest::read(&entry.path()).ok()?;
            let of_this = origins.iter().filter(|origin| origin.digest == manifest.digest);
            Some(Packed {
                sources: of_this.map(|origin| origin.path.clone()).collect(),
                digest: manifest.digest,
                format: manifest.format,
                bytes: manifest.weights_bytes,
                folder: entry.path(),
            })
        })
        .collect();
    found.sort_by(|a, b| a.digest.cmp(&b.digest));
    found
}

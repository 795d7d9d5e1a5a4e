//! The digest of a model that is not packed, since another engine reads its files as they are.

use std::path::Path;

use super::{PackProgress, digest, remembered::Remembered};
use crate::{Error, Source, WeightFormat, load::Checkpoint, small_files::SmallFiles};

/// What tells the files of a source from all others; hex. Read and hashed only if they do not look as they did when that
/// was done last.
pub(crate) fn digest_unpacked(
    source: &Source,
    small: &SmallFiles,
    checkpoint: &Checkpoint,
    base_dir: &Path,
    progress: PackProgress<'_>,
) -> Result<String, Error> {
    let looks = Remembered::unpacked(source, small, checkpoint)?;
    if let Some(digest) = looks.digest(base_dir) {
        return Ok(digest);
    }
    let digest = digest(small, checkpoint, WeightFormat::F32, progress);
    looks.keep(checkpoint, base_dir, &digest)?;
    Ok(digest)
}

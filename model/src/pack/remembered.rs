//! How a source looked when it was packed, so that it is not read again at each start.
//!
//! Its weights count as the same if path, size, inode, device and both times (of the content and of the inode, in
//! nanoseconds) are the same: nothing but the kernel sets the time of the inode, so that an edit of the same size with the
//! old time put back is noticed, and so is a copied folder. An edit within the clock's grain is not: so only what had been
//! left alone for [`SETTLED`](crate::files::SETTLED) before it was read is remembered. On a network disk that is the server's clock; where it is
//! far behind, a change in the very seconds of the first packing could be missed. The small files are always read.

use std::path::{Path, PathBuf};

use hone_api::sealed;
use serde::{Deserialize, Serialize};

use super::pack_version;
use crate::{
    Error, Source, WeightFormat, files::FileState, load::Checkpoint, small_files::SmallFiles,
};

/// The version of what is not packed.
const UNPACKED: u32 = 0;
/// Within the folder of bases.
pub(super) const FOLDER: &str = "sources";

/// What a source looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Remembered {
    /// The folder, or the file.
    path: PathBuf,
    format: WeightFormat,
    pack_version: u32,
    /// BLAKE3 of the small files.
    small: String,
    files: Vec<FileState>,
}

/// The file in which it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    source: Remembered,
    digest: String,
    /// Whether the source may be known by its looks; if not, it is only told where the base came from.
    #[serde(default = "yes")]
    settled: bool,
}

const fn yes() -> bool {
    true
}

/// From what a base was packed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) digest: String,
    pub(super) path: PathBuf,
}

/// From what the bases in this folder were packed, as far as it is known.
pub(super) fn origins(base_dir: &Path) -> Vec<Origin> {
    let entries = fs_err::read_dir(base_dir.join(FOLDER)).into_iter().flatten().flatten();
    let read = |path: PathBuf| sealed::open::<Record>(&fs_err::read(path).ok()?).ok();
    let mut found: Vec<_> = entries.filter_map(|entry| read(entry.path())).collect();
    found.sort_by(|a, b| a.source.path.cmp(&b.source.path));
    found
        .into_iter()
        .map(|record| Origin { digest: record.digest, path: record.source.path })
        .collect()
}

impl Remembered {
    /// How the source looks now. The model in the binary has no looks: it is told by its name alone.
    pub(super) fn of(
        source: &Source,
        format: WeightFormat,
        small: &SmallFiles,
        checkpoint: &Checkpoint,
    ) -> Result<Self, Error> {
        let path = source.path();
        Ok(Self {
            path: place(source)?,
            format,
            pack_version: pack_version(format),
            small: hash(small),
            files: checkpoint.states().map_err(Error::io(path))?,
        })
    }

    /// How a source looks now that is read as it is.
    pub(super) fn unpacked(
        source: &Source,
        small: &SmallFiles,
        checkpoint: &Checkpoint,
    ) -> Result<Self, Error> {
        let looks = Self::of(source, WeightFormat::F32, small, checkpoint)?;
        Ok(Self { pack_version: UNPACKED, ..looks })
    }

    /// The digest of the source, if it looks as it did when that was computed.
    pub(super) fn digest(&self, base_dir: &Path) -> Option<String> {
        let bytes = fs_err::read(base_dir.join(FOLDER).join(self.name())).ok()?;
        let record: Record = sealed::open(&bytes).ok()?;
        (record.settled && record.source == *self).then_some(record.digest)
    }

    /// Keeps it. If the source was changed while it was read or shortly before, its looks prove nothing: then it is
    /// only kept where the base came from.
    pub(super) fn keep(
        self,
        checkpoint: &Checkpoint,
        base_dir: &Path,
        digest: &str,
    ) -> Result<(), Error> {
        let now = checkpoint.states().map_err(Error::io(&self.path))?;
        let opened = checkpoint.opened_at();
        let settled =
            now == self.files && !now.is_empty() && now.iter().all(|file| file.had_settled(opened));
        let name = self.name();
        keep(base_dir, &name, &Record { source: self, digest: digest.to_owned(), settled })
    }

    /// One file for each source and format.
    fn name(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.format.name().as_bytes());
        hasher.update(self.path.as_os_str().as_encoded_bytes());
        format!("{}.json", &hasher.finalize().to_hex()[..32])
    }
}

/// Where a source is, whatever way leads there.
pub(super) fn place(source: &Source) -> Result<PathBuf, Error> {
    let path = source.path();
    match source {
        Source::Starter => Ok(path.to_owned()),
        Source::Folder(_) | Source::Gguf(_) => fs_err::canonicalize(path).map_err(Error::io(path)),
        Source::Templated(model, _) => place(model),
    }
}

/// BLAKE3 of the small files.
pub(super) fn hash(small: &SmallFiles) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in small.named() {
        for part in [name.as_bytes(), bytes] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// Writes a record, whole or not at all.
pub(super) fn keep(base_dir: &Path, name: &str, record: &impl Serialize) -> Result<(), Error> {
    let bytes = sealed::seal(record).map_err(|e| Error::invalid(name, e))?;
    let folder = base_dir.join(FOLDER);
    fs_err::create_dir_all(&folder).map_err(Error::io(&folder))?;
    hone_durable::replace(&folder.join(name), &bytes).map_err(Error::io(&folder))
}

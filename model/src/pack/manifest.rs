//! `manifest.json` of a packed folder: what each of its bytes must be.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read as _},
    path::{Path, PathBuf},
};

use hone_api::sealed;
use serde::{Deserialize, Serialize};

use super::{pack_version, write_synced};
use crate::{Error, WeightFormat, small_files::SmallFiles};

const NAME: &str = "manifest.json";
/// The name of the packed weights.
pub(super) const WEIGHTS: &str = "weights.hone";
/// Bytes of the largest manifest that is read: that of 500 GB of weights has half of it.
const LONGEST: u64 = 128 << 20;

/// `manifest.json`; it carries its own checksum.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) format: WeightFormat,
    pub(super) pack_version: u32,
    /// BLAKE3 of each small file.
    files: BTreeMap<String, String>,
    pub(super) weights_bytes: u64,
    /// BLAKE3 of each [`BLOCK`](super::weights::BLOCK) of `weights.hone`; the last one may be shorter.
    pub(super) blocks: Vec<String>,
}

impl Manifest {
    pub(super) fn new(
        digest: &str,
        format: WeightFormat,
        small: &SmallFiles,
        weights_bytes: u64,
        blocks: Vec<String>,
    ) -> Self {
        let files = small.named().map(|(name, bytes)| (name.to_owned(), hash(bytes))).collect();
        let digest = digest.to_owned();
        Self { digest, format, pack_version: pack_version(format), files, weights_bytes, blocks }
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let bytes = sealed::seal(self).map_err(|e| Error::invalid(NAME, e))?;
        write_synced(&folder.join(NAME), &bytes)
    }

    /// Reads the manifest of a folder in which nothing is missing and nothing was added.
    pub(super) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(NAME);
        let bytes = read(&path, LONGEST)?;
        let manifest: Self = match sealed::open(&bytes) {
            Ok(manifest) => manifest,
            Err(sealed::Broken::Unsealed) => {
                let why =
                    "it does not end with its checksum: cut off, or packed by another version";
                return Err(Error::damaged(&path, why));
            }
            Err(broken) => return Err(Error::damaged(&path, broken)),
        };
        if manifest.pack_version != pack_version(manifest.format) {
            return Err(Error::damaged(&path, "packed by another version"));
        }
        let stray = manifest.stray(folder).map_err(Error::io(folder))?;
        match stray {
            Some(path) => Err(Error::damaged(&path, "nothing of this name was packed")),
            None => Ok(manifest),
        }
    }

    fn stray(&self, folder: &Path) -> std::io::Result<Option<PathBuf>> {
        for entry in fs_err::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let known = name.to_str().is_some_and(|name| {
                [NAME, WEIGHTS].contains(&name) || self.files.contains_key(name)
            });
            if !known {
                return Ok(Some(entry.path()));
            }
        }
        Ok(None)
    }

    /// Whether it was packed from a model with these small files.
    pub(super) fn is_of(&self, small: &SmallFiles) -> bool {
        let mut count = 0;
        let same = |(name, bytes): (&str, &[u8])| {
            count += 1;
            self.files.get(name).is_some_and(|found| *found == hash(bytes))
        };
        small.named().all(same) && count == self.files.len()
    }

    /// The small files, checked.
    pub(super) fn small_files(&self, folder: &Path) -> Result<SmallFiles, Error> {
        let mut found = BTreeMap::new();
        for (name, expected) in &self.files {
            let path = folder.join(name);
            let bytes = read(&path, LONGEST)?;
            if hash(&bytes) != *expected {
                return Err(Error::damaged(&path, "its checksum does not fit its content"));
            }
            found.insert(name.as_str(), bytes);
        }
        SmallFiles::from_named(found)
            .ok_or_else(|| Error::damaged(&folder.join(NAME), "it does not name all files"))
    }
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Reads a file of a packed folder. What is not there or no file is damage; what the system refuses is not.
fn read(path: &Path, most: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    open(path)?.take(most).read_to_end(&mut bytes).map_err(unreadable(path))?;
    Ok(bytes)
}

/// Opens a plain file of a packed folder.
pub(super) fn open(path: &Path) -> Result<std::fs::File, Error> {
    // Opening a pipe would wait for whoever writes into it.
    match fs_err::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => return Err(Error::damaged(path, "not a plain file")),
        Err(error) => return Err(unreadable(path)(error)),
    }
    fs_err::File::open(path).map(fs_err::File::into_file).map_err(unreadable(path))
}

/// What a failure to read says: of the file, or of the system, which has too little of something.
pub(super) fn unreadable(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Error::damaged(path, "it is missing"),
        ErrorKind::UnexpectedEof => Error::damaged(path, "it is cut off"),
        // EIO: a sector that cannot be read any more.
        _ if error.raw_os_error() == Some(5) => Error::damaged(path, "its disk cannot read it"),
        _ => Error::io(path)(error),
    }
}

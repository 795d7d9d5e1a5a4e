//! Files of a model: read whole, mapped, and known again by their looks.

use std::{
    fs::File,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hone_device::MappedFile;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Longer than the grain of any disk's clock (FAT: two seconds).
pub(crate) const SETTLED: Duration = Duration::from_secs(5);
/// What a file of weights looks like.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileState {
    name: String,
    bytes: u64,
    device: u64,
    inode: u64,
    /// Seconds and nanoseconds since 1970 at which the content was changed.
    modified: (i64, i64),
    /// The same of the inode.
    changed: (i64, i64),
}

impl FileState {
    /// That of an open file.
    pub(crate) fn of(name: &str, file: &File) -> std::io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self {
            name: name.to_owned(),
            bytes: found.len(),
            device: found.dev(),
            inode: found.ino(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }

    /// Whether it had been left alone for [`SETTLED`] at a time.
    pub(crate) fn had_settled(&self, at: SystemTime) -> bool {
        let latest = at.checked_sub(SETTLED).and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let latest = latest.and_then(|latest| i64::try_from(latest.as_secs()).ok());
        latest.is_some_and(|latest| self.modified.0 < latest && self.changed.0 < latest)
    }
}

/// Reads a whole file of a model's folder, but nothing that has no end. A byte order mark, which some editors put before
/// the text, is left out.
///
/// # Errors
/// The file is not there, no regular file, or longer than `most` bytes.
pub(crate) fn read_file(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let other = |message: String| Err(std::io::Error::other(message));
    let metadata = fs_err::metadata(path)?;
    if !metadata.is_file() {
        return other(format!("{} is not a regular file; copy the model again", path.display()));
    }
    let mut bytes = Vec::new();
    fs_err::File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return other(format!("{} is longer than {most} bytes", path.display()));
    }
    if let Some(text) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        bytes = text.to_vec();
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return other(format!("{} is UTF-16; save it as UTF-8", path.display()));
    }
    Ok(bytes)
}

/// Opens a file of a source and maps it read-only.
pub(crate) fn map(path: &Path) -> Result<(MappedFile, File), Error> {
    // Opening a pipe would wait for whoever writes into it.
    if !fs_err::metadata(path).map_err(Error::io(path))?.is_file() {
        let source = std::io::Error::other("not a regular file; copy the model again");
        return Err(Error::Io { path: path.to_owned(), source });
    }
    let file = fs_err::File::open(path).map_err(Error::io(path))?.into_file();
    Ok((MappedFile::new(&file).map_err(Error::io(path))?, file))
}

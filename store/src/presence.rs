//! Whether the files that are written to are still the ones that lie at their paths.
//!
//! An open file outlives its name: without this, everything would be acknowledged that goes into a database
//! which somebody has deleted or replaced, and be gone with the process.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::error::{Error, Result};

/// What tells a file from every other one, whatever it is called.
type Identity = (u64, u64);

/// The database and its log, as they were when they were opened.
#[derive(Debug)]
pub(crate) struct Presence {
    files: Vec<(PathBuf, Identity)>,
}

impl Presence {
    /// Of a database that has just been opened.
    pub(crate) fn of(database: &Path) -> Result<Self> {
        let mut files = Vec::new();
        for suffix in ["", "-wal", "-shm"] {
            let mut name = database.as_os_str().to_owned();
            name.push(suffix);
            let path = PathBuf::from(name);
            match identity(&path) {
                Ok(identity) => files.push((path, identity)),
                Err(error) if error.kind() == io::ErrorKind::NotFound && !suffix.is_empty() => {}
                Err(error) => {
                    return Err(Error::Open { path, detail: error.to_string() });
                }
            }
        }
        Ok(Self { files })
    }

    /// Compares. It costs a few system calls and reads nothing. What comes back is found again.
    pub(crate) fn check(&self) -> Result<()> {
        for (path, opened) in &self.files {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let gone = |what| Err(Error::Gone { file: file.clone().into_owned(), what });
            match identity(path) {
                Ok(now) if now == *opened => {}
                Ok(_) => return gone("was replaced"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return gone("was deleted");
                }
                Err(_) => return gone("cannot be reached"),
            }
            if access(path, Access::WRITE_OK).is_err() {
                return gone("was made read-only");
            }
        }
        Ok(())
    }
}

fn identity(path: &Path) -> io::Result<Identity> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

//! Some room on the disk that is given back for what cannot wait: going back to the adapter that served
//! before, when the disk is full.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// The file's name within the data directory.
const RESERVE: &str = "reserve";
/// Room for the pointer, two manifests, and what a file system needs beside them.
const BYTES: usize = 1 << 20;

/// A file that only takes room.
#[derive(Debug)]
pub(crate) struct Reserve(PathBuf);

impl Reserve {
    /// The reserve of a data directory, filled if there is room.
    pub(crate) fn of(data_dir: &Path) -> Self {
        let reserve = Self(data_dir.join(RESERVE));
        reserve.fill();
        reserve
    }

    /// Takes the room again. Without any there is none, and nothing is said: the next try may be luckier.
    pub(crate) fn fill(&self) {
        let there = fs::metadata(&self.0).is_ok_and(|file| file.len() == BYTES as u64);
        if !there && self.write().is_err() {
            let _ = fs::remove_file(&self.0); // half a reserve takes room that others need
        }
    }

    fn write(&self) -> io::Result<()> {
        // Not zeros: a file system may keep those without taking room.
        let block: Vec<u8> = (0..BYTES).map(|at| (at * 31 % 251) as u8).collect();
        hone_durable::write_synced(&self.0, &block)
    }

    /// Does what needs room; if there is none, once more with that of the reserve.
    pub(crate) fn lend<T>(&self, attempt: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match attempt() {
            Err(error) if is_full(&error) && fs::remove_file(&self.0).is_ok() => {
                tracing::warn!(%error, "the disk is full: the reserve is given back for this");
                attempt()
            }
            other => other,
        }
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_lent_once_and_taken_again() {
        let dir = tempfile::tempdir().unwrap();
        let reserve = Reserve::of(dir.path());
        let file = dir.path().join(RESERVE);
        assert_eq!(fs::metadata(&file).unwrap().len(), BYTES as u64);
        // a disk that is full while the reserve takes its room
        let write = || match file.exists() {
            true => Err(io::Error::from(io::ErrorKind::StorageFull)),
            false => Ok(7),
        };
        assert_eq!(reserve.lend(write).unwrap(), 7);
        let still_full = || Err::<(), _>(io::Error::from(io::ErrorKind::StorageFull));
        assert!(reserve.lend(still_full).is_err());
        reserve.fill();
        assert!(file.exists());
        let refused = || Err::<(), _>(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(reserve.lend(refused).is_err());
        assert!(file.exists(), "kept for a full disk");
    }
}

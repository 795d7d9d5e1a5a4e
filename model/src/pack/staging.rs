//! Folders that are being written, and what is left of them by a process that was killed.
//!
//! The daemon, `hone train` and the benchmarks may pack into one folder at the same time. Each holds the kernel's lock on
//! the folder that it writes, which ends with the process, however it ends: what nobody holds, nobody needs.

use std::{
    fs::{File, TryLockError},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use tempfile::TempDir;

use crate::Error;

/// Beginning of the name of a folder that is being written.
const PREFIX: &str = ".packing-";
/// A sweep may take a new folder before it is locked; hardly ever twice.
const TRIES: usize = 16;

/// A folder that is being written. Unless it was renamed, it goes when this is dropped.
pub(super) struct Staging {
    folder: TempDir,
    _lock: File,
}

impl Staging {
    pub(super) fn make(base_dir: &Path) -> Result<Self, Error> {
        let mut last = None;
        for _ in 0..TRIES {
            match Self::try_make(base_dir) {
                Ok(Some(staging)) => return Ok(staging),
                Ok(None) => {}
                Err(error) => last = Some(error),
            }
        }
        let swept = || std::io::Error::other("another process removes what is being written");
        Err(Error::io(base_dir)(last.unwrap_or_else(swept)))
    }

    /// `None` if a sweep was faster than the lock.
    fn try_make(base_dir: &Path) -> std::io::Result<Option<Self>> {
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base_dir)?;
        let lock = File::open(folder.path())?;
        lock.lock()?;
        let locked = lock.metadata()?.ino();
        let named = std::fs::metadata(folder.path()).ok().map(|named| named.ino());
        Ok((named == Some(locked)).then_some(Self { folder, _lock: lock }))
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes what killed processes left. Failing to is no reason not to pack.
pub(super) fn sweep(base_dir: &Path) {
    let Ok(entries) = fs_err::read_dir(base_dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        match folder.try_lock() {
            Ok(()) => drop(fs_err::remove_dir_all(entry.path())),
            // Somebody writes it; or nobody can tell on this disk.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_being_written_stays_and_what_was_left_goes() {
        let base = tempfile::tempdir().unwrap();
        let left = base.path().join(".packing-left");
        std::fs::create_dir(&left).unwrap();
        std::fs::write(left.join("weights.hone"), "half").unwrap();
        std::fs::create_dir(base.path().join("packed")).unwrap();
        let busy = Staging::make(base.path()).unwrap();
        sweep(base.path());
        assert!(!left.exists() && busy.folder().exists());
        assert!(base.path().join("packed").exists());
        drop(busy);
        assert_eq!(std::fs::read_dir(base.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_never_swept_while_it_is_made() {
        let base = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                for _ in 0..300 {
                    let staging = Staging::make(base.path()).unwrap();
                    std::fs::write(staging.folder().join("file"), "").unwrap();
                }
            });
            while !made.is_finished() {
                sweep(base.path());
            }
        });
    }
}

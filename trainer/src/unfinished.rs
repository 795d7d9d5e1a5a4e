//! Files that appear whole or not at all, and what a kill left of them.
//!
//! The daemon's training process and `hone train` write below the same folder. Each holds the kernel's lock on the file that
//! it writes, which ends with the process, however it ends: what nobody holds, nobody needs.

use std::fs::{File, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fail::fail_point;
use tempfile::NamedTempFile;

use crate::Error;

/// Beginning of the name of a file that is being written.
const PREFIX: &str = ".unfinished-";
/// A sweep may take a new file before it is locked; hardly ever twice.
const TRIES: usize = 16;
/// `runs/<id>/<try>/checkpoints`: no deeper does a run write.
const DEPTH: usize = 3;

/// Replaces `path`: temporary file beside it, fsync, rename, fsync of the folder. A reader sees the
/// old bytes or the new ones, also after a power cut.
pub(crate) fn replace_file(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut file = locked(dir)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    fail_point!("ckpt.tmp");
    file.persist(path).map_err(|error| error.error)?;
    fail_point!("ckpt.rename");
    fs_err::File::open(dir)?.sync_all()?;
    Ok(())
}

fn locked(dir: &Path) -> std::io::Result<NamedTempFile> {
    for _ in 0..TRIES {
        let file = tempfile::Builder::new().prefix(PREFIX).tempfile_in(dir)?;
        // On a disk without locks nothing is swept.
        drop(file.as_file().lock());
        let named = fs_err::metadata(file.path()).ok().map(|found| found.ino());
        if named == Some(file.as_file().metadata()?.ino()) {
            return Ok(file);
        }
    }
    Err(std::io::Error::other(format!("{}: files vanish while they are written", dir.display())))
}

/// Removes from a folder of runs what killed processes left unfinished. What a living one writes stays. Failing to is
/// no reason not to train.
pub fn sweep(runs: &Path) {
    sweep_to(runs, DEPTH);
}

fn sweep_to(dir: &Path, depth: usize) {
    let Ok(entries) = fs_err::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() && depth > 0 {
            sweep_to(&path, depth - 1);
        } else if kind.is_file() && name.to_str().is_some_and(|name| name.starts_with(PREFIX)) {
            let held = File::options().write(true).open(&path).map(|file| (file.try_lock(), file));
            match held {
                Ok((Ok(()), _lock)) => drop(fs_err::remove_file(&path)),
                // Somebody writes it; or nobody can tell on this disk.
                Ok((Err(TryLockError::WouldBlock | TryLockError::Error(_)), _)) | Err(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kill_left_goes_and_what_is_written_stays() {
        let runs = tempfile::tempdir().unwrap();
        let checkpoints = runs.path().join("run-1/try-0/checkpoints");
        fs_err::create_dir_all(&checkpoints).unwrap();
        let left = [runs.path().join("run-1/.unfinished-a"), checkpoints.join(".unfinished-b")];
        for path in &left {
            fs_err::write(path, "half").unwrap();
        }
        replace_file(&checkpoints.join("step-1"), b"whole").unwrap();
        let busy = locked(&checkpoints).unwrap();
        sweep(runs.path());
        assert!(left.iter().all(|path| !path.exists()) && busy.path().exists());
        assert_eq!(fs_err::read(checkpoints.join("step-1")).unwrap(), b"whole");
        sweep(&runs.path().join("none"));
    }

    #[test]
    fn a_file_is_never_swept_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let path = dir.path().join("file");
            let written = scope.spawn(move || {
                for count in 0..200_u32 {
                    replace_file(&path, &count.to_le_bytes()).unwrap();
                }
            });
            while !written.is_finished() {
                sweep(dir.path());
            }
            written.join().unwrap();
        });
    }
}

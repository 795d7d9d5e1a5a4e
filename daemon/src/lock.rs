//! One daemon per data directory.
//!
//! Two daemons on one directory would train twice, promote over each other and write one database
//! from two writers' caches. The kernel's lock ends with the process, however it ends; the pid in
//! the file is only for the message.

use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use fs_err::{File, OpenOptions};
use rustix::fs::{FlockOperation, flock};

use crate::dirs;

/// Held for as long as the daemon runs.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the directory, or says who has it.
    ///
    /// # Errors
    /// Another process holds it, or the disk refuses.
    pub fn take(data_dir: &Path) -> anyhow::Result<Self> {
        dirs::make(data_dir)?;
        let path = data_dir.join("hone.lock");
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = file.with_context(|| {
            let dir = data_dir.display();
            format!("{dir} cannot be written to; choose another --data-dir, or allow it")
        })?;
        if let Err(error) = flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
            if error != rustix::io::Errno::WOULDBLOCK {
                return Err(error).with_context(|| {
                    format!("{} cannot be locked; use a local disk", path.display())
                });
            }
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder); // only for the message
            let holder = holder.trim();
            let holder = if holder.is_empty() { "unknown" } else { holder };
            bail!(
                "another daemon (pid {holder}) uses {}; stop it, or choose another --data-dir",
                data_dir.display()
            );
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }
}

/// Who holds the lock of a directory, without touching it: trying it could keep a daemon from starting. `None`:
/// nobody, or the system does not tell.
pub fn holder(data_dir: &Path) -> Option<String> {
    let path = data_dir.join("hone.lock");
    let inode = fs_err::metadata(&path).ok()?.ino();
    let locks = fs_err::read_to_string("/proc/locks").ok()?;
    let is_its = |line: &&str| {
        let file = line.split_whitespace().find(|word| word.split(':').count() == 3);
        line.contains("FLOCK") && file.is_some_and(|file| file.ends_with(&format!(":{inode}")))
    };
    locks.lines().find(is_its)?;
    Some(fs_err::read_to_string(&path).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_was_first() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()), None);
        let first = DataLock::take(dir.path()).unwrap();
        assert_eq!(holder(dir.path()), Some(std::process::id().to_string()));
        let error = DataLock::take(dir.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
        drop(first);
        assert_eq!(holder(dir.path()), None);
        DataLock::take(dir.path()).unwrap();
    }
}

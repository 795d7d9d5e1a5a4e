//! What is written aside has a name that says so, and a lock that says by whom.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Beginning of the name of what is being written.
pub(crate) const UNFINISHED: &str = ".unfinished-";
/// A sweep may take what is new before it is locked; hardly ever twice.
const TRIES: usize = 16;

/// Makes something until it is there and locked. `attempt` gives `None` if a sweep was faster.
///
/// # Errors
/// Those of `attempt`; that it vanishes again and again.
pub(crate) fn held<T>(dir: &Path, attempt: impl Fn() -> io::Result<Option<T>>) -> io::Result<T> {
    let mut vanished = None;
    for _ in 0..TRIES {
        match attempt() {
            Ok(Some(made)) => return Ok(made),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => vanished = Some(error),
            Err(error) => return Err(error),
        }
    }
    let swept = || format!("{}: what is written here vanishes at once", dir.display());
    Err(vanished.unwrap_or_else(|| io::Error::other(swept())))
}

/// Locks what was just made at a path; whether it is still there.
pub(crate) fn lock(file: &File, path: &Path) -> io::Result<bool> {
    // On a disk without locks nothing is swept.
    drop(file.lock());
    let named = fs_err::metadata(path).ok().map(|named| named.ino());
    Ok(named == Some(file.metadata()?.ino()))
}

//! Folders that are being filled by an import, of which a process that died leaves some.

use std::fs::File;
use std::path::Path;

use fs_err as fs;

use crate::{Error, Result};

/// How the name of a folder begins that is being filled.
pub(crate) const STAGING: &str = ".staging-";

/// Locks a folder for as long as the result lives; the system gives the lock back when the process
/// dies. `None`: a living process holds it.
pub(crate) fn lock_dir(dir: &Path) -> Result<Option<File>> {
    let file = fs::File::open(dir)?.into_file();
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(Error::Io(error.into())),
    }
}

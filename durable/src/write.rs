//! The write, the rename and the syncs, in the order that a power cut cannot break.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use fail::fail_point;
use tempfile::NamedTempFile;

use crate::aside::{UNFINISHED, held, lock};

/// What a new file allows, less the process's umask.
const USUAL: u32 = 0o666;
/// For its owner alone, whatever the umask.
const PRIVATE: u32 = 0o600;

/// Replaces a file in one step: readers see the old content or the new, never a mixture, and after the return the new content
/// survives a power cut.
///
/// # Errors
/// The disk's; the old content then stays.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = aside(path, bytes, USUAL)?;
    file.persist(path).map_err(|error| at(path, &error.error))?;
    fail_point!("file.renamed");
    sync_dir(parent(path))?;
    fail_point!("file.dirsync");
    Ok(())
}

/// Makes a file that only its owner may read, also while it is written.
///
/// # Errors
/// `AlreadyExists` if there is one, which stays; the disk's.
pub fn create_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = aside(path, bytes, PRIVATE)?;
    file.persist_noclobber(path).map_err(|error| at(path, &error.error))?;
    fail_point!("file.renamed");
    sync_dir(parent(path))
}

/// Writes a file of a folder that nobody sees yet. Where the folder is synced and renamed afterwards, as
/// [`crate::AsideFolder::publish`] does, it is whole or not there.
///
/// # Errors
/// The disk's.
pub fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs_err::File::create(path)?;
    file.write_all(bytes)?;
    fail_point!("file.tmp");
    file.sync_all()?;
    fail_point!("file.fsync");
    Ok(())
}

/// Gives something whose content is synced another name, which is on the disk when this returns.
///
/// # Errors
/// The disk's.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs_err::rename(from, to)?;
    fail_point!("rename.done");
    sync_dir(parent(to))?;
    fail_point!("rename.dirsync");
    Ok(())
}

/// Makes the entries of a folder durable: what was created, renamed or removed in it.
///
/// # Errors
/// The disk's.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fs_err::File::open(dir)?.sync_all()
}

/// The content beside its place, synced.
fn aside(path: &Path, bytes: &[u8], mode: u32) -> io::Result<NamedTempFile> {
    let dir = parent(path);
    let mut file = held(dir, || {
        let mut builder = tempfile::Builder::new();
        builder.prefix(UNFINISHED).permissions(Permissions::from_mode(mode));
        let file = builder.tempfile_in(dir)?;
        Ok(lock(file.as_file(), file.path())?.then_some(file))
    })?;
    file.write_all(bytes)?;
    fail_point!("file.tmp");
    file.as_file().sync_all().map_err(|error| at(path, &error))?;
    fail_point!("file.fsync");
    Ok(file)
}

/// The folder of a path; of a mere name, the one that the process is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// An error that says of what.
fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot write `{}`: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs_err::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let (path, usual) = (dir.path().join("live.json"), dir.path().join("usual"));
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"two");
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
        fs_err::write(&usual, "").unwrap();
        assert_eq!(mode(&path), mode(&usual), "as any file of this process");
    }

    #[test]
    fn a_private_file_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        create_private(&path, b"one").unwrap();
        let error = create_private(&path, b"two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!((fs_err::read(&path).unwrap().as_slice(), mode(&path)), (&b"one"[..], 0o600));
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_named_and_leaves_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        fs_err::create_dir(&path).unwrap();
        let error = replace(&path, b"").unwrap_err().to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
        assert!(replace(&dir.path().join("none/file"), b"").is_err());
        assert!(path.is_dir());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }
}

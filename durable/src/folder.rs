//! A folder that is filled before anybody can see it.

use std::fs::File;
use std::io;
use std::path::Path;

use tempfile::TempDir;

use crate::aside::{UNFINISHED, held, lock};
use crate::write::{rename, sync_dir};

/// A folder that is being filled. Unless it is published, it goes when this is dropped.
#[derive(Debug)]
pub struct AsideFolder {
    folder: TempDir,
    _lock: File,
}

impl AsideFolder {
    /// A new one, empty and for its owner alone, in the folder where it shall get its name.
    ///
    /// # Errors
    /// The disk's.
    pub fn within(parent: &Path) -> io::Result<Self> {
        held(parent, || {
            let folder = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
            let file = File::open(folder.path())?;
            Ok(lock(&file, folder.path())?.then_some(Self { folder, _lock: file }))
        })
    }

    /// Where it is for now.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Gives it its name, which must be free. Its files must be synced ([`crate::write_synced`]).
    ///
    /// # Errors
    /// The disk's; then it is gone, or has its name already.
    pub fn publish(self, target: &Path) -> io::Result<()> {
        sync_dir(self.path())?;
        rename(self.path(), target)
        // What is dropped now has no name any more.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{sweep, write_synced};

    #[test]
    fn it_has_its_name_whole_or_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let aside = AsideFolder::within(dir.path()).unwrap();
        write_synced(&aside.path().join("file"), b"whole").unwrap();
        let target = dir.path().join("target");
        aside.publish(&target).unwrap();
        assert_eq!(fs_err::read(target.join("file")).unwrap(), b"whole");
        // The name is taken.
        let second = AsideFolder::within(dir.path()).unwrap();
        assert!(second.publish(&target).is_err());
        drop(AsideFolder::within(dir.path()).unwrap());
        assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn it_is_never_swept_while_it_is_made() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let made = scope.spawn(|| {
                for _ in 0..300 {
                    let aside = AsideFolder::within(dir.path()).unwrap();
                    fs_err::write(aside.path().join("file"), "").unwrap();
                }
            });
            while !made.is_finished() {
                sweep(dir.path());
            }
        });
    }
}

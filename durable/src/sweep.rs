//! What killed processes left unfinished.

use std::fs::{File, TryLockError};
use std::path::Path;

use crate::aside::UNFINISHED;

/// Removes from a folder what killed processes left unfinished in it. What a living one writes stays. Failing to is no reason not
/// to go on: it only costs room.
pub fn sweep(dir: &Path) {
    let Ok(entries) = fs_err::read_dir(dir) else { return };
    for entry in entries.flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(UNFINISHED)) {
            continue;
        }
        let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
        let file = match (kind.is_dir(), kind.is_file()) {
            (true, _) => File::open(&path),
            // Network disks lock only what is open for writing.
            (_, true) => File::options().write(true).open(&path),
            _ => continue,
        };
        let Ok(file) = file else { continue };
        match file.try_lock() {
            Ok(()) if kind.is_dir() => drop(fs_err::remove_dir_all(&path)),
            Ok(()) => drop(fs_err::remove_file(&path)),
            // Somebody writes it; or nobody can tell on this disk.
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AsideFolder, replace};

    #[test]
    fn what_a_kill_left_goes_and_what_is_written_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs_err::write(at(".unfinished-file"), "half").unwrap();
        fs_err::create_dir(at(".unfinished-folder")).unwrap();
        fs_err::write(at(".unfinished-folder/file"), "half").unwrap();
        fs_err::write(at(".hidden"), "somebody's").unwrap();
        std::os::unix::fs::symlink(at(".hidden"), at(".unfinished-link")).unwrap();
        replace(&at("file"), b"whole").unwrap();
        let busy = AsideFolder::within(dir.path()).unwrap();
        sweep(dir.path());
        assert!(!at(".unfinished-file").exists() && !at(".unfinished-folder").exists());
        assert!(busy.path().exists() && at(".hidden").exists() && at(".unfinished-link").exists());
        assert_eq!(fs_err::read(at("file")).unwrap(), b"whole");
        sweep(&at("none"));
    }

    #[test]
    fn a_file_is_never_swept_while_it_is_written() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            let path = dir.path().join("file");
            let written = scope.spawn(move || {
                for count in 0..200_u32 {
                    replace(&path, &count.to_le_bytes()).unwrap();
                }
            });
            while !written.is_finished() {
                sweep(dir.path());
            }
            written.join().unwrap();
        });
    }
}

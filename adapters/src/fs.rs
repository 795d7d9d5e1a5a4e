//! Names that cannot escape, files that cannot hang or be too large, and folders that go at once.
//!
//! Prevents that a name such as `../../etc` leaves its folder, or that a pipe is read where a file was expected.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use fail::fail_point;
use fs_err as fs;

use crate::{Error, Result};

/// The longest name of an adapter or of a folder in the drop folder, in bytes.
pub const MAX_NAME: usize = 64;

/// Names that mean something else already.
const RESERVED: [&str; 7] = ["base", "live", "previous", "candidate", "canary", "latest", "hone"];

fn parent_and_name(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{}` names no file", path.display()))
    })?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    Ok((dir.unwrap_or(Path::new(".")), name))
}

/// Opens a plain file for reading. A link, a pipe or a device is refused without being read from:
/// opening a pipe would wait for ever, and a link could point at anything.
///
/// # Errors
/// `InvalidInput` for anything but a plain file; the disk's.
pub fn open_plain(path: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    use rustix::io::Errno;
    let with_path = |kind, why: &dyn std::fmt::Display| {
        io::Error::new(kind, format!("cannot open `{}`: {why}", path.display()))
    };
    let not_plain = || with_path(io::ErrorKind::InvalidInput, &"it is not a plain file");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP) => return Err(not_plain()), // what NOFOLLOW gives for a link
        Err(error) => return Err(with_path(error.kind(), &io::Error::from(error))),
    };
    if file.metadata()?.is_file() { Ok(file) } else { Err(not_plain()) }
}

/// Reads a plain file of at most `limit` bytes.
///
/// # Errors
/// `FileTooLarge` above the limit; otherwise those of [`open_plain`].
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_plain(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(path, limit));
    }
    Ok(bytes)
}

/// Copies a plain file of at most `limit` bytes to a path that does not exist yet, and makes its
/// content durable.
///
/// # Errors
/// `FileTooLarge` above the limit; otherwise those of [`open_plain`] and the disk's.
pub fn copy_bounded(from: &Path, to: &Path, limit: u64) -> io::Result<u64> {
    let mut source = open_plain(from)?.take(limit.saturating_add(1));
    let mut options = fs::OpenOptions::new();
    let mut target = options.write(true).create_new(true).open(to)?;
    let copied = io::copy(&mut source, &mut target)?;
    if copied > limit {
        return Err(too_large(from, limit));
    }
    target.sync_all()?;
    Ok(copied)
}

fn too_large(path: &Path, limit: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::FileTooLarge,
        format!("`{}` is larger than {limit} bytes", path.display()),
    )
}

/// Checks that a name is `^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$` without `..`.
///
/// # Errors
/// [`Error::Name`].
pub fn check_path_name(name: &str) -> Result<()> {
    let good = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && !name.contains("..");
    if good { Ok(()) } else { Err(Error::Name(name.chars().take(80).collect())) }
}

/// [`check_path_name`], and the name does not mean something else already (`live`, `ad-…`), in
/// capitals neither: `Live` beside `live` would mislead people.
///
/// # Errors
/// [`Error::Name`].
pub fn check_adapter_name(name: &str) -> Result<()> {
    check_path_name(name)?;
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) || lower.starts_with(hone_api::AdapterId::PREFIX) {
        return Err(Error::Name(name.to_owned()));
    }
    Ok(())
}

/// `root/name`, for a name that cannot leave `root`.
///
/// # Errors
/// [`Error::Name`].
pub fn safe_join(root: &Path, name: &str) -> Result<PathBuf> {
    check_path_name(name)?;
    Ok(root.join(name))
}

/// The path below `root` that `given` names: a name, a path relative to `root`, or an absolute path
/// below it. No step of it may be a link or `..`, and it must be an existing folder.
///
/// # Errors
/// [`Error::Outside`] for a path that is not below `root`, for a link and for something that is
/// not a folder; [`Error::NoFolder`] when there is nothing; [`Error::Name`] for a step that is no good name.
pub fn confine(root: &Path, given: &str) -> Result<PathBuf> {
    let outside = || Error::Outside(given.chars().take(200).collect());
    if given.contains('\0') {
        return Err(outside());
    }
    let given_path = Path::new(given);
    let relative = if given_path.is_absolute() {
        let real_root = fs::canonicalize(root)?;
        let below = given_path.strip_prefix(root).or_else(|_| given_path.strip_prefix(real_root));
        below.map_err(|_| outside())?
    } else {
        given_path
    };
    let mut path = root.to_path_buf();
    let mut steps = 0;
    for component in relative.components() {
        let Component::Normal(step) = component else { return Err(outside()) };
        let step = step.to_str().ok_or_else(outside)?;
        path = safe_join(&path, step)?;
        steps += 1;
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(outside()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::NoFolder(given.chars().take(200).collect()));
            }
            Err(error) => return Err(error.into()),
        }
    }
    if steps == 0 { Err(outside()) } else { Ok(path) }
}

/// Removes a folder so that a crash leaves either the whole folder or a hidden remainder that
/// [`crate::Registry::open`] sweeps: rename first, then unlink.
///
/// # Errors
/// The disk's.
pub fn remove_dir(dir: &Path) -> io::Result<()> {
    let (parent, name) = parent_and_name(dir)?;
    let mut doomed = std::ffi::OsString::from(DOOMED);
    doomed.push(name);
    let doomed = parent.join(doomed);
    if doomed.exists() {
        fs::remove_dir_all(&doomed)?;
    }
    fail_point!("gc.mark");
    hone_durable::rename(dir, &doomed)?;
    let removed = fs::remove_dir_all(&doomed);
    fail_point!("gc.unlink");
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // a sweep was faster
        removed => removed,
    }
}

/// How the name of a folder begins that [`remove_dir`] is about to unlink.
pub(crate) const DOOMED: &str = ".trash-";

/// Identity and size of a file, to see that it has stopped changing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The stamp of what is at `path`, links not followed; `None` when nothing is there.
pub(crate) fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = fs::symlink_metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_plain_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        fs::write(&plain, "x").unwrap();
        symlink(&plain, dir.path().join("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(open_plain(&plain).is_ok());
        for name in ["link", "pipe", "."] {
            let error = open_plain(&dir.path().join(name)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{name}");
        }
        assert_eq!(read_bounded(&plain, 0).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_bounded(&plain, 1).unwrap(), b"x");
    }

    #[test]
    fn names_that_could_escape_or_mislead_are_refused() {
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            "a/b",
            "../a",
            "a..b",
            "a\0",
            "a\\b",
            "Ä",
            "-a",
            "a b",
            "%2e%2e",
            "a\u{2024}",
        ] {
            assert!(matches!(check_path_name(bad), Err(Error::Name(_))), "{bad:?}");
        }
        assert!(check_path_name(&"a".repeat(64)).is_ok());
        assert!(check_path_name(&"a".repeat(65)).is_err());
        assert!(check_adapter_name("live").is_err());
        assert!(check_adapter_name("hone").is_err());
        assert!(check_adapter_name("ad-1").is_err());
        assert!(check_adapter_name("Base").is_err());
        assert!(check_adapter_name("AD-1").is_err());
        assert!(check_adapter_name("My_Adapter-7B").is_ok());
        assert!(check_adapter_name("my-adapter_1.0").is_ok());
    }

    #[test]
    fn paths_stay_below_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("drop");
        fs::create_dir_all(root.join("one/two")).unwrap();
        fs::create_dir_all(dir.path().join("secret")).unwrap();
        fs::write(root.join("file"), "x").unwrap();
        symlink(dir.path().join("secret"), root.join("link")).unwrap();
        assert_eq!(confine(&root, "one").unwrap(), root.join("one"));
        assert_eq!(confine(&root, "one/two").unwrap(), root.join("one/two"));
        let absolute = root.join("one");
        assert_eq!(confine(&root, absolute.to_str().unwrap()).unwrap(), absolute);
        let secret = dir.path().join("secret");
        for outside in ["../secret", secret.to_str().unwrap(), "link", "file", "/", "", "."] {
            assert!(matches!(confine(&root, outside), Err(Error::Outside(_))), "{outside:?}");
        }
        assert!(matches!(confine(&root, "none"), Err(Error::NoFolder(_))));
    }

    proptest! {
        #[test]
        fn confined_paths_never_escape(given in r"[a-z./\\%\x00-\x20]{0,24}|(\.\./){1,4}[a-z]{0,4}") {
            let dir = tempfile::tempdir().unwrap();
            let root = dir.path().join("drop");
            fs::create_dir_all(root.join("a/b")).unwrap();
            if let Ok(path) = confine(&root, &given) {
                prop_assert!(fs::canonicalize(&path).unwrap().starts_with(fs::canonicalize(&root).unwrap()));
                prop_assert!(path != root);
            }
        }
    }
}

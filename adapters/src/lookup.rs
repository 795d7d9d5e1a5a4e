//! Which adapter a reference means, seen from outside: by a process that does not own the directory.
//!
//! Prevents a command that only reads from needing the daemon's lock, and from repairing what a
//! running daemon is just writing: nothing is created, changed or removed here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hone_api::{AdapterId, AdapterRef, UnixMillis};

use crate::manifest::AdapterManifest;
use crate::open::adapter_dirs;
use crate::pointer::LIVE;
use crate::registry::Inner;
use crate::servable::check_servable;
use crate::{BaseShape, Error, LivePointer, Result};

/// The adapter and its folder; `None` is the base. Its files are checked against its manifest.
///
/// # Errors
/// [`Error::Unknown`], [`Error::Damaged`], [`Error::OtherBase`], [`Error::Pointer`]; the disk's.
pub fn lookup(
    data_dir: &Path,
    base: &BaseShape,
    reference: &AdapterRef,
) -> Result<Option<(AdapterId, PathBuf)>> {
    if *reference == AdapterRef::Base {
        return Ok(None);
    }
    let pointer = match LivePointer::read(&data_dir.join(LIVE)) {
        Ok(pointer) => pointer.unwrap_or(LivePointer::of_base(UnixMillis(0))),
        Err(why) => return Err(Error::Pointer(why)),
    };
    let root = data_dir.join("adapters");
    let mut manifests = BTreeMap::new();
    if root.is_dir() {
        for (id, dir) in adapter_dirs(&root)? {
            // What cannot be read is left out, as the daemon does; it may just be deleted.
            if let Ok(manifest) = AdapterManifest::read(&dir, id) {
                manifests.insert(id, manifest);
            }
        }
    }
    let inner = Inner { pointer, manifests };
    let Some(id) = inner.find(reference)? else { return Ok(None) };
    let dir = root.join(id.to_string());
    check_servable(&dir, inner.manifest(id)?, base)?;
    Ok(Some((id, dir)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{tiny_base, write_random_adapter};
    use crate::{Import, Registry};
    use hone_api::adapter::Provenance;

    #[test]
    fn references_are_found_while_another_owns_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let find = |reference: &str| lookup(dir.path(), &tiny_base(), &reference.parse().unwrap());
        assert_eq!(find("live").unwrap(), None, "nothing is there yet");
        let registry = Registry::open(dir.path(), tiny_base()).unwrap();
        let source = dir.path().join("drop/source");
        write_random_adapter(&source, &tiny_base(), 2, 1);
        let import = Import {
            id: AdapterId::new(),
            source,
            name: Some("mine".to_owned()),
            provenance: Provenance::Import { folder: "source".to_owned() },
            now: UnixMillis(1),
        };
        let id = registry.import(import).unwrap().id;
        registry.promote(Some(id), None, UnixMillis(2)).unwrap();
        let there = Some((id, registry.dir(id)));
        for reference in ["live", "mine", &id.to_string()] {
            assert_eq!(find(reference).unwrap(), there, "{reference}");
        }
        assert_eq!(find("previous").unwrap(), None);
        assert_eq!(find("base").unwrap(), None);
        assert!(matches!(find("other"), Err(Error::Unknown(_))));

        fs_err::write(dir.path().join(LIVE), "{").unwrap();
        assert!(matches!(find("live"), Err(Error::Pointer(_))), "not repaired here");
        assert_eq!(fs_err::read_to_string(dir.path().join(LIVE)).unwrap(), "{");
    }

    #[test]
    fn looking_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let none = dir.path().join("none");
        assert_eq!(lookup(&none, &tiny_base(), &AdapterRef::Live).unwrap(), None);
        assert!(!none.exists());
    }
}

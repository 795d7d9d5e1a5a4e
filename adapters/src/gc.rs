//! What may be deleted, and what killed operations left behind.
//!
//! Prevents a full disk after many cycles, and a collector that deletes what is needed for a
//! rollback or what an import is just writing.

use std::path::Path;

use fs_err as fs;
use hone_api::AdapterId;
use hone_api::adapter::AdapterState;

use crate::fs::DOOMED;
use crate::import::{STAGING, lock_dir};
use crate::{LivePointer, Manifest, Result};

/// Which adapters go: retired and rejected ones but for the newest `keep_last`.
pub(crate) fn doomed<'a>(
    manifests: impl DoubleEndedIterator<Item = &'a Manifest>,
    pointer: &LivePointer,
    keep_last: usize,
) -> Vec<AdapterId> {
    let in_use = [pointer.live, pointer.previous, pointer.canary];
    let over = |m: &&Manifest| {
        matches!(m.state(), AdapterState::Retired | AdapterState::Rejected)
            && !in_use.contains(&Some(m.id))
    };
    let mut doomed: Vec<_> = manifests.rev().filter(over).skip(keep_last).map(|m| m.id).collect();
    doomed.reverse();
    doomed
}

/// Removes remains of killed imports and deletions. A staging folder that a living process works on
/// is locked by it, and stays.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(STAGING) && lock_dir(&entry.path())?.is_none() {
            continue;
        }
        if name.starts_with(STAGING) || name.starts_with(DOOMED) {
            match fs::remove_dir_all(entry.path()) {
                // A deletion that is under way was faster.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verified;
    use hone_api::UnixMillis;
    use hone_api::adapter::Provenance;

    #[test]
    fn live_previous_waiting_and_the_newest_stay() {
        let verified = Verified {
            rank: 1,
            alpha: 1.0,
            target_modules: Vec::new(),
            sha256: String::new(),
            blake3: String::new(),
            config_blake3: String::new(),
            bytes: 0,
        };
        let manifests: Vec<Manifest> = (0..6)
            .map(|_| {
                Manifest::of_candidate(
                    AdapterId::new(),
                    None,
                    Provenance::Import { folder: "x".to_owned() },
                    "base".to_owned(),
                    &verified,
                    UnixMillis(0),
                )
            })
            .enumerate()
            .map(|(i, mut m)| {
                if i != 5 {
                    m.step(AdapterState::Rejected, UnixMillis(1), "worse").unwrap();
                }
                m
            })
            .collect();
        let pointer = LivePointer::of_base(UnixMillis(0))
            .moved(Some(manifests[0].id), UnixMillis(1))
            .moved(Some(manifests[1].id), UnixMillis(2));
        let gone = doomed(manifests.iter(), &pointer, 1);
        assert_eq!(gone, [manifests[2].id, manifests[3].id]);
        assert!(doomed(manifests.iter(), &pointer, 3).is_empty());
    }

    #[test]
    fn a_folder_in_use_is_not_swept() {
        let root = tempfile::tempdir().unwrap();
        for name in [".staging-old", ".staging-busy", ".trash-x", "kept"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let busy = lock_dir(&root.path().join(".staging-busy")).unwrap();
        sweep(root.path()).unwrap();
        let left = |name: &str| root.path().join(name).exists();
        assert!(left(".staging-busy") && left("kept"));
        assert!(!left(".staging-old") && !left(".trash-x"));
        drop(busy);
        sweep(root.path()).unwrap();
        assert!(!left(".staging-busy"));
    }
}

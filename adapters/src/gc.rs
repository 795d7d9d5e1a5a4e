//! What may be deleted, and what killed operations left behind.
//!
//! Prevents a full disk after many cycles, and a collector that deletes what is needed for a
//! rollback or what an import is just writing.

use std::collections::BTreeMap;
use std::path::Path;

use fs_err as fs;
use hone_api::AdapterId;
use hone_api::adapter::AdapterState;

use crate::fs::DOOMED;
use crate::{AdapterManifest, LivePointer, Result};

/// Which adapters go: of those that cycles made, the retired ones but for the newest `keep_last`, and the
/// rejected ones but for as many. So what was refused pushes out nothing that one could roll back to. What a
/// person brought, named or made serve stays.
pub(crate) fn doomed<'a>(
    manifests: impl DoubleEndedIterator<Item = &'a AdapterManifest>,
    pointer: &LivePointer,
    keep_last: usize,
) -> Vec<AdapterId> {
    let in_use = [pointer.live, pointer.previous, pointer.canary];
    let mut kept = BTreeMap::new();
    let mut doomed: Vec<_> = manifests
        .rev()
        .filter(|m| !in_use.contains(&Some(m.id)) && !m.belongs_to_a_person())
        .filter(|m| matches!(m.state(), AdapterState::Retired | AdapterState::Rejected))
        .filter(|m| {
            let newer: &mut usize = kept.entry(m.state() == AdapterState::Retired).or_default();
            *newer += 1;
            *newer > keep_last
        })
        .map(|m| m.id)
        .collect();
    doomed.reverse();
    doomed
}

/// Removes remains of killed imports and deletions. What a living process works on stays.
pub(crate) fn sweep(root: &Path) -> Result<()> {
    hone_durable::sweep(root);
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(DOOMED) {
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
    use hone_api::adapter::Provenance;
    use hone_api::{CycleId, UnixMillis};

    fn of_a_cycle() -> AdapterManifest {
        let verified = Verified {
            rank: 1,
            alpha: 1.0,
            target_modules: Vec::new(),
            sha256: String::new(),
            blake3: String::new(),
            config_blake3: String::new(),
            bytes: 0,
        };
        let provenance = Provenance::Cycle { cycle_id: CycleId::new(), snapshot: String::new() };
        let base = "base".to_owned();
        AdapterManifest::of_candidate(
            AdapterId::new(),
            None,
            provenance,
            base,
            &verified,
            UnixMillis(0),
        )
    }

    fn rejected() -> AdapterManifest {
        let mut manifest = of_a_cycle();
        manifest.step(AdapterState::Rejected, UnixMillis(1), "worse").unwrap();
        manifest
    }

    fn retired() -> AdapterManifest {
        let mut manifest = of_a_cycle();
        manifest.note_pointer(true, UnixMillis(1), "promoted", 1);
        manifest.note_pointer(false, UnixMillis(2), "replaced", 2);
        manifest
    }

    #[test]
    fn live_previous_waiting_and_the_newest_stay() {
        let mut manifests: Vec<AdapterManifest> = (0..5).map(|_| rejected()).collect();
        manifests.push(of_a_cycle());
        let pointer = LivePointer::of_base(UnixMillis(0))
            .moved(Some(manifests[0].id), UnixMillis(1))
            .moved(Some(manifests[1].id), UnixMillis(2));
        let gone = doomed(manifests.iter(), &pointer, 1);
        assert_eq!(gone, [manifests[2].id, manifests[3].id]);
        assert!(doomed(manifests.iter(), &pointer, 3).is_empty());
    }

    #[test]
    fn what_was_refused_pushes_out_nothing_to_roll_back_to() {
        let manifests = [retired(), retired(), rejected(), rejected(), rejected()];
        let pointer = LivePointer::of_base(UnixMillis(0));
        let gone = doomed(manifests.iter(), &pointer, 2);
        assert_eq!(gone, [manifests[2].id]);
    }

    #[test]
    fn what_a_person_brought_named_or_chose_stays() {
        let (mut imported, mut named, mut chosen) = (rejected(), rejected(), retired());
        imported.provenance = Provenance::Import { folder: "x".to_owned() };
        named.name = Some("mine".to_owned());
        chosen.chosen = true;
        let manifests = [imported, named, chosen, rejected()];
        let pointer = LivePointer::of_base(UnixMillis(0));
        assert_eq!(doomed(manifests.iter(), &pointer, 0), [manifests[3].id]);
    }

    #[test]
    fn remains_are_swept_but_what_is_in_use() {
        let root = tempfile::tempdir().unwrap();
        for name in [".unfinished-old", ".trash-x", "kept"] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        let busy = hone_durable::AsideFolder::within(root.path()).unwrap();
        sweep(root.path()).unwrap();
        let left = |name: &str| root.path().join(name).exists();
        assert!(busy.path().exists() && left("kept"));
        assert!(!left(".unfinished-old") && !left(".trash-x"));
    }
}

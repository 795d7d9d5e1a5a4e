//! From interactions to the data sets that hold them, and to the adapters that were trained on those.

use std::collections::{BTreeMap, BTreeSet};

use hone_api::adapter::{AdapterView, Provenance};
use hone_api::cycle::{CycleStatus, CycleView};
use hone_api::erasure::{HoldingSnapshot, TaughtAdapter};
use hone_api::{AdapterId, CycleId, InteractionId};

use super::{all_cycles, goes_on_from};
use crate::services::Services;

/// Who saw some interactions.
#[derive(Debug)]
pub(super) struct Lineage {
    /// The data sets with rows of them, also where those were erased before.
    pub(super) snapshots: Vec<HoldingSnapshot>,
    /// Cycles whose training saw them.
    cycles: BTreeSet<CycleId>,
}

impl Lineage {
    /// Looks into all data sets. Of one that cannot be read nobody can say what was in it: it counts.
    pub(super) async fn of(
        services: &Services,
        ids: &BTreeSet<InteractionId>,
    ) -> anyhow::Result<Self> {
        let (folder, ids) = (services.dirs.snapshots(), ids.clone());
        let snapshots = tokio::task::spawn_blocking(move || -> std::io::Result<_> {
            let mut found = Vec::new();
            for entry in fs_err::read_dir(&folder)? {
                let entry = entry?;
                let hash = entry.file_name().to_string_lossy().into_owned();
                if hash.starts_with('.') || ids.is_empty() {
                    continue;
                }
                match hone_dataset::erase::rows_of(&entry.path(), &ids) {
                    Ok(0) => {}
                    Ok(rows) => found.push(HoldingSnapshot { hash, rows }),
                    Err(_) => found.push(HoldingSnapshot { hash, rows: 0 }),
                }
            }
            found.sort_by(|one, other| one.hash.cmp(&other.hash));
            Ok(found)
        })
        .await??;
        let held: BTreeSet<&str> = snapshots.iter().map(|it| it.hash.as_str()).collect();
        let all = all_cycles(services).await?;
        let made: BTreeMap<AdapterId, CycleId> =
            all.iter().filter_map(|cycle| Some((cycle.candidate?, cycle.id))).collect();
        let mut cycles = BTreeSet::new();
        // Oldest first: what a cycle goes on from was made before it.
        for cycle in &all {
            let of_its_own = cycle.snapshot.as_deref().is_some_and(|hash| held.contains(hash));
            let parent = goes_on_from(cycle).and_then(|id| made.get(&id));
            if of_its_own || parent.is_some_and(|parent| cycles.contains(parent)) {
                cycles.insert(cycle.id);
            }
        }
        drop(held);
        Ok(Self { snapshots, cycles })
    }

    /// The adapters that were trained on it and are still there.
    pub(super) fn taught(&self, services: &Services) -> Vec<TaughtAdapter> {
        let all = services.registry.list().into_iter();
        let taught = all.filter(|view| self.cycles.iter().any(|cycle| is_of(view, *cycle)));
        taught.map(|view| TaughtAdapter { id: view.id, state: view.state }).collect()
    }

    /// Whether a cycle that runs works with it: it holds some of it, goes on from what saw it, or is just reading
    /// the log.
    pub(super) fn concerns(&self, cycle: &CycleView) -> bool {
        let is_reading = cycle.snapshot.is_none();
        cycle.status == CycleStatus::Running && (is_reading || self.cycles.contains(&cycle.id))
    }
}

/// Whether an adapter is one of a cycle's.
pub(super) fn is_of(view: &AdapterView, cycle: CycleId) -> bool {
    matches!(&view.provenance, Provenance::Cycle { cycle_id, .. } if *cycle_id == cycle)
}

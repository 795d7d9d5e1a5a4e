//! Erasure: what a person wants gone leaves the log, the data sets, the runs and, with the next cycle, what serves.
//!
//! The log's rows go first, in the commit that writes the erasure down; a kill after it is made good at the next
//! start. Weights cannot forget: the adapters that were trained on it are listed, the next cycle trains without it
//! from the base, is compared with what never saw it, and takes them away.

mod lineage;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fail::fail_point;
use hone_api::cycle::{CycleView, Step};
use hone_api::erasure::{
    ErasureView, HoldingSnapshot, RecallView, Removed, Subject, TaughtAdapter,
};
use hone_api::{AdapterId, ErasureId, InteractionId, UnixMillis};
use hone_server::control_error::ControlError;
use hone_store::Erasure;
use serde_json::json;

use crate::cycle::Cycles;
use crate::journal::{Decision, is_over};
use crate::labels;
use crate::services::Services;
use lineage::Lineage;

/// Removes people's traces; one order at a time.
#[derive(Debug, Clone)]
pub struct Eraser {
    services: Arc<Services>,
    cycles: Arc<Cycles>,
    one_at_a_time: Arc<tokio::sync::Mutex<()>>,
}

impl Eraser {
    /// For a daemon's services.
    pub fn new(services: Arc<Services>, cycles: Arc<Cycles>) -> Self {
        Self { services, cycles, one_at_a_time: Arc::default() }
    }

    /// Removes everything of a subject. `None`: there was nothing.
    ///
    /// # Errors
    /// The disk's: what was begun is brought to its end at the next start.
    pub async fn erase(
        &self,
        subject: Subject,
        actor: String,
    ) -> anyhow::Result<Option<ErasureView>> {
        let _turn = self.one_at_a_time.lock().await;
        let wanted = Erasure::of(subject, UnixMillis::now());
        match self.services.store.begin_erasure(wanted).await? {
            Some(begun) => Ok(Some(self.complete(begun, actor).await?)),
            None => Ok(None),
        }
    }

    /// Brings to their end what a kill has cut off.
    ///
    /// # Errors
    /// The disk's.
    pub async fn resume(&self) -> anyhow::Result<()> {
        let _turn = self.one_at_a_time.lock().await;
        for begun in self.services.store.erasures().await? {
            if begun.receipt.is_none() {
                self.complete(begun, "daemon".to_owned()).await?;
            }
        }
        Ok(())
    }

    /// What there is of a subject, and who was trained on it.
    ///
    /// # Errors
    /// The disk's.
    pub async fn recall(&self, subject: Subject) -> anyhow::Result<RecallView> {
        let mut traces = self.services.store.traces(subject.clone()).await?;
        // What was erased before is in no log any more, and was seen all the same.
        for earlier in self.services.store.erasures().await? {
            if earlier.subject == subject {
                traces.touched.extend(earlier.touched);
            }
        }
        let lineage = Lineage::of(&self.services, &traces.touched).await?;
        Ok(RecallView {
            object: "recall".to_owned(),
            subject,
            interactions: traces.interactions,
            feedback: traces.feedback,
            adapters: lineage.taught(&self.services),
            snapshots: lineage.snapshots,
        })
    }

    async fn complete(&self, begun: Erasure, actor: String) -> anyhow::Result<ErasureView> {
        let services = &self.services;
        // Blocks of keys and values do not tell whose words they were computed from.
        services.engine.forget_prefixes();
        let lineage = Lineage::of(services, &begun.touched).await?;
        let _way = self.cycles.make_way(|cycle| lineage.concerns(cycle)).await?;
        let held: BTreeSet<String> = lineage.snapshots.iter().map(|it| it.hash.clone()).collect();
        let concerned: Vec<CycleView> = all_cycles(services)
            .await?
            .into_iter()
            .filter(|cycle| cycle.snapshot.as_ref().is_some_and(|hash| held.contains(hash)))
            .collect();
        for cycle in &concerned {
            self.forget_labels(cycle).await?;
        }
        let adapters = lineage.taught(services);
        let files = Files {
            snapshots: held.iter().map(|hash| services.dirs.snapshots().join(hash)).collect(),
            runs: concerned
                .iter()
                .filter(|it| is_over(it))
                .map(|it| services.dirs.run(it.id))
                .collect(),
            answers: services.dirs.answers(),
            ids: begun.touched.clone(),
        };
        let removed = tokio::task::spawn_blocking(move || files.remove()).await??;
        let next = next(services, &adapters);
        let receipt = ErasureView {
            id: begun.id,
            object: "erasure".to_owned(),
            subject: begun.subject,
            at: begun.at,
            removed: Removed {
                interactions: begun.interactions,
                feedback: begun.feedback,
                ..removed
            },
            snapshots: lineage.snapshots,
            adapters,
            next,
        };
        fail_point!("erase.receipt");
        services.journal.end_erasure(receipt.clone(), decision(&receipt, actor)).await?;
        Ok(receipt)
    }

    /// The names of groups are words of their questions; people give families their names.
    async fn forget_labels(&self, cycle: &CycleView) -> anyhow::Result<()> {
        let names = labels::of(cycle);
        if names.is_empty() {
            return Ok(());
        }
        let (registry, id) = (Arc::clone(&self.services.registry), cycle.id);
        let reword = labels::Reword::of(names);
        let reword = tokio::task::spawn_blocking(move || -> hone_adapters::Result<_> {
            for view in registry.list().into_iter().filter(|view| lineage::is_of(view, id)) {
                registry.reword(view.id, |text| reword.plain(text))?;
            }
            Ok(reword)
        })
        .await??;
        // Last, since a repetition after a kill reads the names there.
        Ok(self.services.store.reword_cycle(id, move |text| reword.text(text)).await?)
    }
}

/// The answer where there was nothing: a user of whom there is nothing is as wanted, an interaction that is not
/// there is a mistake.
///
/// # Errors
/// [`ControlError::NotFound`]
pub fn nothing_to_erase(subject: Subject) -> Result<ErasureView, ControlError> {
    if let Subject::Interaction(id) = subject {
        return Err(ControlError::NotFound(format!("no interaction {id}; nothing was erased")));
    }
    Ok(ErasureView {
        id: ErasureId::new(),
        object: "erasure".to_owned(),
        subject,
        at: UnixMillis::now(),
        removed: Removed::default(),
        snapshots: Vec::new(),
        adapters: Vec::new(),
        next: "there was nothing of this user".to_owned(),
    })
}

/// What lies in files.
struct Files {
    snapshots: Vec<PathBuf>,
    runs: Vec<PathBuf>,
    answers: PathBuf,
    ids: BTreeSet<InteractionId>,
}

impl Files {
    fn remove(self) -> anyhow::Result<Removed> {
        let mut removed = Removed::default();
        for snapshot in &self.snapshots {
            let rows = hone_dataset::erase::erase(snapshot, &self.ids)?;
            removed.snapshot_rows += rows.unwrap_or(0);
        }
        for run in &self.runs {
            removed.runs += usize::from(gone(run)?);
            fail_point!("erase.run");
        }
        // Kept answers are told by hashes of their questions, so nobody could say which are whose; they are
        // given again.
        if self.snapshots.is_empty() || !self.answers.is_dir() {
            return Ok(removed);
        }
        for entry in fs_err::read_dir(&self.answers)? {
            fs_err::remove_file(entry?.path())?;
            removed.answer_files += 1;
        }
        Ok(removed)
    }
}

fn gone(folder: &Path) -> std::io::Result<bool> {
    match fs_err::remove_dir_all(folder) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

async fn all_cycles(services: &Services) -> anyhow::Result<Vec<CycleView>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = services.store.cycles(after, 200, hone_store::Order::Ascending).await?;
        after = page.items.last().map(|cycle| cycle.id);
        all.extend(page.items);
        if !page.has_more {
            return Ok(all);
        }
    }
}

fn next(services: &Services, adapters: &[TaughtAdapter]) -> String {
    let live = services.registry.live().live;
    match (adapters.len(), live.filter(|live| adapters.iter().any(|one| one.id == *live))) {
        (0, _) => "no adapter was trained on it".to_owned(),
        (_, Some(live)) => format!(
            "{live}, which serves, was trained on it: the next cycle trains without it and takes it away, \
             whatever the verdict; `hone adapters rollback --to base` takes it back now"
        ),
        (count, None) => {
            format!("{count} adapters that were trained on it are deleted after the next cycle")
        }
    }
}

fn decision(receipt: &ErasureView, actor: String) -> Decision {
    Decision {
        actor,
        action: match receipt.subject {
            Subject::Interaction(_) => "interaction.erased",
            Subject::User(_) => "subject.erased",
        },
        subject: match &receipt.subject {
            Subject::Interaction(id) => id.to_string(),
            Subject::User(hash) => hash.clone(),
        },
        reason: "erased by request".to_owned(),
        data: json!({
            "erasure": receipt.id,
            "removed": receipt.removed,
            "snapshots": receipt.snapshots.iter().map(|it: &HoldingSnapshot| &it.hash).collect::<Vec<_>>(),
            "adapters": receipt.adapters.iter().map(|it| it.id).collect::<Vec<_>>(),
        }),
    }
}

/// The adapter that a cycle's training went on from.
fn goes_on_from(cycle: &CycleView) -> Option<AdapterId> {
    let selected = cycle.outcomes.get(&Step::Select)?;
    serde_json::from_value(selected[crate::cycle::GOES_ON_FROM].clone()).ok()
}

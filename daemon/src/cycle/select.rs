//! Select: from the log to a snapshot, or the reason why there is nothing to learn.
//!
//! The base answers the rehearsal questions here, so that the snapshot holds all that trains.

mod nothing;
mod rehearsal;

use std::collections::BTreeSet;

use hone_api::adapter::Provenance;
use hone_api::cycle::Verdict;
use hone_api::interaction::Endpoint;
use hone_api::{AdapterId, AdapterRef};
use hone_config::Teaches;
use hone_dataset::{
    Curated, Inputs, Kind, Labelled, Policy, RehearsalSources, Snapshot, SnapshotManifest,
};
use serde_json::{Value, json};

use super::{End, Work, start};
use crate::controls::Controls;
use crate::services::Services;
use crate::stained;
use nothing::{all_known, decided_before, taken_back, too_little};
use rehearsal::{find_answers_of_the_base, rehearse, shipped};

/// Unrated answers to choose rehearsal from.
const TRAFFIC: usize = 5000;

pub(super) async fn run(work: Work<'_>) -> anyhow::Result<End> {
    let halt = work.halt.clone();
    tokio::select! {
        end = select(work) => end,
        () = halt.cancelled() => Ok(End::Halted),
    }
}

async fn select(work: Work<'_>) -> anyhow::Result<End> {
    let Work { services, cycle, .. } = work;
    let config = services.settings.now();
    let rows = teaching(services.store.labelled().await?, &config.feedback.endpoints);
    let labelled = rows.len();
    let unrated = services.store.unrated(TRAFFIC).await?;
    let champion = stained::champion(services).await?;
    let learned = learned(services, champion.compared).await;
    let lessons_of_live = learned.clone();
    let policy = Policy::from(&config.curation);
    let shipped = shipped(&config)?;
    let controls = Controls::of(&config);
    let mut curated = tokio::task::spawn_blocking(move || {
        let rehearsal = RehearsalSources { unrated: &unrated, shipped: &shipped };
        let inputs = Inputs { labelled: &rows, rehearsal, learned: &learned, known: &controls };
        hone_dataset::curate(&policy, inputs)
    })
    .await??;
    let taken_back = taken_back(&lessons_of_live, &curated.examples);
    let goes_on_from =
        champion.compared.filter(|_| start::is_worth_keeping(&lessons_of_live, &curated.examples));
    let lessons = lessons(&curated);
    let enough = corrections(&curated) >= config.curation.min_examples;
    let mut rehearsal = Vec::new();
    if enough {
        find_answers_of_the_base(services, &mut curated.examples).await?;
        rehearsal = rehearse(services, curated.questions.clone()).await?;
    }
    let folder = services.dirs.snapshots();
    let manifest = tokio::task::spawn_blocking(move || -> anyhow::Result<SnapshotManifest> {
        let snapshot = curated.seal(rehearsal)?;
        snapshot.write(&folder)?;
        Ok(snapshot.manifest)
    })
    .await??;

    cycle.snapshot = Some(manifest.hash.clone());
    let mut outcome = outcome(&manifest, labelled, &lessons);
    outcome[start::GOES_ON_FROM] = json!(goes_on_from);
    let mut nothing =
        too_little(&manifest, &config, taken_back).or_else(|| all_known(&manifest, taken_back));
    if nothing.is_none() && !champion.must_go() {
        nothing = decided_before(services, cycle, &lessons).await?;
    }
    if let Some(reason) = nothing {
        return Ok(End::Over { verdict: Verdict::Skipped, reason, outcome });
    }
    let message = format!(
        "{} corrections to learn from, {} of them new, {} questions to keep what is known",
        manifest.count(Kind::Supervised),
        manifest.new,
        manifest.count(Kind::Replay) + manifest.count(Kind::Rehearsal),
    );
    Ok(End::Next { outcome, message })
}

/// What the serving adapter was trained on, by lesson; nothing for the base and for an import.
async fn learned(services: &Services, live: Option<AdapterId>) -> BTreeSet<String> {
    let view = live.and_then(|id| services.registry.get(&AdapterRef::Id(id)).ok());
    let Some(Provenance::Cycle { snapshot, .. }) = view.map(|view| view.provenance) else {
        return BTreeSet::new();
    };
    let folder = services.dirs.snapshots().join(snapshot);
    let read = tokio::task::spawn_blocking(move || Snapshot::read(&folder)).await;
    match read {
        Ok(Ok(snapshot)) => snapshot
            .examples
            .iter()
            .filter(|example| example.kind == Kind::Supervised)
            .map(hone_dataset::Example::lesson)
            .collect(),
        _ => {
            tracing::warn!(
                "what the live adapter was trained on cannot be read: all counts as new"
            );
            BTreeSet::new()
        }
    }
}

fn corrections(curated: &Curated) -> usize {
    curated.examples.iter().filter(|example| example.kind == Kind::Supervised).count()
}

/// One hash of all that users teach: traffic changes nothing about it.
fn lessons(curated: &Curated) -> String {
    let mut lessons: Vec<String> = curated
        .examples
        .iter()
        .filter(|example| example.kind == Kind::Supervised)
        .map(hone_dataset::Example::lesson)
        .collect();
    lessons.sort_unstable();
    blake3::hash(lessons.concat().as_bytes()).to_hex().to_string()
}

/// The labelled answers of the endpoints that teach.
pub fn teaching(
    rows: Vec<(hone_api::interaction::Interaction, Vec<hone_api::feedback::Feedback>)>,
    endpoints: &[Teaches],
) -> Vec<Labelled> {
    rows.into_iter()
        .filter(|(interaction, _)| {
            endpoints.contains(&match interaction.endpoint {
                Endpoint::Chat => Teaches::Chat,
                Endpoint::Completion => Teaches::Completion,
            })
        })
        .map(|(interaction, feedback)| Labelled { interaction, feedback })
        .collect()
}

fn outcome(manifest: &SnapshotManifest, labelled: usize, lessons: &str) -> Value {
    json!({
        "labelled": labelled,
        "corrections": manifest.count(Kind::Supervised),
        "new": manifest.new,
        "judged": manifest.judged,
        "liked": manifest.count(Kind::Replay),
        "rehearsal": manifest.count(Kind::Rehearsal),
        "sources": manifest.sources,
        "waiting": manifest.waiting.len(),
        "families": manifest.families,
        "dropped": manifest.dropped,
        "redacted": manifest.redacted,
        "snapshot": manifest.hash,
        "lessons": lessons,
    })
}

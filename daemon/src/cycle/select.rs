//! Select: from the log to a snapshot, or the reason why there is nothing to learn.
//!
//! The keys of held-out prompts go into the ledger before anything can train on the snapshot: a
//! question that measured once never teaches.

use hone_api::cycle::{CycleStatus, CycleView, Trigger, Verdict};
use hone_api::interaction::Endpoint;
use hone_config::{Config, Teaches};
use hone_dataset::{Kind, Labelled, Manifest, Policy, Snapshot, Split};
use hone_store::Order;
use serde_json::{Value, json};

use super::{End, Work};

pub(super) async fn run(work: Work<'_>) -> anyhow::Result<End> {
    let Work { parts, cycle, .. } = work;
    let config = parts.settings.now();
    let rows = teaching(parts.store.labelled().await?, &config.feedback.endpoints);
    let labelled = rows.len();
    let known = parts.store.holdout_keys().await?;
    let (policy, folder) = (policy(&config), parts.dirs.snapshots());
    let snapshot = tokio::task::spawn_blocking(move || -> anyhow::Result<Snapshot> {
        let snapshot = hone_dataset::build(&policy, &rows, &known)?;
        snapshot.write(&folder)?;
        Ok(snapshot)
    })
    .await??;
    let manifest = snapshot.manifest;
    let outcome = outcome(&manifest, labelled);
    let keys: Vec<String> = manifest.holdout_keys.iter().cloned().collect();
    parts.store.add_holdout_keys(&keys, cycle.id).await?;

    let earlier = parts.store.cycles(None, 50, Order::Descending).await?.items;
    cycle.snapshot = Some(manifest.hash.clone());
    let nothing =
        too_little(&manifest, &config).or_else(|| nothing_new(cycle, &manifest.hash, &earlier));
    if let Some(reason) = nothing {
        return Ok(End::Over { verdict: Verdict::Skipped, reason, outcome });
    }
    let message = format!(
        "{} rows to learn from, {} questions held out",
        manifest.count(Kind::Supervised, Split::Train) + manifest.count(Kind::Replay, Split::Train),
        held_out(&manifest),
    );
    Ok(End::Next { outcome, message })
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

fn policy(config: &Config) -> Policy {
    let curation = &config.curation;
    Policy {
        holdout_percent: curation.holdout_percent.percent(),
        validation_percent: curation.validation_percent.percent(),
        replay_ratio: curation.replay_ratio,
        near_duplicate: curation.near_duplicate,
        max_rows: curation.max_rows,
        redact: curation.redact,
        seed: curation.seed,
        ..Policy::default()
    }
}

/// Questions that can show a gain: held-out failures. Held-out replay rows show what is kept.
fn held_out(manifest: &Manifest) -> usize {
    manifest.count(Kind::Supervised, Split::HeldOut)
}

fn too_little(manifest: &Manifest, config: &Config) -> Option<String> {
    let corrected: usize = [Split::Train, Split::Validation, Split::HeldOut]
        .map(|split| manifest.count(Kind::Supervised, split))
        .iter()
        .sum();
    let (least, questions) = (config.curation.min_examples, held_out(manifest));
    let least_questions = config.promotion.min_items;
    if corrected < least {
        let waiting = manifest.waiting.len();
        return Some(format!(
            "{corrected} corrected answers to learn from, curation.min_examples asks for {least}; \
             {waiting} bad answers wait for a correction"
        ));
    }
    (questions < least_questions).then(|| {
        format!(
            "{questions} held-out questions, promotion.min_items asks for {least_questions}: no gain \
             could be shown"
        )
    })
}

/// A cycle that starts by itself does not train again on what the last one was decided on.
fn nothing_new(cycle: &CycleView, snapshot: &str, earlier: &[CycleView]) -> Option<String> {
    if cycle.trigger == Trigger::Manual {
        return None;
    }
    let decided = |old: &&CycleView| {
        old.id != cycle.id
            && old.status == CycleStatus::Finished
            && old.candidate.is_some()
            && old.snapshot.as_deref() == Some(snapshot)
    };
    let old = earlier.iter().find(decided)?;
    Some(format!("nothing new since {}, which was decided on the same rows", old.id))
}

fn outcome(manifest: &Manifest, labelled: usize) -> Value {
    let count = |kind, split| manifest.count(kind, split);
    json!({
        "labelled": labelled,
        "train": count(Kind::Supervised, Split::Train),
        "replay": count(Kind::Replay, Split::Train),
        "validation": count(Kind::Supervised, Split::Validation)
            + count(Kind::Replay, Split::Validation),
        "held_out": count(Kind::Supervised, Split::HeldOut),
        "held_out_replay": count(Kind::Replay, Split::HeldOut),
        "waiting": manifest.waiting.len(),
        "families": manifest.families,
        "dropped": manifest.dropped,
        "redacted": manifest.redacted,
        "snapshot": manifest.hash,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hone_api::{AdapterId, UnixMillis};

    fn cycle(trigger: Trigger, status: CycleStatus, snapshot: &str) -> CycleView {
        CycleView {
            status,
            snapshot: Some(snapshot.into()),
            candidate: Some(AdapterId::new()),
            ..CycleView::queued(trigger, UnixMillis(1))
        }
    }

    #[test]
    fn the_same_rows_are_not_trained_on_twice_by_themselves() {
        let old = cycle(Trigger::Manual, CycleStatus::Finished, "a");
        let failed = cycle(Trigger::Manual, CycleStatus::Failed, "b");
        let earlier = [old.clone(), failed];
        let by_clock = cycle(Trigger::Schedule, CycleStatus::Running, "");
        let reason = nothing_new(&by_clock, "a", &earlier).unwrap();
        assert!(reason.contains(&old.id.to_string()));
        assert_eq!(nothing_new(&by_clock, "b", &earlier), None, "it failed: try again");
        assert_eq!(nothing_new(&by_clock, "c", &earlier), None);
        let by_hand = cycle(Trigger::Manual, CycleStatus::Running, "");
        assert_eq!(nothing_new(&by_hand, "a", &earlier), None);
    }

    #[test]
    fn the_reason_says_what_is_missing() {
        let config = Config::defaults(std::path::Path::new("d")).unwrap();
        let snapshot =
            hone_dataset::build(&policy(&config), &[], &std::collections::BTreeSet::default());
        let reason = too_little(&snapshot.unwrap().manifest, &config).unwrap();
        assert!(reason.contains("0 corrected answers") && reason.contains("min_examples"));
    }
}

//! Why a cycle ends before it trains: there is too little to learn from, or nothing new.

use std::collections::BTreeSet;

use hone_api::cycle::{CycleStatus, CycleView, Step, Trigger};
use hone_config::Config;
use hone_dataset::{Example, Kind, SnapshotManifest};
use hone_store::Order;

use crate::services::Services;

/// Fewer corrections than teach, or than are new.
pub(super) fn too_little(
    manifest: &SnapshotManifest,
    config: &Config,
    taken_back: usize,
) -> Option<String> {
    let (corrected, least) = (manifest.count(Kind::Supervised), config.curation.min_examples);
    // So few would be tried in vain: of four corrections the best fit is no rarer than 1 in 24.
    if corrected >= least && (1..least).contains(&manifest.new) {
        return Some(format!(
            "{} new corrected answers to learn from, {} more are needed (curation.min_examples = {least}); \
             the adapter that serves was taught the others{}",
            manifest.new,
            least - manifest.new,
            no_longer_stand(taken_back)
        ));
    }
    if corrected >= least {
        return None;
    }
    let waiting = match manifest.waiting.len() {
        0 => String::new(),
        waiting => {
            format!("; {waiting} answers wait for a person: `hone feedback waiting` lists them")
        }
    };
    Some(format!(
        "{corrected} corrected answers to learn from, {} more are needed \
         (curation.min_examples = {least}){waiting}",
        least - corrected
    ))
}

/// The serving adapter was trained on all corrections.
pub(super) fn all_known(manifest: &SnapshotManifest, taken_back: usize) -> Option<String> {
    let corrections = manifest.count(Kind::Supervised);
    (manifest.new == 0).then(|| match taken_back {
        0 => {
            format!("nothing new: the adapter that serves was taught all {corrections} corrections")
        }
        _ => {
            format!("nothing new for the adapter that serves{}", no_longer_stand(taken_back))
        }
    })
}

/// What to do where corrections were taught that were taken back, or amended, since.
fn no_longer_stand(taken_back: usize) -> String {
    let (corrections, do_not) = match taken_back {
        0 => return String::new(),
        1 => ("correction", "does not"),
        _ => ("corrections", "do not"),
    };
    format!(
        "; {taken_back} {corrections} that it was taught {do_not} stand any more: the next cycle that trains \
         begins without them, and `hone adapters rollback` takes the adapter back now"
    )
}

/// How many of the serving adapter's lessons are not taught any more.
pub(super) fn taken_back(lessons: &BTreeSet<String>, examples: &[Example]) -> usize {
    let taught = examples.iter().filter(|example| example.kind == Kind::Supervised);
    let stand: BTreeSet<String> = taught.map(Example::lesson).collect();
    lessons.difference(&stand).count()
}

/// A cycle that starts by itself does not train again on what the last one was decided on.
fn nothing_new(cycle: &CycleView, lessons: &str, earlier: &[CycleView]) -> Option<String> {
    if cycle.trigger == Trigger::Manual {
        return None;
    }
    let decided = |old: &&CycleView| {
        let same = old.outcomes.get(&Step::Select).is_some_and(|it| it["lessons"] == lessons);
        old.id != cycle.id && old.status == CycleStatus::Finished && old.candidate.is_some() && same
    };
    let old = earlier.iter().find(decided)?;
    Some(format!("nothing new since {}, which was decided on the same corrections", old.id))
}

/// The same, looked up among all earlier cycles: nights that were skipped are many.
pub(super) async fn decided_before(
    services: &Services,
    cycle: &CycleView,
    lessons: &str,
) -> anyhow::Result<Option<String>> {
    let mut after = None;
    loop {
        let page = services.store.cycles(after, 50, Order::Descending).await?.items;
        let found = nothing_new(cycle, lessons, &page);
        match page.last() {
            Some(last) if found.is_none() => after = Some(last.id),
            _ => return Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use hone_dataset::{Inputs, Policy, RehearsalSources};
    use serde_json::json;

    use super::*;
    use hone_api::{AdapterId, UnixMillis};

    fn cycle(trigger: Trigger, status: CycleStatus, lessons: &str) -> CycleView {
        CycleView {
            status,
            outcomes: [(Step::Select, json!({"lessons": lessons}))].into(),
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
    fn what_was_taken_back_can_be_rolled_back() {
        assert_eq!(no_longer_stand(0), "");
        let one = no_longer_stand(1);
        assert!(
            one.starts_with("; 1 correction that it was taught does not stand any more"),
            "{one}"
        );
        assert!(no_longer_stand(2).contains("2 corrections that it was taught do not"));
        assert!(one.contains("`hone adapters rollback`"));
    }

    #[test]
    fn the_reason_says_what_is_missing() {
        let config = Config::defaults(std::path::Path::new("d")).unwrap();
        let sources = RehearsalSources { unrated: &[], shipped: &[] };
        let learned = BTreeSet::new();
        let inputs = Inputs {
            labelled: &[],
            rehearsal: sources,
            learned: &learned,
            known: &hone_dataset::Nothing,
        };
        let curated = hone_dataset::curate(&Policy::from(&config.curation), inputs).unwrap();
        let reason = too_little(&curated.seal(Vec::new()).unwrap().manifest, &config, 0).unwrap();
        assert!(reason.contains("0 corrected answers") && reason.contains("min_examples"));
    }
}

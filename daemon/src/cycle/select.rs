//! Select: from the log to a snapshot, or the reason why there is nothing to learn.
//!
//! The base answers the rehearsal questions here, so that the snapshot holds all that trains.

use std::collections::BTreeSet;

use hone_api::adapter::Provenance;
use hone_api::chat::{Message, Role};
use hone_api::check::{Check, SuiteRow};
use hone_api::cycle::{CycleStatus, CycleView, Step, Trigger, Verdict};
use hone_api::interaction::Endpoint;
use hone_api::{AdapterId, AdapterRef};
use hone_config::{Config, Teaches};
use hone_dataset::{
    Curated, Example, Inputs, Kind, Labelled, Policy, Rehearsal, RehearsalSources, Snapshot,
    SnapshotManifest,
};
use hone_eval::{Part, Suite};
use hone_store::Order;
use serde_json::{Value, json};

use super::{End, Work, start};
use crate::compare::{self, Side};
use crate::controls::Controls;
use crate::services::Services;
use crate::stained;

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

/// The prompts that ship for the model that is served.
fn shipped(config: &Config) -> anyhow::Result<Vec<Vec<Message>>> {
    let starter = ["rehearsal", "rehearsal_2"].map(hone_model::starter::workload);
    let files = match starter {
        [Some(one), Some(more)] if config.model.is_starter() => vec![one, more],
        _ => vec![hone_eval::general::REHEARSAL],
    };
    let prompt = |line: &str| -> anyhow::Result<Vec<Message>> {
        let row: Value = serde_json::from_str(line)?;
        Ok(serde_json::from_value(row["messages"].clone())?)
    };
    let rows = files.into_iter().flat_map(str::lines);
    rows.filter(|line| !line.trim().is_empty()).map(prompt).collect()
}

/// Lets the base answer; what it does not bring to an end is left out.
async fn rehearse(
    services: &Services,
    questions: Vec<Rehearsal>,
) -> anyhow::Result<Vec<Rehearsal>> {
    let prompts: Vec<&[Message]> = questions.iter().map(|one| one.messages.as_slice()).collect();
    let answers = answers_of_the_base(services, &prompts).await?;
    let answered = questions.into_iter().zip(answers).filter_map(|(mut question, answer)| {
        question.messages.push(Message::new(Role::Assistant, answer?));
        Some(question)
    });
    Ok(answered.collect())
}

/// Marks the liked answers of adapters that the base gives too: there it is a model to keep to.
async fn find_answers_of_the_base(
    services: &Services,
    examples: &mut [Example],
) -> anyhow::Result<()> {
    let is_open = |example: &&mut Example| example.kind == Kind::Replay && !example.of_base;
    let open: Vec<&mut Example> = examples.iter_mut().filter(is_open).collect();
    let prompts: Vec<&[Message]> = open.iter().map(|example| example.prompt()).collect();
    let answers = answers_of_the_base(services, &prompts).await?;
    for (example, answer) in open.into_iter().zip(answers) {
        example.of_base = answer.is_some_and(|answer| answer.trim() == example.reference().trim());
    }
    Ok(())
}

/// What the base answers; `None` where it has no room, or does not come to an end.
async fn answers_of_the_base(
    services: &Services,
    prompts: &[&[Message]],
) -> anyhow::Result<Vec<Option<String>>> {
    let front_end = std::sync::Arc::clone(services.engine.front_end());
    let fits = |messages: &[Message]| {
        let ends_with_a_question = messages.last().is_some_and(|it| it.role != Role::Assistant);
        ends_with_a_question && super::evaluate::fits(&front_end, messages)
    };
    let asked: Vec<usize> = (0..prompts.len()).filter(|at| fits(prompts[*at])).collect();
    let mut answers = vec![None; prompts.len()];
    if asked.is_empty() {
        return Ok(answers);
    }
    let rows = asked.iter().map(|at| SuiteRow {
        tools: Vec::new(),
        family: "rehearsal".to_owned(),
        split: String::new(),
        messages: prompts[*at].to_vec(),
        reference: String::new(),
        check: Check::Contains(String::new()),
    });
    let suite = Suite::new("rehearsal", Part::Control, rows.collect())?;
    let base = Side::load(services, None).await?;
    let given = compare::answer(services, &base, &[suite], &|_, _| {}).await?;
    for (at, answer) in asked.into_iter().zip(given) {
        let is_whole = answer.stopped && !answer.text.trim().is_empty();
        answers[at] = is_whole.then_some(answer.text);
    }
    Ok(answers)
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

fn too_little(manifest: &SnapshotManifest, config: &Config, taken_back: usize) -> Option<String> {
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
fn all_known(manifest: &SnapshotManifest, taken_back: usize) -> Option<String> {
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
fn taken_back(lessons: &BTreeSet<String>, examples: &[Example]) -> usize {
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
async fn decided_before(
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

#[cfg(test)]
mod tests {
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

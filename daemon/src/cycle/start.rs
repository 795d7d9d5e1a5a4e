//! Where training begins: at the base, or where the serving adapter stands.
//!
//! A second evening's corrections stand beside the first one's. Trained from the base, both are shown half
//! as often and the older ones are learned worse than they were; the adapter that serves knows them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use hone_api::cycle::Step;
use hone_api::{AdapterId, AdapterRef};
use hone_dataset::{Example, Kind};
use hone_model::train::LoraLayout;
use hone_trainer::TrainingConfig;

use super::Work;
use super::attempt::Attempt;

/// The key in the outcome of `select` under which the adapter stands.
pub const GOES_ON_FROM: &str = "goes_on_from";

/// Where more than so many times as much is new, a run from the base learns all of it as well.
const MUCH_IS_NEW: usize = 2;

/// Whether what the serving adapter was taught, by lesson, is still taught, and worth going on from. What
/// somebody took back, only a run from the base unlearns.
pub(super) fn is_worth_keeping(lessons: &BTreeSet<String>, examples: &[Example]) -> bool {
    let taught = || examples.iter().filter(|example| example.kind == Kind::Supervised);
    let older: BTreeSet<String> = taught().filter(|it| it.older).map(Example::lesson).collect();
    let new = taught().filter(|example| !example.older).count();
    !lessons.is_empty() && older == *lessons && new <= MUCH_IS_NEW * older.len()
}

/// The adapter that a try goes on from. None if `select` found none, if it is of another shape or base,
/// or if tries before forgot too much: those begin anew; and so does one from an adapter that the disk did not keep.
pub(super) async fn adapter(
    work: &Work<'_>,
    attempt: &Attempt,
    training: &TrainingConfig,
) -> anyhow::Result<Option<PathBuf>> {
    let Some(id) = candidate(work, attempt, training) else { return Ok(None) };
    let registry = Arc::clone(&work.services.registry);
    let verified = tokio::task::spawn_blocking(move || {
        registry.with_verified(id, |dir| Ok::<_, hone_adapters::Error>(dir.to_owned()))
    });
    match verified.await? {
        Ok(dir) => Ok(Some(dir)),
        Err(error) => {
            tracing::warn!(adapter = %id, %error, "training begins at the base instead");
            Ok(None)
        }
    }
}

fn candidate(work: &Work<'_>, attempt: &Attempt, training: &TrainingConfig) -> Option<AdapterId> {
    let selected = work.cycle.outcomes.get(&Step::Select)?;
    let id: AdapterId = serde_json::from_value(selected[GOES_ON_FROM].clone()).ok()?;
    let view = work.services.registry.get(&AdapterRef::Id(id)).ok()?;
    let same_shape = view.rank as usize == training.rank
        && (view.alpha - training.alpha).abs() < 1e-9
        && same_targets(work, &view.target_modules, &training.target_modules);
    let same_base =
        view.base_digest.as_deref() == Some(work.services.engine.front_end().base_digest.as_str());
    let begins_anew = attempt.rehearsal > 1.0;
    (same_shape && same_base && !begins_anew).then_some(id)
}

/// Whether an adapter is on all that the settings' names stand for in this model.
fn same_targets(work: &Work<'_>, of_adapter: &[String], wanted: &[String]) -> bool {
    let Ok(base) = work.services.trainable() else { return false };
    let Ok(layout) = LoraLayout::new(&base.config, 1, 1.0, wanted) else { return false };
    let names: BTreeSet<&str> = layout.slots().map(|slot| slot.target.name).collect();
    names == of_adapter.iter().map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use hone_api::InteractionId;
    use hone_api::chat::{Message, Role};
    use hone_api::check::Check;

    use super::*;

    fn correction(question: usize, older: bool) -> Example {
        let turn = |role, text: &str| Message::new(role, text);
        Example {
            id: InteractionId::new(),
            kind: Kind::Supervised,
            fold: None,
            older,
            cluster: question,
            source: None,
            of_base: true,
            family: "feedback".to_owned(),
            tools: Vec::new(),
            messages: vec![
                turn(Role::User, &format!("Question {question}?")),
                turn(Role::Assistant, "Seven."),
            ],
            rejected: None,
            bad_turns: Vec::new(),
            check: Check::Exact("Seven.".to_owned()),
            key: format!("question {question}"),
        }
    }

    #[test]
    fn goes_on_while_all_that_was_taught_stands_and_is_no_small_part() {
        let evening = |older: usize, new: usize| -> Vec<Example> {
            (0..older + new).map(|at| correction(at, at < older)).collect()
        };
        let lessons: BTreeSet<String> = evening(10, 0).iter().map(Example::lesson).collect();
        assert!(is_worth_keeping(&lessons, &evening(10, 1)));
        assert!(is_worth_keeping(&lessons, &evening(10, 20)));
        assert!(!is_worth_keeping(&lessons, &evening(10, 21)), "much is new");
        assert!(!is_worth_keeping(&lessons, &evening(9, 3)), "one was taken back");
        assert!(!is_worth_keeping(&BTreeSet::new(), &evening(0, 3)), "the base serves");
    }
}

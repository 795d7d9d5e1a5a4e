//! What teaches nothing until a person has looked at it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hone_api::InteractionId;
use hone_api::feedback::{Feedback, Signal};
pub use hone_api::waiting::WaitingReason;

use crate::dedup::prompt_key;
use crate::example::Kind;
use crate::select::{Labelled, select};

/// An answer that waits, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The answer.
    pub id: InteractionId,
    /// Why it waits.
    pub reason: WaitingReason,
}

/// All answers that wait for a person, by id, so the oldest first.
#[must_use]
pub fn waiting(labelled: &[Labelled]) -> Vec<Waiting> {
    let selection = select(labelled);
    let uncorrected = selection.waiting.into_iter();
    let mut found: Vec<Waiting> =
        uncorrected.map(|id| Waiting { id, reason: WaitingReason::NoCorrection }).collect();

    let corrected = selection.rows.iter().filter(|row| row.kind == Kind::Supervised);
    let corrected: BTreeSet<InteractionId> = corrected.map(|row| row.id).collect();
    let mut questions: HashMap<String, Vec<&Labelled>> = HashMap::new();
    for row in labelled.iter().filter(|row| corrected.contains(&row.interaction.id)) {
        questions.entry(prompt_key(&row.interaction.messages)).or_default().push(row);
    }
    for rows in questions.into_values().filter(|rows| contradict(rows)) {
        let contradicted = rows.into_iter().map(|row| row.interaction.id);
        found.extend(contradicted.map(|id| Waiting { id, reason: WaitingReason::Contradiction }));
    }
    found.sort_unstable();
    found
}

/// Whether several sources correct the same question in different words, without a majority of the
/// sources for any. A source that says something else later has changed its mind.
fn contradict(rows: &[&Labelled]) -> bool {
    let mut feedback: Vec<&Feedback> = rows.iter().flat_map(|row| &row.feedback).collect();
    feedback.sort_by_key(|item| (item.created_at, item.id));
    let mut said: BTreeMap<Option<&str>, String> = BTreeMap::new();
    for item in feedback {
        let source = item.source.as_deref();
        match &item.signal {
            Signal::Demonstration(text) => {
                said.insert(source, normal(text));
            }
            // It was good after all: the correction is taken back.
            signal if signal.vote() == Some(true) => {
                said.remove(&source);
            }
            _ => {}
        }
    }
    let mut sources: BTreeMap<&str, usize> = BTreeMap::new();
    for text in said.values() {
        *sources.entry(text).or_default() += 1;
    }
    let most = sources.values().max().copied().unwrap_or(0);
    sources.len() > 1 && most * 2 <= said.len()
}

/// A text with case and white space evened out.
fn normal(text: &str) -> String {
    text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

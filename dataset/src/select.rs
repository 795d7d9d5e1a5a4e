//! Which interactions teach, and what.
//!
//! Each source (an API key with its end user; all unknown ones together) has one say about an
//! answer: its latest. A correction teaches the corrected answer unless more sources call the served
//! one good; a good vote makes the served answer replay; a bad vote without a correction waits for
//! somebody to say what would have been right.

use std::collections::BTreeMap;

use hone_api::InteractionId;
use hone_api::chat::{FinishReason, Message};
use hone_api::check::Check;
use hone_api::feedback::{Feedback, Signal};
use hone_api::interaction::Interaction;
use serde::{Deserialize, Serialize};

use crate::example::Kind;

/// One interaction with all feedback for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Labelled {
    /// The answered request.
    pub interaction: Interaction,
    /// What was said of the answer, in any order.
    pub feedback: Vec<Feedback>,
}

/// Why a row is not in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A person took it out of what waits, and nobody has corrected it since.
    Discarded,
    /// The client asked that it should not teach.
    NotTrainable,
    /// Its text was not kept.
    NoText,
    /// Only comments.
    NoVerdict,
    /// As many sources call it good as bad, and nobody corrected it.
    VotesTied,
    /// The correction is blank.
    EmptyDemonstration,
    /// The good answer was cut off, so it would teach never to stop.
    CutOff,
    /// Several answers were given and the vote does not say which is meant.
    SeveralAnswers,
    /// The tag `check` does not hold a check that can be run.
    InvalidCheck,
    /// The same prompt, answered again; a correction is kept before a vote, the newest before older.
    ExactDuplicate,
    /// Nearly the same prompt with the same numbers and the same answer.
    NearDuplicate,
    /// More rows than `max_rows`; the newest stay.
    OverMaxRows,
    /// A good answer that the replay ratio leaves no room for.
    SpareReplay,
}

/// A row on its way to become an [`crate::Example`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub(crate) id: InteractionId,
    pub(crate) kind: Kind,
    pub(crate) family: String,
    pub(crate) prompt: Vec<Message>,
    pub(crate) answer: String,
    pub(crate) check: Option<Check>,
}

/// What selection leaves.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    /// By interaction id.
    pub(crate) rows: Vec<Row>,
    /// Bad answers that nobody corrected yet, by id.
    pub(crate) waiting: Vec<InteractionId>,
    pub(crate) dropped: BTreeMap<Reason, usize>,
}

pub(crate) fn select(labelled: &[Labelled]) -> Selection {
    let mut selection = Selection::default();
    for row in labelled {
        match judge(row) {
            Verdict::Teaches(row) => selection.rows.push(row),
            Verdict::Waits => selection.waiting.push(row.interaction.id),
            Verdict::Dropped(reason) => *selection.dropped.entry(reason).or_default() += 1,
        }
    }
    selection.rows.sort_by_key(|row| row.id);
    selection.waiting.sort_unstable();
    selection
}

enum Verdict {
    Teaches(Row),
    Waits,
    Dropped(Reason),
}

fn judge(labelled: &Labelled) -> Verdict {
    let interaction = &labelled.interaction;
    if !interaction.trainable {
        return Verdict::Dropped(Reason::NotTrainable);
    }
    if interaction.messages.is_empty() {
        return Verdict::Dropped(Reason::NoText);
    }
    let mut feedback: Vec<&Feedback> = labelled.feedback.iter().collect();
    feedback.sort_by_key(|item| (item.created_at, item.id));
    if is_discarded(&feedback) {
        return Verdict::Dropped(Reason::Discarded);
    }

    let opinion = Opinion::of(&feedback);
    let outcome = match opinion.demonstration {
        Some(text) if opinion.bad >= opinion.good => {
            if text.trim().is_empty() {
                Err(Reason::EmptyDemonstration)
            } else {
                Ok((Kind::Supervised, text.to_owned()))
            }
        }
        _ if opinion.good > opinion.bad => {
            served(interaction).map(|text| (Kind::Replay, text.to_owned()))
        }
        _ if opinion.bad > opinion.good => return Verdict::Waits,
        _ if opinion.good > 0 => Err(Reason::VotesTied),
        _ => Err(Reason::NoVerdict),
    };
    let (kind, answer) = match outcome {
        Ok(found) => found,
        Err(reason) => return Verdict::Dropped(reason),
    };
    let check = match tag(&feedback, "check").map(Check::from_tag) {
        Some(Err(_)) => return Verdict::Dropped(Reason::InvalidCheck),
        Some(Ok(check)) => Some(check),
        None => None,
    };
    Verdict::Teaches(Row {
        id: interaction.id,
        kind,
        family: family(interaction, &feedback, kind),
        prompt: interaction.messages.clone(),
        answer,
        check,
    })
}

/// Whether it was discarded after the last correction. `feedback` in order of time.
fn is_discarded(feedback: &[&Feedback]) -> bool {
    let last = |wanted: fn(&Signal) -> bool| feedback.iter().rposition(|it| wanted(&it.signal));
    let discarded = last(|signal| matches!(signal, Signal::Discard));
    discarded > last(|signal| matches!(signal, Signal::Demonstration(_)))
}

/// What the sources together say of an answer.
#[derive(Debug, Default)]
struct Opinion<'a> {
    good: usize,
    bad: usize,
    /// The latest correction that its source did not withdraw.
    demonstration: Option<&'a str>,
}

impl<'a> Opinion<'a> {
    /// `feedback` in order of time.
    fn of(feedback: &[&'a Feedback]) -> Self {
        #[derive(Default)]
        struct Source<'a> {
            good: Option<bool>,
            demonstration: Option<(usize, &'a str)>,
        }
        let mut sources: BTreeMap<Option<&str>, Source<'a>> = BTreeMap::new();
        for (position, item) in feedback.iter().enumerate() {
            let source = sources.entry(item.source.as_deref()).or_default();
            if let Signal::Demonstration(text) = &item.signal {
                // Whoever corrects an answer does not call it good.
                source.good = Some(false);
                source.demonstration = Some((position, text));
            } else if let Some(good) = item.signal.vote() {
                source.good = Some(good);
                if good {
                    // The source changed its mind: the served answer was good after all.
                    source.demonstration = None;
                }
            }
        }
        let votes = |wanted| sources.values().filter(|it| it.good == Some(wanted)).count();
        Self {
            good: votes(true),
            bad: votes(false),
            demonstration: sources
                .values()
                .filter_map(|source| source.demonstration)
                .max_by_key(|(position, _)| *position)
                .map(|(_, text)| text),
        }
    }
}

/// The answer as it was served, if it is whole and the only one.
fn served(interaction: &Interaction) -> Result<&str, Reason> {
    let [answer] = interaction.answers.as_slice() else {
        return Err(Reason::SeveralAnswers);
    };
    match &answer.text {
        _ if answer.finish_reason != FinishReason::Stop => Err(Reason::CutOff),
        Some(text) if !text.trim().is_empty() => Ok(text),
        _ => Err(Reason::NoText),
    }
}

fn family(interaction: &Interaction, feedback: &[&Feedback], kind: Kind) -> String {
    let named = tag(feedback, "family").or(interaction.metadata.get("family").map(String::as_str));
    match named.map(str::trim) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ if kind == Kind::Supervised => "feedback".to_owned(),
        _ => "replay".to_owned(),
    }
}

/// The latest value of a tag. `feedback` in order of time.
fn tag<'a>(feedback: &[&'a Feedback], name: &str) -> Option<&'a str> {
    feedback.iter().rev().find_map(|item| item.tags.get(name)).map(String::as_str)
}

//! Answers that wait for a person, with all that she needs to decide.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use hone_api::feedback::{Feedback, Signal};
use hone_api::waiting::{Votes, WaitingReason, WaitingView};
use hone_dataset::{Known, Labelled, Policy};

use crate::controls::Controls;
use crate::cycle::teaching;
use crate::promote::Error;
use crate::services::Services;

/// All of them, the newest first.
///
/// # Errors
/// The store's.
pub async fn list(services: &Services) -> Result<Vec<WaitingView>, Error> {
    let config = services.settings.now();
    let rows = teaching(services.store.labelled().await?, &config.feedback.endpoints);
    let policy = Policy::from(&config.curation);
    Ok(tokio::task::spawn_blocking(move || views(&policy, &rows, &Controls::of(&config))).await?)
}

fn views(policy: &Policy, rows: &[Labelled], known: &dyn Known) -> Vec<WaitingView> {
    let by_id: HashMap<_, _> = rows.iter().map(|row| (row.interaction.id, row)).collect();
    // The settings were checked when they were read.
    let mut waiting = hone_dataset::waiting(policy, rows, known).unwrap_or_default();
    waiting.sort_unstable_by_key(|one| Reverse(one.id));
    waiting.iter().filter_map(|one| Some(view(by_id.get(&one.id)?, one.reason))).collect()
}

fn view(row: &Labelled, reason: WaitingReason) -> WaitingView {
    let interaction = &row.interaction;
    let mut feedback: Vec<&Feedback> = row.feedback.iter().collect();
    feedback.sort_by_key(|item| (item.created_at, item.id));
    let answer = match interaction.answers.as_slice() {
        [answer] => answer.text.clone(),
        _ => None,
    };
    WaitingView {
        object: "feedback.waiting".to_owned(),
        id: interaction.id,
        reason,
        message: reason.message().to_owned(),
        messages: interaction.messages.clone(),
        answer,
        suggestions: suggestions(&feedback),
        votes: votes(&feedback),
        created_at: interaction.created_at,
    }
}

/// Each once, where it was said last. `feedback` in order of time.
fn suggestions(feedback: &[&Feedback]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for item in feedback {
        if let Signal::Demonstration(text) = &item.signal {
            texts.retain(|said| said != text);
            texts.push(text.clone());
        }
    }
    texts
}

/// One of each source: its last. Who corrects an answer calls it bad. `feedback` in order of time.
fn votes(feedback: &[&Feedback]) -> Votes {
    let mut last: BTreeMap<Option<&str>, bool> = BTreeMap::new();
    for item in feedback {
        let vote = match &item.signal {
            Signal::Demonstration(_) => Some(false),
            signal => signal.vote(),
        };
        if let Some(good) = vote {
            last.insert(item.source.as_deref(), good);
        }
    }
    let good = last.values().filter(|good| **good).count();
    Votes { good, bad: last.len() - good }
}

#[cfg(test)]
mod tests {
    use hone_api::{FeedbackId, InteractionId, UnixMillis};

    use super::*;

    fn said(source: &str, signal: Signal) -> Feedback {
        Feedback {
            id: FeedbackId::new(),
            inference_id: InteractionId::new(),
            signal,
            tags: BTreeMap::new(),
            source: Some(source.to_owned()),
            created_at: UnixMillis(1),
        }
    }

    fn fix(text: &str) -> Signal {
        Signal::Demonstration(text.to_owned())
    }

    #[test]
    fn each_source_has_one_vote() {
        let feedback = [
            said("a", Signal::Thumbs(true)),
            said("a", Signal::Score(0.1)),
            said("b", fix("x")),
            said("c", Signal::Thumbs(true)),
            said("d", Signal::Comment("hm".to_owned())),
            said("e", Signal::Discard),
        ];
        let feedback: Vec<_> = feedback.iter().collect();
        assert_eq!(votes(&feedback), Votes { good: 1, bad: 2 });
    }

    #[test]
    fn a_suggestion_is_shown_once() {
        let feedback = [said("a", fix("x")), said("b", fix("y")), said("c", fix("x"))];
        let feedback: Vec<_> = feedback.iter().collect();
        assert_eq!(suggestions(&feedback), ["y", "x"]);
    }
}

//! Everyday questions that keep the model from forgetting, at no cost to users.
//!
//! Unrated traffic is plentiful, and what the base makes of it is what must stay. Prompts like those
//! that were corrected are left out: there the base is what shall change. Where traffic is short,
//! shipped prompts fill up.

use std::collections::{BTreeMap, BTreeSet};

use hone_api::InteractionId;
use hone_api::chat::Message;
use hone_api::interaction::Interaction;
use serde::{Deserialize, Serialize};

use crate::conversation::BadTurns;
use crate::dedup::prompt_key;
use crate::rank::rank;
use crate::redact;

/// From this part of common words on a question is like one that was corrected.
const ALIKE: f64 = 0.3;

/// A conversation that ends with a question to the base.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rehearsal {
    /// The answered request it comes from; `None` is a shipped prompt.
    pub id: Option<InteractionId>,
    /// The conversation. In a snapshot the last turn is the base's own answer.
    pub messages: Vec<Message>,
    /// Earlier turns that were called bad: nothing to keep.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_turns: Vec<usize>,
}

/// Where rehearsal comes from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Answered requests that nobody said anything about.
    pub unrated: &'a [Interaction],
    /// Prompts that work for any model, or those made for the one that serves.
    pub shipped: &'a [Vec<Message>],
}

/// Chooses at most `wanted` prompts: half of them from traffic where there is enough, spread over
/// different beginnings, the rest shipped ones.
pub(crate) fn choose(
    sources: Sources<'_>,
    corrected: &[&[Message]],
    bad: &BadTurns,
    (wanted, seed, redacting): (usize, u64, bool),
) -> Vec<Rehearsal> {
    let corrected: Vec<BTreeSet<String>> = corrected.iter().map(|prompt| words(prompt)).collect();
    let is_free = |prompt: &[Message]| {
        let words = words(prompt);
        corrected.iter().all(|other| overlap(&words, other) < ALIKE)
    };
    let mut groups: BTreeMap<String, Vec<([u8; 32], &Interaction)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for interaction in sources.unrated {
        let key = prompt_key(&interaction.messages);
        if interaction.trainable && is_free(&interaction.messages) && seen.insert(key.clone()) {
            let group = groups.entry(beginning(&interaction.messages)).or_default();
            group.push((rank(seed, "rehearsal", &key), interaction));
        }
    }
    groups.values_mut().for_each(|group| group.sort_by_key(|(rank, _)| *rank));
    // One of each kind of question, then a second one of each, and so on.
    let mut traffic: Vec<(usize, [u8; 32], &Interaction)> = groups
        .values()
        .flat_map(|group| group.iter().enumerate().map(|(turn, (rank, it))| (turn, *rank, *it)))
        .collect();
    traffic.sort_by_key(|(turn, rank, _)| (*turn, *rank));
    let room = (wanted / 2).max(wanted.saturating_sub(sources.shipped.len()));
    let mut chosen: Vec<Rehearsal> = traffic
        .into_iter()
        .take(room)
        .map(|(_, _, interaction)| {
            let mut messages = interaction.messages.clone();
            let bad_turns = bad.mend(&mut messages);
            if redacting {
                for message in &mut messages {
                    for text in std::iter::once(&mut message.content).chain(&mut message.name) {
                        *text = redact::redact(text).text;
                    }
                }
            }
            Rehearsal { id: Some(interaction.id), messages, bad_turns }
        })
        .collect();
    let mut shipped: Vec<(_, &Vec<Message>)> = sources
        .shipped
        .iter()
        .map(|prompt| (rank(seed, "shipped", &prompt_key(prompt)), prompt))
        .collect();
    shipped.sort_by_key(|(rank, _)| *rank);
    let rest = wanted.saturating_sub(chosen.len());
    chosen.extend(shipped.into_iter().take(rest).map(|(_, prompt)| Rehearsal {
        id: None,
        messages: prompt.clone(),
        bad_turns: Vec::new(),
    }));
    chosen
}

/// How a question begins: what many have in common is one kind of question.
fn beginning(prompt: &[Message]) -> String {
    let last = prompt.last().map_or("", |message| message.content.as_str());
    last.split_whitespace().take(2).map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

/// The telling words of the last turn; all numbers are one word.
fn words(prompt: &[Message]) -> BTreeSet<String> {
    let last = prompt.last().map_or("", |message| message.content.as_str());
    last.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.chars().count() > 3 || word.starts_with(char::is_numeric))
        .map(|word| match word.starts_with(char::is_numeric) {
            true => "#".to_owned(),
            false => word.to_lowercase(),
        })
        .collect()
}

fn overlap(one: &BTreeSet<String>, other: &BTreeSet<String>) -> f64 {
    let both = one.intersection(other).count();
    let all = one.len() + other.len() - both;
    if all == 0 { 0.0 } else { both as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use hone_api::chat::Role;

    use super::*;

    fn prompt(text: &str) -> Vec<Message> {
        vec![Message::new(Role::User, text)]
    }

    #[test]
    fn questions_like_corrected_ones_are_not_rehearsed() {
        let corrected = words(&prompt("What is the average of 3, 5 and 7?"));
        let alike = words(&prompt("what is the average of 12, 20 and 4"));
        let other = words(&prompt("What is the capital of France?"));
        assert!(overlap(&corrected, &alike) >= ALIKE);
        assert!(overlap(&corrected, &other) < ALIKE);
    }

    #[test]
    fn shipped_prompts_fill_up() {
        let shipped: Vec<Vec<Message>> =
            (0..50).map(|it| prompt(&format!("question {it}"))).collect();
        let sources = Sources { unrated: &[], shipped: &shipped };
        let chosen = choose(sources, &[], &BadTurns::default(), (20, 17, true));
        assert_eq!(chosen.len(), 20);
        assert_eq!(chosen, choose(sources, &[], &BadTurns::default(), (20, 17, true)));
        assert_eq!(choose(sources, &[], &BadTurns::default(), (90, 17, true)).len(), 50);
    }
}

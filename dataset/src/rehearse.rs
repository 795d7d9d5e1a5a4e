//! Everyday questions that keep the model from forgetting, at no cost to users.
//!
//! Unrated traffic is plentiful, and what the base makes of it is what must stay. Prompts like those
//! that were corrected are left out: there the base is what shall change. Where traffic is short,
//! shipped prompts fill up, every other one as near to what was corrected as there is: neighbours are
//! what moves first. Where only the form was corrected, they are left out like those of the traffic.

use std::collections::{BTreeMap, BTreeSet};

use hone_api::InteractionId;
use hone_api::chat::Message;
use hone_api::interaction::Interaction;
use serde::{Deserialize, Serialize};

use crate::conversation::BadTurns;
use crate::dedup::prompt_key;
use crate::rank::rank;

/// So many corrections, spread over all, pick their neighbours.
const LOOKED_AT: usize = 400;
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
    /// The base did not bring its answer to an end: it is kept as far as it goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unfinished: bool,
}

/// Where rehearsal comes from.
#[derive(Debug, Clone, Copy)]
pub struct RehearsalSources<'a> {
    /// Answered requests that nobody said anything about.
    pub unrated: &'a [Interaction],
    /// Prompts that work for any model, or those made for the one that serves.
    pub shipped: &'a [Vec<Message>],
}

/// How rehearsal is chosen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice {
    /// At most so many prompts.
    pub(crate) wanted: usize,
    pub(crate) seed: u64,
    /// Whether personal data is taken out.
    pub(crate) redact: bool,
    /// Whether only the form of answers was corrected.
    pub(crate) about_form: bool,
}

/// Chooses prompts: half of them from traffic where there is enough, spread over different beginnings,
/// the rest shipped ones.
pub(crate) fn choose(
    sources: RehearsalSources<'_>,
    corrected: &[&[Message]],
    bad: &BadTurns,
    choice: Choice,
) -> Vec<Rehearsal> {
    let Choice { wanted, seed, redact, about_form } = choice;
    let keys: BTreeSet<String> = corrected.iter().map(|prompt| prompt_key(prompt)).collect();
    let is_taught = |prompt: &[Message]| keys.contains(&prompt_key(prompt)) || bad.asked(prompt);
    let corrected: Vec<BTreeSet<String>> = corrected.iter().map(|prompt| words(prompt)).collect();
    let is_free = |prompt: &[Message]| {
        let words = words(prompt);
        corrected.iter().all(|other| overlap(&words, other) < ALIKE)
    };
    let mut groups: BTreeMap<String, Vec<([u8; 32], &Interaction)>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for interaction in sources.unrated {
        let key = prompt_key(&interaction.messages);
        let may_stay = is_free(&interaction.messages) && !is_taught(&interaction.messages);
        if interaction.trainable && may_stay && seen.insert(key.clone()) {
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
            if redact {
                for text in messages.iter_mut().flat_map(Message::texts) {
                    *text = crate::redact::redact(text).text;
                }
            }
            Rehearsal { id: Some(interaction.id), messages, bad_turns, unfinished: false }
        })
        .collect();
    let mut shipped: Vec<&Vec<Message>> = sources.shipped.iter().collect();
    shipped.retain(|prompt| !is_taught(prompt) && (!about_form || is_free(prompt)));
    shipped.sort_by_cached_key(|prompt| rank(seed, "shipped", &prompt_key(prompt)));
    let rest = wanted.saturating_sub(chosen.len());
    let nearest_too = every_other_near(shipped, &corrected);
    chosen.extend(nearest_too.into_iter().take(rest).map(|prompt| Rehearsal {
        id: None,
        messages: prompt.clone(),
        bad_turns: Vec::new(),
        unfinished: false,
    }));
    chosen
}

/// The prompts in an order of which every other one is near to what was corrected: each correction in
/// turn picks the nearest that is left, so that none of several skills goes without neighbours.
fn every_other_near<'a>(
    prompts: Vec<&'a Vec<Message>>,
    corrected: &[BTreeSet<String>],
) -> Vec<&'a Vec<Message>> {
    let words: Vec<BTreeSet<String>> = prompts.iter().map(|prompt| words(prompt)).collect();
    let nearest = |correction: &BTreeSet<String>| {
        let mut order: Vec<(usize, f64)> =
            words.iter().map(|words| overlap(words, correction)).enumerate().collect();
        order.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        order.into_iter().map(|(at, _)| at)
    };
    let step = corrected.len().div_ceil(LOOKED_AT).max(1);
    let mut choices: Vec<_> = corrected.iter().step_by(step).map(nearest).collect();
    let mut taken = vec![false; prompts.len()];
    let mut order = Vec::with_capacity(prompts.len());
    let turns = choices.len().max(1);
    for at in 0..prompts.len() {
        let near = choices.get_mut(at % turns).and_then(|choice| choice.find(|at| !taken[*at]));
        for next in near.into_iter().chain([at]) {
            if !std::mem::replace(&mut taken[next], true) {
                order.push(prompts[next]);
            }
        }
    }
    order
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
        let sources = RehearsalSources { unrated: &[], shipped: &shipped };
        let chosen = |wanted| choose(sources, &[], &BadTurns::default(), choice(wanted, false));
        assert_eq!(chosen(20).len(), 20);
        assert_eq!(chosen(20), chosen(20));
        assert_eq!(chosen(90).len(), 50);
    }

    fn choice(wanted: usize, about_form: bool) -> Choice {
        Choice { wanted, seed: 17, redact: true, about_form }
    }

    #[test]
    fn neighbours_of_what_was_corrected_come_first_unless_only_its_form_was() {
        let near = prompt("What is the average price of these lamps?");
        let mut shipped: Vec<Vec<Message>> =
            (0..50).map(|it| prompt(&format!("something else {it}"))).collect();
        shipped.insert(25, near.clone());
        let sources = RehearsalSources { unrated: &[], shipped: &shipped };
        let corrected = prompt("What is the average price of these chairs?");
        let chosen = |form| {
            choose(sources, &[&corrected], &BadTurns::default(), choice(60, form))
                .into_iter()
                .map(|one| one.messages)
                .collect::<Vec<_>>()
        };
        assert_eq!((chosen(false).len(), &chosen(false)[0]), (51, &near));
        assert_eq!((chosen(true).len(), chosen(true).contains(&near)), (50, false));
    }
}

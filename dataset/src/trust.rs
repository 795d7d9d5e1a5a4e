//! Whose corrections may teach by themselves.
//!
//! Prevents that one voice drowns the others: a source that sends far more than the others waits for
//! a person as a whole, copies of one answer count a few times only, and where the same question has
//! several answers the majority teaches, or none. Published attacks need a count, not a share
//! (Souly et al., *Poisoning attacks on LLMs require a near-constant number of poison samples*, 2025),
//! so the caps are counts.

use std::collections::{BTreeMap, BTreeSet};

use crate::agreement::Said;
use crate::waiting::WaitingReason;

/// A source may send so many rows, whatever the others do.
const FREE_ROWS: usize = 20;
/// And so many times as many as the others do in the middle.
const TIMES_THE_OTHERS: usize = 3;
/// With fewer sources nobody can say which of them is the odd one.
const FEWEST_SOURCES: usize = 3;
/// Copies of one answer to one cluster of prompts, by source.
const COPIES: usize = 5;
/// Who says something else so much later has changed her mind.
const ANOTHER_DAY_MS: i64 = 6 * 3_600_000;

/// What must be known of a row. Rows come in order of preference: the newest first.
#[derive(Debug, Clone)]
pub(crate) struct Claim<'a> {
    /// Whose say it is.
    pub(crate) source: Option<&'a str>,
    /// Who else says so.
    pub(crate) confirmed_by: &'a [Option<String>],
    /// The same for the same prompt.
    pub(crate) prompt: &'a str,
    /// The same for the same question, whatever courtesy stands around it.
    pub(crate) asked: &'a str,
    /// The cluster of the prompt.
    pub(crate) cluster: usize,
    /// The answer, evened out.
    pub(crate) answer: String,
    pub(crate) said_at: i64,
}

/// What becomes of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// It may teach.
    Teaches,
    /// Another row says the same.
    Copy,
    /// Another answer to the same prompt has more sources, or is what its source says now.
    Outvoted,
    /// A person must look at it.
    Waits(WaitingReason),
}

/// Rules on corrections; `voices` are all sources that were heard, with corrections or votes.
pub(crate) fn rule(claims: &[Claim<'_>], voices: &BTreeSet<Option<&str>>) -> Vec<Ruling> {
    let mut rulings = vec![Ruling::Teaches; claims.len()];
    let heavy = too_heavy(claims.iter().map(|claim| claim.source), voices);
    for (ruling, claim) in rulings.iter_mut().zip(claims) {
        // Whoever confirms one lets it teach, unless she sends too much herself.
        let is_confirmed = claim.confirmed_by.iter().any(|by| !heavy.contains(&by.as_deref()));
        if heavy.contains(&claim.source) && !is_confirmed {
            *ruling = Ruling::Waits(WaitingReason::SourceOverCap);
        }
    }
    settle(claims, &mut rulings);
    let mut copies: BTreeMap<(Option<&str>, usize, &str), usize> = BTreeMap::new();
    for (ruling, claim) in rulings.iter_mut().zip(claims) {
        if *ruling == Ruling::Teaches {
            let count = copies.entry((claim.source, claim.cluster, &claim.answer)).or_default();
            *count += 1;
            if *count > COPIES {
                *ruling = Ruling::Copy;
            }
        }
    }
    rulings
}

/// The sources that sent far more than the others: `sources` are those of all corrections.
pub(crate) fn too_heavy<'a>(
    sources: impl Iterator<Item = Option<&'a str>>,
    voices: &BTreeSet<Option<&str>>,
) -> BTreeSet<Option<&'a str>> {
    let mut rows: BTreeMap<Option<&str>, usize> = BTreeMap::new();
    for source in sources {
        *rows.entry(source).or_default() += 1;
    }
    if voices.len().max(rows.len()) < FEWEST_SOURCES {
        return BTreeSet::new();
    }
    let is_heavy = |(source, count): &(&Option<&'a str>, &usize)| {
        let mut others: Vec<usize> =
            rows.iter().filter(|(other, _)| other != source).map(|(_, count)| *count).collect();
        others.sort_unstable();
        let middle = others.get(others.len() / 2).copied().unwrap_or(0);
        **count > FREE_ROWS.max(TIMES_THE_OTHERS * middle)
    };
    rows.iter().filter(is_heavy).map(|(source, _)| *source).collect()
}

/// Where one question has several answers, the one of most sources teaches; a source counts with its
/// latest day's say.
fn settle(claims: &[Claim<'_>], rulings: &mut [Ruling]) {
    let mut questions: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, claim) in claims.iter().enumerate() {
        if rulings[at] == Ruling::Teaches {
            questions.entry(claim.asked).or_default().push(at);
        }
    }
    for rows in questions.into_values().filter(|rows| rows.len() > 1) {
        let says = answers(claims, &rows);
        let mut votes: BTreeMap<usize, usize> = BTreeMap::new();
        let mut voters: BTreeMap<Option<&str>, Vec<usize>> = BTreeMap::new();
        for at in &rows {
            voters.entry(claims[*at].source).or_default().push(*at);
        }
        for rows in voters.into_values() {
            // A source with one opinion has one vote, however often she gave it.
            let latest = rows.iter().map(|at| claims[*at].said_at).max().unwrap_or(0);
            let today = rows.iter().filter(|at| latest - claims[**at].said_at < ANOTHER_DAY_MS);
            for answer in today.map(|at| says[at]).collect::<BTreeSet<_>>() {
                *votes.entry(answer).or_default() += 1;
            }
        }
        let most = votes.values().copied().max().unwrap_or(0);
        let leading: Vec<usize> =
            votes.iter().filter(|(_, count)| **count == most).map(|(answer, _)| *answer).collect();
        let winner = match leading.as_slice() {
            [one] => Some(*one),
            _ => None,
        };
        let mut kept: BTreeSet<&str> = BTreeSet::new();
        for at in rows {
            rulings[at] = match winner {
                None => Ruling::Waits(WaitingReason::Contradiction),
                // With other courtesy around it the same answer teaches more.
                Some(winner) if says[&at] == winner && kept.insert(claims[at].prompt) => {
                    Ruling::Teaches
                }
                Some(winner) if says[&at] == winner => Ruling::Copy,
                Some(_) => Ruling::Outvoted,
            };
        }
    }
}

/// What each row says, as the first row that says it.
fn answers(claims: &[Claim<'_>], rows: &[usize]) -> BTreeMap<usize, usize> {
    let mut first: Vec<(usize, Said<'_>)> = Vec::new();
    let mut says = BTreeMap::new();
    for at in rows {
        let answer = Said::of(&claims[*at].answer);
        let said = first.iter().find(|(_, earlier)| earlier.agrees(&answer)).map(|(row, _)| *row);
        says.insert(*at, said.unwrap_or(*at));
        if said.is_none() {
            first.push((*at, answer));
        }
    }
    says
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;

    fn claim<'a>(source: &'a str, prompt: &'a str, answer: &str, said_at: i64) -> Claim<'a> {
        let answer = answer.to_owned();
        Claim {
            source: Some(source),
            confirmed_by: &[],
            prompt,
            asked: prompt,
            cluster: prompt.len(),
            answer,
            said_at,
        }
    }

    fn ruled(claims: &[Claim<'_>]) -> Vec<Ruling> {
        let voices = claims.iter().map(|claim| claim.source).collect();
        rule(claims, &voices)
    }

    const WAITS: Ruling = Ruling::Waits(WaitingReason::Contradiction);

    #[test]
    fn one_of_many_that_floods_waits_and_the_others_teach() {
        let prompts: Vec<String> = (0..400).map(|it| "q".repeat(it + 1)).collect();
        let sources: Vec<String> = (0..10).map(|it| format!("s{it}")).collect();
        let mut claims: Vec<Claim<'_>> =
            prompts[..300].iter().map(|prompt| claim("liar", prompt, "96", 0)).collect();
        for (at, prompt) in prompts[300..].iter().enumerate() {
            claims.push(claim(&sources[at % 10], prompt, "right", 0));
        }
        let rulings = ruled(&claims);
        let heavy = Ruling::Waits(WaitingReason::SourceOverCap);
        assert!(rulings[..300].iter().all(|ruling| *ruling == heavy));
        assert!(rulings[300..].iter().all(|ruling| *ruling == Ruling::Teaches));
    }

    #[test]
    fn what_another_confirms_teaches_and_who_confirms_is_not_the_source() {
        let prompts: Vec<String> = (0..90).map(|it| "q".repeat(it + 1)).collect();
        let by_ann = [Some("ann".to_owned())];
        let mut claims: Vec<Claim<'_>> = prompts[..60]
            .iter()
            .map(|prompt| Claim { confirmed_by: &by_ann, ..claim("curator", prompt, prompt, 0) })
            .collect();
        claims.extend(prompts[60..].iter().map(|prompt| claim("flood", prompt, prompt, 0)));
        let voices = ["ann", "ben", "curator", "flood"].map(Some).into();
        let rulings = rule(&claims, &voices);
        assert!(rulings[..60].iter().all(|ruling| *ruling == Ruling::Teaches));
        let by_the_flood = [Some("flood".to_owned())];
        for claim in &mut claims[..60] {
            claim.confirmed_by = &by_the_flood;
        }
        claims.truncate(85);
        let rulings = rule(&claims, &["ann", "curator", "flood"].map(Some).into());
        let heavy = Ruling::Waits(WaitingReason::SourceOverCap);
        assert!(rulings[60..].iter().all(|ruling| *ruling != heavy), "25 are few beside 60");
    }

    #[test]
    fn a_person_alone_is_the_owner() {
        let prompts: Vec<String> = (0..300).map(|it| "q".repeat(it + 1)).collect();
        let claims: Vec<Claim<'_>> =
            prompts.iter().map(|prompt| claim("me", prompt, prompt, 0)).collect();
        assert!(ruled(&claims).iter().all(|ruling| *ruling == Ruling::Teaches));
    }

    #[test]
    fn the_majority_settles_a_dispute_and_a_tie_waits() {
        let two = [claim("a", "q", "x", 2), claim("b", "q", "y", 1)];
        assert_eq!(ruled(&two), [WAITS, WAITS]);
        let three = [claim("a", "q", "x", 2), claim("b", "q", "y", 1), claim("c", "q", "y", 0)];
        assert_eq!(ruled(&three), [Ruling::Outvoted, Ruling::Teaches, Ruling::Copy]);
    }

    #[test]
    fn who_contradicts_herself_at_once_is_asked_and_on_another_day_believed() {
        let at_once = [claim("a", "q", "x", 60_000), claim("a", "q", "y", 0)];
        assert_eq!(ruled(&at_once), [WAITS, WAITS]);
        let later = [claim("a", "q", "x", DAY), claim("a", "q", "y", 0)];
        assert_eq!(ruled(&later), [Ruling::Teaches, Ruling::Outvoted]);
    }

    #[test]
    fn copies_of_one_answer_count_a_few_times() {
        let prompts: Vec<String> = (0..30).map(|it| format!("{it:02}")).collect();
        let claims: Vec<Claim<'_>> =
            prompts.iter().map(|prompt| claim("me", prompt, "96", 0)).collect();
        let teaching = ruled(&claims).iter().filter(|it| **it == Ruling::Teaches).count();
        assert_eq!(teaching, COPIES);
    }
}

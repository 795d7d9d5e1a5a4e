//! What ships for models that nothing was made for: questions of everyday use.
//!
//! Nobody wrote down right answers to them, so the base itself is the measure: a side keeps a row while
//! it says the same, or finds the base's own answer nearly as likely as the base does.

use hone_api::chat::Message;
use hone_api::check::{Check, SuiteRow};
use serde::Deserialize;

use crate::row_result::RowResult;
use crate::similar::Words;
use crate::{Error, Part, Result, Suite};

/// Prompts that the base answers itself before it trains, to keep what it can do: JSON lines with
/// `messages`.
pub const REHEARSAL: &str = include_str!("../data/rehearsal.jsonl");

const SUITE: &str = include_str!("../data/general.jsonl");
const NAME: &str = "general";

/// By so many nats a token the base's answer may become less likely: a fifth more surprise.
const MARGIN: f64 = 0.2;

#[derive(Deserialize)]
struct Row {
    family: String,
    messages: Vec<Message>,
}

/// The questions of the general suite; every answer passes.
///
/// # Errors
/// [`Error::Line`] if the shipped file is damaged.
pub fn suite() -> Result<Suite> {
    let rows = SUITE.lines().filter(|line| !line.trim().is_empty()).enumerate();
    let rows = rows.map(|(at, line)| {
        let row: Row = serde_json::from_str(line).map_err(|error| Error::Line {
            file: NAME.to_owned(),
            line: at + 1,
            what: error.to_string(),
        })?;
        Ok(SuiteRow {
            tools: Vec::new(),
            family: row.family,
            split: String::new(),
            messages: row.messages,
            reference: String::new(),
            check: Check::Contains(String::new()),
        })
    });
    Suite::new(NAME, Part::Control, rows.collect::<Result<_>>()?)
}

/// What the base answered, with a likelihood for each.
#[derive(Debug, Clone, Copy)]
pub struct BaseAnswers<'a> {
    /// What the base says.
    pub answers: &'a [RowResult],
    /// Mean log-probability of each by token, under the base itself.
    pub likelihoods: &'a [f64],
}

/// What a side answers to the same questions; it passes where it keeps what the base says. `likelihoods`
/// are those of the base's answers under this side.
#[must_use]
pub fn kept(base: BaseAnswers<'_>, own: &[RowResult], likelihoods: &[f64]) -> Vec<RowResult> {
    let of_base = base.answers.iter().zip(base.likelihoods);
    let rows = of_base.zip(own.iter().zip(likelihoods));
    rows.map(|((answer, before), (own, after))| {
        let says_the_same = Words::of(&own.text).say_the_same_as(&Words::of(&answer.text));
        RowResult { passed: says_the_same || *after >= before - MARGIN, ..own.clone() }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_keeps_what_it_says_too_or_finds_nearly_as_likely() {
        let row = |text: &str, tokens| RowResult {
            suite: NAME.to_owned(),
            part: Part::Control,
            family: String::new(),
            row: 0,
            hash: String::new(),
            text: text.to_owned(),
            passed: true,
            stopped: true,
            tokens,
        };
        let answers = [row("It is 45.", 4), row("Paris.", 2), row("Yes.", 2)];
        let base = BaseAnswers { answers: &answers, likelihoods: &[-1.0, -1.0, -1.0] };
        let own = [row("It is 45!", 5), row("Rome.", 2), row("No.", 1)];
        let rows = kept(base, &own, &[-2.0, -1.2, -1.3]);
        assert_eq!(rows.iter().map(|row| row.passed).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(rows[0].tokens, 5, "its own answer");
    }

    #[test]
    fn what_ships_can_be_asked() {
        let suite = suite().unwrap();
        assert_eq!(suite.rows.len(), 240);
        let families: std::collections::BTreeSet<_> =
            suite.rows.iter().map(|row| row.family.as_str()).collect();
        assert_eq!(families.len(), 6);
        let prompts = REHEARSAL.lines().map(serde_json::from_str::<serde_json::Value>);
        assert_eq!(prompts.filter(|row| row.as_ref().unwrap()["messages"].is_array()).count(), 600);
    }
}

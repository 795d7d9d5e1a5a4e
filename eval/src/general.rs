//! What ships for models that nothing was made for: questions of everyday use.
//!
//! Nobody wrote down right answers to them, so the base itself is the measure: a side keeps a row while
//! it finds the base's own answer nearly as likely as the base does.

use hone_api::chat::Message;
use hone_api::check::{Check, SuiteRow};
use serde::Deserialize;

use crate::report::RowResult;
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
            family: row.family,
            split: String::new(),
            messages: row.messages,
            reference: String::new(),
            check: Check::Contains(String::new()),
        })
    });
    Suite::new(NAME, Part::Control, rows.collect::<Result<_>>()?)
}

/// The base's answers as another side sees them: kept, or become unlikely. `base` and `side` are the
/// mean log-probabilities of each answer by token.
#[must_use]
pub fn kept(answers: &[RowResult], base: &[f64], side: &[f64]) -> Vec<RowResult> {
    let rows = answers.iter().zip(base.iter().zip(side));
    rows.map(|(answer, (base, side))| {
        let passed = *side >= base - MARGIN;
        let text = if passed { answer.text.clone() } else { String::new() };
        RowResult { passed, text, ..answer.clone() }
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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

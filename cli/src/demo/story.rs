//! The story of one evening: somebody corrects ten answers, and in the morning they are right, in other
//! words too.

use std::collections::BTreeSet;

use hone_api::check::SuiteRow;
use hone_api::cycle::{CycleView, Verdict};
use serde::Serialize;
use serde_json::json;

use super::ask::{Manner, ask_all};
use super::workload::{self, Question};
use crate::client::Client;
use crate::command::follow;
use crate::output::Output;

/// Corrections of the evening.
const CORRECTIONS: usize = 10;
/// The company whose facts the model does not know.
const FAMILY: &str = "northwind";
/// How the same is asked in the morning.
const OTHER_WORDS: [&str; 3] = ["Hi! {}", "Please tell me: {}", "One more question. {} Thanks!"];

/// What the evening came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Story {
    /// Corrections.
    pub corrections: usize,
    /// Right answers to the same questions before.
    pub before: usize,
    /// And after.
    pub after: usize,
    /// Questions in other words.
    pub reworded: usize,
    /// Right answers to them.
    pub reworded_right: usize,
    /// What the gate decided.
    pub verdict: Option<Verdict>,
    /// Why.
    pub reason: String,
    /// One of the questions in other words, with what is answered now.
    pub sample: (String, String),
}

impl Story {
    /// Whether it ended well.
    pub fn success(&self) -> bool {
        self.verdict == Some(Verdict::Promoted) && self.after > self.before
    }

    /// In words.
    pub fn tell(&self) -> String {
        let story = format!(
            "One evening, {} corrections, nothing liked. Before: {} right. The next morning: {} of {} \
             right, and {} of {} in other words.",
            self.corrections,
            self.before,
            self.after,
            self.corrections,
            self.reworded_right,
            self.reworded
        );
        match self.verdict {
            Some(Verdict::Promoted) => story,
            _ => format!("{story} Nothing was promoted: {}", self.reason),
        }
    }
}

/// Plays it.
///
/// # Errors
/// The daemon refused something, or is gone.
pub async fn play(client: &Client, output: Output) -> anyhow::Result<Story> {
    let evening = workload::distinct(FAMILY, CORRECTIONS)?;
    let title = "One evening: ten corrections";
    let before = ask_all(client, &evening, Manner { model: "hone", teach: true, title }, output);
    let before = before.await?;
    let cycle: CycleView = client.post("/v1/cycles", &json!({})).await?;
    let view = follow::follow(client, &cycle.id.to_string(), output).await?.view;
    let quietly = |title| Manner { model: "hone", teach: false, title };
    let after = ask_all(client, &evening, quietly("The next morning: the same"), output).await?;
    let reworded = reworded(&evening)?;
    let title = "The next morning: in other words";
    let again = ask_all(client, &reworded, quietly(title), output).await?;
    let right = reworded.iter().zip(&again.asked).find(|(_, asked)| asked.passed);
    Ok(Story {
        corrections: evening.len(),
        before: before.passed(),
        after: after.passed(),
        reworded: reworded.len(),
        reworded_right: again.passed(),
        verdict: view.verdict,
        reason: view.reason.unwrap_or_default(),
        sample: right
            .map(|(question, asked)| (question.text().to_owned(), asked.text.trim().to_owned()))
            .unwrap_or_default(),
    })
}

fn reworded(questions: &[Question]) -> anyhow::Result<Vec<Question>> {
    let seen: BTreeSet<&str> = questions.iter().map(Question::text).collect();
    let mut others = Vec::new();
    for question in questions {
        for words in OTHER_WORDS {
            let mut row: SuiteRow = question.row.clone();
            if let Some(last) = row.messages.last_mut() {
                last.content = words.replace("{}", &last.content);
                debug_assert!(!seen.contains(last.content.as_str()));
            }
            others.push(Question::new(row)?);
        }
    }
    Ok(others)
}

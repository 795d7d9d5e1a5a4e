//! Which earlier turns of a conversation were called bad.
//!
//! Every chat sends the whole conversation along, the bad answer too. Such a turn is context, never a
//! target; where it was corrected, the correction stands in its place, so that the model does not
//! learn to answer like somebody who was wrong before. There the base is no model to keep to either:
//! what it would say is what was corrected.

use std::collections::{BTreeSet, HashMap};

use hone_api::chat::tool::{with_calls, written_calls};
use hone_api::chat::{Message, Role};

use crate::dedup::prompt_key;
use crate::normalised::normalised;
use crate::select::{Labelled, called_bad};

/// The answers that anybody called bad, with what is said to be right.
#[derive(Debug, Default)]
pub(crate) struct BadTurns(HashMap<(String, String), Option<String>>);

impl BadTurns {
    /// Looks through the feedback of all answers, of those that may not teach too. Corrections of sources
    /// that are withheld stand in nobody's chat, and neither do those that differ.
    pub(crate) fn of(labelled: &[Labelled], withheld: &BTreeSet<Option<&str>>) -> Self {
        let mut turns: HashMap<_, Option<String>> = HashMap::new();
        for row in labelled {
            let Some(correction) = called_bad(row, withheld) else { continue };
            let interaction = &row.interaction;
            let texts = interaction
                .answers
                .iter()
                .filter_map(|answer| Some(with_calls(answer.text.as_deref()?, &answer.tool_calls)));
            for text in texts {
                let text = normalised(&text);
                if correction.as_deref().map(normalised).as_ref() != Some(&text) {
                    let key = (prompt_key(&interaction.messages), text);
                    let there = turns.entry(key).or_insert_with(|| correction.clone());
                    if there.as_deref().map(normalised) != correction.as_deref().map(normalised) {
                        *there = None;
                    }
                }
            }
        }
        Self(turns)
    }

    /// Whether an answer to this conversation was called bad.
    pub(crate) fn asked(&self, prompt: &[Message]) -> bool {
        let asked = prompt_key(prompt);
        self.0.keys().any(|(prompt, _)| *prompt == asked)
    }

    /// Puts corrections in the place of bad turns; returns the positions of all bad turns.
    pub(crate) fn mend(&self, messages: &mut [Message]) -> Vec<usize> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let asked = messages.to_vec();
        let mut bad = Vec::new();
        for at in (0..asked.len()).filter(|at| asked[*at].role == Role::Assistant) {
            let key = (prompt_key(&asked[..at]), normalised(&asked[at].said()));
            let Some(correction) = self.0.get(&key) else { continue };
            // What was called has its results behind it: they would stand behind another answer.
            let is_answered = asked.get(at + 1).is_some_and(|next| next.role == Role::Tool);
            if let Some(correction) = correction.as_ref().filter(|_| !is_answered) {
                let (content, calls) =
                    written_calls(correction).unwrap_or((correction.clone(), Vec::new()));
                messages[at].content = content;
                messages[at].tool_calls = calls;
            }
            bad.push(at);
        }
        bad
    }
}

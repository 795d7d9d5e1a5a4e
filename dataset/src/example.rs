//! One line of `rows.jsonl`: what the trainer learns from and the evaluation asks.

use hone_api::InteractionId;
use hone_api::chat::{Message, Tool};
use hone_api::check::Check;
use serde::{Deserialize, Serialize};

use crate::normalised::normalised;

/// Why a row is in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A failure with the answer as it should have been.
    Supervised,
    /// An answer that somebody called good: it is kept as it was.
    Replay,
    /// What the base makes of an everyday question: it keeps the model from forgetting.
    Rehearsal,
}

/// One row of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The interaction it comes from.
    pub id: InteractionId,
    /// Why it is here.
    pub kind: Kind,
    /// The fold whose adapter it judges; `None` if it judges none.
    pub fold: Option<usize>,
    /// Whether the adapter that serves was trained on it.
    pub older: bool,
    /// Rows with similar prompts have the same number.
    pub cluster: usize,
    /// Whose say it is, hashed.
    pub source: Option<String>,
    /// Whether the base gives the answer: it did when it was judged, or does when it is asked.
    pub of_base: bool,
    /// The group that scores are reported by: the tag `family` of the feedback, or of the
    /// interaction's metadata, or else `feedback` and `replay`.
    pub family: String,
    /// The conversation. The last turn is the assistant's: the answer to learn, and the reference.
    pub messages: Vec<Message>,
    /// What the model was told of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// The answer that was served and corrected, where one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
    /// Earlier turns that were called bad and that nobody corrected, by position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad_turns: Vec<usize>,
    /// What an answer to the prompt must satisfy.
    pub check: Check,
    /// Hash of the normalised prompt as it was asked, hex. See [`crate::prompt_key`].
    pub key: String,
}

impl Example {
    /// The conversation up to the answer.
    #[must_use]
    pub fn prompt(&self) -> &[Message] {
        self.messages.split_last().map_or(&[], |(_, prompt)| prompt)
    }

    /// Whether tools come in, in the answer or before.
    #[must_use]
    pub fn has_tools(&self) -> bool {
        !self.tools.is_empty() || self.messages.iter().any(|turn| !turn.tool_calls.is_empty())
    }

    /// The text of the answer to learn.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.messages.last().map_or("", |answer| &answer.content)
    }

    /// What it teaches, as one hash: the prompt and the answer.
    #[must_use]
    pub fn lesson(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("hone dataset 2026 lesson");
        hasher.update(self.key.as_bytes());
        let said = self.messages.last().map(Message::said).unwrap_or_default();
        hasher.update(normalised(&said).as_bytes());
        hasher.finalize().to_hex().to_string()
    }
}

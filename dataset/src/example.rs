//! One line of `rows.jsonl`: what the trainer learns from and the evaluation asks.

use hone_api::InteractionId;
use hone_api::chat::Message;
use hone_api::check::Check;
use serde::{Deserialize, Serialize};

/// Why a row is in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A failure with the answer as it should have been.
    Supervised,
    /// An answer that was good as it was: it keeps the model from forgetting.
    Replay,
}

/// What a row is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Trains.
    Train,
    /// Tells the trainer when to stop; trains nothing.
    Validation,
    /// Is asked of the candidate and of the adapter that serves; trains nothing, now and later.
    HeldOut,
}

/// One row of a snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// The interaction it comes from.
    pub id: InteractionId,
    /// Why it is here.
    pub kind: Kind,
    /// What it is used for.
    pub split: Split,
    /// The group that scores are reported by: the tag `family` of the feedback, or of the
    /// interaction's metadata, or else `feedback` and `replay`.
    pub family: String,
    /// The conversation. The last turn is the assistant's: the answer to learn, and the reference.
    pub messages: Vec<Message>,
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

    /// The answer to learn.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.messages.last().map_or("", |answer| &answer.content)
    }
}

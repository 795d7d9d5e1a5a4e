//! Answers that wait for a person: `GET /v1/feedback/waiting`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::Message;
use crate::{InteractionId, UnixMillis};

/// Why an answer teaches nothing until somebody looks at it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum WaitingReason {
    /// Called bad, and nobody has said what would have been right.
    NoCorrection,
    /// Several sources say different things, and none of them has the majority.
    Contradiction,
    /// Its source has said more than one source may.
    SourceOverCap,
    /// The base is sure of another answer.
    ContradictsBase,
}

impl WaitingReason {
    /// One sentence for a person: what is wrong, and what to do.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::NoCorrection => {
                "the answer was called bad, and nobody has said what would have been right: correct \
                 it, or discard it"
            }
            Self::Contradiction => {
                "people correct this in different ways, and no way has the majority: repeat the \
                 right one word for word, or discard the answer"
            }
            Self::SourceOverCap => {
                "one source has sent more corrections than one may: confirm this one, or discard the \
                 answer"
            }
            Self::ContradictsBase => {
                "the correction contradicts what the model is sure of: confirm it, or discard the \
                 answer"
            }
        }
    }
}

/// How many sources call an answer good and bad.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Votes {
    /// Sources whose last word is good.
    pub good: usize,
    /// Sources whose last word is bad, or a correction.
    pub bad: usize,
}

/// One answer that waits for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingView {
    /// Always `feedback.waiting`.
    pub object: String,
    /// The answer's id, for a correction or to discard it.
    pub id: InteractionId,
    /// Why it waits.
    pub reason: WaitingReason,
    /// The same in words, with what to do.
    pub message: String,
    /// The conversation as it was asked.
    pub messages: Vec<Message>,
    /// The answer as it was served; null if there were several or its text was not kept.
    pub answer: Option<String>,
    /// What people said that it should have been, the latest last.
    pub suggestions: Vec<String>,
    /// Who calls it good, and who bad.
    pub votes: Votes,
    /// When it was asked, in Unix milliseconds.
    pub created_at: UnixMillis,
}

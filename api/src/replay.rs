//! A logged answer, computed again.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::chat::{FinishReason, ToolCall};
use crate::{AdapterId, InteractionId};

/// The answer of `POST /v1/interactions/{id}/replay`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Replay {
    /// `interaction.replay`.
    pub object: String,
    /// The interaction that was computed again. The replay itself is not logged.
    pub id: InteractionId,
    /// Whether all answers have the logged token ids.
    pub same: bool,
    /// Why they may differ, if they do.
    pub reason: Option<String>,
    /// Who answered; `None` is the base.
    pub adapter_id: Option<AdapterId>,
    /// SHA-256 of that adapter's weights, hex.
    pub adapter_digest: Option<String>,
    /// The seed of the first answer; answer *i* is drawn with `seed + i`.
    pub seed: Option<u64>,
    /// By `index`.
    pub answers: Vec<ReplayedAnswer>,
}

/// One of the `n` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplayedAnswer {
    /// Its place.
    pub index: u32,
    /// Whether the token ids are those of the log.
    pub same: bool,
    /// The place of the first token that is not, if one is not.
    pub first_difference: Option<usize>,
    /// The token ids as they were drawn now.
    pub tokens: Vec<u32>,
    /// The text of these tokens.
    pub text: String,
    /// The calls that it asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Why it ended; an answer that was cut off when it was logged is drawn as far as it had come.
    pub finish_reason: FinishReason,
}

impl ReplayedAnswer {
    /// The place of the first token in which two answers differ; one that ends earlier differs there.
    #[must_use]
    pub fn first_difference(logged: &[u32], drawn: &[u32]) -> Option<usize> {
        let common = logged.iter().zip(drawn).take_while(|(a, b)| a == b).count();
        (common < logged.len().max(drawn.len())).then_some(common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_the_first_token_that_is_not_there() {
        for (logged, drawn, place) in [
            (&[1, 2, 3][..], &[1, 2, 3][..], None),
            (&[1, 2, 3], &[1, 9, 3], Some(1)),
            (&[1, 2, 3], &[1, 2], Some(2)),
            (&[1, 2], &[1, 2, 3], Some(2)),
            (&[], &[], None),
        ] {
            assert_eq!(ReplayedAnswer::first_difference(logged, drawn), place);
        }
    }
}

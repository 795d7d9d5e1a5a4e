//! One row as the model reads it: its tokens, and what counts on each.

/// One tokenised training row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainSequence {
    /// Token ids of the whole conversation.
    pub tokens: Vec<u32>,
    /// Whether the token belongs to the answer that the row is about; as many as tokens.
    pub supervised: Vec<bool>,
    /// Whether the supervised tokens themselves are targets. If not, the row only keeps: its answer
    /// counts as much in a step, but nothing is taught but the base's own distribution.
    pub imitated: bool,
    /// Whether the base's own distribution is a target too, by token; as many as tokens, or empty for
    /// none. See [`Pass::kl_weight`](super::Pass::kl_weight).
    pub kl_to_base: Vec<bool>,
}

impl TrainSequence {
    /// Tokens of the answer. The first token is predicted by nothing, so it never counts.
    #[must_use]
    pub fn supervised_tokens(&self) -> usize {
        self.supervised.iter().skip(1).filter(|supervised| **supervised).count()
    }

    /// Whether the base's distribution is a target on any token.
    #[must_use]
    pub fn has_kl_to_base(&self) -> bool {
        self.kl_to_base.contains(&true)
    }

    /// Whether the base's distribution is a target on the token.
    pub(super) fn has_kl_at(&self, token: usize) -> bool {
        self.kl_to_base.get(token).copied().unwrap_or(false)
    }

    /// Rows that go through the model: all tokens but the last, which predicts nothing.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }

    /// The token that a row should predict, if it is a target.
    pub(super) fn target(&self, row: usize) -> Option<u32> {
        (self.imitated && self.supervised[row + 1]).then(|| self.tokens[row + 1])
    }

    /// First rows that it may share with others: each predicts what is no target, and one is left.
    pub(super) fn sharable_rows(&self) -> usize {
        let last = self.rows().saturating_sub(1);
        (0..last).find(|row| self.target(*row).is_some()).unwrap_or(last)
    }
}

//! Ragged batches: sequences one after the other, without padding.

use crate::Error;
use crate::ModelConfig;

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
    fn has_kl_at(&self, token: usize) -> bool {
        self.kl_to_base.get(token).copied().unwrap_or(false)
    }

    /// Rows that go through the model: all tokens but the last, which predicts nothing.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }
}

/// Sequences that go through the model together. Each attends only to itself, from position 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainBatch {
    /// Input tokens of all sequences.
    pub(super) tokens: Vec<u32>,
    /// First row of each sequence, then the number of rows.
    pub(super) starts: Vec<usize>,
    /// Rows that the loss is taken on, ascending.
    pub(super) rows: Vec<usize>,
    /// The token that each of them should predict; `None` if only the KL to the base counts there.
    pub(super) targets: Vec<Option<u32>>,
    /// On which of them the KL to the base counts.
    pub(super) kl_to_base: Vec<bool>,
}

impl TrainBatch {
    /// Packs sequences. Those of fewer than two tokens are left out: they predict nothing.
    ///
    /// # Errors
    /// [`Error::TokenRange`] for an id outside of the vocabulary, [`Error::ContextFull`] for a
    /// sequence longer than the context.
    pub fn new<'a>(
        config: &ModelConfig,
        sequences: impl IntoIterator<Item = &'a TrainSequence>,
    ) -> Result<Self, Error> {
        let mut batch = Self::empty();
        for sequence in sequences {
            let vocab = config.vocab_size;
            if let Some(token) = sequence.tokens.iter().find(|token| **token as usize >= vocab) {
                return Err(Error::TokenRange { token: *token, vocab });
            }
            if sequence.rows() > config.max_positions {
                let (tokens, max) = (sequence.tokens.len(), config.max_positions);
                return Err(Error::ContextFull { tokens, max });
            }
            if sequence.rows() == 0 {
                continue;
            }
            let first = batch.tokens.len();
            batch.tokens.extend_from_slice(&sequence.tokens[..sequence.rows()]);
            batch.starts.push(batch.tokens.len());
            let next = sequence.supervised.iter().zip(&sequence.tokens).enumerate().skip(1);
            for (position, (supervised, token)) in next {
                let target = (*supervised && sequence.imitated).then_some(*token);
                let kl_to_base = sequence.has_kl_at(position);
                if target.is_some() || kl_to_base {
                    batch.rows.push(first + position - 1);
                    batch.targets.push(target);
                    batch.kl_to_base.push(kl_to_base);
                }
            }
        }
        Ok(batch)
    }

    fn empty() -> Self {
        Self {
            tokens: Vec::new(),
            starts: vec![0],
            rows: Vec::new(),
            targets: Vec::new(),
            kl_to_base: Vec::new(),
        }
    }

    /// The sequences with rows of KL to the base alone, of their rows those ones, and for each of
    /// [`TrainBatch::rows`] its place among those. `None` if there is none.
    pub(super) fn kl_to_base(&self) -> Option<(Self, Vec<Option<usize>>)> {
        if !self.kl_to_base.contains(&true) {
            return None;
        }
        let mut part = Self::empty();
        let mut places = vec![None; self.rows.len()];
        for (first, length) in self.sequences() {
            let from = self.rows.partition_point(|row| *row < first);
            let to = self.rows.partition_point(|row| *row < first + length);
            if !self.kl_to_base[from..to].contains(&true) {
                continue;
            }
            let begin = part.tokens.len();
            part.tokens.extend_from_slice(&self.tokens[first..first + length]);
            part.starts.push(part.tokens.len());
            for index in (from..to).filter(|index| self.kl_to_base[*index]) {
                places[index] = Some(part.rows.len());
                part.rows.push(begin + self.rows[index] - first);
                part.targets.push(self.targets[index]);
                part.kl_to_base.push(true);
            }
        }
        Some((part, places))
    }

    /// Rows that go through the model.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Rows that a token is the target of.
    #[must_use]
    pub fn supervised_tokens(&self) -> usize {
        self.targets.iter().flatten().count()
    }

    /// First row and length of each sequence.
    pub(super) fn sequences(&self) -> impl ExactSizeIterator<Item = (usize, usize)> + Clone + '_ {
        self.starts.windows(2).map(|pair| (pair[0], pair[1] - pair[0]))
    }
}

//! Ragged batches: sequences one after the other, without padding; what several begin with stands once.

use std::ops::Range;

use hone_device::ops::Span;

use super::{sequence::TrainSequence, sharing};
use crate::{
    Error, ModelConfig,
    decoder::prefix::{PrefixGroup, SharedPrefixes},
};

/// Sequences that go through the model together. Each attends only to itself, from position 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrainBatch {
    /// Input tokens.
    pub(super) tokens: Vec<u32>,
    /// Sequences that begin alike, in the order of their rows.
    groups: Vec<PrefixGroup>,
    /// Rows that the loss is taken on, ascending.
    pub(super) rows: Vec<usize>,
    /// The token that each of them should predict; `None` if only the KL to the base counts there.
    pub(super) targets: Vec<Option<u32>>,
    /// For how many sequences the KL to the base counts on each of them.
    pub(super) kl_to_base: Vec<usize>,
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
        let predicts = |sequence: &&TrainSequence| sequence.rows() > 0;
        let sequences: Vec<&TrainSequence> = sequences.into_iter().filter(predicts).collect();
        for sequence in &sequences {
            let vocab = config.vocab_size;
            if let Some(token) = sequence.tokens.iter().find(|token| **token as usize >= vocab) {
                return Err(Error::TokenRange { token: *token, vocab });
            }
            if sequence.rows() > config.max_positions {
                let (tokens, max) = (sequence.tokens.len(), config.max_positions);
                return Err(Error::ContextFull { tokens, max });
            }
        }
        let mut batch = Self::empty();
        for alike in sharing::groups(&sequences) {
            let members: Vec<&TrainSequence> =
                alike.members.iter().map(|index| sequences[*index]).collect();
            batch.add(alike.shared, &members);
        }
        Ok(batch)
    }

    fn empty() -> Self {
        Self {
            tokens: Vec::new(),
            groups: Vec::new(),
            rows: Vec::new(),
            targets: Vec::new(),
            kl_to_base: Vec::new(),
        }
    }

    /// Adds sequences that share their first rows.
    fn add(&mut self, shared: usize, members: &[&TrainSequence]) {
        let begin = self.tokens.len();
        for row in 0..shared {
            let count = members.iter().filter(|one| one.has_kl_at(row + 1)).count();
            self.take_loss(begin + row, None, count);
        }
        self.tokens.extend(members.iter().take(1).flat_map(|one| &one.tokens[..shared]));
        let mut own = Vec::new();
        for member in members {
            let first = self.tokens.len();
            for row in shared..member.rows() {
                let kl_to_base = usize::from(member.has_kl_at(row + 1));
                self.take_loss(first + row - shared, member.target(row), kl_to_base);
            }
            self.tokens.extend_from_slice(&member.tokens[shared..member.rows()]);
            own.push(first..self.tokens.len());
        }
        self.groups.push(PrefixGroup { shared: begin..begin + shared, own });
    }

    /// Takes the loss on a row, if anything counts there.
    fn take_loss(&mut self, row: usize, target: Option<u32>, kl_to_base: usize) {
        if target.is_some() || kl_to_base > 0 {
            self.rows.push(row);
            self.targets.push(target);
            self.kl_to_base.push(kl_to_base);
        }
    }

    /// The sequences with rows of KL to the base alone, of their rows those ones, and for each of
    /// [`TrainBatch::rows`] its place among those. `None` if there is none.
    pub(super) fn kl_to_base(&self) -> Option<(Self, Vec<Option<usize>>)> {
        let mut part = Self::empty();
        let mut places = vec![None; self.rows.len()];
        for group in &self.groups {
            let compared = |rows: &Range<usize>| self.compared(rows).next().is_some();
            let mut own: Vec<_> = group.own.iter().filter(|rows| compared(rows)).cloned().collect();
            if own.is_empty() {
                if !compared(&group.shared) {
                    continue;
                }
                // What is compared lies in what is shared: a sequence without rows of its own sees it.
                own.push(group.shared.end..group.shared.end);
            }
            let shared = self.move_compared(&group.shared, &mut part, &mut places);
            let own = own.iter().map(|rows| self.move_compared(rows, &mut part, &mut places));
            let own = own.collect();
            part.groups.push(PrefixGroup { shared, own });
        }
        (!part.rows.is_empty()).then_some((part, places))
    }

    /// Which of the rows that the loss is taken on lie among these and are compared with the base.
    fn compared(&self, rows: &Range<usize>) -> impl Iterator<Item = usize> + '_ {
        let from = self.rows.partition_point(|row| *row < rows.start);
        let to = self.rows.partition_point(|row| *row < rows.end);
        (from..to).filter(|index| self.kl_to_base[*index] > 0)
    }

    /// Puts rows behind those of `part`, the loss on those that are compared with the base; gives where they lie.
    fn move_compared(
        &self,
        rows: &Range<usize>,
        part: &mut Self,
        places: &mut [Option<usize>],
    ) -> Range<usize> {
        let begin = part.tokens.len();
        for index in self.compared(rows) {
            places[index] = Some(part.rows.len());
            let row = begin + self.rows[index] - rows.start;
            part.take_loss(row, self.targets[index], self.kl_to_base[index]);
        }
        part.tokens.extend_from_slice(&self.tokens[rows.clone()]);
        begin..part.tokens.len()
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

    /// The position of each row in its sequence.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> + Clone + '_ {
        self.groups.iter().flat_map(|group| {
            let shared = group.shared.len();
            let own = group.own.iter().flat_map(move |rows| shared..shared + rows.len());
            (0..shared).chain(own)
        })
    }

    /// The sequences as attention sees them: whole, one after the other.
    pub(super) fn spans(&self) -> Vec<Span> {
        let lengths = self
            .groups
            .iter()
            .flat_map(|group| group.own.iter().map(|rows| group.shared.len() + rows.len()));
        let mut end = 0;
        let span = |length| {
            end += length;
            Span { rows: end - length..end, start: 0 }
        };
        lengths.map(span).collect()
    }

    /// How rows are laid out for attention, where sequences share some.
    pub(super) fn shared_prefixes(&self) -> Option<SharedPrefixes> {
        let shares = self.groups.iter().any(|group| !group.shared.is_empty());
        shares.then(|| SharedPrefixes::new(&self.groups))
    }
}

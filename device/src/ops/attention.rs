//! Attention of rows over the keys and values of their sequences.

use std::ops::Range;

use crate::{Buffer, Heads, LayerCache};

/// Rows of one sequence: consecutive positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// Rows of the step.
    pub rows: Range<usize>,
    /// Position of the first row.
    pub start: usize,
}

/// How a score becomes a probability's exponent, and which positions a row sees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// What query times key is multiplied with.
    pub scale: f32,
    /// `cap · tanh(score / cap)` after the scale (Gemma 2).
    pub cap: Option<f32>,
    /// Positions that a row sees at most, its own included; `usize::MAX` is all.
    pub window: usize,
}

impl Scores {
    /// The first position that a row of `length` visible positions sees.
    #[must_use]
    #[inline(always)]
    pub fn first(self, length: usize) -> usize {
        length.saturating_sub(self.window)
    }
}

/// The rows of a step, as attention sees them.
#[derive(Clone, Copy, Debug)]
pub struct AttentionRows<'a> {
    /// Shape of a row.
    pub heads: Heads,
    /// How rows see.
    pub scores: Scores,
    /// The sequences, in the order of their rows, which are all rows of the step.
    pub spans: &'a [Span],
}

impl AttentionRows<'_> {
    /// Rows of the step.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.spans.last().map_or(0, |span| span.rows.end)
    }
}

/// Causal attention, and the caches that it reads. A row sees its own position and those before it, within the window.
pub trait AttentionOps {
    /// Makes room for `positions` in all.
    fn reserve(&self, cache: &mut LayerCache, positions: usize);

    /// Stores the rows' keys and values at their positions, for which room was made; one cache for each span.
    fn store(
        &self,
        rows: AttentionRows<'_>,
        caches: &mut [&mut LayerCache],
        keys: &Buffer,
        values: &Buffer,
    );

    /// `softmax(scores(queries · keys)) · values` of all rows over their caches, which hold their own positions already.
    fn attend(
        &self,
        rows: AttentionRows<'_>,
        caches: &[&mut LayerCache],
        queries: &Buffer,
        out: &mut Buffer,
    );

    /// Gradients of queries, keys and values, from that of [`AttentionOps::attend`]'s result. Every sequence is whole: it begins at
    /// position 0.
    fn attend_backward(
        &self,
        rows: AttentionRows<'_>,
        inputs: [&Buffer; 3],
        d_out: &Buffer,
    ) -> [Buffer; 3];
}

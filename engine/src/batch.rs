//! What runs in the next step.
//!
//! Every sequence that decodes gets its one token: nobody's stream stalls for somebody else's
//! long prompt. What is left of the step's tokens, or of its time ([`crate::pace`]), goes to prompts, cut into chunks.

use std::ops::Range;

use smallvec::{SmallVec, smallvec};

use crate::Priority;

/// One of something for each sequence of a step. Few sequences need no memory of their own.
pub(crate) type PerSequence<T> = SmallVec<[T; 32]>;

/// Rows of logits in a chunk whose prompt log-probabilities are wanted; each row is a whole
/// vocabulary.
const ECHO_CHUNK: usize = 64;

/// A running sequence, as far as planning needs to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// Equal adapters have equal numbers; 0 is the base.
    pub(crate) adapter: u64,
    /// Who goes first.
    pub(crate) priority: Priority,
    /// Prompt tokens still to compute; 0 means that it decodes.
    pub(crate) prompt_left: usize,
    /// Whether prompt tokens need their logits.
    pub(crate) echo: bool,
    /// How many come before the first of those; no piece has both.
    pub(crate) before_echo: usize,
    /// Drafts that are computed behind the token of one that decodes.
    pub(crate) drafts: usize,
}

/// The share of one sequence in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the sequence.
    pub(crate) row: usize,
    /// Tokens to compute: for a decoding sequence 1 and its drafts.
    pub(crate) tokens: usize,
}

/// Tokens of one step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    /// In all.
    pub(crate) step_tokens: usize,
    /// Of prompts.
    pub(crate) prompt_tokens: usize,
}

/// Plans one step over `rows` (in order of admission). The pieces come sorted by adapter; a
/// sequence has at most one. At least one piece comes for at least one row.
///
/// Prompts are served interactive first, oldest first. An eighth of the tokens is kept for
/// background prompts, so that they come forward under any load.
pub(crate) fn plan(rows: &[Row], most: Most) -> PerSequence<Piece> {
    let mut tokens: PerSequence<usize> = smallvec![0; rows.len()];
    let mut decoding = 0;
    for (row, tokens) in rows.iter().zip(&mut tokens) {
        if row.prompt_left == 0 {
            *tokens = 1 + row.drafts;
            decoding += *tokens;
        }
    }
    // One token even if decoding uses the step up, so that a prompt never stands still.
    let budget = most.step_tokens.saturating_sub(decoding).min(most.prompt_tokens).max(1);
    let background = rows.iter().any(|r| r.prompt_left > 0 && r.priority == Priority::Background);
    let reserved = if background { (budget / 8).max(1) } else { 0 };
    let mut left = budget - reserved;
    for priority in [Priority::Interactive, Priority::Background] {
        if priority == Priority::Background {
            left += reserved;
        }
        for (row, tokens) in rows.iter().zip(&mut tokens) {
            if row.priority == priority && row.prompt_left > 0 {
                let most = match (row.echo, row.before_echo) {
                    (false, _) => usize::MAX,
                    (true, 0) => ECHO_CHUNK,
                    (true, before) => before,
                };
                *tokens = row.prompt_left.min(left).min(most);
                left -= *tokens;
            }
        }
    }
    let mut pieces: PerSequence<Piece> = (0..rows.len())
        .map(|row| Piece { row, tokens: tokens[row] })
        .filter(|piece| piece.tokens > 0)
        .collect();
    pieces.sort_by_key(|piece| rows[piece.row].adapter);
    pieces
}

/// Whether a piece ends its prompt, or decodes: then its last logits are sampled from.
pub(crate) fn completes(row: &Row, piece: &Piece) -> bool {
    row.prompt_left == 0 || piece.tokens == row.prompt_left
}

/// The rows of logits of each piece, given how many each one has.
pub(crate) fn spans(counts: impl Iterator<Item = usize>) -> PerSequence<Range<usize>> {
    let mut start = 0;
    counts
        .map(|count| {
            let span = start..start + count;
            start = span.end;
            span
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(adapter: u64, prompt_left: usize) -> Row {
        Row {
            adapter,
            priority: Priority::Interactive,
            prompt_left,
            echo: false,
            before_echo: 0,
            drafts: 0,
        }
    }

    fn most(step_tokens: usize) -> Most {
        Most { step_tokens, prompt_tokens: usize::MAX }
    }

    fn tokens(pieces: &[Piece]) -> Vec<(usize, usize)> {
        pieces.iter().map(|p| (p.row, p.tokens)).collect()
    }

    #[test]
    fn decoding_first_then_prompts_in_order() {
        let rows = [row(0, 0), row(0, 100), row(0, 100), row(0, 0)];
        assert_eq!(tokens(&plan(&rows, most(128))), [(0, 1), (1, 100), (2, 26), (3, 1)]);
    }

    #[test]
    fn equal_adapters_are_neighbours() {
        let rows = [row(2, 0), row(0, 0), row(2, 0), row(1, 5), row(0, 0)];
        assert_eq!(tokens(&plan(&rows, most(64))), [(1, 1), (4, 1), (3, 5), (0, 1), (2, 1)]);
    }

    #[test]
    fn prompts_have_no_more_than_their_chunk() {
        let most = Most { step_tokens: 128, prompt_tokens: 40 };
        let rows = [row(0, 0), row(0, 30), row(0, 100)];
        assert_eq!(tokens(&plan(&rows, most)), [(0, 1), (1, 30), (2, 10)]);
        let background = Row { priority: Priority::Background, ..row(0, 500) };
        assert_eq!(
            tokens(&plan(&[row(0, 0), background, row(0, 500)], most)),
            [(0, 1), (1, 5), (2, 35)]
        );
    }

    #[test]
    fn a_prompt_moves_even_when_decoding_fills_the_step() {
        let rows = [row(0, 0), row(0, 0), row(0, 9)];
        assert_eq!(tokens(&plan(&rows, most(2))), [(0, 1), (1, 1), (2, 1)]);
    }

    #[test]
    fn background_prompts_keep_an_eighth() {
        let background = Row { priority: Priority::Background, ..row(0, 500) };
        assert_eq!(tokens(&plan(&[background, row(0, 500)], most(80))), [(0, 10), (1, 70)]);
        assert_eq!(tokens(&plan(&[background], most(80))), [(0, 80)]);
    }

    #[test]
    fn prompts_with_log_probabilities_come_in_small_chunks() {
        let rows = [Row { echo: true, ..row(0, 500) }];
        assert_eq!(tokens(&plan(&rows, most(512))), [(0, ECHO_CHUNK)]);
        let rows = [Row { echo: true, before_echo: 300, ..row(0, 500) }];
        assert_eq!(tokens(&plan(&rows, most(512))), [(0, 300)]);
    }

    #[test]
    fn spans_follow_each_other() {
        assert_eq!(*spans([1, 0, 3].into_iter()), [0..1, 1..1, 1..4]);
    }

    fn any_row() -> impl Strategy<Value = Row> {
        (0u64..4, any::<bool>(), 0usize..200, any::<bool>(), 0usize..9).prop_map(
            |(adapter, background, prompt_left, echo, drafts)| Row {
                adapter,
                priority: if background { Priority::Background } else { Priority::Interactive },
                prompt_left,
                echo,
                // Before the last one, whose logits are told or sampled from.
                before_echo: if echo { prompt_left / 2 } else { 0 },
                drafts,
            },
        )
    }

    proptest! {
        #[test]
        fn plans_are_legal(rows in prop::collection::vec(any_row(), 0..40), max in 1usize..300) {
            let pieces = plan(&rows, most(max));
            prop_assert!(pieces.is_sorted_by_key(|p| rows[p.row].adapter));
            let mut seen = std::collections::BTreeSet::new();
            for piece in &pieces {
                prop_assert!(seen.insert(piece.row), "row {} twice", piece.row);
                prop_assert!(piece.tokens >= 1);
                let row = rows[piece.row];
                let most = if row.prompt_left == 0 { 1 + row.drafts } else { row.prompt_left };
                prop_assert!(piece.tokens <= most);
                prop_assert!(row.before_echo == 0 || piece.tokens <= row.before_echo);
            }
            let decoding: usize =
                rows.iter().filter(|r| r.prompt_left == 0).map(|r| 1 + r.drafts).sum();
            for (index, row) in rows.iter().enumerate() {
                prop_assert!(row.prompt_left > 0 || seen.contains(&index), "decode {} skipped", index);
            }
            let total: usize = pieces.iter().map(|p| p.tokens).sum();
            prop_assert!(total <= max.max(decoding + 1));
            for class in [Priority::Interactive, Priority::Background] {
                let oldest = rows.iter().position(|r| r.priority == class && r.prompt_left > 0);
                if let Some(oldest) = oldest {
                    let alone = max.saturating_sub(decoding) <= 1;
                    prop_assert!(alone || seen.contains(&oldest), "the oldest prompt stands still");
                }
            }
            prop_assert!(rows.is_empty() || !pieces.is_empty());
        }

        /// Planning again and again computes every prompt, in finitely many steps.
        #[test]
        fn prompts_come_to_an_end(mut rows in prop::collection::vec(any_row(), 1..20), max in 1usize..100) {
            let total: usize = rows.iter().map(|r| r.prompt_left).sum();
            for _ in 0..=total {
                for piece in plan(&rows, most(max)) {
                    let row = &mut rows[piece.row];
                    row.prompt_left -= piece.tokens.min(row.prompt_left);
                    row.before_echo -= piece.tokens.min(row.before_echo);
                }
            }
            prop_assert!(rows.iter().all(|r| r.prompt_left == 0));
        }
    }
}

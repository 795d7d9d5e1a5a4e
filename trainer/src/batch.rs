//! Which rows each optimizer step shows, and how they are cut into batches.

use hone_dataset::Teacher;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::training_config::TrainingConfig;

/// A row in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Showing {
    /// Its index.
    pub row: usize,
    /// Which of its showings it is, from 0.
    pub number: usize,
}

/// The rows of each optimizer step of an epoch: a new order for every epoch, the same for the same
/// seed. `usual` is how often each row is shown in an epoch, each time by the same numbers; `extra` is
/// how often beyond that in this one, by numbers of its own; empty is not at all.
pub fn steps(
    usual: &[usize],
    extra: &[usize],
    training: &TrainingConfig,
    epoch: usize,
) -> Vec<Vec<Showing>> {
    let mut random = ChaCha8Rng::seed_from_u64(training.seed);
    random.set_stream(1 << 32 | epoch as u64);
    let mut order: Vec<Showing> = Vec::new();
    for (row, usual) in usual.iter().enumerate() {
        let extra = extra.get(row).copied().unwrap_or(0);
        let more = usual + epoch.saturating_sub(1) * training.focus..;
        order.extend((0..*usual).chain(more.take(extra)).map(|number| Showing { row, number }));
    }
    order.shuffle(&mut random);
    order.chunks(training.batch_size * training.accumulation).map(<[Showing]>::to_vec).collect()
}

/// Cuts the rows of one step, sorted by length, into batches of at most `batch_tokens` tokens (or
/// one row, if that is longer) and `batch_size` rows, by index. Rows lie one after the other without
/// padding.
pub fn pack(lengths: &[usize], training: &TrainingConfig) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|row| (lengths[*row], *row));
    let mut batches: Vec<Vec<usize>> = Vec::new();
    let mut tokens = 0;
    for row in order {
        let length = lengths[row];
        match batches.last_mut() {
            Some(batch)
                if tokens + length <= training.batch_tokens
                    && batch.len() < training.batch_size =>
            {
                tokens += length;
                batch.push(row);
            }
            _ => {
                tokens = length;
                batches.push(vec![row]);
            }
        }
    }
    batches
}

/// The batches of a step, of rows by length and teacher: a batch has one teacher. Of each batch its teacher and its rows, by
/// index.
pub fn pack_by_teacher(
    rows: &[(usize, Teacher)],
    training: &TrainingConfig,
) -> Vec<(Teacher, Vec<usize>)> {
    let of = |teacher: Teacher| {
        let members: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].1 == teacher).collect();
        let lengths: Vec<usize> = members.iter().map(|at| rows[*at].0).collect();
        pack(&lengths, training)
            .into_iter()
            .map(move |batch| (teacher, batch.into_iter().map(|at| members[at]).collect()))
    };
    of(Teacher::Kept).chain(of(Teacher::Base)).collect()
}

/// A number for the dropout of one batch, new for each and the same after a resume.
pub fn dropout_key(seed: u64, step: usize, batch: usize) -> u64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(2 << 32 | step as u64);
    random.set_word_pos(2 * batch as u128);
    random.random()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_row_is_in_one_step_and_one_batch(
            lengths in proptest::collection::vec(1_usize..200, 1..80),
            batch_size in 1_usize..9,
            accumulation in 1_usize..4,
            batch_tokens in 1_usize..500,
            epoch in 0_usize..3,
        ) {
            let training =
                TrainingConfig { batch_size, accumulation, batch_tokens, focus: 3, ..TrainingConfig::plain() };
            let extra = vec![2];
            let usual: Vec<usize> = lengths.iter().map(|length| 1 + length % 3).collect();
            let steps = steps(&usual, &extra, &training, epoch);
            let showings = 2 + usual.iter().sum::<usize>();
            prop_assert_eq!(steps.len(), showings.div_ceil(batch_size * accumulation));
            let mut seen = Vec::new();
            for step in &steps {
                let lengths: Vec<usize> = step.iter().map(|showing| lengths[showing.row]).collect();
                for batch in pack(&lengths, &training) {
                    let tokens: usize = batch.iter().map(|row| lengths[*row]).sum();
                    prop_assert!(batch.len() <= batch_size);
                    prop_assert!(tokens <= batch_tokens || batch.len() == 1);
                    seen.extend(batch.into_iter().map(|at| step[at]));
                }
            }
            seen.sort_unstable();
            let mut expected = Vec::new();
            for (row, usual) in usual.iter().enumerate() {
                let more = usual + epoch.saturating_sub(1) * 3..;
                let more = more.take(if row == 0 { 2 } else { 0 });
                expected.extend((0..*usual).chain(more).map(|number| Showing { row, number }));
            }
            prop_assert_eq!(seen, expected);
        }
    }

    #[test]
    fn a_batch_is_compared_with_one_teacher() {
        use Teacher::{Base, Kept};
        let training = TrainingConfig::plain();
        let rows = [(9, Kept), (5, Base), (3, Kept), (4, Base), (8, Base)];
        let batches = pack_by_teacher(&rows, &training);
        assert_eq!(batches, [(Kept, vec![2, 0]), (Base, vec![3, 1, 4])]);
        let alike = [(9, Kept), (3, Kept)];
        assert_eq!(
            pack_by_teacher(&alike, &training),
            [(Kept, pack(&[9, 3], &training)[0].clone())]
        );
    }

    #[test]
    fn orders_differ_between_epochs_and_repeat() {
        let training = TrainingConfig::plain();
        let order = |seed, epoch| {
            steps(&[1; 100], &[], &TrainingConfig { seed, ..training.clone() }, epoch)
        };
        let rows = |steps: Vec<Vec<Showing>>| -> Vec<usize> {
            steps.into_iter().flatten().map(|showing| showing.row).collect()
        };
        assert_eq!(order(0, 1), order(0, 1));
        assert_ne!(rows(order(0, 0)), rows(order(0, 1)));
        assert_ne!(order(0, 0), order(1, 0));
        assert_ne!(dropout_key(0, 1, 0), dropout_key(0, 1, 1));
        assert_ne!(dropout_key(0, 1, 0), dropout_key(0, 2, 0));
    }
}

//! Which sequences of a batch share their first rows.
//!
//! The first tokens of sequences are often the same: a system prompt, or the tools. In the order of their tokens those that begin
//! alike lie together, and of all ways to cut that order into groups the one that saves most rows is taken.

use std::ops::RangeInclusive;

use super::sequence::TrainSequence;

/// Rows that sequences must share at least: fewer are not worth laying rows out again.
const WORTH_SHARING: usize = 8;

/// Sequences that share their first rows, or one by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alike {
    /// How many rows they share.
    pub(super) shared: usize,
    /// Which they are; ascending.
    pub(super) members: Vec<usize>,
}

/// The groups, by their first members.
pub(super) fn groups(sequences: &[&TrainSequence]) -> Vec<Alike> {
    if sequences.is_empty() {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..sequences.len()).collect();
    order.sort_by(|a, b| (&sequences[*a].tokens, a).cmp(&(&sequences[*b].tokens, b)));
    let sorted: Vec<&TrainSequence> = order.iter().map(|index| sequences[*index]).collect();
    let common: Vec<usize> = sorted.windows(2).map(|pair| common_rows(pair[0], pair[1])).collect();
    let mut groups: Vec<Alike> = best_cut(&common)
        .into_iter()
        .map(|range| {
            let shared = shared_rows(&common, &range);
            let mut members = order[range].to_vec();
            members.sort_unstable();
            Alike { shared, members }
        })
        .collect();
    groups.sort_by_key(|group| group.members[0]);
    groups
}

/// First rows with the same input that both may share.
fn common_rows(one: &TrainSequence, other: &TrainSequence) -> usize {
    let pairs = one.tokens.iter().zip(&other.tokens);
    pairs.take_while(|(a, b)| a == b).count().min(one.sharable_rows()).min(other.sharable_rows())
}

/// What neighbours of a range share: `common[i]` is what the sequences `i` and `i + 1` do.
fn shared_rows(common: &[usize], range: &RangeInclusive<usize>) -> usize {
    let least = common[*range.start()..*range.end()].iter().min().copied().unwrap_or(0);
    if least < WORTH_SHARING { 0 } else { least }
}

/// The ranges of neighbours that save most rows together; of equal ones the smallest.
fn best_cut(common: &[usize]) -> Vec<RangeInclusive<usize>> {
    let count = common.len() + 1;
    // For the first sequences, how many: the rows that are saved, and where the last range begins.
    let mut best: Vec<(usize, usize)> = vec![(0, 0)];
    for end in 0..count {
        let saved = |start: usize| {
            let range = start..=end;
            best[start].0 + shared_rows(common, &range) * (end - start)
        };
        let start = (0..=end).max_by_key(|start| (saved(*start), *start)).unwrap_or(end);
        best.push((saved(start), start));
    }
    let mut ranges = Vec::new();
    let mut end = count;
    while end > 0 {
        let start = best[end].1;
        ranges.push(start..=end - 1);
        end = start;
    }
    ranges
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sequence(tokens: &[u32]) -> TrainSequence {
        let mut supervised = vec![false; tokens.len()];
        supervised[tokens.len() - 1] = true;
        TrainSequence { tokens: tokens.to_vec(), supervised, imitated: true, kl_to_base: vec![] }
    }

    fn cut(all: &[Vec<u32>]) -> Vec<(usize, Vec<usize>)> {
        let all: Vec<TrainSequence> = all.iter().map(|tokens| sequence(tokens)).collect();
        let all: Vec<&TrainSequence> = all.iter().collect();
        groups(&all).into_iter().map(|group| (group.shared, group.members)).collect()
    }

    #[test]
    fn those_with_one_system_prompt_share_it() {
        let with = |prompt: u32, own: u32| [vec![7; 4], vec![prompt; 20], vec![own, 1, 2]].concat();
        let all = [with(3, 10), with(4, 11), with(3, 12), vec![9, 9, 9], with(4, 13), with(5, 14)];
        let expected = [(24, vec![0, 2]), (24, vec![1, 4]), (0, vec![3]), (0, vec![5])];
        assert_eq!(cut(&all), expected);
        assert_eq!(cut(&[]), []);
    }

    #[test]
    fn what_saves_more_is_taken() {
        let text = |lengths: [usize; 3]| -> Vec<u32> {
            (1..).zip(lengths).flat_map(|(token, length)| vec![token; length]).collect()
        };
        // Two share 40, all four share 10: 40 is more than 3 times 10.
        let [a, b] = [text([10, 30, 2]), [text([10, 30, 0]), vec![9, 8]].concat()];
        let [c, d] = [[vec![1; 10], vec![5; 5]].concat(), [vec![1; 10], vec![6; 5]].concat()];
        let all = [a, c, b, d];
        assert_eq!(cut(&all), [(40, vec![0, 2]), (10, vec![1, 3])]);
    }

    proptest! {
        /// Each sequence is in one group, and a group begins alike.
        #[test]
        fn groups_are_a_partition(
            all in prop::collection::vec(prop::collection::vec(0..2_u32, 2..24), 0..10),
        ) {
            let groups = cut(&all);
            let mut members: Vec<usize> = groups.iter().flat_map(|(_, m)| m.clone()).collect();
            members.sort_unstable();
            prop_assert_eq!(members, (0..all.len()).collect::<Vec<_>>());
            for (shared, members) in groups {
                prop_assert!(shared == 0 || shared >= WORTH_SHARING && members.len() > 1);
                for member in &members {
                    prop_assert_eq!(&all[*member][..shared], &all[members[0]][..shared]);
                    prop_assert!(shared < all[*member].len() - 1 || shared == 0);
                }
            }
        }
    }
}

//! Whether answers fit their own questions, and not just any question.
//!
//! Prevents a gain of form from passing for a gain of content. Training on answers with shuffled
//! labels makes every such answer likelier under every such question: likelihood rises and nothing
//! was learned. What only learning does is to make an answer likelier under *its* question than
//! under the others. So the answers are permuted among the questions: a true fit is lost by that, a
//! gain of form is not (Fisher's permutation test, *The Design of Experiments*, 1935; the share of
//! drawn permutations counts the observed one as one of them, so that p is never 0 and never too
//! small: Phipson and Smyth, *Permutation p-values should never be zero*, 2010).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How many permutations are drawn where there are too many to go through all.
pub const DRAWS: usize = 100_000;

/// Up to so many permutations are all gone through: one block of eight rows has 40,320.
const EXACT: usize = 50_000;

/// Two sums of the same numbers in another order are equal, whatever rounding says. Relative to the
/// largest sum that any permutation can have.
const TOLERANCE: f64 = 1e-12;

/// Rows of which any answer could have been given to any question.
///
/// Rows that are told apart by more than what was to be learned (another family, another form)
/// belong in blocks of their own: answers are permuted within a block only.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    /// `n` by `n`, row by row: at `i * n + j` how likely the answer of row `j` is under the question
    /// of row `i`, in nats per token of that answer. May be a difference of two models.
    scores: Vec<f64>,
    /// Of each row, which cluster it belongs to.
    cluster: Vec<usize>,
}

impl Block {
    /// A block of `cluster.len()` rows: `scores[i * n + j]` for question `i` and answer `j`, in nats
    /// per token, and of each row its cluster (any numbers; equal ones are one cluster).
    ///
    /// # Errors
    /// [`Error::Scores`] if the matrix is not square, or holds a number that is not finite.
    pub fn new(scores: Vec<f64>, cluster: Vec<usize>) -> Result<Self> {
        let n = cluster.len();
        if scores.len() != n * n {
            return Err(Error::Scores(format!("{} scores for {n} rows", scores.len())));
        }
        if let Some(at) = scores.iter().position(|score| !score.is_finite()) {
            return Err(Error::Scores(format!("question {} has {}", at / n, scores[at])));
        }
        Ok(Self { scores, cluster })
    }

    /// A block of rows that are no copies of each other.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_distinct(scores: Vec<f64>, rows: usize) -> Result<Self> {
        Self::new(scores, (0..rows).collect())
    }

    /// Rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cluster.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cluster.is_empty()
    }

    /// The block with one row for each cluster: the mean over its questions and its answers.
    ///
    /// Weights alone let a cluster count once in the statistic, but copies that share one answer
    /// are still dealt out one by one, so chance looks smaller than it is: with three copies of
    /// each row, labels at random pass a level of 5 % in 18 % of cases. Merged, the unit that
    /// is permuted is the unit that the answer was given to, and the level holds. Take this wherever
    /// copies may share their answer.
    #[must_use]
    pub fn merged(&self) -> Self {
        let (place, sizes) = places(&self.cluster);
        let (n, clusters) = (self.len(), sizes.len());
        let mut scores = vec![0.0; clusters * clusters];
        for i in 0..n {
            for j in 0..n {
                let pairs = sizes[place[i]] * sizes[place[j]];
                scores[place[i] * clusters + place[j]] += self.scores[i * n + j] / pairs as f64;
            }
        }
        Self { scores, cluster: (0..clusters).collect() }
    }

    /// Of each row, one through the size of its cluster.
    fn weights(&self) -> Vec<f64> {
        let (place, sizes) = places(&self.cluster);
        place.into_iter().map(|place| 1.0 / sizes[place] as f64).collect()
    }

    /// What each pair adds to the statistic: the weighted mean of each column is taken off, so that
    /// the expected value of every permutation's sum is 0, and rows are scaled by their weight.
    fn parts(&self, weights: &[f64], all_weights: f64) -> Vec<f64> {
        let n = self.len();
        let own: f64 = weights.iter().sum();
        let mut parts = self.scores.clone();
        for j in 0..n {
            let mean: f64 = (0..n).map(|i| weights[i] * self.scores[i * n + j] / own).sum();
            for i in 0..n {
                parts[i * n + j] = (self.scores[i * n + j] - mean) * weights[i] / all_weights;
            }
        }
        parts
    }
}

/// Of each row the position of its cluster, by first appearance, and the clusters' sizes.
fn places(cluster: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut known = std::collections::HashMap::new();
    let mut sizes = Vec::new();
    let place = |id: &usize| {
        let place = *known.entry(*id).or_insert_with(|| {
            sizes.push(0);
            sizes.len() - 1
        });
        sizes[place] += 1;
        place
    };
    (cluster.iter().map(place).collect(), sizes)
}

/// How well answers fit their questions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// The share of permutations that fit at least as well: small means that the answers belong to
    /// their questions. 1 where there is nothing to permute.
    pub p: f64,
    /// By how many nats per token an answer is likelier under its own question than under its
    /// block's questions on average. Each cluster counts as one row.
    pub statistic: f64,
    /// The mean of the statistic over all permutations: 0, because columns are centred.
    pub expected: f64,
    /// Rows in all blocks.
    pub rows: usize,
    /// Whether p is over all permutations, and not over drawn ones.
    pub exact: bool,
}

/// Permutation test of "the answers were given to the questions at random" against "they fit".
///
/// The statistic is the mean over the rows of all blocks of the score of a row's own answer under
/// its own question, after each column's mean within its block was taken off: an answer that is
/// likely under every question tells nothing. Without clusters the centring takes the same number
/// off every permutation and does not change p; it lets the statistic be read as "nats per token
/// above chance". With clusters each row counts one through the size of its cluster, in the
/// columns' means and in the statistic; see [`Block::merged`] for copies that share one answer.
///
/// One-sided; ties count against the fit. If all blocks together have at most 50,000 permutations,
/// all are gone through and p counts the observed one. Otherwise `draws` are drawn, and p is
/// `(1 + hits) / (1 + draws)`; the same seed gives the same p.
#[must_use]
pub fn fit(blocks: &[Block], seed: u64, draws: usize) -> Fit {
    let weights: Vec<Vec<f64>> = blocks.iter().map(Block::weights).collect();
    let all_weights: f64 = weights.iter().flatten().sum();
    let tables: Vec<Table> = blocks
        .iter()
        .zip(&weights)
        .map(|(block, weights)| Table { n: block.len(), parts: block.parts(weights, all_weights) })
        .collect();
    let statistic: f64 = tables.iter().map(Table::diagonal).sum();
    let enough = statistic - TOLERANCE * tables.iter().map(Table::largest).sum::<f64>();
    let permutations = tables.iter().try_fold(1, |count: usize, table| {
        (1..=table.n).try_fold(count, usize::checked_mul).filter(|count| *count <= EXACT)
    });
    let p = if permutations.is_some() {
        share_of_all(&tables, enough)
    } else {
        share_of_drawn(&tables, enough, seed, draws)
    };
    let rows = tables.iter().map(|table| table.n).sum();
    Fit { p, statistic, expected: 0.0, rows, exact: permutations.is_some() }
}

/// A block's parts of the statistic, `n` by `n`, row by row.
struct Table {
    n: usize,
    parts: Vec<f64>,
}

impl Table {
    fn diagonal(&self) -> f64 {
        (0..self.n).map(|i| self.parts[i * self.n + i]).sum()
    }

    /// No permutation's sum is larger, whatever its sign.
    fn largest(&self) -> f64 {
        let rows = self.parts.chunks(self.n.max(1));
        rows.map(|row| row.iter().fold(0.0, |most: f64, part| most.max(part.abs()))).sum()
    }

    /// The sums of all permutations.
    fn all_sums(&self) -> Vec<f64> {
        let mut sums = Vec::new();
        self.sums_from(0, &mut vec![false; self.n], 0.0, &mut sums);
        sums
    }

    fn sums_from(&self, row: usize, taken: &mut [bool], sum: f64, sums: &mut Vec<f64>) {
        if row == self.n {
            sums.push(sum);
            return;
        }
        for answer in 0..self.n {
            if !taken[answer] {
                taken[answer] = true;
                self.sums_from(row + 1, taken, sum + self.parts[row * self.n + answer], sums);
                taken[answer] = false;
            }
        }
    }

    /// The sum of a random permutation, which is left in `order`. Fisher and Yates' shuffle, which
    /// fixes one place after the other and gives a uniform order whatever it starts from.
    fn drawn_sum(&self, order: &mut [u32], rng: &mut ChaCha8Rng) -> f64 {
        let mut sum = 0.0;
        for row in (0..self.n).rev() {
            // a block has fewer rows than 2^32: its square fits in memory
            let other = rng.random_range(0..=row as u32) as usize;
            order.swap(row, other);
            sum += self.parts[row * self.n + order[row] as usize];
        }
        sum
    }
}

fn share_of_all(tables: &[Table], enough: f64) -> f64 {
    let mut sums = vec![0.0];
    for table in tables {
        let own = table.all_sums();
        sums = sums.iter().flat_map(|sum| own.iter().map(move |own| sum + own)).collect();
    }
    let hits = sums.iter().filter(|sum| **sum >= enough).count();
    hits as f64 / sums.len() as f64
}

fn share_of_drawn(tables: &[Table], enough: f64, seed: u64, draws: usize) -> f64 {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut orders: Vec<Vec<u32>> =
        tables.iter().map(|table| (0..table.n as u32).collect()).collect();
    let mut hits = 0_usize;
    for _ in 0..draws {
        let pairs = tables.iter().zip(&mut orders);
        let sum: f64 = pairs.map(|(table, order)| table.drawn_sum(order, &mut rng)).sum();
        hits += usize::from(sum >= enough);
    }
    (1 + hits) as f64 / (1 + draws) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Noise, and `lift` where question and answer belong together.
    fn scores(n: usize, lift: f64, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let noise = |_| rng.random::<f64>() - 0.5;
        let mut scores: Vec<f64> = (0..n * n).map(noise).collect();
        for i in 0..n {
            scores[i * n + i] += lift;
        }
        scores
    }

    fn fit_one(block: &Block) -> Fit {
        fit(std::slice::from_ref(block), 1, DRAWS)
    }

    /// The scores of rows that are copies of `of` these `n` rows.
    fn copies(once: &[f64], n: usize, of: &[usize]) -> Vec<f64> {
        of.iter().flat_map(|i| of.iter().map(move |j| once[i * n + j])).collect()
    }

    #[test]
    fn a_perfect_fit_has_the_smallest_p_there_is() {
        let block =
            Block::of_distinct(vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], 3).unwrap();
        let fit = fit(&[block.clone(), block], 1, DRAWS);
        assert!(fit.exact && fit.rows == 6);
        assert!((fit.p - 1.0 / 36.0).abs() < 1e-12, "{fit:?}");
        assert!((fit.statistic - 2.0 / 3.0).abs() < 1e-12, "{fit:?}");
    }

    #[test]
    fn what_is_likely_everywhere_is_no_fit() {
        // the columns differ, the rows do not: every permutation has the same sum
        let block = Block::of_distinct([0.1, 0.7, 0.3].repeat(3), 3).unwrap();
        let fit = fit(&[block], 1, DRAWS);
        assert_eq!(fit.p, 1.0);
        assert!(fit.statistic.abs() < 1e-12);
    }

    #[test]
    fn nothing_to_permute_is_no_evidence() {
        for blocks in [vec![], vec![Block::of_distinct(vec![], 0).unwrap()]] {
            let fit = fit(&blocks, 1, DRAWS);
            assert_eq!((fit.p, fit.statistic, fit.rows), (1.0, 0.0, 0));
        }
        let ones = vec![Block::of_distinct(vec![7.0], 1).unwrap(); 40];
        assert_eq!(fit(&ones, 1, DRAWS).p, 1.0);
        let large = Block::of_distinct(scores(20, 9.0, &mut ChaCha8Rng::seed_from_u64(1)), 20);
        assert_eq!(fit(&[large.unwrap()], 1, 0).p, 1.0, "nothing drawn");
    }

    #[test]
    fn a_matrix_must_be_one() {
        assert!(Block::of_distinct(vec![0.0; 5], 2).is_err());
        assert!(Block::of_distinct(vec![0.0, f64::NAN, 0.0, 0.0], 2).is_err());
        assert!(Block::of_distinct(vec![0.0, f64::NEG_INFINITY, 0.0, 0.0], 2).is_err());
    }

    #[test]
    fn a_cluster_of_copies_counts_as_one() {
        // three rows of which the last is there four times: the statistic is that of three rows
        let once = scores(3, 1.0, &mut ChaCha8Rng::seed_from_u64(5));
        let of = [0, 1, 2, 2, 2, 2];
        let copied = Block::new(copies(&once, 3, &of), vec![9, 4, 7, 7, 7, 7]).unwrap();
        let distinct = Block::of_distinct(once, 3).unwrap();
        let (one, other) = (fit_one(&distinct), fit_one(&copied));
        assert!((one.statistic - other.statistic).abs() < 1e-12, "{one:?} {other:?}");
        assert_eq!(copied.merged().len(), 3);
        for (a, b) in copied.merged().scores.iter().zip(&distinct.scores) {
            assert!((a - b).abs() < 1e-12);
        }
    }

    /// How often labels at random pass a level of 5 %: 12 questions, each in `each` copies that
    /// share their answer, 400 times.
    fn passed_at_random(each: usize, prepare: impl Fn(Block) -> Block) -> usize {
        let mut rng = ChaCha8Rng::seed_from_u64(23);
        let passes = |_: &usize| {
            let once = scores(12, 0.0, &mut rng);
            let of: Vec<usize> = (0..12 * each).map(|row| row / each).collect();
            let all = copies(&once, 12, &of);
            fit(&[prepare(Block::new(all, of).unwrap())], 3, 499).p <= 0.05
        };
        (0..400).filter(passes).count()
    }

    #[test]
    fn the_level_holds() {
        // 20 expected, standard deviation 4.4
        let distinct = passed_at_random(1, |block| block);
        assert!((7..=33).contains(&distinct), "{distinct}");
        let merged = passed_at_random(3, |block| block.merged());
        assert!((7..=33).contains(&merged), "{merged}");
        // why `merged` is there
        let weighted = passed_at_random(3, |block| block);
        assert!(weighted > 50, "{weighted}");
    }

    #[test]
    fn a_gain_of_form_is_told_from_a_gain_of_content() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let form: Vec<f64> = scores(40, 0.0, &mut rng).iter().map(|score| score + 5.0).collect();
        let form = fit(&[Block::of_distinct(form, 40).unwrap()], 1, 2000);
        let content = fit(&[Block::of_distinct(scores(40, 0.3, &mut rng), 40).unwrap()], 1, 2000);
        assert!(form.p > 0.05 && form.statistic.abs() < 0.2, "{form:?}");
        assert!(content.p < 0.001 && content.statistic > 0.2, "{content:?}");
    }

    #[test]
    fn drawn_and_exact_agree_and_the_seed_decides() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let block = Block::of_distinct(scores(7, 0.15, &mut rng), 7).unwrap();
        let exact = fit_one(&block);
        let table = Table { n: 7, parts: block.parts(&[1.0; 7], 7.0) };
        let enough = table.diagonal() - 1e-12;
        let drawn = share_of_drawn(&[table], enough, 1, DRAWS);
        assert!(exact.exact && (exact.p - drawn).abs() < 0.005, "{exact:?} {drawn}");
        let blocks = [block.clone(), block];
        let once = fit(&blocks, 1, 1000);
        assert!(!once.exact);
        assert_eq!(once, fit(&blocks, 1, 1000));
        assert_ne!(once.p, fit(&blocks, 2, 1000).p);
    }

    proptest! {
        #[test]
        fn only_differences_between_questions_matter(
            seed: u64, shift in -5.0_f64..5.0, answer in 0_usize..5,
        ) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let plain = scores(5, 0.2, &mut rng);
            let mut shifted = plain.clone();
            for question in 0..5 {
                shifted[question * 5 + answer] += shift;
            }
            let one = fit(&[Block::of_distinct(plain, 5).unwrap()], 1, DRAWS);
            let other = fit(&[Block::of_distinct(shifted, 5).unwrap()], 1, DRAWS);
            prop_assert!((one.p - other.p).abs() < 1e-12);
            prop_assert!((one.statistic - other.statistic).abs() < 1e-9);
        }

        #[test]
        fn the_mean_over_all_permutations_is_zero(seed: u64, clusters in prop::collection::vec(0_usize..3, 1..6)) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let n = clusters.len();
            let block = Block::new(scores(n, 1.0, &mut rng), clusters).unwrap();
            let weights = block.weights();
            let table = Table { n, parts: block.parts(&weights, weights.iter().sum()) };
            let sums = table.all_sums();
            let mean = sums.iter().sum::<f64>() / sums.len() as f64;
            prop_assert!(mean.abs() < 1e-12, "{mean}");
        }
    }
}

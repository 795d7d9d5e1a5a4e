//! Whether paired differences lean to one side, without a guess about their form.
//!
//! Prevents one row with a huge difference from deciding for all others: only signs and ranks
//! count. Wilcoxon, *Individual comparisons by ranking methods*, 1945.

use statrs::distribution::{ContinuousCDF, Normal};

/// Up to so many differences the distribution is exact, as SciPy's `method="auto"` has it.
const EXACT: usize = 50;

/// Wilcoxon's signed-rank test, one-sided: how probable differences are that lie at least as far
/// above zero, if their distribution is symmetric around zero. In any unit.
///
/// Zeros are dropped (SciPy's `zero_method="wilcox"`), equal sizes share their mean rank. Of up to 50
/// differences that are left the probability is exact, also with ties: over all signs, given the
/// ranks. So it is SciPy's `method="auto"` where there are no ties or zeros, or at most 13
/// differences; between, where SciPy takes the normal approximation because its table knows no ties,
/// it is what SciPy's permutation test gives with all resamples. Of more than 50 it is SciPy's normal
/// approximation, `wilcoxon(alternative="greater", method="asymptotic", correction=True)`, with the
/// corrections for ties and for continuity.
///
/// 1 when there is no difference, or one that is not a number.
#[must_use]
pub fn wilcoxon_signed_rank(differences: &[f64]) -> f64 {
    if differences.iter().any(|difference| difference.is_nan()) {
        return 1.0;
    }
    let mut left: Vec<f64> = differences.iter().copied().filter(|d| *d != 0.0).collect();
    left.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    if left.is_empty() {
        return 1.0;
    }
    let ranks = Ranks::of(&left);
    let above = left.iter().zip(&ranks.doubled).filter(|(d, _)| **d > 0.0);
    let doubled_sum = above.map(|(_, rank)| rank).sum();
    if left.len() <= EXACT { ranks.exact(doubled_sum) } else { ranks.normal(doubled_sum) }
}

/// The ranks of sizes, twice each: a mean rank is a half at most.
struct Ranks {
    doubled: Vec<usize>,
    /// The sum over groups of `t` equal sizes of `t³ - t`.
    ties: f64,
}

impl Ranks {
    /// Of differences that are sorted by their size.
    fn of(sorted: &[f64]) -> Self {
        let (mut doubled, mut ties) = (Vec::with_capacity(sorted.len()), 0.0);
        for group in sorted.chunk_by(|a, b| a.abs() == b.abs()) {
            // ranks from `before + 1` to `before + size`, twice their mean
            let (before, size) = (doubled.len(), group.len());
            doubled.extend(std::iter::repeat_n(2 * before + size + 1, size));
            let t = size as f64;
            ties += t * t * t - t;
        }
        Self { doubled, ties }
    }

    /// The share of all signs whose doubled sum of ranks above zero is at least `sum`.
    fn exact(&self, sum: usize) -> f64 {
        let all: usize = self.doubled.iter().sum();
        // the probability of each doubled sum, one rank after the other, half its weight each way
        let mut chance = vec![0.0; all + 1];
        chance[0] = 1.0;
        let mut reached = 0;
        for rank in &self.doubled {
            reached += rank;
            for at in (0..=reached).rev() {
                let with = if at >= *rank { chance[at - rank] } else { 0.0 };
                chance[at] = 0.5 * (chance[at] + with);
            }
        }
        chance[sum..].iter().sum::<f64>().min(1.0)
    }

    fn normal(&self, doubled_sum: usize) -> f64 {
        let n = self.doubled.len() as f64;
        let mean = n * (n + 1.0) / 4.0;
        let deviation = ((n * (n + 1.0) * (2.0 * n + 1.0) - self.ties / 2.0) / 24.0).sqrt();
        let z = (doubled_sum as f64 / 2.0 - mean - 0.5) / deviation;
        Normal::standard().sf(z)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_difference_is_no_evidence() {
        assert_eq!(wilcoxon_signed_rank(&[]), 1.0);
        assert_eq!(wilcoxon_signed_rank(&[0.0; 80]), 1.0);
        assert_eq!(wilcoxon_signed_rank(&[1.0, f64::NAN]), 1.0);
    }

    #[test]
    fn all_above_is_one_of_all_signs() {
        let differences: Vec<f64> = (1..=10).map(f64::from).collect();
        assert_eq!(wilcoxon_signed_rank(&differences), 1.0 / 1024.0);
        assert_eq!(wilcoxon_signed_rank(&[1.0; 10]), 1.0 / 1024.0, "ties do not change that");
        let below: Vec<f64> = differences.iter().map(|d| -d).collect();
        assert_eq!(wilcoxon_signed_rank(&below), 1.0);
    }

    proptest! {
        #[test]
        fn sides_and_units_do_not_matter(
            differences in prop::collection::vec(-20_i32..20, 1..120), scale in 1_u32..9,
        ) {
            let differences: Vec<f64> = differences.into_iter().map(f64::from).collect();
            let scaled: Vec<f64> = differences.iter().map(|d| d * f64::from(scale)).collect();
            let turned: Vec<f64> = differences.iter().map(|d| -d).collect();
            let p = wilcoxon_signed_rank(&differences);
            prop_assert!((0.0..=1.0).contains(&p));
            prop_assert_eq!(p, wilcoxon_signed_rank(&scaled));
            // both tails share what is equal
            prop_assert!(p + wilcoxon_signed_rank(&turned) >= 1.0 - 1e-9);
        }
    }
}

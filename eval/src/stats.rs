//! How sure a difference is.
//!
//! Prevents a promotion by luck: every gain comes with the probability that chance alone makes one
//! as large, and with an interval. Figures agree with SciPy's (`tests/golden/golden.py`).

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, DiscreteCDF};

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Exact two-sided McNemar test: of the pairs in which the two sides differ, `gained` went one way
/// and `lost` the other. The probability of a split at least as uneven when both are equally good.
#[must_use]
pub fn mcnemar_exact(gained: u64, lost: u64) -> f64 {
    let n = gained + lost;
    if n == 0 {
        return 1.0;
    }
    // 0.5 is a probability, so `new` cannot refuse it; 1 would be the careful answer
    let tail = Binomial::new(0.5, n).map_or(1.0, |b| b.cdf(gained.min(lost)));
    (2.0 * tail).min(1.0)
}

/// How the bootstrap draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// How often the data is drawn again.
    pub resamples: usize,
    /// The same seed gives the same interval.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 10_000, seed: 17 }
    }
}

/// The 95 % percentile interval of the mean of paired differences: (low, high). `(0, 0)` for none.
#[must_use]
pub fn paired_bootstrap(differences: &[f64], options: Bootstrap) -> (f64, f64) {
    let n = differences.len();
    if n == 0 || options.resamples == 0 {
        return (0.0, 0.0);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(options.seed);
    let mut means: Vec<f64> = (0..options.resamples)
        .map(|_| {
            let sum: f64 = (0..n).map(|_| differences[rng.random_range(0..n)]).sum();
            sum / n as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    (quantile(&means, 0.025), quantile(&means, 0.975))
}

/// The quantile of sorted values, interpolated linearly between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let position = share * (sorted.len() - 1) as f64;
    let below = position.floor();
    let (low, high) = (sorted[below as usize], sorted[position.ceil() as usize]);
    low + (high - low) * (position - below)
}

/// Wilson's 95 % interval of a share: (low, high). `(0, 1)` when nothing was asked.
#[must_use]
pub fn wilson(passed: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (n as f64, passed as f64 / n as f64);
    let scale = 1.0 + Z * Z / n;
    let middle = (share + Z * Z / (2.0 * n)) / scale;
    let half = Z / scale * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

/// A share in percent; 0 of nothing is 0.
pub(crate) fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn no_difference_is_no_evidence() {
        assert_eq!(mcnemar_exact(0, 0), 1.0);
        assert_eq!(mcnemar_exact(5, 5), 1.0);
        assert_eq!(paired_bootstrap(&[], Bootstrap::default()), (0.0, 0.0));
        assert_eq!(paired_bootstrap(&[0.0; 9], Bootstrap::default()), (0.0, 0.0));
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let differences: Vec<f64> = (0..50).map(|i| f64::from(i).sin()).collect();
        let once = paired_bootstrap(&differences, Bootstrap::default());
        assert_eq!(once, paired_bootstrap(&differences, Bootstrap::default()));
        assert_ne!(
            once,
            paired_bootstrap(&differences, Bootstrap { seed: 18, ..Bootstrap::default() })
        );
    }

    proptest! {
        #[test]
        fn probabilities_are_probabilities(gained in 0_u64..5000, lost in 0_u64..5000) {
            let p = mcnemar_exact(gained, lost);
            prop_assert!((0.0..=1.0).contains(&p), "{p}");
            prop_assert_eq!(p, mcnemar_exact(lost, gained));
        }

        #[test]
        fn intervals_hold_their_estimate(passed in 0_u64..200, failed in 0_u64..200) {
            let n = passed + failed;
            let (low, high) = wilson(passed, n);
            let share = if n == 0 { 0.5 } else { passed as f64 / n as f64 };
            prop_assert!(low <= share + 1e-12 && share - 1e-12 <= high);
        }
    }
}

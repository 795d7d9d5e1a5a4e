//! How sure a share is.
//!
//! Prevents 9 of 10 from being read as 90 %: bounds and tails are exact, however few the rows.

use statrs::distribution::{Binomial, DiscreteCDF};

/// The probability of at least `successes` of `n` when each has a probability of `chance`: the exact
/// one-sided binomial test, SciPy's `binomtest(…, alternative="greater")`.
///
/// 1 where `chance` is no probability.
#[must_use]
pub fn binomial_greater(successes: u64, n: u64, chance: f64) -> f64 {
    let Some(fewer) = successes.checked_sub(1) else { return 1.0 };
    if successes > n {
        return 0.0;
    }
    if chance == 0.0 || chance == 1.0 {
        return chance;
    }
    // the careful answer for what is no probability
    Binomial::new(chance, n).map_or(1.0, |binomial| binomial.sf(fewer))
}

/// The share that `passed` of `n` proves: the lower end of the exact one-sided interval of
/// confidence `1 - alpha`. Clopper and Pearson, *The use of confidence or fiducial limits*, 1934;
/// SciPy's `binomtest(…, alternative="greater").proportion_ci(1 - alpha, method="exact").low`.
///
/// The largest share under which so many successes have a probability of `alpha` at most. 0 when
/// nothing passed.
#[must_use]
pub fn clopper_pearson_lower(passed: u64, n: u64, alpha: f64) -> f64 {
    if passed == 0 || passed > n {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    // the tail rises with the share; halving 64 times is as near as floats come
    for _ in 0..64 {
        let middle = 0.5 * (low + high);
        if binomial_greater(passed, n, middle) <= alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn edges_are_what_they_must_be() {
        assert_eq!(binomial_greater(0, 0, 0.3), 1.0);
        assert_eq!(binomial_greater(0, 9, 0.3), 1.0);
        assert_eq!(binomial_greater(10, 9, 0.3), 0.0);
        assert_eq!(binomial_greater(1, 9, 0.0), 0.0);
        assert_eq!(binomial_greater(9, 9, 1.0), 1.0);
        assert_eq!(binomial_greater(5, 9, f64::NAN), 1.0);
        assert_eq!(binomial_greater(5, 9, -1.0), 1.0);
        assert_eq!(clopper_pearson_lower(0, 0, 0.05), 0.0);
        assert_eq!(clopper_pearson_lower(0, 10, 0.05), 0.0);
        let all = clopper_pearson_lower(10, 10, 0.05);
        assert!((all - 0.05_f64.powf(0.1)).abs() < 1e-12, "{all}");
    }

    proptest! {
        #[test]
        fn a_bound_is_below_its_share(passed in 0_u64..300, failed in 0_u64..300, alpha in 0.001..0.5_f64) {
            let n = passed + failed;
            let low = clopper_pearson_lower(passed, n, alpha);
            prop_assert!(low >= 0.0 && low * n as f64 <= passed as f64 + 1e-9, "{low}");
        }

        #[test]
        fn more_successes_are_less_probable(n in 1_u64..300, at in 0_u64..300, chance in 0.0..1.0_f64) {
            let at = at % n;
            let (one, more) = (binomial_greater(at, n, chance), binomial_greater(at + 1, n, chance));
            prop_assert!((0.0..=1.0).contains(&one) && more <= one + 1e-12, "{one} {more}");
        }
    }
}

//! How much each night may risk, so that all nights together stay honest.
//!
//! Prevents a year of tries from promoting by luck: a test at 5 % every night would promote noise
//! eighteen times a year. Chance is a budget instead (alpha-investing: Foster and Stine,
//! *α-investing: a procedure for sequential control of expected false discoveries*, 2008), kept as
//! a bucket that refills slowly, takes what each test risks, and is repaid by what is promoted.
//!
//! # What it guarantees
//!
//! Let test `i` be made at level `aᵢ`, which depends on earlier tests alone, so that with nothing to
//! learn it promotes with a probability of at most `aᵢ`. Then the expected number of false promotions
//! is at most `A`, the expected sum of all `aᵢ` of nights with nothing to learn.
//!
//! The bucket never goes below empty, and gets `start`, at most `per_day` a day, and what promotions
//! pay back. A night with something to learn takes out at least as much as it pays back. A night
//! without pays back `aᵢ` with a probability of at most `aᵢ`, so `aᵢ²` is expected back, and `aᵢ` is
//! at most `most`. Hence
//!
//! ```text
//! A ≤ start + per_day · days + most · A        so        A ≤ (start + per_day · days) / (1 − most)
//! ```
//!
//! With the defaults, over 365 nights: (0.08 + 0.5) / 0.98 = 0.59, less than one promotion.

use hone_config::PromotionSettings;
use serde::{Deserialize, Serialize};

const DAY_MS: f64 = 86_400_000.0;
/// What the bucket begins with.
const START: f64 = 0.08;
/// What flows in in a year.
const A_YEAR: f64 = 0.5;
/// The share of it that one test may risk.
const SHARE: f64 = 0.25;

/// How much chance may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ErrorBudget {
    /// What the bucket begins with, and holds at most.
    pub start: f64,
    /// What flows in each day.
    pub per_day: f64,
    /// The share of the bucket that one test may risk.
    pub share: f64,
    /// What one test may risk at most. Below 1.
    pub most: f64,
}

impl From<&PromotionSettings> for ErrorBudget {
    /// `promotion.alpha` is the most that one night may risk.
    fn from(settings: &PromotionSettings) -> Self {
        Self { start: START, per_day: A_YEAR / 365.0, share: SHARE, most: settings.alpha }
    }
}

impl ErrorBudget {
    /// How many false promotions are expected at most in so many days with nothing to learn.
    #[must_use]
    pub fn false_promotions(&self, days: f64) -> f64 {
        (self.start + self.per_day * days) / (1.0 - self.most)
    }
}

/// One test that was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Test {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// The level that it was made at.
    pub alpha: f64,
    /// Whether it promoted, which pays the level back.
    pub promoted: bool,
}

/// The level at which to test now: the share of what is left, and never more than the most.
///
/// `tests` are all that were made before, in their order. Times that go back give nothing: only time
/// later than any that was seen before refills the bucket.
#[must_use]
pub fn level(budget: &ErrorBudget, tests: &[Test], now_ms: i64) -> f64 {
    (budget.share * wealth(budget, tests, now_ms)).clamp(0.0, budget.most)
}

/// What is in the bucket now: between 0 and [`ErrorBudget::start`].
#[must_use]
pub fn wealth(budget: &ErrorBudget, tests: &[Test], now_ms: i64) -> f64 {
    let Some(first) = tests.first() else { return budget.start };
    let (mut wealth, mut latest) = (budget.start, first.at_ms);
    let refilled = |wealth: f64, latest: i64, now: i64| {
        let days = now.saturating_sub(latest).max(0) as f64 / DAY_MS;
        (wealth + budget.per_day * days).min(budget.start)
    };
    for test in tests {
        wealth = refilled(wealth, latest, test.at_ms);
        latest = latest.max(test.at_ms);
        if !test.promoted {
            // a level that is none (a damaged ledger) empties the bucket: that errs to the safe side
            let cost = if test.alpha.is_nan() { wealth } else { test.alpha.max(0.0) };
            wealth = (wealth - cost).max(0.0);
        }
    }
    refilled(wealth, latest, now_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const DAY: i64 = 86_400_000;

    fn budget() -> ErrorBudget {
        ErrorBudget::from(&hone_config::Config::shipped().unwrap().promotion)
    }

    fn test(day: i64, alpha: f64, promoted: bool) -> Test {
        Test { at_ms: day * DAY, alpha, promoted }
    }

    #[test]
    fn the_first_night_risks_the_most_and_failures_make_it_careful() {
        let budget = budget();
        assert!((level(&budget, &[], 0) - 0.02).abs() < 1e-15);
        let mut tests = Vec::new();
        for day in 0..365 {
            tests.push(test(day, level(&budget, &tests, day * DAY), false));
        }
        // what flows in each day is what a night then risks
        let last = tests.last().unwrap().alpha;
        assert!((last - budget.per_day).abs() < 1e-4, "{last}");
        let spent: f64 = tests.iter().map(|test| test.alpha).sum();
        assert!(spent <= 0.58, "{spent}");
        // and two quiet months fill the bucket again
        assert!((level(&budget, &tests, 420 * DAY) - 0.02).abs() < 1e-15);
    }

    #[test]
    fn a_promotion_pays_back() {
        let budget = budget();
        let lost = [test(0, 0.02, false)];
        let won = [test(0, 0.02, true)];
        assert!((wealth(&budget, &lost, 0) - 0.06).abs() < 1e-15);
        assert!((wealth(&budget, &won, 0) - 0.08).abs() < 1e-15);
    }

    #[test]
    fn a_clock_that_jumps_back_gives_nothing() {
        let budget = budget();
        let tests = [test(100, 0.01, false), test(100, 0.01, false), test(100, 0.01, false)];
        let before = wealth(&budget, &tests, 100 * DAY);
        assert_eq!(wealth(&budget, &tests, 0), before);
        // back, and forward again to where it was
        let mut jumping = tests.to_vec();
        for _ in 0..20 {
            jumping.push(test(0, 0.0, false));
            jumping.push(test(100, 0.0, false));
        }
        assert_eq!(wealth(&budget, &jumping, 100 * DAY), before);
        assert_eq!(wealth(&budget, &tests, i64::MIN), before);
        assert_eq!(wealth(&budget, &tests, i64::MAX), budget.start);
    }

    #[test]
    fn a_damaged_ledger_errs_to_the_safe_side() {
        let budget = budget();
        for alpha in [f64::NAN, f64::INFINITY, 7.0] {
            assert_eq!(level(&budget, &[test(0, alpha, false)], 0), 0.0);
        }
        assert_eq!(wealth(&budget, &[test(0, -1.0, false)], 0), budget.start);
    }

    #[test]
    fn a_year_of_nothing_promotes_less_than_once() {
        let budget = budget();
        assert!(budget.false_promotions(365.0) < 1.0);
        let mut rng = ChaCha8Rng::seed_from_u64(2008);
        let years = 2000;
        let mut promoted = 0;
        for _ in 0..years {
            let mut tests: Vec<Test> = Vec::new();
            for day in 0..365 {
                let alpha = level(&budget, &tests, day * DAY);
                // with nothing to learn p is uniform
                tests.push(test(day, alpha, rng.random::<f64>() < alpha));
            }
            promoted += tests.iter().filter(|test| test.promoted).count();
        }
        let mean = promoted as f64 / f64::from(years);
        assert!(mean < budget.false_promotions(365.0) + 0.05, "{mean}");
        assert!(mean > 0.4, "what may be spent is spent: {mean}");
    }

    proptest! {
        #[test]
        fn no_more_is_spent_than_there_is(
            steps in prop::collection::vec((-30 * DAY..30 * DAY, prop::bool::weighted(0.1)), 1..200),
        ) {
            let budget = budget();
            let (mut now, mut tests) = (0_i64, Vec::new());
            for (step, promoted) in steps {
                now += step;
                let alpha = level(&budget, &tests, now);
                prop_assert!((0.0..=budget.most).contains(&alpha));
                prop_assert!(alpha <= wealth(&budget, &tests, now));
                tests.push(Test { at_ms: now, alpha, promoted });
            }
            let spent: f64 = tests.iter().filter(|test| !test.promoted).map(|test| test.alpha).sum();
            let latest = tests.iter().map(|test| test.at_ms).max().unwrap();
            let days = (latest - tests[0].at_ms) as f64 / DAY_MS;
            prop_assert!(spent <= budget.start + budget.per_day * days + 1e-12);
        }

        #[test]
        fn the_bucket_has_a_bottom_and_a_top(
            tests in prop::collection::vec((any::<i64>(), any::<f64>(), any::<bool>()), 0..50),
            now: i64,
        ) {
            let tests: Vec<Test> = tests
                .into_iter()
                .map(|(at_ms, alpha, promoted)| Test { at_ms, alpha, promoted })
                .collect();
            let budget = budget();
            prop_assert!((0.0..=budget.start).contains(&wealth(&budget, &tests, now)));
            prop_assert!((0.0..=budget.most).contains(&level(&budget, &tests, now)));
        }

        #[test]
        fn later_is_never_less(now in 0..400 * DAY, more in 0..400 * DAY) {
            let tests = [test(0, 0.01, false), test(3, 0.008, false)];
            let budget = budget();
            prop_assert!(level(&budget, &tests, now + more) >= level(&budget, &tests, now));
        }
    }
}

//! Figures against SciPy's, checks against checks.py, and the built-in suites.

use hone_api::check::Check;
use hone_eval::stats::{Bootstrap, mcnemar_exact, paired_bootstrap, wilson};
use hone_eval::{
    Block, Part, Suite, binomial_greater, clopper_pearson_lower, fit, permutation, score,
    wilcoxon_signed_rank,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Statistics {
    mcnemar: Vec<McNemar>,
    wilson: Vec<Wilson>,
    bootstrap: Vec<Sample>,
    wilcoxon: Vec<Differences>,
    binomial: Vec<Successes>,
    permutation: Vec<Permuted>,
}

#[derive(Deserialize)]
struct McNemar {
    gained: u64,
    lost: u64,
    p: f64,
}

#[derive(Deserialize)]
struct Wilson {
    passed: u64,
    n: u64,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Sample {
    name: String,
    differences: Vec<f64>,
    low: f64,
    high: f64,
}

#[derive(Deserialize)]
struct Differences {
    name: String,
    differences: Vec<f64>,
    p: f64,
    tolerance: f64,
}

#[derive(Deserialize)]
struct Successes {
    successes: u64,
    n: u64,
    chance: f64,
    p: f64,
    low: Vec<(f64, f64)>,
}

#[derive(Deserialize)]
struct Permuted {
    name: String,
    blocks: Vec<Scores>,
    p: f64,
    statistic: f64,
}

#[derive(Deserialize)]
struct Scores {
    scores: Vec<f64>,
    cluster: Vec<usize>,
}

fn statistics() -> serde_json::Result<Statistics> {
    serde_json::from_str(include_str!("golden/statistics.json"))
}

#[test]
fn the_test_gives_scipys_probabilities() {
    for McNemar { gained, lost, p } in statistics().unwrap().mcnemar {
        let ours = mcnemar_exact(gained, lost);
        assert!((ours - p).abs() <= 1e-9, "{gained} {lost}: {ours} for {p}");
        // a tiny probability must be right in its order, too
        assert!((ours - p).abs() <= 1e-9 * p || p < 1e-200, "{gained} {lost}: {ours} for {p}");
    }
}

#[test]
fn shares_have_scipys_intervals() {
    for Wilson { passed, n, low, high } in statistics().unwrap().wilson {
        let (ours_low, ours_high) = wilson(passed, n);
        assert!((ours_low - low).abs() <= 1e-9 && (ours_high - high).abs() <= 1e-9, "{passed}/{n}");
    }
}

#[test]
fn means_have_scipys_bootstrap_intervals() {
    for Sample { name, differences, low, high } in statistics().unwrap().bootstrap {
        let (ours_low, ours_high) = paired_bootstrap(&differences, Bootstrap::default());
        assert!((ours_low - low).abs() <= 1e-3, "{name}: {ours_low} for {low}");
        assert!((ours_high - high).abs() <= 1e-3, "{name}: {ours_high} for {high}");
    }
}

#[test]
fn signed_ranks_have_scipys_probabilities() {
    for Differences { name, differences, p, tolerance } in statistics().unwrap().wilcoxon {
        let ours = wilcoxon_signed_rank(&differences);
        assert!((ours - p).abs() <= tolerance, "{name}: {ours} for {p}");
        assert!((ours - p).abs() <= 1e-6 * p, "{name}: {ours} for {p}, a small one");
    }
}

#[test]
fn successes_have_scipys_tails_and_bounds() {
    for Successes { successes, n, chance, p, low } in statistics().unwrap().binomial {
        let ours = binomial_greater(successes, n, chance);
        assert!((ours - p).abs() <= 1e-9, "{successes}/{n}: {ours} for {p}");
        assert!((ours - p).abs() <= 1e-9 * p, "{successes}/{n}: {ours} for {p}, a small one");
        for (alpha, low) in low {
            let ours = clopper_pearson_lower(successes, n, alpha);
            assert!((ours - low).abs() <= 1e-9, "{successes}/{n} at {alpha}: {ours} for {low}");
        }
    }
}

#[test]
fn permutations_have_the_p_of_all_permutations() {
    for Permuted { name, blocks, p, statistic } in statistics().unwrap().permutation {
        let blocks: Vec<Block> =
            blocks.into_iter().map(|b| Block::new(b.scores, b.cluster).unwrap()).collect();
        let ours = fit(&blocks, 1, permutation::DRAWS);
        assert!((ours.statistic - statistic).abs() <= 1e-9, "{name}: {ours:?} for {statistic}");
        let tolerance = if ours.exact { 1e-9 } else { 5e-3 };
        assert!((ours.p - p).abs() <= tolerance, "{name}: {ours:?} for {p}");
    }
}

#[derive(Deserialize)]
struct Scored {
    check: Check,
    text: String,
    ok: bool,
}

#[test]
fn answers_are_scored_as_in_python() {
    let scored: Vec<Scored> = serde_json::from_str(include_str!("golden/checks.json")).unwrap();
    assert!(scored.len() > 1000);
    for Scored { check, text, ok } in scored {
        assert_eq!(score(&check, &text).unwrap(), ok, "{check:?} on {text:?}");
    }
}

#[test]
fn the_references_of_the_starter_pass_their_checks() {
    let names = hone_eval::suite::builtin_names();
    assert_eq!(names.len(), 17, "{names:?}");
    for name in names {
        let suite = Suite::builtin(name, 0).unwrap();
        assert_eq!(suite.rows.len(), 200, "{name}");
        for row in suite.rows {
            assert!(score(&row.check, &row.reference).unwrap(), "{name}: {row:?}");
        }
    }
}

#[test]
fn starter_stands_for_the_controls() {
    let names = ["starter".to_owned()];
    let controls = Suite::controls(&names, 40, true).unwrap();
    assert_eq!(controls.len(), 12);
    assert!(controls.iter().all(|suite| suite.part == Part::Control && suite.rows.len() == 40));
    assert!(Suite::controls(&names, 40, false).unwrap().is_empty());
    assert!(Suite::controls(&["nothing".to_owned()], 40, true).is_err());
}

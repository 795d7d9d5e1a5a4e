//! Figures against SciPy's, checks against checks.py, and the built-in suites.

use hone_api::check::Check;
use hone_eval::stats::{Bootstrap, mcnemar_exact, paired_bootstrap, wilson};
use hone_eval::{Part, Suite, score};
use serde::Deserialize;

#[derive(Deserialize)]
struct Statistics {
    mcnemar: Vec<McNemar>,
    wilson: Vec<Wilson>,
    bootstrap: Vec<Sample>,
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

//! What the gate says of simulated nights.
//!
//! Everything that is not in doubt is as bad as it can be: the candidate knows nearly all taught
//! answers by heart, whether or not they mean something, and everything comes from one source.

use hone_config::PromotionSettings;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::{Night, Row, Truth, night, normal};
use crate::Result;
use crate::evidence::{Evidence, Judged, MANY, Measured, Square, block_of};
use crate::gate::{GatePolicy, GateVerdict, decide};
use crate::ledger::{ErrorBudget, Test, level};
use crate::report::{Comparison, Ends, Report};
use crate::stats::mcnemar_exact;

const NIGHTS: i64 = 365;
const DAY_MS: i64 = 86_400_000;
/// Of the taught answers that were wrong so many are right after.
const BY_HEART: f64 = 0.9;
/// Draws that tell what is far from any level, and those that tell the rest.
const DRAWS: (usize, usize) = (199, 9999);
/// With the fewer draws more than this is far from any level.
const FAR: f64 = 0.1;

/// The sizes of the parts of so many new rows that judge an adapter which did not see them. As
/// snapshots are made with `curation.holdout_percent = 20`.
#[must_use]
pub fn judged(rows: usize) -> Vec<usize> {
    let (parts, judge) = match rows {
        0..8 => return Vec::new(),
        8..1000 => (2, 2),
        _ => ((rows / 500).min(5), 1),
    };
    (0..judge).map(|part| rows / parts + usize::from(part < rows % parts)).collect()
}

/// What the gate sees of a night, with the rows of each part in `folds` judged.
///
/// # Errors
/// [`crate::Error::Scores`] if the truth holds a number that is not finite.
pub fn report(truth: &Truth, folds: &[usize], checkable: bool, seed: u64) -> Result<Report> {
    let seed = seed.wrapping_mul(1000);
    let (mut rows, mut measured) = (Vec::new(), Measured::default());
    for (at, size) in folds.iter().enumerate() {
        let part =
            Truth { rows: *size, block: even(*size, block_of(truth.rows)), controls: 0, ..*truth };
        let Night { corrected, blocks, .. } = night(&part, seed + at as u64);
        let first = rows.len();
        measured.judged.extend(corrected.iter().map(|row| Judged {
            cluster: first + row.cluster,
            source: None,
            champion: 0.0,
            candidate: row.likelier,
        }));
        measured.unseen.extend(blocks);
        rows.extend(corrected);
    }
    let controls = night(&Truth { rows: 0, ..*truth }, seed + 998).controls;
    if truth.rows < MANY {
        measured.champion = unknown(truth, seed + 999);
    }
    measured.new = truth.rows;
    measured.sources = 1;
    measured.checkable = checkable;
    measured.repeated = truth.labels > 0 && truth.labels < truth.rows;
    measured.commonest =
        1.0 / if truth.labels > 0 { truth.labels } else { truth.rows.max(1) } as f64;
    let quick = Evidence::with_draws(&measured, seed, DRAWS.0)?;
    let far = quick.fit > FAR;
    let evidence = if far { quick } else { Evidence::with_draws(&measured, seed, DRAWS.1)? };

    let passed = (truth.rows as f64 * truth.champion).round() as usize;
    let learned = ((truth.rows - passed.min(truth.rows)) as f64 * BY_HEART).round() as usize;
    let controls = comparison(&controls);
    let items = truth.rows + rows.len() + truth.controls;
    Ok(Report {
        heldout: comparison(&rows),
        taught: Some(counted(truth.rows, passed, learned, 0)),
        kept: None,
        against_base: controls.clone(),
        families_against_base: Vec::new(),
        conduct_change: None,
        conduct_change_against_base: None,
        controls,
        evidence: Some(evidence),
        families: Vec::new(),
        items,
        identical: 0,
        champion_stopped: items,
        candidate_stopped: items,
        ends: Ends::default(),
    })
}

/// How large squares are that hold so many rows evenly.
fn even(rows: usize, most: usize) -> usize {
    rows.div_ceil(rows.div_ceil(most).max(1)).max(1)
}

/// Squares of the champion, to whom no answer fits its question: it never saw any.
fn unknown(truth: &Truth, seed: u64) -> Vec<Square> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let rows: Vec<usize> = (0..truth.rows).collect();
    let square = |rows: &[usize]| Square {
        scores: (0..rows.len() * rows.len()).map(|_| truth.noise * normal(&mut rng)).collect(),
        clusters: rows.to_vec(),
        sources: vec![None; rows.len()],
        alike: vec![None; rows.len()],
        group: None,
    };
    rows.chunks(even(rows.len(), block_of(rows.len()))).map(square).collect()
}

fn comparison(rows: &[Row]) -> Option<Comparison> {
    let count = |which: fn(&Row) -> bool| rows.iter().filter(|row| which(row)).count();
    (!rows.is_empty()).then(|| {
        counted(
            rows.len(),
            count(|row| row.champion_passed),
            count(|row| row.candidate_passed && !row.champion_passed),
            count(|row| row.champion_passed && !row.candidate_passed),
        )
    })
}

/// Without an interval, which no rule asks for.
fn counted(items: usize, champion: usize, gained: usize, lost: usize) -> Comparison {
    Comparison {
        items,
        champion,
        candidate: champion + gained - lost,
        gained,
        lost,
        gain: 100.0 * (gained as f64 - lost as f64) / items.max(1) as f64,
        interval: (0.0, 0.0),
        p: mcnemar_exact(gained as u64, lost as u64),
    }
}

fn is_promoted(report: &Report, level: f64, settings: &PromotionSettings) -> bool {
    let policy =
        GatePolicy { later_try: true, approve_first: false, ..GatePolicy::at(level, settings) };
    decide(report, &policy).verdict == GateVerdict::Promote
}

/// Promotions in a year of nights that bring `rows` corrections each and nothing to learn, by these settings.
///
/// # Errors
/// As [`report`].
pub fn false_promotions(
    settings: &PromotionSettings,
    rows: usize,
    checkable: bool,
    seed: u64,
) -> Result<usize> {
    let (truth, folds, budget) = (Truth::nothing(rows), judged(rows), ErrorBudget::from(settings));
    let mut tests: Vec<Test> = Vec::new();
    for day in 0..NIGHTS {
        let at_ms = day * DAY_MS;
        let alpha = level(&budget, &tests, at_ms);
        let seed = seed.wrapping_mul(1000).wrapping_add_signed(day);
        let report = report(&truth, &folds, checkable, seed)?;
        let promoted = is_promoted(&report, alpha, settings);
        tests.push(Test { at_ms, alpha, promoted });
    }
    Ok(tests.iter().filter(|test| test.promoted).count())
}

/// Shares of nights that were promoted, 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Told {
    /// At the level of the first night, or after a quiet month.
    pub first: f64,
    /// At the level that a year of tries which failed leaves.
    pub late: f64,
}

/// How often such a candidate is promoted in so many nights, by these settings. Its results can be checked.
///
/// # Errors
/// As [`report`].
pub fn promoted(
    settings: &PromotionSettings,
    truth: &Truth,
    folds: &[usize],
    nights: usize,
    seed: u64,
) -> Result<Told> {
    let budget = ErrorBudget::from(settings);
    let (first, late) = (level(&budget, &[], 0), budget.per_day.min(budget.most));
    let (mut at_first, mut at_last) = (0_usize, 0_usize);
    for at in 0..nights {
        let seed = seed.wrapping_mul(1000).wrapping_add(at as u64);
        let report = report(truth, folds, true, seed)?;
        at_first += usize::from(is_promoted(&report, first, settings));
        at_last += usize::from(is_promoted(&report, late, settings));
    }
    let share = |promoted: usize| promoted as f64 / nights.max(1) as f64;
    Ok(Told { first: share(at_first), late: share(at_last) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PromotionSettings {
        hone_config::Config::shipped().unwrap().promotion
    }

    #[test]
    fn rows_all_judge_and_very_many_in_part() {
        assert_eq!(judged(7), Vec::<usize>::new());
        assert_eq!(judged(11), [6, 5]);
        assert_eq!(judged(50), [25, 25]);
        assert_eq!(judged(500), [250, 250]);
        assert_eq!(judged(2000), [500]);
    }

    #[test]
    fn a_year_of_nothing_promotes_at_most_once() {
        let years = [1, 2].map(|seed| false_promotions(&settings(), 20, false, seed).unwrap());
        assert!(years.iter().sum::<usize>() <= 3, "{years:?}");
    }

    #[test]
    fn a_gain_is_found_and_a_loss_is_not_promoted() {
        let told =
            |truth: Truth| promoted(&settings(), &truth, &judged(truth.rows), 20, 1).unwrap().first;
        assert!(told(Truth::gain(50.0, 50)) >= 0.7, "{}", told(Truth::gain(50.0, 50)));
        assert_eq!(told(Truth::worse(3.0, 50)), 0.0);
        assert_eq!(told(Truth::paid_for(50.0, 3.0, 50)), 0.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_report() {
        let told = |seed| report(&Truth::gain(5.0, 30), &judged(30), true, seed).unwrap();
        assert_eq!(told(1), told(1));
        assert_ne!(told(1), told(2));
    }
}

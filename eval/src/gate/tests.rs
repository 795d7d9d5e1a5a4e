//! Cases, and simulated cycles of which the truth is known.

use super::*;
use crate::report::{RowResult, compare};
use crate::stats::Bootstrap;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One side's answers.
#[derive(Default, Clone)]
struct Side(Vec<RowResult>);

impl Side {
    /// `passed` of `items` rows of a family pass; the first ones.
    fn with(mut self, part: Part, family: &str, items: usize, passed: usize) -> Self {
        for row in 0..items {
            self.0.push(RowResult {
                suite: family.to_owned(),
                part,
                family: family.to_owned(),
                row,
                hash: String::new(),
                text: if row < passed { "right" } else { "wrong" }.to_owned(),
                passed: row < passed,
                stopped: true,
                tokens: 1,
            });
        }
        self
    }

    fn held(items: usize, passed: usize) -> Self {
        Self::default().with(Part::HeldOut, "sums", items, passed)
    }

    fn control(self, family: &str, items: usize, passed: usize) -> Self {
        self.with(Part::Control, family, items, passed)
    }
}

fn decision(before: Side, after: Side, policy: &GatePolicy) -> Decision {
    decide(&compare(&before.0, &after.0, Bootstrap::default()).unwrap(), policy)
}

fn default(before: Side, after: Side) -> Decision {
    decision(before, after, &GatePolicy::default())
}

#[test]
fn a_clear_gain_is_promoted_with_its_figures() {
    let before = Side::held(100, 1).control("control_facts", 250, 240);
    let after = Side::held(100, 84).control("control_facts", 250, 237);
    let decision = default(before, after);
    assert_eq!(decision.verdict, Verdict::Promote);
    let expected = "held-out accuracy rose from 1.0 % to 84.0 % (n=100, 95 % interval +75.0 to \
                    +90.0 points, p=2e-25); controls fell by 1.2 points (n=250, 95 % interval -2.8 \
                    to +0.0, margin 3.0)";
    assert_eq!(decision.reason, expected);
}

#[test]
fn controls_beyond_the_margin_reject() {
    let before = || Side::held(100, 1).control("control_facts", 100, 100);
    let at_margin = default(before(), Side::held(100, 84).control("control_facts", 100, 97));
    assert_eq!(at_margin.verdict, Verdict::Promote, "{}", at_margin.reason);
    let beyond = default(before(), Side::held(100, 84).control("control_facts", 100, 96));
    assert_eq!(beyond.verdict, Verdict::Reject);
    assert!(beyond.reason.starts_with("controls fell by 4.0 points"), "{}", beyond.reason);
}

#[test]
fn one_family_beyond_its_margin_rejects() {
    let before = Side::held(100, 1).control("control_a", 900, 900).control("control_b", 50, 50);
    let after = Side::held(100, 84).control("control_a", 900, 900).control("control_b", 50, 43);
    let decision = default(before, after);
    assert_eq!(decision.verdict, Verdict::Reject);
    assert!(
        decision.reason.starts_with("control family `control_b` fell from 100.0 % to 86.0 %"),
        "{}",
        decision.reason
    );
}

#[test]
fn a_gain_in_one_family_does_not_pay_for_another() {
    let before = Side::held(300, 10).with(Part::HeldOut, "replay", 50, 50);
    let after = Side::held(300, 290).with(Part::HeldOut, "replay", 50, 40);
    let decision = default(before, after);
    assert_eq!(decision.verdict, Verdict::Reject);
    assert!(decision.reason.starts_with("held-out family `replay`"), "{}", decision.reason);
}

#[test]
fn a_family_of_few_rows_does_not_decide() {
    let before = Side::held(100, 1).control("control_a", 200, 200).control("control_b", 5, 5);
    let after = Side::held(100, 84).control("control_a", 200, 200).control("control_b", 5, 4);
    assert_eq!(default(before, after).verdict, Verdict::Promote);
}

#[test]
fn chance_and_loss_and_nothing_reject() {
    let chance = default(Side::held(40, 10), Side::held(40, 13));
    assert_eq!(chance.verdict, Verdict::Reject);
    assert!(chance.reason.starts_with("the gain may be chance"), "{}", chance.reason);
    let loss = default(Side::held(40, 10), Side::held(40, 9));
    assert_eq!(loss.verdict, Verdict::Reject);
    let same = default(Side::held(40, 10), Side::held(40, 10));
    assert_eq!(same.verdict, Verdict::Reject);
    assert!(same.reason.starts_with("it has no effect"), "{}", same.reason);
    let small = GatePolicy { min_gain: 50.0, ..GatePolicy::default() };
    let small = decision(Side::held(100, 10), Side::held(100, 50), &small);
    assert_eq!(small.verdict, Verdict::Reject);
    assert!(small.reason.starts_with("the gain is below 50.0 points"), "{}", small.reason);
}

#[test]
fn too_little_evidence_holds() {
    let few = default(Side::held(9, 0), Side::held(9, 9));
    assert_eq!(few.verdict, Verdict::Hold);
    assert!(few.reason.starts_with("too little to tell: 9 held-out"), "{}", few.reason);
    let none = default(
        Side::default().control("control_a", 50, 50),
        Side::default().control("control_a", 50, 49),
    );
    assert_eq!(none.verdict, Verdict::Hold);
}

#[test]
fn answers_that_do_not_end_reject() {
    let mut after = Side::held(100, 84);
    after.0.iter_mut().take(4).for_each(|row| row.stopped = false);
    let decision = default(Side::held(100, 1), after);
    assert_eq!(decision.verdict, Verdict::Reject);
    assert!(decision.reason.contains("fell from 100.0 % to 96.0 %"), "{}", decision.reason);
}

#[test]
fn approval_holds_what_passes() {
    let policy = GatePolicy { approve_first: true, ..GatePolicy::default() };
    let held = decision(Side::held(100, 1), Side::held(100, 84), &policy);
    assert_eq!(held.verdict, Verdict::Hold);
    assert!(held.reason.starts_with("it passes and waits for approval"), "{}", held.reason);
}

/// Answers of two sides whose true pass rates are known. What is hard for one tends to be hard for
/// the other: half of the rows are answered alike.
fn simulate(rng: &mut ChaCha8Rng, items: usize, before: f64, after: f64) -> (Side, Side) {
    let (mut champion, mut candidate) = (Side::held(items, 0), Side::held(items, 0));
    for row in 0..items {
        let luck: f64 = rng.random();
        let other: f64 = if rng.random::<f64>() < 0.5 { luck } else { rng.random() };
        champion.0[row].passed = luck < before;
        candidate.0[row].passed = other < after;
        candidate.0[row].text = format!("{row}"); // not without effect
    }
    (champion, candidate)
}

/// Share of simulated cycles that end in a promotion.
fn promoted(items: usize, before: f64, after: f64) -> f64 {
    const CYCLES: usize = 400;
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let bootstrap = Bootstrap { resamples: 400, seed: 3 };
    let promotions = (0..CYCLES)
        .filter(|_| {
            let (champion, candidate) = simulate(&mut rng, items, before, after);
            let report = compare(&champion.0, &candidate.0, bootstrap).unwrap();
            decide(&report, &GatePolicy::default()).verdict == Verdict::Promote
        })
        .count();
    promotions as f64 / CYCLES as f64
}

#[test]
fn without_a_true_gain_few_are_promoted() {
    for items in [50, 300] {
        let share = promoted(items, 0.6, 0.6);
        assert!(share <= 0.05, "{share} of {items}");
    }
    assert!(promoted(300, 0.6, 0.55) <= 0.005, "a loss");
}

#[test]
fn a_true_gain_is_seen() {
    let share = promoted(300, 0.3, 0.45);
    assert!(share >= 0.95, "{share}");
    let small = promoted(60, 0.0, 0.5);
    assert!(small >= 0.99, "{small}");
}

//! Whether a candidate may serve.
//!
//! Prevents a promotion by luck, and a gain that is paid for elsewhere. The rules, in their order,
//! and the words for them are in `docs/gate.md`; keep the two together.

use hone_api::cycle;
use serde::{Deserialize, Serialize};

use crate::Part;
use crate::report::{Comparison, Report, p_value, percent};

/// When a candidate may serve. Margins and gains in points: hundredths of all rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatePolicy {
    /// The gain must be this unlikely to be chance.
    pub alpha: f64,
    /// And at least so many points.
    pub min_gain: f64,
    /// Fewer held-out rows than this decide nothing.
    pub min_items: usize,
    /// All controls together may fall by so many points.
    pub control_margin: f64,
    /// No single family may fall by more points, control or held-out. Families with fewer than
    /// `min_items` rows are too small to say.
    pub family_margin: f64,
    /// The share of answers that end by themselves may fall by so many points.
    pub stop_margin: f64,
    /// A person must say yes to what passes.
    pub approve_first: bool,
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            min_gain: 1.0,
            min_items: 10,
            control_margin: 3.0,
            family_margin: 12.0,
            stop_margin: 3.0,
            approve_first: false,
        }
    }
}

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Better, and nothing else worse: it may serve.
    Promote,
    /// Not better, or worse elsewhere.
    Reject,
    /// A person must decide: it passes and approval is asked for, or there is too little to tell.
    Hold,
}

impl From<Verdict> for cycle::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Promote => Self::Promoted,
            Verdict::Reject => Self::Rejected,
            Verdict::Hold => Self::Held,
        }
    }
}

/// The verdict and its reason in words, with the figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What the gate says.
    pub verdict: Verdict,
    /// Why.
    pub reason: String,
}

/// Rounding must not decide: 3.0000000001 is within a margin of 3.
const TOLERANCE: f64 = 1e-9;

/// Decides on a candidate.
#[must_use]
pub fn decide(report: &Report, policy: &GatePolicy) -> Decision {
    let (verdict, reason) = verdict(report, policy);
    Decision { verdict, reason }
}

fn verdict(report: &Report, policy: &GatePolicy) -> (Verdict, String) {
    if report.items > 0 && report.identical == report.items {
        let all = report.items;
        return (
            Verdict::Reject,
            format!("it has no effect: all {all} answers are those of the adapter that serves"),
        );
    }
    let Some(heldout) = &report.heldout else {
        return (
            Verdict::Hold,
            "no held-out question was asked, so nothing shows a gain".to_owned(),
        );
    };
    let figures = in_words(heldout);
    if let Some(worse) = what_got_worse(report, policy) {
        return (Verdict::Reject, format!("{worse}; {figures}"));
    }
    if heldout.gain <= 0.0 {
        return (Verdict::Reject, format!("no gain: {figures}"));
    }
    if heldout.items < policy.min_items {
        let (have, need) = (heldout.items, policy.min_items);
        return (
            Verdict::Hold,
            format!("too little to tell: {have} held-out questions, {need} are needed; {figures}"),
        );
    }
    if heldout.gain + TOLERANCE < policy.min_gain {
        let need = policy.min_gain;
        return (Verdict::Reject, format!("the gain is below {need:.1} points: {figures}"));
    }
    if heldout.p >= policy.alpha || heldout.interval.0 <= 0.0 {
        let alpha = policy.alpha;
        return (
            Verdict::Reject,
            format!("the gain may be chance (p below {alpha} is asked for): {figures}"),
        );
    }
    let passed = format!("{figures}; {}", controls_in_words(report, policy));
    if policy.approve_first {
        return (Verdict::Hold, format!("it passes and waits for approval: {passed}"));
    }
    (Verdict::Promote, passed)
}

/// The first thing that fell beyond its margin, in words.
fn what_got_worse(report: &Report, policy: &GatePolicy) -> Option<String> {
    let stopped = percent(report.champion_stopped, report.items)
        - percent(report.candidate_stopped, report.items);
    if stopped > policy.stop_margin + TOLERANCE {
        return Some(format!(
            "answers that end by themselves fell from {:.1} % to {:.1} % (margin {:.1} points)",
            percent(report.champion_stopped, report.items),
            percent(report.candidate_stopped, report.items),
            policy.stop_margin
        ));
    }
    if report.controls.as_ref().is_some_and(|c| -c.gain > policy.control_margin + TOLERANCE) {
        return Some(controls_in_words(report, policy));
    }
    let beyond =
        |c: &Comparison| c.items >= policy.min_items && -c.gain > policy.family_margin + TOLERANCE;
    let fallen = report.families.iter().filter(|line| beyond(&line.comparison));
    let worst = fallen.min_by(|a, b| a.comparison.gain.total_cmp(&b.comparison.gain))?;
    let (part, c) = (kind(worst.part), &worst.comparison);
    Some(format!(
        "{part} family `{}` fell from {:.1} % to {:.1} % (n={}, margin {:.1} points)",
        worst.family,
        c.champion_percent(),
        c.candidate_percent(),
        c.items,
        policy.family_margin
    ))
}

const fn kind(part: Part) -> &'static str {
    match part {
        Part::HeldOut => "held-out",
        Part::Control => "control",
    }
}

fn in_words(heldout: &Comparison) -> String {
    let (before, after) = (heldout.champion_percent(), heldout.candidate_percent());
    let moved = match heldout.gain {
        gain if gain > 0.0 => format!("rose from {before:.1} % to {after:.1} %"),
        gain if gain < 0.0 => format!("fell from {before:.1} % to {after:.1} %"),
        _ => format!("stayed at {after:.1} %"),
    };
    format!(
        "held-out accuracy {moved} (n={}, 95 % interval {:+.1} to {:+.1} points, p={})",
        heldout.items,
        heldout.interval.0,
        heldout.interval.1,
        p_value(heldout.p)
    )
}

fn controls_in_words(report: &Report, policy: &GatePolicy) -> String {
    let Some(controls) = &report.controls else {
        return "no control suite is configured".to_owned();
    };
    let moved = match -controls.gain {
        fall if fall > 0.0 => format!("fell by {fall:.1} points"),
        fall if fall < 0.0 => format!("rose by {:.1} points", -fall),
        _ => "stayed".to_owned(),
    };
    format!(
        "controls {moved} (n={}, 95 % interval {:+.1} to {:+.1}, margin {:.1})",
        controls.items, controls.interval.0, controls.interval.1, policy.control_margin
    )
}

#[cfg(test)]
mod tests;

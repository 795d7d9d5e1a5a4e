//! The figures behind a verdict, in words.

use super::GatePolicy;
use crate::report::{Comparison, Report, p_value};

/// The groups apart, never a mixture.
pub(super) fn of(report: &Report, policy: &GatePolicy) -> String {
    let share = |name: &str, c: &Comparison| {
        format!("{name} {} to {} of {} right", c.champion, c.candidate, c.items)
    };
    let mut parts = Vec::new();
    if let Some(taught) = &report.taught {
        parts.push(share("taught questions", taught));
    }
    if let Some(heldout) = &report.heldout {
        parts.push(format!(
            "{} by adapters that did not see them (p={})",
            share("held-out:", heldout),
            p_value(heldout.p)
        ));
    }
    if let Some(evidence) = &report.evidence {
        let owner = if evidence.sources <= 1 { ", one source: its owner" } else { "" };
        parts.push(format!(
            "answers belong to their questions (p={}{owner})",
            p_value(evidence.fit)
        ));
    }
    if let Some(judge) = report.evidence.as_ref().and_then(|evidence| evidence.judge.as_ref()) {
        let who =
            if judge.decide() { "a judge" } else { "the likelihood, for a judge saw too little," };
        parts.push(format!(
            "{who} decided on free text: {} times for the candidate, {} times for what serves, {} ties",
            judge.candidate, judge.champion, judge.ties
        ));
    }
    if let Some(kept) = &report.kept {
        parts.push(share("taught before:", kept));
    }
    if report.taught.is_some() || report.controls.is_some() {
        parts.push(controls_in_words(report, policy));
    }
    parts.join("; ")
}

fn controls_in_words(report: &Report, policy: &GatePolicy) -> String {
    let Some(controls) = report.against_base.as_ref().or(report.controls.as_ref()) else {
        return "no control suite is configured".to_owned();
    };
    let against = if report.against_base.is_some() { " against the base" } else { "" };
    let moved = match -controls.gain {
        fall if fall > 0.0 => format!("fell by {fall:.1} points"),
        fall if fall < 0.0 => format!("rose by {:.1} points", -fall),
        _ => "stayed".to_owned(),
    };
    format!(
        "controls {moved}{against} (n={}, 95 % interval {:+.1} to {:+.1}, margin {:.1})",
        controls.items,
        controls.interval.0,
        controls.interval.1,
        policy.controls_may_fall()
    )
}

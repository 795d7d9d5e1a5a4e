//! What a gain may cost: nothing beyond its margin.

use super::{GatePolicy, TOLERANCE};
use crate::Part;
use crate::report::{Comparison, ConductChange, Ends, FamilyLine, Report};
use crate::stats::percent;

/// So many lost answers are within chance, however small the suites are.
const FEW_LOST: usize = 2;
/// Of what was taught before, so many points may be lost, and one answer in any case.
const KEPT_MARGIN: f64 = 3.0;
/// Liked answers may become less likely by so many nats a token.
const LIKED_MARGIN: f64 = 0.1;
/// Fewer answers that end may be chance: of long answers many end just before or just behind the last token that is asked for.
const ENDS_LEVEL: f64 = 0.05;
/// Answers to controls may become so many times as long, or as short.
const LENGTH_FACTOR: f64 = 1.5;
/// Of the controls so many points more or fewer may be refused.
const REFUSAL_MARGIN: f64 = 5.0;

/// The first thing that fell beyond its margin, in words.
pub(super) fn what_got_worse(report: &Report, policy: &GatePolicy) -> Option<String> {
    let stopped = percent(report.champion_stopped, report.items)
        - percent(report.candidate_stopped, report.items);
    if fewer_end(stopped, report.ends, policy) {
        return Some(format!(
            "answers that end by themselves fell from {:.1} % to {:.1} % (margin {:.1} points)",
            percent(report.champion_stopped, report.items),
            percent(report.candidate_stopped, report.items),
            policy.stop_margin
        ));
    }
    for (change, whose) in [
        (report.conduct_change, "the adapter that serves"),
        (report.conduct_change_against_base, "the base"),
    ] {
        if let Some(why) = change.and_then(|change| out_of_character(change, whose, policy)) {
            return Some(why);
        }
    }
    for (controls, against) in
        [(&report.controls, "the adapter that serves"), (&report.against_base, "the base")]
    {
        let Some(controls) = controls else { continue };
        let (fall, margin) = (-controls.gain, policy.controls_may_fall());
        let some = controls.lost > controls.gained + FEW_LOST;
        if some && fall > margin + TOLERANCE {
            return Some(format!(
                "controls fell by {fall:.1} points against {against} (margin {margin:.1})"
            ));
        }
    }
    let lost =
        |kept: &Comparison| -kept.gain > KEPT_MARGIN + TOLERANCE && kept.lost > kept.gained + 1;
    if let Some(kept) = report.kept.as_ref().filter(|kept| lost(kept)) {
        return Some(format!(
            "what was taught before fell from {:.1} % to {:.1} % (n={})",
            kept.champion_percent(),
            kept.candidate_percent(),
            kept.items
        ));
    }
    let far = |line: &&FamilyLine| {
        let c = &line.comparison;
        c.items >= policy.min_items && -c.gain > policy.family_margin + TOLERANCE
    };
    let of_kept = report.families.iter().filter(|line| line.part == Part::Kept);
    if let Some(line) = of_kept.filter(far).min_by(|a, b| by_gain(a).total_cmp(&by_gain(b))) {
        let c = &line.comparison;
        return Some(format!(
            "what was taught before of `{}` fell from {:.1} % to {:.1} % (n={}, margin {:.1} points)",
            line.family,
            c.champion_percent(),
            c.candidate_percent(),
            c.items,
            policy.family_margin
        ));
    }
    let liked = report.evidence.as_ref().and_then(|evidence| evidence.liked);
    if let Some(liked) = liked.filter(|liked| *liked < -LIKED_MARGIN) {
        return Some(format!(
            "liked answers became less likely, by {:.2} nats a token (margin {LIKED_MARGIN})",
            -liked
        ));
    }
    let lines = report.families.iter().map(|line| (line, ""));
    let of_base = report.families_against_base.iter().map(|line| (line, " against the base"));
    let controls = lines.chain(of_base).filter(|(line, _)| line.part == Part::Control);
    let fallen = controls.filter(|(line, _)| far(line));
    let (worst, against) = fallen.min_by(|(a, _), (b, _)| by_gain(a).total_cmp(&by_gain(b)))?;
    let c = &worst.comparison;
    Some(format!(
        "control family `{}` fell from {:.1} % to {:.1} %{against} (n={}, margin {:.1} points)",
        worst.family,
        c.champion_percent(),
        c.candidate_percent(),
        c.items,
        policy.family_margin
    ))
}

fn by_gain(line: &FamilyLine) -> f64 {
    line.comparison.gain
}

/// Whether a fall by so many points is beyond its margin and beyond chance.
fn fewer_end(points: f64, ends: Ends, policy: &GatePolicy) -> bool {
    points > policy.stop_margin + TOLERANCE && ends.chance_of_loss() < ENDS_LEVEL
}

/// What about the answers to the controls became other than before, beyond its margin.
fn out_of_character(change: ConductChange, whose: &str, policy: &GatePolicy) -> Option<String> {
    let ConductChange { before, after, ends } = change;
    let fall = before.stopped_percent() - after.stopped_percent();
    if fewer_end(fall, ends, policy) {
        return Some(format!(
            "answers to controls that end by themselves fell below those of {whose}, from {:.1} % to {:.1} % \
             (margin {:.1} points)",
            before.stopped_percent(),
            after.stopped_percent(),
            policy.stop_margin
        ));
    }
    let (short, long) = (before.mean_tokens(), after.mean_tokens());
    let changed = match (long / short.max(1.0), short / long.max(1.0)) {
        (longer, _) if longer > LENGTH_FACTOR + TOLERANCE => Some("longer"),
        (_, shorter) if shorter > LENGTH_FACTOR + TOLERANCE => Some("shorter"),
        _ => None,
    };
    if let Some(changed) = changed {
        return Some(format!(
            "answers to controls became {changed} than those of {whose}: {short:.0} to {long:.0} tokens on \
             average"
        ));
    }
    let more = after.refusal_percent() - before.refusal_percent();
    let some = after.refusals.abs_diff(before.refusals) > FEW_LOST;
    (some && more.abs() > REFUSAL_MARGIN + TOLERANCE).then(|| {
        format!(
            "it refuses {} than {whose}: {:.1} % to {:.1} % of the controls",
            if more > 0.0 { "more" } else { "less" },
            before.refusal_percent(),
            after.refusal_percent()
        )
    })
}

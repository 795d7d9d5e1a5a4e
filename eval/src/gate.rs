//! Whether a candidate may serve.
//!
//! Prevents a promotion by luck, and a gain that is paid for elsewhere. The rules, in their order,
//! and the words for them are in `docs/gate.md`; keep the two together.

mod figures;
mod worse;

use hone_api::cycle;
use hone_config::PromotionSettings;
use hone_dataset::FEWEST_JUDGED;
use serde::{Deserialize, Serialize};

use crate::Part;
use crate::evidence::Evidence;
use crate::power::rows_missing;
use crate::report::{Comparison, Report, p_value};
use crate::shares::binomial_greater;

/// When a candidate may serve. Margins in points: hundredths of all rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GatePolicy {
    /// The evidence must be this unlikely to be chance: what the ledger of all nights leaves.
    pub level: f64,
    /// All controls together may fall by so many points, against the champion and against the base.
    pub control_margin: f64,
    /// No single family may fall by more points. Families with fewer than `min_items` rows are too
    /// small to say.
    pub family_margin: f64,
    /// See `family_margin`.
    pub min_items: usize,
    /// The share of answers that end by themselves may fall by so many points.
    pub stop_margin: f64,
    /// Tries before fell beyond the margin of the controls, and this one was trained to keep more: see
    /// `LATER_MARGINS`.
    pub later_try: bool,
    /// A person must say yes to what passes.
    pub approve_first: bool,
}

impl GatePolicy {
    /// By the settings, in a first try at this level.
    #[must_use]
    pub fn at(level: f64, settings: &PromotionSettings) -> Self {
        Self {
            level,
            control_margin: settings.control_margin,
            family_margin: settings.family_margin,
            min_items: settings.min_items,
            stop_margin: STOP_MARGIN,
            later_try: false,
            approve_first: !settings.automatic,
        }
    }

    /// By how many points all controls together may fall in this try.
    fn controls_may_fall(&self) -> f64 {
        self.control_margin * if self.later_try { LATER_MARGINS } else { 1.0 }
    }
}

/// By how many points the share of answers that end by themselves may fall.
const STOP_MARGIN: f64 = 3.0;
/// Of the corrected answers that were wrong before, so many must be right after.
const LEARNED: f64 = 0.7;
/// Fewer wrong answers are no failure worth a new adapter.
const FEWEST_WRONG: usize = 3;
/// With so many corrections chance has little to say: what does not show then is not there.
const PLENTY: usize = 20;
/// In a later try all controls together may fall by so many margins. To keep still more costs more of
/// what was taught than it keeps.
const LATER_MARGINS: f64 = 2.0;
/// A change for the worse, and the fit of one group or without the heaviest source, is sure below this.
const SURE: f64 = 0.05;
/// Where many rows can tell, a gain in results must be this unlikely to be chance. That the answers
/// belong to their questions is asked for at the night's level.
const SHOWN: f64 = 0.1;

/// What the gate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GateVerdict {
    /// Better, and nothing else worse: it may serve.
    Promote,
    /// Not better, or worse elsewhere.
    Reject,
    /// A person must decide: it passes and approval is asked for, or there is too little to tell.
    Hold,
}

impl From<GateVerdict> for cycle::Verdict {
    fn from(verdict: GateVerdict) -> Self {
        match verdict {
            GateVerdict::Promote => Self::Promoted,
            GateVerdict::Reject => Self::Rejected,
            GateVerdict::Hold => Self::Held,
        }
    }
}

/// What a second try in the same cycle should do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// It forgot: keep it closer to the base.
    KeepMore,
    /// It did not learn: train longer.
    TrainLonger,
}

/// The verdict and its reason in words, with the figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateDecision {
    /// What the gate says.
    pub verdict: GateVerdict,
    /// Why.
    pub reason: String,
    /// What could help, where it is not the end.
    #[serde(default)]
    pub remedy: Option<Remedy>,
}

/// Rounding must not decide: 3.0000000001 is within a margin of 3.
const TOLERANCE: f64 = 1e-9;

/// Decides on a candidate.
#[must_use]
pub fn decide(report: &Report, policy: &GatePolicy) -> GateDecision {
    let (verdict, why, remedy) = rule(report, policy);
    let reason = match figures::of(report, policy) {
        figures if figures.is_empty() => why,
        figures => format!("{why}; {figures}"),
    };
    GateDecision { verdict, reason, remedy }
}

type Ruling = (GateVerdict, String, Option<Remedy>);

fn rule(report: &Report, policy: &GatePolicy) -> Ruling {
    let reject = |why: String| (GateVerdict::Reject, why, None);
    let hold = |why: String| (GateVerdict::Hold, why, None);
    if report.items > 0 && report.identical == report.items {
        let all = report.items;
        return reject(format!(
            "it has no effect: all {all} answers are those of the adapter that serves"
        ));
    }
    let (Some(taught), Some(evidence)) = (&report.taught, &report.evidence) else {
        let why = "no correction that is new to the adapter that serves can be compared; those longer than \
                   `evaluation.max_tokens` or `training.max_length` cannot";
        return hold(why.to_owned());
    };
    let wrong = taught.items - taught.champion;
    if wrong < FEWEST_WRONG {
        return reject(format!(
            "nothing to learn: {} of {} corrected questions are answered right already",
            taught.champion, taught.items
        ));
    }
    // What cannot be learned at all comes before what a second try could mend.
    if let Some(ruling) = is_it_chance(evidence, report, policy) {
        return ruling;
    }
    if let Some(ruling) = is_it_not_learned(taught) {
        return ruling;
    }
    if let Some(worse) = worse::what_got_worse(report, policy) {
        return (GateVerdict::Reject, worse, Some(Remedy::KeepMore));
    }
    let scored = match evidence.checkable {
        true => "",
        false => " (free text: right, or likelier than what it replaces)",
    };
    let passed =
        format!("learned {} of {wrong} corrected answers that were wrong{scored}", taught.gained);
    if policy.approve_first {
        return hold(format!("it passes and waits for approval: {passed}"));
    }
    (GateVerdict::Promote, passed, None)
}

/// Whether too few of the corrected answers are right now. Where no fold judges, nothing else speaks for the corrections:
/// each must be right.
fn is_it_not_learned(taught: &Comparison) -> Option<Ruling> {
    let wrong = taught.items - taught.champion;
    let unjudged = taught.items < FEWEST_JUDGED;
    let least = if unjudged { wrong as f64 } else { LEARNED * wrong as f64 };
    if taught.gained as f64 >= least {
        return None;
    }
    let right =
        format!("of {wrong} corrected answers that were wrong {} are right now", taught.gained);
    let (verdict, why) = match unjudged && taught.gained as f64 >= LEARNED * wrong as f64 {
        true => (
            GateVerdict::Hold,
            format!(
                "too little to tell: {right}, and of so few that nothing else is judged each must be; with \
                 {} more it need not",
                FEWEST_JUDGED - taught.items
            ),
        ),
        false => (GateVerdict::Reject, format!("not learned: {right}")),
    };
    Some((verdict, why, Some(Remedy::TrainLonger)))
}

/// Whether the corrections show no more than chance, or no more than their form.
fn is_it_chance(evidence: &Evidence, report: &Report, policy: &GatePolicy) -> Option<Ruling> {
    let unsure = |why: &str, few: &str| {
        Some(match evidence.new < PLENTY {
            true => (GateVerdict::Hold, format!("too little to tell: {few}"), None),
            false => (GateVerdict::Reject, why.to_owned(), None),
        })
    };
    // With plenty it can be told in any case.
    let missing = PLENTY.saturating_sub(evidence.new).max(1);
    let p = p_value(evidence.fit);
    if evidence.fit >= policy.level {
        let (why, few) = match evidence.alike {
            true => (
                "the corrections contradict each other: what others of them say in the same sentence \
                 fits these questions as well",
                "corrections say different things in the same sentence, and do not show which belongs \
                 to which question",
            ),
            false => (
                "the form was learned, not the content: other answers fit these questions as well",
                "corrections do not show that their answers belong to their questions",
            ),
        };
        let asked_for = format!("(p={p}, below {:.4} is asked for)", policy.level);
        let to_fit =
            rows_missing(evidence.fit, policy.level, evidence.new).unwrap_or(missing).max(1);
        let ask = match evidence.alike {
            true => "look at the corrections: to one question one answer may be right",
            false => "look at the corrections, they seem to be at random",
        };
        return unsure(
            &format!("{why} {asked_for}; {ask}"),
            &format!(
                "{} {few} {asked_for}; about {} more would",
                evidence.new,
                to_fit.min(missing)
            ),
        );
    }
    // What fits beside them does not speak for a group of which nothing fits.
    if let Some(group) = evidence.groups.iter().find(|group| group.fit >= SURE) {
        let name = match &group.name {
            Some(name) => format!("in the group `{name}`"),
            None => "in those without a group".to_owned(),
        };
        let (rows, p) = (group.rows, p_value(group.fit));
        let why = format!(
            "the form was learned, not the content, {name} (n={rows}): other answers fit these questions as \
             well (p={p}); look at those corrections, they seem to be at random"
        );
        return Some((GateVerdict::Reject, why, None));
    }
    // A judge that sees differences has the last word on free text, else the corrections' likelihood.
    if let Some(judge) = evidence.deciding_judge() {
        if judge.p() >= policy.level {
            let p = p_value(judge.p());
            return unsure(
                &format!("the judge does not prefer the candidate's answers (p={p})"),
                &format!(
                    "the judge's preference may be chance (p={p}); about {missing} more would tell"
                ),
            );
        }
    } else if let Some(gain) =
        evidence.gain.filter(|gain| must_gain(evidence, report) && *gain >= SHOWN)
    {
        let p = p_value(gain);
        let why = format!("no gain: corrections that it did not see became no likelier (p={p})");
        return Some((GateVerdict::Reject, why, None));
    }
    if evidence.fit_without_heaviest.is_some_and(|p| p >= SURE) {
        return Some((
            GateVerdict::Hold,
            "all rests on one source: without its corrections nothing shows; others must say so too"
                .to_owned(),
            None,
        ));
    }
    let of_others = evidence.gain_without_heaviest.filter(|_| evidence.deciding_judge().is_none());
    if of_others.is_some_and(|gain| must_gain(evidence, report) && gain >= SHOWN) {
        return Some((
            GateVerdict::Hold,
            "all rests on one source: without its corrections nothing became likelier; others must say \
             so too"
                .to_owned(),
            None,
        ));
    }
    let heldout = report.heldout.as_ref()?;
    if heldout.gain < 0.0 && heldout.p < SURE {
        return Some((
            GateVerdict::Reject,
            "questions that it did not see got worse".to_owned(),
            None,
        ));
    }
    let of_heldout = report.families.iter().filter(|line| line.part == Part::HeldOut);
    let mut of_heldout = of_heldout.filter(|line| line.comparison.gain < 0.0);
    if let Some(line) = of_heldout.find(|line| line.comparison.p < SURE) {
        let c = &line.comparison;
        let why = format!(
            "questions of `{}` that it did not see got worse, from {:.1} % to {:.1} % (n={})",
            line.family,
            c.champion_percent(),
            c.candidate_percent(),
            c.items
        );
        return Some((GateVerdict::Reject, why, None));
    }
    if !evidence.checkable {
        return None;
    }
    let shows = heldout.gain > 0.0 && (heldout.items < PLENTY || p_of_more(heldout) < SHOWN);
    if !shows {
        return unsure(
            "the form was learned, not the content: the results of questions that it did not see are \
             no better",
            &format!(
                "the results of questions that it did not see are no better yet; about {missing} \
                 more corrections would tell"
            ),
        );
    }
    if evidence.repeated && heldout.candidate_percent() <= evidence.commonest {
        return unsure(
            &format!(
                "the commonest answer alone would be right for {:.0} % of these questions",
                evidence.commonest
            ),
            &format!(
                "the commonest answer alone would be right as often ({:.0} %); about {missing} more \
                 corrections would tell",
                evidence.commonest
            ),
        );
    }
    None
}

/// Whether unseen corrections must become likelier. Of facts that nothing tells, an adapter that did not
/// see them learns their form at most: there is nothing to gain where they are few, or what serves was
/// taught that form.
fn must_gain(evidence: &Evidence, report: &Report) -> bool {
    let may_know_the_form = !evidence.checkable && report.kept.is_some();
    evidence.new >= PLENTY && !may_know_the_form
}

/// The probability that chance alone gains as many answers, of those that changed (one-sided exact
/// McNemar test).
fn p_of_more(c: &Comparison) -> f64 {
    binomial_greater(c.gained as u64, (c.gained + c.lost) as u64, 0.5)
}

#[cfg(test)]
mod tests;

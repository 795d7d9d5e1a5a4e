//! Decide: the gate's verdict on the comparison, and what becomes of the candidate.

use anyhow::Context;
use hone_api::cycle::{Step, Verdict};
use hone_config::Promotion;
use hone_eval::{GatePolicy, Report, decide};
use serde_json::json;

use super::{End, Work};

pub(super) async fn run(work: Work<'_>) -> anyhow::Result<End> {
    let id = work.cycle.candidate.context("the cycle has no candidate")?;
    // Without a whole report the comparison is made again, from the answers that are kept.
    let compared = work.cycle.outcomes.get(&Step::Evaluate).cloned().unwrap_or_default();
    let Ok(report) = serde_json::from_value::<Report>(compared) else {
        return Ok(End::CompareAgain);
    };
    let config = work.parts.settings.now();
    let decision = decide(&report, &policy(&config.promotion));
    let reason = decision.reason;
    let outcome = json!({ "verdict": decision.verdict, "reason": reason });
    match decision.verdict {
        hone_eval::Verdict::Promote => Ok(End::Next { outcome, message: reason }),
        hone_eval::Verdict::Hold => Ok(End::Over { verdict: Verdict::Held, reason, outcome }),
        hone_eval::Verdict::Reject => {
            work.reject(id, &reason).await?;
            work.parts.promoter.unload(id).await?;
            Ok(End::Over { verdict: Verdict::Rejected, reason, outcome })
        }
    }
}

fn policy(promotion: &Promotion) -> GatePolicy {
    GatePolicy {
        alpha: promotion.alpha,
        min_gain: promotion.min_gain,
        min_items: promotion.min_items,
        control_margin: promotion.control_margin,
        family_margin: promotion.family_margin,
        approve_first: !promotion.automatic,
        ..GatePolicy::default()
    }
}

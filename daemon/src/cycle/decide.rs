//! Decide: the gate's verdict on the comparison, and what becomes of the candidate.

use anyhow::Context;
use hone_api::UnixMillis;
use hone_api::cycle::{Step, Verdict};
use hone_config::PromotionSettings;
use hone_eval::ledger;
use hone_eval::{GatePolicy, Report, decide};
use hone_store::GateTest;
use serde_json::json;

use super::attempt::{Attempts, Tried};
use super::{End, Work};

pub(super) async fn run(work: Work<'_>) -> anyhow::Result<End> {
    let id = work.cycle.candidate.context("the cycle has no candidate")?;
    // Without a whole report the comparison is made again, from the answers that are kept.
    let compared = work.cycle.outcomes.get(&Step::Evaluate).cloned().unwrap_or_default();
    let Ok(report) = serde_json::from_value::<Report>(compared) else {
        return Ok(End::CompareAgain);
    };
    let config = work.services.settings.now();
    let level = level(&work, &config.promotion).await?;
    let mut attempts = Attempts::of(work.cycle);
    let later_try = attempts.attempt.is_last_resort();
    let policy = GatePolicy { later_try, ..GatePolicy::at(level, &config.promotion) };
    let decision = decide(&report, &policy);
    let next = decision.remedy.and_then(|remedy| attempts.next(remedy));
    if let Some(next) = next {
        work.reject(id, &decision.reason).await?;
        work.services.promoter.unload(id).await?;
        let message = format!("{}; trying again: {}", decision.reason, next.name());
        let attempt = std::mem::replace(&mut attempts.attempt, next);
        attempts.tried.push(Tried { attempt, candidate: id, reason: decision.reason });
        return Ok(End::TryAgain { outcome: serde_json::to_value(attempts)?, message });
    }
    let reason = with_tries(decision.reason, &attempts);
    let promoted = decision.verdict == hone_eval::GateVerdict::Promote;
    if let Some(evidence) = &report.evidence {
        let test = GateTest {
            cycle_id: work.cycle.id,
            at: UnixMillis::now(),
            alpha: level,
            p: evidence.p(),
            promoted,
        };
        work.services.store.record_gate_test(test).await?;
    }
    let mut outcome = serde_json::to_value(&attempts)?;
    outcome["verdict"] = json!(decision.verdict);
    outcome["reason"] = json!(reason);
    outcome["level"] = json!(level);
    match decision.verdict {
        hone_eval::GateVerdict::Promote => Ok(End::Next { outcome, message: reason }),
        hone_eval::GateVerdict::Hold => Ok(End::Over { verdict: Verdict::Held, reason, outcome }),
        hone_eval::GateVerdict::Reject => {
            work.reject(id, &reason).await?;
            work.services.promoter.unload(id).await?;
            Ok(End::Over { verdict: Verdict::Rejected, reason, outcome })
        }
    }
}

fn with_tries(reason: String, attempts: &Attempts) -> String {
    if attempts.tried.is_empty() {
        return reason;
    }
    let before: Vec<String> = attempts.tried.iter().map(|one| one.attempt.name()).collect();
    format!("{reason}; tried {}, then {}", before.join("; "), attempts.attempt.name())
}

/// What this night may risk. A test of this very cycle, from before a kill, does not count.
async fn level(work: &Work<'_>, promotion: &PromotionSettings) -> anyhow::Result<f64> {
    let tests = work.services.store.gate_tests().await?;
    let tests: Vec<ledger::Test> = tests
        .into_iter()
        .filter(|test| test.cycle_id != work.cycle.id)
        .map(|test| ledger::Test { at_ms: test.at.0, alpha: test.alpha, promoted: test.promoted })
        .collect();
    Ok(ledger::level(&promotion.into(), &tests, UnixMillis::now().0))
}

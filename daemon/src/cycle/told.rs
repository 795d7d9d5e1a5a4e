//! What the audit trail says of cycles and their candidates.

use hone_api::AdapterId;
use hone_api::cycle::{CycleView, Step, Trigger};
use serde_json::json;

use crate::journal::Decision;

/// What the audit trail says of a cycle.
pub(super) fn cycle(cycle: &CycleView, action: &'static str, reason: &str) -> Decision {
    let actor = match cycle.trigger {
        Trigger::Schedule => "schedule",
        Trigger::Failures => "failures",
        // The row of who asked for it names the person.
        Trigger::Manual => "daemon",
    };
    Decision {
        actor: actor.to_owned(),
        action,
        subject: cycle.id.to_string(),
        reason: reason.to_owned(),
        data: json!({
            "step": cycle.step, "snapshot": cycle.snapshot,
            "candidate": cycle.candidate, "champion": cycle.champion,
            "decision": cycle.outcomes.get(&Step::Decide),
        }),
    }
}

/// The audit row of a candidate that is refused.
pub(super) fn refusal(cycle: &CycleView, id: AdapterId, reason: &str) -> Decision {
    Decision {
        actor: cycle.id.to_string(),
        action: "adapter.rejected",
        subject: id.to_string(),
        reason: reason.to_owned(),
        data: json!({}),
    }
}

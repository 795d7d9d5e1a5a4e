//! What the audit trail says of cycles and their candidates.

use hone_api::AdapterId;
use hone_api::cycle::{CycleView, Step, Trigger};
use serde_json::{Value, json};

use crate::journal::Decision;
use crate::labels;

/// What the audit trail says of a cycle.
pub(super) fn cycle(cycle: &CycleView, action: &'static str, reason: &str) -> Decision {
    let actor = match cycle.trigger {
        Trigger::Schedule => "schedule",
        Trigger::Failures => "failures",
        // The row of who asked for it names the person.
        Trigger::Manual => "daemon",
    };
    let data = json!({
        "step": cycle.step, "snapshot": cycle.snapshot,
        "candidate": cycle.candidate, "champion": cycle.champion,
        "decision": cycle.outcomes.get(&Step::Decide),
    });
    Decision {
        actor: actor.to_owned(),
        action,
        subject: cycle.id.to_string(),
        reason: plain(cycle, reason),
        data: labels::without_labels(cycle, data),
    }
}

/// Who asked for a cycle by hand: its own rows tell what became of it.
pub(super) fn asked_for(cycle: &CycleView, actor: String) -> Decision {
    Decision {
        actor,
        action: "cycle.asked_for",
        subject: cycle.id.to_string(),
        reason: "by hand".to_owned(),
        data: json!({}),
    }
}

/// A reason without the names that come from people: the trail is for ever.
fn plain(cycle: &CycleView, reason: &str) -> String {
    match labels::without_labels(cycle, json!(reason)) {
        Value::String(plain) => plain,
        _ => String::new(),
    }
}

/// The audit row of a candidate that is refused.
pub(super) fn refusal(cycle: &CycleView, id: AdapterId, reason: &str) -> Decision {
    Decision {
        actor: cycle.id.to_string(),
        action: "adapter.rejected",
        subject: id.to_string(),
        reason: plain(cycle, reason),
        data: json!({}),
    }
}

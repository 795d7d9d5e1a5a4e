//! Promote: what passed the gate goes live, if it was compared with what serves now.

use anyhow::Context;
use hone_api::AdapterRef;
use hone_api::adapter::AdapterState;
use hone_api::cycle::{Step, Verdict};
use serde_json::json;

use super::{End, Work};
use crate::labels;
use crate::promote::{Change, Error, PromotionRequest};
use crate::stained;

pub(super) async fn run(work: Work<'_>) -> anyhow::Result<End> {
    let Work { services, cycle, .. } = work;
    let id = cycle.candidate.context("the cycle has no candidate")?;
    let reason = cycle.outcomes.get(&Step::Decide).and_then(|outcome| outcome["reason"].as_str());
    let reason = reason.unwrap_or("it passed the gate").to_owned();
    let promoted = |epoch: u64, reason: String| End::Over {
        verdict: Verdict::Promoted,
        reason,
        outcome: json!({ "adapter": id, "epoch": epoch }),
    };
    // The daemon may have ended between the pointer's move and the row: then it is done. If an
    // operator has gone back since, that stays.
    let state = services.registry.get(&AdapterRef::Id(id))?.state;
    if matches!(state, AdapterState::Live | AdapterState::Retired) {
        return Ok(promoted(services.registry.live().epoch, reason));
    }
    let champion = stained::champion(services).await?;
    if champion.compared != cycle.champion {
        return Ok(End::CompareAgain);
    }
    let told = labels::without_labels(cycle, json!(reason));
    let request = PromotionRequest {
        change: Change::Promote(Some(id)),
        expected_live: Some(champion.serves),
        actor: cycle.id.to_string(),
        reason: told.as_str().unwrap_or_default().to_owned(),
    };
    match services.promoter.execute(request).await {
        Ok(pointer) => Ok(promoted(pointer.epoch, reason)),
        Err(Error::Registry(hone_adapters::Error::Conflict { .. })) => Ok(End::CompareAgain),
        Err(error) => Err(error.into()),
    }
}

//! Adapters that were trained on what was erased since: what they are compared with, and their end.

use std::collections::BTreeSet;
use std::sync::Arc;

use hone_api::adapter::Provenance;
use hone_api::{AdapterId, AdapterRef};
use serde_json::json;

use crate::journal::Decision;
use crate::promote::{Change, PromotionRequest};
use crate::services::Services;

/// Who a cycle's candidate has to beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Champion {
    /// What serves; `None` is the base.
    pub serves: Option<AdapterId>,
    /// What the candidate is compared with: what serves, unless that was trained on what was erased. Then what
    /// served before it, or the base.
    pub compared: Option<AdapterId>,
}

impl Champion {
    /// Whether what serves has to go, whatever the verdict.
    pub fn must_go(self) -> bool {
        self.serves != self.compared
    }
}

/// Who serves, and who is compared with.
///
/// # Errors
/// The store's.
pub async fn champion(services: &Services) -> anyhow::Result<Champion> {
    let pointer = services.registry.live();
    let stained = all(services).await?;
    let is_clean = |id: &AdapterId| !stained.contains(id);
    let serves = pointer.live;
    if serves.as_ref().is_none_or(is_clean) {
        return Ok(Champion { serves, compared: serves });
    }
    let is_there = |id: &AdapterId| services.registry.get(&AdapterRef::Id(*id)).is_ok();
    Ok(Champion { serves, compared: pointer.previous.filter(is_clean).filter(is_there) })
}

/// Lets what never saw it serve again, if what serves was trained on what was erased. Returns a sentence for the
/// cycle's reason.
///
/// # Errors
/// The promoter's.
pub async fn take_back(services: &Services, actor: String) -> anyhow::Result<Option<String>> {
    let champion = champion(services).await?;
    let Some(stained) = champion.serves.filter(|_| champion.must_go()) else { return Ok(None) };
    let to = champion.compared.map_or_else(|| "the base".to_owned(), |id| id.to_string());
    let reason = format!("{stained} was trained on what was erased; {to} serves again");
    let request = PromotionRequest {
        change: Change::RollBack(Some(champion.compared)),
        expected_live: Some(champion.serves),
        actor,
        reason: reason.clone(),
    };
    services.promoter.execute(request).await?;
    Ok(Some(reason))
}

/// Deletes the adapters that were trained on what was erased, but for the one that serves.
///
/// # Errors
/// The store's or the disk's.
pub async fn sweep(services: &Services) -> anyhow::Result<()> {
    for id in all(services).await? {
        let is_there = services.registry.get(&AdapterRef::Id(id)).is_ok();
        if !is_there || services.registry.live().live == Some(id) {
            continue;
        }
        let registry = Arc::clone(&services.registry);
        tokio::task::spawn_blocking(move || registry.withdraw(id)).await??;
        services.promoter.unload(id).await?;
        let decision = Decision {
            actor: "daemon".to_owned(),
            action: "adapter.deleted",
            subject: id.to_string(),
            reason: "it was trained on what was erased".to_owned(),
            data: json!({}),
        };
        services.journal.audit(decision).await?;
    }
    Ok(())
}

/// All adapters that any receipt names.
async fn all(services: &Services) -> anyhow::Result<BTreeSet<AdapterId>> {
    let erasures = services.store.erasures().await?;
    let receipts = erasures.into_iter().filter_map(|erasure| erasure.receipt);
    let named = receipts.flat_map(|receipt| receipt.adapters).map(|one| one.id);
    let of_a_cycle = |id: &AdapterId| {
        let view = services.registry.get(&AdapterRef::Id(*id));
        view.is_ok_and(|view| matches!(view.provenance, Provenance::Cycle { .. }))
    };
    Ok(named.filter(of_a_cycle).collect())
}

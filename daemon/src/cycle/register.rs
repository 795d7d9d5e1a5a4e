//! Register: the run's result becomes a verified candidate in the registry, and the engine proves
//! that it changes what the model says.

use anyhow::Context;
use hone_adapters::Import;
use hone_api::UnixMillis;
use hone_api::adapter::Provenance;
use hone_api::cycle::Verdict;
use serde_json::json;

use super::attempt::Attempts;
use super::{End, Work, train};
use crate::journal::Decision;
use crate::promote;

pub(super) async fn run(work: Work<'_>) -> anyhow::Result<End> {
    let (services, dir) = (work.services, work.run_dir());
    let cycle_id = work.cycle.id;
    let snapshot = work.cycle.snapshot.clone().context("the cycle has no snapshot")?;
    let attempt = Attempts::of(work.cycle).attempt;
    let trained = train::trained_by(&dir, attempt.trained).await?;
    let source = train::adapter_of(&dir, attempt.number);
    if attempt.trained != attempt.number {
        let (from, to, scale) = (trained, source.clone(), attempt.scale);
        tokio::task::spawn_blocking(move || hone_trainer::export::scaled(&from, &to, scale))
            .await??;
    }
    // The candidate's number follows from the cycle's: repeated, the import finds it there.
    let id = attempt.candidate(cycle_id);
    let import = Import {
        id,
        source,
        name: None,
        provenance: Provenance::Cycle { cycle_id, snapshot },
        now: UnixMillis::now(),
    };
    let registry = services.registry.clone();
    let view = tokio::task::spawn_blocking(move || registry.import(import)).await??;
    work.cycle.candidate = Some(id);
    let registered = Decision {
        actor: cycle_id.to_string(),
        action: "adapter.registered",
        subject: id.to_string(),
        reason: "made by a cycle".to_owned(),
        data: json!({ "digest": view.digest, "rank": view.rank }),
    };
    services.journal.audit_once(registered).await?;
    match services.promoter.load(id).await {
        Ok(loaded) => {
            let effect = loaded.map(|loaded| loaded.effect);
            let outcome = json!({
                "adapter": id, "digest": view.digest, "rank": view.rank, "effect": effect,
                "target_modules": view.target_modules,
            });
            Ok(End::Next { outcome, message: format!("{id} is verified and loaded") })
        }
        Err(promote::Error::Engine(
            error @ (hone_engine::Error::NoEffect(_) | hone_engine::Error::Broken(_)),
        )) => {
            let reason = error.to_string();
            work.reject(id, &reason).await?;
            let outcome = json!({ "adapter": id, "digest": view.digest });
            Ok(End::Over { verdict: Verdict::Rejected, reason, outcome })
        }
        Err(error) => Err(error.into()),
    }
}

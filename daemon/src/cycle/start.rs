//! Where training begins: at the base, or where the serving adapter stands.
//!
//! A second evening's corrections stand beside the first one's. Trained from the base, both are shown half
//! as often and the older ones are learned worse than they were; the adapter that serves knows them.

use std::path::PathBuf;

use hone_api::cycle::Step;
use hone_api::{AdapterId, AdapterRef};
use hone_trainer::Hyper;

use super::Work;
use super::attempt::Attempt;

/// The key in the outcome of `select` under which the adapter stands.
pub(super) const GOES_ON_FROM: &str = "goes_on_from";

/// The adapter that a try goes on from. None if `select` found none, if it is of another shape or base,
/// or if tries before forgot too much: those begin anew.
pub(super) fn adapter(work: &Work<'_>, attempt: &Attempt, hyper: &Hyper) -> Option<PathBuf> {
    let selected = work.cycle.outcomes.get(&Step::Select)?;
    let id: AdapterId = serde_json::from_value(selected[GOES_ON_FROM].clone()).ok()?;
    let view = work.parts.registry.get(&AdapterRef::Id(id)).ok()?;
    let same_shape = view.rank as usize == hyper.rank
        && (view.alpha - hyper.alpha).abs() < 1e-9
        && view.target_modules.len() == hyper.target_modules.len();
    let same_base = view.base_digest.as_deref() == Some(work.parts.engine.model().digest());
    let begins_anew = attempt.rehearsal > 1.0;
    (same_shape && same_base && !begins_anew).then(|| work.parts.registry.dir(id))
}

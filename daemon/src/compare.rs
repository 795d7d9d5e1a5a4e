//! Adapters answer suites: for cycles and for evaluations on demand.
//!
//! Answers are kept by adapter, in `runs/answers/`: an interrupted evaluation goes on where it
//! stopped, and what the live adapter answered need not be asked again for the next candidate.

use hone_api::{AdapterId, AdapterRef};
use hone_engine::Target;
use hone_eval::{Answers, EvalOptions, RowResult, Suite, answer_suites};

use crate::promote::Error as PromoteError;
use crate::services::Services;

/// An adapter, or the base, that answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Side {
    /// The adapter; `None` is the base.
    pub adapter: Option<AdapterId>,
    /// SHA-256 of its weights.
    digest: Option<String>,
}

impl Side {
    /// Has the engine hold the adapter, whatever the gate said about it.
    ///
    /// # Errors
    /// It is unknown, or does not load.
    pub async fn load(
        services: &Services,
        adapter: Option<AdapterId>,
    ) -> Result<Self, PromoteError> {
        let Some(id) = adapter else { return Ok(Self { adapter, digest: None }) };
        let view = services.registry.get(&AdapterRef::Id(id))?;
        services.promoter.load(id).await?;
        Ok(Self { adapter, digest: Some(view.digest) })
    }

    /// An adapter that the engine holds and the registry does not know.
    pub const fn unregistered(id: AdapterId, digest: String) -> Self {
        Self { adapter: Some(id), digest: Some(digest) }
    }

    /// SHA-256 of the adapter's weights; `None` is the base.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The base's or the adapter's name, for people and files.
    pub fn name(&self) -> String {
        self.adapter.map_or_else(|| "base".to_owned(), |id| id.to_string())
    }
}

/// Lets a side answer suites behind users' requests. `progress` hears after each answer how many of
/// how many there are.
///
/// # Errors
/// The engine's or the disk's. Dropping the future stops the work; what was answered is kept.
pub async fn answer(
    services: &Services,
    side: &Side,
    suites: &[Suite],
    progress: &(dyn Fn(usize, usize) + Send + Sync),
) -> anyhow::Result<Vec<RowResult>> {
    let config = services.settings.now();
    let path = services.dirs.answers().join(format!("{}.jsonl", side.name()));
    let answers = tokio::task::spawn_blocking(move || Answers::open(&path)).await??;
    let options = EvalOptions {
        adapter_digest: side.digest.as_deref(),
        answers: Some(&answers),
        progress: Some(progress),
        ..EvalOptions::from(&config.evaluation)
    };
    let target = side.adapter.map_or(Target::Base, Target::Exact);
    Ok(answer_suites(services.engine.as_ref(), target, suites, &options).await?)
}

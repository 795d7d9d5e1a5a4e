//! Adapters answer suites: for cycles and for evaluations on demand.
//!
//! Answers are kept by adapter, in `runs/answers/`: an interrupted evaluation goes on where it
//! stopped, and what the live adapter answered need not be asked again for the next candidate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hone_api::{AdapterId, AdapterRef};
use hone_engine::Target;
use hone_eval::{Answers, Options, RowResult, Suite, answer_suites};
use tokio::sync::mpsc;

use crate::parts::Parts;
use crate::promote::Error as PromoteError;

/// The shortest time between two words about progress.
const BEAT: Duration = Duration::from_millis(400);

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
    pub async fn load(parts: &Parts, adapter: Option<AdapterId>) -> Result<Self, PromoteError> {
        let Some(id) = adapter else { return Ok(Self { adapter, digest: None }) };
        let view = parts.registry.get(&AdapterRef::Id(id))?;
        parts.promoter.load(id).await?;
        Ok(Self { adapter, digest: Some(view.digest) })
    }

    /// The base's or the adapter's name, for people and files.
    pub fn name(&self) -> String {
        self.adapter.map_or_else(|| "base".to_owned(), |id| id.to_string())
    }
}

/// Lets a side answer suites behind users' requests. `told` hears how many of how many are
/// answered, now and then.
///
/// # Errors
/// The engine's or the disk's. Dropping the future stops the work; what was answered is kept.
pub async fn answer(
    parts: &Parts,
    side: &Side,
    suites: &[Suite],
    mut told: impl AsyncFnMut(usize, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Vec<RowResult>> {
    let config = parts.settings.now();
    let path = parts.dirs.answers().join(format!("{}.jsonl", side.name()));
    let answers = tokio::task::spawn_blocking(move || Answers::open(&path)).await??;
    let (send, mut counts) = mpsc::unbounded_channel();
    let progress = move |done, total| {
        let _ = send.send((done, total)); // the receiver lives as long as this future
    };
    let options = Options {
        max_tokens: config.evaluation.max_tokens,
        concurrency: config.evaluation.concurrency,
        adapter_digest: side.digest.as_deref(),
        answers: Some(&answers),
        progress: Some(&progress),
    };
    let target = side.adapter.map_or(Target::Base, Target::Exact);
    let engine = Arc::clone(&parts.engine);
    let all = answer_suites(engine.as_ref(), target, suites, &options);
    tokio::pin!(all);
    let mut last: Option<Instant> = None;
    loop {
        tokio::select! {
            rows = &mut all => return Ok(rows?),
            Some((done, total)) = counts.recv() => {
                if last.is_none_or(|last| last.elapsed() >= BEAT) {
                    last = Some(Instant::now());
                    told(done, total).await?;
                }
            }
        }
    }
}

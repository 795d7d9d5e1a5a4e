//! A cycle is asked for: by the clock, by failures, or by a person.

use hone_api::cycle::{CycleView, Trigger};
use hone_api::{CycleId, UnixMillis};

use super::{Cycles, told};
use crate::journal::Decision;
use crate::services::Untrainable;

/// Why a cycle cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One more would learn from what the waiting one learns from.
    #[error(
        "{0} waits already for the one that runs; follow it, or cancel it with `hone cycle cancel`"
    )]
    Waiting(CycleId),
    /// Hone's decoder does not compute the model.
    #[error(transparent)]
    Untrainable(#[from] Untrainable),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] hone_store::Error),
}

impl Cycles {
    /// Starts a cycle, or lets it wait for the one that runs; at most one waits.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn start(&self, trigger: Trigger) -> Result<CycleView, StartError> {
        let cycle = CycleView::queued(trigger, UnixMillis::now());
        self.enqueue(cycle, None).await
    }

    /// The same by hand; `actor` asks for it.
    ///
    /// # Errors
    /// [`StartError`]
    pub async fn ask_for(&self, actor: String) -> Result<CycleView, StartError> {
        let cycle = CycleView::queued(Trigger::Manual, UnixMillis::now());
        let asked = told::asked_for(&cycle, actor);
        self.enqueue(cycle, Some(asked)).await
    }

    async fn enqueue(
        &self,
        cycle: CycleView,
        asked: Option<Decision>,
    ) -> Result<CycleView, StartError> {
        self.services.trainable()?;
        let _one_at_a_time = self.queueing.lock().await;
        if let [_, .., waiting] = self.services.store.unfinished_cycles().await?.as_slice() {
            return Err(StartError::Waiting(waiting.id));
        }
        match asked {
            Some(asked) => self.services.journal.begin(&cycle, asked).await?,
            None => self.services.store.insert_cycle(cycle.clone()).await?,
        }
        self.come.notify_one();
        Ok(cycle)
    }
}

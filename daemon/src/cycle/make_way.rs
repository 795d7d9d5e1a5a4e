//! A cycle gives way to an erasure that takes away what it works with.

use std::sync::Arc;

use hone_api::cycle::CycleView;
use tokio::sync::OwnedMutexGuard;

use super::{BEAT, Cycles, StartError};
use crate::journal::is_over;

impl Cycles {
    /// Stops the cycle that runs, if it works with something that shall be gone, and starts another in its place.
    /// While the guard lives none begins; `None`: one runs on that has nothing to do with it.
    ///
    /// # Errors
    /// The store's.
    pub async fn make_way(
        &self,
        concerns: impl Fn(&CycleView) -> bool,
    ) -> hone_store::Result<Option<OwnedMutexGuard<()>>> {
        let mut stopped = None;
        loop {
            if let Ok(guard) = Arc::clone(&self.turn).try_lock_owned() {
                // One that a restart would go on with.
                for cycle in self.services.store.unfinished_cycles().await? {
                    if concerns(&cycle) && self.cancel(cycle.id).await.is_ok() {
                        stopped = Some(cycle.trigger);
                    }
                }
                if let Some(trigger) = stopped
                    && let Err(StartError::Store(error)) = self.start(trigger).await
                {
                    return Err(error);
                }
                return Ok(Some(guard));
            }
            let running = self.current.lock().await.as_ref().map(|(id, _)| *id);
            let running = match running {
                Some(id) => self.services.store.cycle(id).await?,
                None => None,
            };
            if let Some(cycle) = running {
                match concerns(&cycle) {
                    true if self.cancel(cycle.id).await.is_ok() => stopped = Some(cycle.trigger),
                    true => {}
                    false if is_over(&cycle) => {}
                    false => return Ok(None),
                }
            }
            tokio::time::sleep(BEAT / 4).await;
        }
    }
}

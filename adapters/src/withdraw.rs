//! What a person's erasure takes from the registry: adapters that were trained on it, and words in what is told of
//! others.

use hone_api::AdapterId;
use hone_api::adapter::AdapterView;

use crate::{LivePointer, Registry, Result};

impl Registry {
    /// Replaces the reasons of an adapter's life and the names of its scores by what `reword` makes of each.
    ///
    /// # Errors
    /// [`Error::Unknown`]; the disk's.
    pub fn reword(&self, id: AdapterId, reword: impl Fn(&str) -> String) -> Result<AdapterView> {
        self.change(id, |manifest| {
            for step in &mut manifest.history {
                step.reason = reword(&step.reason);
            }
            let scores = std::mem::take(&mut manifest.scores).into_iter();
            manifest.scores = scores.map(|(name, score)| (reword(&name), score)).collect();
            Ok(())
        })
    }

    /// Removes an adapter that nobody may go back to: if it is the one to roll back to, that is the base from
    /// now on.
    ///
    /// # Errors
    /// [`Error::InUse`] while it serves, [`Error::Unknown`]; the disk's.
    pub fn withdraw(&self, id: AdapterId) -> Result<()> {
        {
            let _one_at_a_time = self.changing();
            let pointer = self.live();
            if pointer.previous == Some(id) {
                let without = LivePointer { previous: None, ..pointer };
                without.write(&self.live_path)?;
                self.write().pointer = without;
            }
        }
        self.delete(id)
    }
}

//! Which models are loaded, and which of them is live. Whoever loads one more sees to it that there is memory first: those that
//! nobody asks, and that are not live, leave.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hone_api::AdapterId;
use hone_engine::{Error as EngineError, Target};
use hone_machine::{Need, TooMuch, available};

use crate::instance::Instance;

/// What is loaded; at least the live one, once there is one.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    loaded: Vec<Arc<Instance>>,
    /// What the live pointer names, and its epoch; `None` before it was ever set.
    live: Option<(Option<AdapterId>, u64)>,
}

impl State {
    fn find(&self, adapter: Option<AdapterId>) -> Option<&Arc<Instance>> {
        self.loaded.iter().find(|instance| instance.adapter == adapter)
    }

    fn live(&self) -> Option<AdapterId> {
        self.live.and_then(|(adapter, _)| adapter)
    }

    /// The one that was not asked for longest of those that may leave: nobody asks it now, and it does not serve.
    fn leaves(&mut self) -> Option<Arc<Instance>> {
        let serves = self.live.map(|(adapter, _)| adapter);
        let idle = self.loaded.iter().enumerate().filter(|(_, instance)| {
            Some(instance.adapter) != serves && Arc::strong_count(instance) == 1
        });
        let (at, _) = idle.min_by_key(|(_, instance)| instance.used())?;
        Some(self.loaded.remove(at))
    }
}

impl Instances {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that there is memory for `need`, if need be by letting others go. Blocks while they go.
    ///
    /// # Errors
    /// [`TooMuch`]: all that is loaded is needed.
    pub(crate) fn make_room(&self, need: &Need) -> Result<(), TooMuch> {
        loop {
            let Err(too_much) = need.admit(&available()) else { return Ok(()) };
            let Some(leaves) = self.state().leaves() else { return Err(too_much) };
            tracing::info!(adapter = ?leaves.adapter, "a model leaves memory to make room for another");
            leaves.free();
        }
    }

    /// Adds one that was loaded.
    pub(crate) fn add(&self, instance: Instance) {
        self.state().loaded.push(Arc::new(instance));
    }

    /// Takes one out, unless it is live; requests that began with it finish with it.
    pub(crate) fn remove(&self, id: AdapterId) -> bool {
        let mut state = self.state();
        let before = state.loaded.len();
        if state.live() != Some(id) {
            state.loaded.retain(|instance| instance.adapter != Some(id));
        }
        state.loaded.len() < before
    }

    pub(crate) fn has(&self, adapter: Option<AdapterId>) -> bool {
        self.state().find(adapter).is_some()
    }

    pub(crate) fn effect(&self, id: AdapterId) -> Option<(String, f32)> {
        let state = self.state();
        let instance = state.find(Some(id))?;
        Some((instance.digest.clone().unwrap_or_default(), instance.effect))
    }

    /// What a request is answered by.
    ///
    /// # Errors
    /// It is not loaded.
    pub(crate) fn pin(&self, target: Target) -> Result<Arc<Instance>, EngineError> {
        let state = self.state();
        let adapter = match target {
            Target::Base => None,
            Target::Live => state.live(),
            Target::Exact(id) => Some(id),
        };
        let instance = state.find(adapter).ok_or_else(|| match adapter {
            Some(id) => EngineError::UnknownAdapter(id),
            None => EngineError::Unsupported(
                "the base is not loaded: an adapter is merged into the copy of it that is, and there is no memory for \
                 two; ask the live model, or promote the base"
                    .to_owned(),
            ),
        })?;
        instance.touch();
        Ok(Arc::clone(instance))
    }

    /// Moves the live pointer to what is loaded.
    ///
    /// # Errors
    /// It is not loaded, or a newer pointer is in force.
    pub(crate) fn set_live(
        &self,
        adapter: Option<AdapterId>,
        epoch: u64,
    ) -> Result<(), EngineError> {
        let mut state = self.state();
        let current = state.live.map_or(0, |(_, epoch)| epoch);
        if epoch < current {
            return Err(EngineError::StaleEpoch { given: epoch, current });
        }
        match adapter {
            Some(id) if state.find(adapter).is_none() => Err(EngineError::UnknownAdapter(id)),
            _ => {
                state.live = Some((adapter, epoch));
                Ok(())
            }
        }
    }

    /// What the live pointer names, and its epoch.
    pub(crate) fn live(&self) -> (Option<AdapterId>, u64) {
        self.state().live.unwrap_or_default()
    }

    /// How many are loaded that have an adapter.
    pub(crate) fn adapters(&self) -> usize {
        self.state().loaded.iter().filter(|instance| instance.adapter.is_some()).count()
    }

    /// Whether mistralrs' threads live.
    pub(crate) fn are_alive(&self) -> bool {
        self.state().loaded.iter().all(|instance| instance.is_alive())
    }
}

//! Ids that are valid before they are stored.
//!
//! A client may send feedback the moment it has read the first byte of an answer, which is before
//! the interaction is written. Such an id is registered as pending; polling the table until the row shows up is
//! what made others wait for seconds (lesson 26).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use dashmap::DashMap;
use hone_api::InteractionId;

/// So many ids of answers that were lost are remembered, the newest.
const LOST: usize = 4096;

/// The ids that are being answered, and those that were answered but could not be stored.
#[derive(Debug, Default)]
pub(crate) struct PendingIds {
    /// Every HTTP thread writes here twice an answer.
    open: DashMap<InteractionId, Open>,
    lost: Mutex<VecDeque<InteractionId>>,
}

#[derive(Debug)]
struct Open {
    guards: usize,
    keeps_text: bool,
}

impl PendingIds {
    pub(crate) fn register_pending(
        self: &Arc<Self>,
        id: InteractionId,
        keeps_text: bool,
    ) -> PendingAnswer {
        self.open.entry(id).or_insert(Open { guards: 0, keeps_text }).guards += 1;
        PendingAnswer { id, pending: Arc::clone(self) }
    }

    /// Whether the text of a pending interaction will be kept; `None`: it is not pending.
    pub(crate) fn keeps_text(&self, id: InteractionId) -> Option<bool> {
        self.open.get(&id).map(|open| open.keeps_text)
    }

    /// Remembers an answer that was given but could not be stored: whoever sends feedback for it
    /// has the right id, and must not be told that there is none.
    pub(crate) fn lose(&self, id: InteractionId) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if lost.len() == LOST {
            lost.pop_front();
        }
        lost.push_back(id);
    }

    /// Whether an answer was given but could not be stored, as far as that is remembered.
    pub(crate) fn is_lost(&self, id: InteractionId) -> bool {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }
}

/// While this lives, feedback for the id is accepted although the interaction is not stored yet.
/// Keep it until [`crate::Store::append_interaction`] has returned.
#[derive(Debug)]
#[must_use = "the id stops being pending when this is dropped"]
pub struct PendingAnswer {
    id: InteractionId,
    pending: Arc<PendingIds>,
}

impl PendingAnswer {
    /// The pending id.
    #[must_use]
    pub const fn id(&self) -> InteractionId {
        self.id
    }
}

impl Drop for PendingAnswer {
    fn drop(&mut self) {
        self.pending.open.remove_if_mut(&self.id, |_, open| {
            open.guards -= 1;
            open.guards == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_pending_while_any_of_its_guards_lives() {
        let pending = Arc::new(PendingIds::default());
        let id = InteractionId::new();
        let first = pending.register_pending(id, false);
        let second = pending.register_pending(id, false);
        drop(first);
        assert_eq!(pending.keeps_text(id), Some(false));
        drop(second);
        assert_eq!(pending.keeps_text(id), None);
    }

    #[test]
    fn the_newest_lost_ids_are_remembered() {
        let pending = PendingIds::default();
        let ids: Vec<_> = (0..=LOST).map(|_| InteractionId::new()).collect();
        for id in &ids {
            pending.lose(*id);
        }
        assert!(!pending.is_lost(ids[0]));
        assert!(ids[1..].iter().all(|id| pending.is_lost(*id)));
    }
}

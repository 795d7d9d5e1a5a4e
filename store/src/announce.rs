//! Ids that are valid before they are stored.
//!
//! A client may send feedback the moment it has read the first byte of an answer, which is before
//! the interaction is written. Such an id is announced; polling the table until the row shows up is
//! what made others wait for seconds (lesson 26).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use hone_api::InteractionId;

/// The ids that are being answered, with the number of their guards.
#[derive(Debug, Default)]
pub(crate) struct Announcements(Mutex<HashMap<InteractionId, usize>>);

impl Announcements {
    pub(crate) fn announce(self: &Arc<Self>, id: InteractionId) -> Announced {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *open.entry(id).or_default() += 1;
        Announced { id, announcements: Arc::clone(self) }
    }

    pub(crate) fn contains(&self, id: InteractionId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id)
    }
}

/// While this lives, feedback for the id is accepted although the interaction is not stored yet.
/// Keep it until [`crate::Store::append_interaction`] has returned.
#[derive(Debug)]
#[must_use = "the id stops being announced when this is dropped"]
pub struct Announced {
    id: InteractionId,
    announcements: Arc<Announcements>,
}

impl Announced {
    /// The announced id.
    #[must_use]
    pub const fn id(&self) -> InteractionId {
        self.id
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        let mut open = self.announcements.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(guards) = open.get_mut(&self.id) {
            *guards -= 1;
            if *guards == 0 {
                open.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_announced_while_any_of_its_guards_lives() {
        let announcements = Arc::new(Announcements::default());
        let id = InteractionId::new();
        let first = announcements.announce(id);
        let second = announcements.announce(id);
        drop(first);
        assert!(announcements.contains(id));
        drop(second);
        assert!(!announcements.contains(id));
    }
}

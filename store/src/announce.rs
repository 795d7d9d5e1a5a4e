//! Ids that are valid before they are stored.
//!
//! A client may send feedback the moment it has read the first byte of an answer, which is before
//! the interaction is written. Such an id is announced; polling the table until the row shows up is
//! what made others wait for seconds (lesson 26).

use std::sync::Arc;

use dashmap::DashMap;
use hone_api::InteractionId;

/// The ids that are being answered. Every HTTP thread writes here twice an answer.
#[derive(Debug, Default)]
pub(crate) struct Announcements(DashMap<InteractionId, Open>);

#[derive(Debug)]
struct Open {
    guards: usize,
    keeps_text: bool,
}

impl Announcements {
    pub(crate) fn announce(self: &Arc<Self>, id: InteractionId, keeps_text: bool) -> Announced {
        self.0.entry(id).or_insert(Open { guards: 0, keeps_text }).guards += 1;
        Announced { id, announcements: Arc::clone(self) }
    }

    /// Whether the text of an announced interaction will be kept; `None`: it is not announced.
    pub(crate) fn keeps_text(&self, id: InteractionId) -> Option<bool> {
        self.0.get(&id).map(|open| open.keeps_text)
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
        self.announcements.0.remove_if_mut(&self.id, |_, open| {
            open.guards -= 1;
            open.guards == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_announced_while_any_of_its_guards_lives() {
        let announcements = Arc::new(Announcements::default());
        let id = InteractionId::new();
        let first = announcements.announce(id, false);
        let second = announcements.announce(id, false);
        drop(first);
        assert_eq!(announcements.keeps_text(id), Some(false));
        drop(second);
        assert_eq!(announcements.keeps_text(id), None);
    }
}

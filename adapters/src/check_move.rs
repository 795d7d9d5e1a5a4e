//! What can be said of a move of the pointer before it is made.

use hone_api::AdapterId;
use hone_api::adapter::AdapterState;

use crate::pointer::label;
use crate::{Error, Registry, Result, state};

impl Registry {
    /// What [`Registry::promote`] and [`Registry::rollback`] would say by what is in memory, before anything is
    /// read or written for them.
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::Unknown`], [`Error::Transition`].
    pub fn check_move(
        &self,
        to: Option<AdapterId>,
        expected_live: Option<Option<AdapterId>>,
    ) -> Result<()> {
        let live = self.live().live;
        if let Some(expected) = expected_live.filter(|expected| *expected != live) {
            return Err(Error::Conflict { expected: label(expected), actual: label(live) });
        }
        match to.filter(|_| to != live) {
            Some(id) => state::check(id, self.read().manifest(id)?.state(), AdapterState::Live),
            None => Ok(()),
        }
    }
}

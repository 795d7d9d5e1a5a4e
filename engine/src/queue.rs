//! Who runs next.
//!
//! Bounded, so that a burst is told to come back instead of waiting for minutes. People go before
//! evaluations; every ninth place goes to an evaluation that waits, so that people never starve it. Among people, callers
//! and their users have equal turns and places ([`fair`]).

use std::collections::VecDeque;

use crate::Priority;
use crate::request::Party;

mod fair;

use fair::Fair;
pub(crate) use fair::{Standing, Standings};

/// After so many interactive requests in a row, a background one goes first.
const INTERACTIVE_TURNS: u32 = 8;

/// Two classes: people, in fair turns, and evaluations, first come, first served.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    interactive: Fair<T>,
    background: VecDeque<(u64, T)>,
    capacity: usize,
    next_ticket: u64,
    /// Interactive requests taken while background ones waited.
    turns: u32,
}

impl<T> Queue<T> {
    /// A queue for `capacity` waiting items of each class.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            interactive: Fair::new(),
            background: VecDeque::new(),
            capacity,
            next_ticket: 0,
            turns: 0,
        }
    }

    /// Items that wait.
    pub(crate) fn len(&self) -> usize {
        self.interactive.len() + self.background.len()
    }

    /// Items that wait in one class.
    pub(crate) fn waiting(&self, priority: Priority) -> usize {
        match priority {
            Priority::Interactive => self.interactive.len(),
            Priority::Background => self.background.len(),
        }
    }

    /// Whether one more of this class and party is refused: all places are taken, and nobody has so many that one
    /// would have to be given up.
    pub(crate) fn is_full(&self, priority: Priority, party: Party) -> bool {
        let full = self.waiting(priority) >= self.capacity;
        full && (priority == Priority::Background || self.interactive.gives_way_to(party).is_none())
    }

    /// The ticket of the next [`Self::push`].
    pub(crate) fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Queues an item. Returns the one that had to give up its place for it, if one had to; the item itself if there is
    /// no place for it.
    pub(crate) fn push(
        &mut self,
        priority: Priority,
        party: Party,
        item: T,
    ) -> Result<Option<T>, T> {
        let full = self.waiting(priority) >= self.capacity;
        let displaced = match priority {
            Priority::Background if full => return Err(item),
            Priority::Interactive if full => match self.interactive.gives_way_to(party) {
                Some(other) => self.interactive.take_newest(other),
                None => return Err(item),
            },
            _ => None,
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match priority {
            Priority::Interactive => self.interactive.push(party, ticket, item),
            Priority::Background => self.background.push_back((ticket, item)),
        }
        Ok(displaced)
    }

    /// Takes an item out of turn: its client left.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        self.interactive.remove(ticket).or_else(|| {
            // Tickets grow along a class.
            let at = self.background.binary_search_by_key(&ticket, |(t, _)| *t).ok()?;
            self.background.remove(at).map(|(_, item)| item)
        })
    }

    /// Takes the next item if it `fits`. One that does not fit holds its class back until it
    /// does: were smaller ones let past, it would never run. People wait for no evaluation, though: when its
    /// turn comes and it does not fit, they go on, and it has the first place that is large enough.
    /// `background` says whether that class may have a place at all; `standings`, whose turn it is among people.
    pub(crate) fn pop(
        &mut self,
        background: bool,
        standings: &impl Standings,
        fits: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let background_waits = background && !self.background.is_empty();
        let background_turn =
            background_waits && (self.interactive.len() == 0 || self.turns >= INTERACTIVE_TURNS);
        if background_turn && self.background.front().is_some_and(|(_, item)| fits(item)) {
            self.turns = 0;
            return self.background.pop_front().map(|(_, item)| item);
        }
        let (party, item) = self.interactive.next(standings)?;
        if !fits(item) {
            return None;
        }
        self.turns = if background_waits { self.turns.saturating_add(1) } else { 0 };
        self.interactive.take_oldest(party)
    }

    /// Takes everything.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.interactive.drain().chain(self.background.drain(..).map(|(_, item)| item))
    }
}

#[cfg(test)]
mod tests;

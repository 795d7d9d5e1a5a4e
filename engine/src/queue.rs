//! Who runs next.
//!
//! Bounded, so that a burst is told to come back instead of waiting for minutes. People go before
//! evaluations; every ninth place goes to an evaluation that waits, so that people never starve it.

use std::collections::VecDeque;

use crate::Priority;

/// After so many interactive requests in a row, a background one goes first.
const INTERACTIVE_TURNS: u32 = 8;

/// First come, first served, in two classes.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    interactive: VecDeque<(u64, T)>,
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
            interactive: VecDeque::new(),
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

    /// Whether one more of this class is refused.
    pub(crate) fn is_full(&self, priority: Priority) -> bool {
        self.waiting(priority) >= self.capacity
    }

    /// The ticket of the next [`Self::push`].
    pub(crate) fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Queues an item and returns its ticket; the item back if its class is full.
    pub(crate) fn push(&mut self, priority: Priority, item: T) -> Result<u64, T> {
        if self.is_full(priority) {
            return Err(item);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        match priority {
            Priority::Interactive => self.interactive.push_back((ticket, item)),
            Priority::Background => self.background.push_back((ticket, item)),
        }
        Ok(ticket)
    }

    /// Takes an item out of turn: its client left.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        [&mut self.interactive, &mut self.background].into_iter().find_map(|class| {
            // Tickets grow along a class.
            let at = class.binary_search_by_key(&ticket, |(t, _)| *t).ok()?;
            class.remove(at).map(|(_, item)| item)
        })
    }

    /// Takes the next item if it `fits`. One that does not fit holds its class back until it
    /// does: were smaller ones let past, it would never run. People wait for no evaluation, though: when its
    /// turn comes and it does not fit, they go on, and it has the first place that is large enough.
    /// `background` says whether that class may have a place at all.
    pub(crate) fn pop(&mut self, background: bool, fits: impl Fn(&T) -> bool) -> Option<T> {
        let background_waits = background && !self.background.is_empty();
        let background_turn =
            background_waits && (self.interactive.is_empty() || self.turns >= INTERACTIVE_TURNS);
        if background_turn && self.background.front().is_some_and(|(_, item)| fits(item)) {
            self.turns = 0;
            return self.background.pop_front().map(|(_, item)| item);
        }
        if !fits(&self.interactive.front()?.1) {
            return None;
        }
        self.turns = if background_waits { self.turns.saturating_add(1) } else { 0 };
        self.interactive.pop_front().map(|(_, item)| item)
    }

    /// Takes everything.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.interactive.drain(..).chain(self.background.drain(..)).map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_go_first_and_evaluations_are_not_starved() {
        let mut queue = Queue::new(100);
        for i in 0..3 {
            queue.push(Priority::Background, 1000 + i).unwrap();
        }
        for i in 0..20 {
            queue.push(Priority::Interactive, i).unwrap();
        }
        let order: Vec<i32> = std::iter::from_fn(|| queue.pop(true, |_| true)).collect();
        assert_eq!(order[..8], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(order[8], 1000);
        assert_eq!(order[17], 1001);
        assert_eq!(order.len(), 23);
    }

    #[test]
    fn a_full_class_refuses_and_the_other_does_not() {
        let mut queue = Queue::new(1);
        queue.push(Priority::Background, 1).unwrap();
        assert_eq!(queue.push(Priority::Background, 2), Err(2));
        assert!(queue.push(Priority::Interactive, 3).is_ok());
        assert!(queue.is_full(Priority::Interactive));
    }

    #[test]
    fn one_that_does_not_fit_is_not_overtaken() {
        let mut queue = Queue::new(9);
        queue.push(Priority::Interactive, 50).unwrap();
        queue.push(Priority::Interactive, 1).unwrap();
        assert_eq!(queue.pop(true, |size| *size < 10), None);
        assert_eq!(queue.pop(true, |size| *size < 60), Some(50));
    }

    #[test]
    fn people_do_not_wait_for_an_evaluation_that_does_not_fit() {
        let mut queue = Queue::new(100);
        queue.push(Priority::Background, 1000).unwrap();
        for i in 0..20 {
            queue.push(Priority::Interactive, i).unwrap();
        }
        let few = |item: &i32| *item < 1000;
        let first: Vec<i32> = std::iter::from_fn(|| queue.pop(true, few)).take(12).collect();
        assert_eq!(first, (0..12).collect::<Vec<_>>());
        assert_eq!(queue.pop(true, |_| true), Some(1000), "its turn came long ago");
        assert_eq!(queue.pop(true, |_| true), Some(12));
    }

    #[test]
    fn evaluations_wait_while_their_places_are_taken() {
        let mut queue = Queue::new(9);
        queue.push(Priority::Background, 1).unwrap();
        assert_eq!(queue.pop(false, |_| true), None);
        assert_eq!(queue.pop(true, |_| true), Some(1));
    }

    proptest! {
        /// Against a list: nothing lost, nothing twice, order kept within a class.
        #[test]
        fn behaves_like_two_lists(ops in prop::collection::vec((0u8..4, any::<bool>(), 0usize..20), 0..200)) {
            let mut queue = Queue::new(5);
            let mut model: [Vec<u64>; 2] = [Vec::new(), Vec::new()];
            for (op, background, pick) in ops {
                let priority = if background { Priority::Background } else { Priority::Interactive };
                match op {
                    0 | 1 => {
                        let ticket = queue.next_ticket();
                        let pushed = queue.push(priority, ticket);
                        prop_assert_eq!(pushed.is_ok(), model[usize::from(background)].len() < 5);
                        if pushed.is_ok() { model[usize::from(background)].push(ticket); }
                    }
                    2 => {
                        let all: Vec<u64> = model.concat();
                        if let Some(ticket) = all.get(pick) {
                            prop_assert_eq!(queue.remove(*ticket), Some(*ticket));
                            for class in &mut model { class.retain(|t| t != ticket); }
                        } else {
                            prop_assert_eq!(queue.remove(u64::MAX), None);
                        }
                    }
                    _ => match queue.pop(true, |_| true) {
                        Some(ticket) => {
                            let class = model.iter_mut().find(|c| c.first() == Some(&ticket));
                            prop_assert!(class.is_some(), "{} was not the first of its class", ticket);
                            class.unwrap().remove(0);
                        }
                        None => prop_assert!(model.iter().all(Vec::is_empty)),
                    },
                }
                prop_assert_eq!(queue.len(), model[0].len() + model[1].len());
            }
        }
    }
}

//! Who waits for a model and for cache. A model computes one request at a time: on a CPU mistralrs 0.8.1 mixes the sequences of
//! a batch up (their attention shares one scratch buffer), so there is never a batch. People go before evaluations; among each,
//! whoever came first.
#![cfg_attr(not(feature = "engine"), allow(dead_code))]

use std::collections::{BTreeSet, VecDeque};

use hone_engine::Priority;

/// Models that compute, what they hold, and the requests that wait.
#[derive(Debug)]
pub(crate) struct Line<T> {
    most_waiting: usize,
    cache: usize,
    held: usize,
    /// The models that compute.
    busy: BTreeSet<usize>,
    people: VecDeque<Waiting<T>>,
    background: VecDeque<Waiting<T>>,
}

/// One that waits.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Waiting<T> {
    /// The model that shall compute it.
    pub(crate) model: usize,
    /// What it will hold.
    pub(crate) bytes: usize,
    pub(crate) who: T,
}

/// As many wait as may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) waiting: usize,
}

impl<T> Line<T> {
    /// All models together have `cache` bytes; `most_waiting` wait of each priority.
    pub(crate) fn new(most_waiting: usize, cache: usize) -> Self {
        let (people, background) = (VecDeque::new(), VecDeque::new());
        Self { most_waiting, cache, held: 0, busy: BTreeSet::new(), people, background }
    }

    /// Joins the end.
    pub(crate) fn join(&mut self, priority: Priority, one: Waiting<T>) -> Result<(), Full> {
        let line = match priority {
            Priority::Interactive => &mut self.people,
            Priority::Background => &mut self.background,
        };
        if line.len() >= self.most_waiting {
            return Err(Full { waiting: line.len() });
        }
        line.push_back(one);
        Ok(())
    }

    /// Whose turn it is: the first one whose model is free, if there is cache for it. Nobody overtakes one that needs much.
    pub(crate) fn next(&mut self) -> Option<Waiting<T>> {
        let (busy, room) = (&self.busy, self.cache - self.held);
        let free =
            |line: &VecDeque<Waiting<T>>| line.iter().position(|one| !busy.contains(&one.model));
        let (line, at) = match free(&self.people) {
            Some(at) => (&mut self.people, at),
            None => {
                let at = free(&self.background)?;
                (&mut self.background, at)
            }
        };
        if line.get(at)?.bytes > room {
            return None;
        }
        let next = line.remove(at)?;
        self.busy.insert(next.model);
        self.held += next.bytes;
        Some(next)
    }

    /// One that a model computed has ended.
    pub(crate) fn leave(&mut self, model: usize, bytes: usize) {
        if self.busy.remove(&model) {
            self.held -= bytes;
        }
    }

    /// Sends all away that wait.
    pub(crate) fn clear(&mut self) -> usize {
        let waiting = self.waiting();
        self.people.clear();
        self.background.clear();
        waiting
    }

    /// How many are computed.
    pub(crate) fn running(&self) -> usize {
        self.busy.len()
    }

    /// Bytes that those hold.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.people.len() + self.background.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn waiting(model: usize, bytes: usize, who: &'static str) -> Waiting<&'static str> {
        Waiting { model, bytes, who }
    }

    #[test]
    fn a_model_computes_one_at_a_time_and_models_do_not_wait_for_each_other() {
        let mut line = Line::new(9, 100);
        for one in [waiting(0, 10, "a"), waiting(0, 10, "b"), waiting(1, 10, "c")] {
            line.join(Priority::Interactive, one).unwrap();
        }
        line.join(Priority::Background, waiting(1, 10, "evaluation")).unwrap();
        assert_eq!(line.next(), Some(waiting(0, 10, "a")));
        assert_eq!(line.next(), Some(waiting(1, 10, "c")));
        assert_eq!(line.next(), None);
        line.leave(0, 10);
        assert_eq!(line.next(), Some(waiting(0, 10, "b")));
        line.leave(1, 10);
        assert_eq!(line.next(), Some(waiting(1, 10, "evaluation")));
        assert_eq!((line.running(), line.held(), line.waiting()), (2, 20, 0));
    }

    #[test]
    fn nobody_overtakes_a_large_request_and_the_line_has_an_end() {
        let mut line = Line::new(2, 100);
        line.join(Priority::Interactive, waiting(0, 70, "first")).unwrap();
        assert!(line.next().is_some());
        line.join(Priority::Interactive, waiting(1, 40, "large")).unwrap();
        line.join(Priority::Interactive, waiting(2, 1, "small")).unwrap();
        let full = line.join(Priority::Interactive, waiting(3, 1, "late"));
        assert_eq!(full, Err(Full { waiting: 2 }));
        assert_eq!(line.next(), None);
        line.leave(0, 70);
        assert_eq!(line.next().map(|one| one.who), Some("large"));
        assert_eq!(line.next().map(|one| one.who), Some("small"));
    }

    proptest! {
        #[test]
        fn the_cache_is_never_passed_and_everybody_is_served(
            asked in prop::collection::vec((0_usize..3, 1_usize..=50, any::<bool>()), 0..40),
        ) {
            let mut line = Line::new(100, 50);
            for (model, bytes, is_person) in &asked {
                let priority = if *is_person { Priority::Interactive } else { Priority::Background };
                line.join(priority, Waiting { model: *model, bytes: *bytes, who: () }).unwrap();
            }
            let (mut running, mut served) = (VecDeque::new(), 0);
            loop {
                while let Some(next) = line.next() {
                    running.push_back((next.model, next.bytes));
                    prop_assert!(line.held() <= 50);
                    let models: BTreeSet<_> = running.iter().map(|(model, _)| model).collect();
                    prop_assert_eq!(models.len(), running.len());
                }
                let Some((model, bytes)) = running.pop_front() else { break };
                line.leave(model, bytes);
                served += 1;
            }
            prop_assert_eq!(served, asked.len());
            prop_assert_eq!((line.running(), line.held(), line.waiting()), (0, 0, 0));
        }
    }
}

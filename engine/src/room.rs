//! Whose caches are there when memory is short.
//!
//! A request has its place when its prompt fits, not when its longest possible answer does: most answers end long before. So
//! memory may run out while all go on, and then, as in vLLM, one sequence is paused. Its blocks are free for others, and what
//! it had computed is computed again when there is room; it has the same bits then, so its client sees a pause and nothing else.

use std::collections::HashMap;

use crate::{Party, Priority};

/// This part of places and caches is for callers that have nothing running, and of the rest for users that have
/// nothing running: however long the answers of the others are, who comes new begins at once.
const SPARE: usize = 8;

/// What a party may use of all places, or of all caches, if its caller, and its user, has some of them already.
pub(crate) fn allowance(all: usize, has_some: [bool; 2]) -> usize {
    let held = has_some.iter().filter(|has_some| **has_some);
    held.fold(all, |left, _| left - left / SPARE)
}

/// A running sequence, as far as memory is concerned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Holding {
    /// Grows with arrival.
    pub(crate) ticket: u64,
    pub(crate) priority: Priority,
    /// Whose it is; says nothing in the background.
    pub(crate) party: Party,
    /// Bytes that it will hold after the next step.
    pub(crate) bytes: usize,
}

impl Holding {
    fn is_background(&self) -> bool {
        self.priority == Priority::Background
    }
}

/// What several sequences hold together.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    count: usize,
    bytes: usize,
}

/// What people's sequences hold, by caller and by user.
#[derive(Debug, Default)]
struct Sums {
    callers: HashMap<u64, Sum>,
    users: HashMap<Party, Sum>,
}

impl Sums {
    fn of(holdings: &[Holding]) -> Self {
        let mut sums = Self::default();
        for holding in holdings.iter().filter(|holding| !holding.is_background()) {
            let caller = sums.callers.entry(holding.party.caller).or_default();
            let user = sums.users.entry(holding.party).or_default();
            for sum in [caller, user] {
                sum.count += 1;
                sum.bytes += holding.bytes;
            }
        }
        sums
    }

    /// What its caller holds, and its user; nothing for evaluations.
    fn get(&self, holding: &Holding) -> [Sum; 2] {
        if holding.is_background() {
            return [Sum::default(); 2];
        }
        let caller = self.callers.get(&holding.party.caller).copied();
        [caller.unwrap_or_default(), self.users.get(&holding.party).copied().unwrap_or_default()]
    }

    /// 0: it may use all there is; 1: what is left to callers that have several; 2: what is left to their users that do.
    fn level(&self, holding: &Holding) -> usize {
        let [caller, user] = self.get(holding);
        usize::from(caller.count > 1) + usize::from(user.count > 1)
    }

    /// The first part of the memory that those who have to share it outgrow, by the level of who has part in it.
    fn outgrown(&self, holdings: &[Holding], capacity: usize) -> Option<usize> {
        (0..3).find(|level| {
            let counts = |holding: &&Holding| self.level(holding) >= *level;
            let bytes: usize = holdings.iter().filter(counts).map(|holding| holding.bytes).sum();
            bytes > allowance(capacity, [*level > 0, *level > 1])
        })
    }
}

/// Whether there is room for all of them: for those of callers that have several with the spare part left, and so on.
pub(crate) fn fit(holdings: &[Holding], capacity: usize) -> bool {
    is_plenty(holdings, capacity) || Sums::of(holdings).outgrown(holdings, capacity).is_none()
}

/// Whether there is room whosever they are.
fn is_plenty(holdings: &[Holding], capacity: usize) -> bool {
    let bytes: usize = holdings.iter().map(|holding| holding.bytes).sum();
    bytes <= allowance(capacity, [true; 2])
}

/// The one that is paused if they do not fit: the youngest evaluation, and without any, of those who outgrow their part, the
/// youngest of the caller that holds most, there of the user that holds most. The oldest of all is never paused, so it comes to
/// its end, and after it each other one.
pub(crate) fn gives_way(holdings: &[Holding], capacity: usize) -> Option<usize> {
    if is_plenty(holdings, capacity) {
        return None;
    }
    let sums = Sums::of(holdings);
    let level = sums.outgrown(holdings, capacity)?;
    let age = |holding: &Holding| (holding.priority, holding.ticket);
    let oldest = holdings.iter().map(age).min()?;
    let may = |holding: &Holding| sums.level(holding) >= level && age(holding) != oldest;
    let others = holdings.iter().enumerate().filter(|(_, holding)| may(holding));
    let chosen = others.max_by_key(|(_, holding)| {
        let [caller, user] = sums.get(holding).map(|sum| sum.bytes);
        (holding.is_background(), caller, user, holding.ticket)
    });
    chosen.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holding(ticket: u64, caller: u64, bytes: usize) -> Holding {
        let party = Party { caller, user: 0 };
        Holding { ticket, priority: Priority::Interactive, party, bytes }
    }

    fn background(ticket: u64, bytes: usize) -> Holding {
        Holding { priority: Priority::Background, ..holding(ticket, 0, bytes) }
    }

    #[test]
    fn nobody_gives_way_while_there_is_room() {
        assert_eq!(gives_way(&[], 64), None);
        assert_eq!(gives_way(&[holding(1, 1, 64)], 64), None);
        assert_eq!(gives_way(&[holding(1, 1, 32), holding(2, 2, 32)], 64), None);
        assert_eq!(gives_way(&[holding(1, 1, 24), holding(2, 1, 25)], 64), None);
        // The rest is for those that come new, and who comes new takes it from nobody.
        assert_eq!(gives_way(&[holding(1, 1, 24), holding(2, 1, 25), holding(3, 2, 15)], 64), None);
        assert_eq!(gives_way(&[holding(1, 1, 24), holding(2, 1, 26)], 64), Some(1));
        assert_eq!(gives_way(&[background(1, 32), background(2, 32)], 64), None);
    }

    #[test]
    fn evaluations_first_then_the_youngest_of_who_holds_most() {
        let all = [holding(5, 1, 30), background(1, 10), background(2, 10), holding(9, 2, 30)];
        assert_eq!(gives_way(&all, 64), Some(2));
        // The oldest person goes on, though its caller holds most.
        assert_eq!(gives_way(&[holding(1, 1, 50), holding(2, 2, 20)], 64), Some(1));
        let all = [holding(1, 1, 20), holding(2, 1, 20), holding(3, 1, 20), holding(4, 2, 20)];
        assert_eq!(gives_way(&all, 64), Some(2));
    }

    fn any_holding() -> impl Strategy<Value = Holding> {
        (any::<bool>(), 0..3_u64, 0..2_u64, 1..=64_usize).prop_map(
            |(is_background, caller, user, bytes)| {
                let party = Party { caller, user };
                let kind = if is_background { background(0, bytes) } else { holding(0, 0, bytes) };
                Holding { party, ..kind }
            },
        )
    }

    fn any_holdings() -> impl Strategy<Value = Vec<Holding>> {
        prop::collection::vec(any_holding(), 0..12).prop_map(|mut all| {
            (0..).zip(&mut all).for_each(|(ticket, holding)| holding.ticket = ticket);
            all
        })
    }

    proptest! {
        /// As each alone fits, so do those that are left; the oldest is among them, and while all do not fit evaluations go first.
        #[test]
        fn what_is_left_fits(mut all in any_holdings()) {
            let oldest = all.iter().map(|it| (it.priority, it.ticket)).min();
            while let Some(index) = gives_way(&all, 64) {
                let needed: usize = all.iter().map(|it| it.bytes).sum();
                let gone = all.remove(index);
                let evaluations = all.iter().any(Holding::is_background);
                prop_assert!(gone.is_background() || !evaluations || needed <= 64);
            }
            prop_assert!(fit(&all, 64));
            prop_assert!(all.iter().map(|it| it.bytes).sum::<usize>() <= 64);
            prop_assert_eq!(all.iter().map(|it| (it.priority, it.ticket)).min(), oldest);
        }

        /// Sequences grow to their length or are paused, and begin anew when they fit: all come to their end, in a bounded
        /// number of steps.
        #[test]
        fn all_come_to_their_end(lengths in any_holdings()) {
            let begin = |holding: &Holding| Holding { bytes: 1, ..*holding };
            let mut paused: Vec<Holding> = lengths.iter().map(begin).collect();
            let mut running: Vec<Holding> = Vec::new();
            for _ in 0..=64 * lengths.len().pow(2) {
                while let Some(index) = gives_way(&running, 64) {
                    let gone = running.remove(index);
                    paused.push(begin(&gone));
                }
                paused.sort_by_key(|it| (it.priority, it.ticket));
                while let Some(next) = paused.first().copied() {
                    let held: usize = running.iter().map(|it| it.bytes + 1).sum();
                    if !running.is_empty() && held + next.bytes > 40 {
                        break;
                    }
                    running.push(paused.remove(0));
                }
                let length = |it: &Holding| lengths[it.ticket as usize].bytes;
                running.retain(|it| it.bytes < length(it));
                running.iter_mut().for_each(|it| it.bytes += 1);
            }
            prop_assert!(running.is_empty() && paused.is_empty(), "{running:?} {paused:?}");
        }
    }
}

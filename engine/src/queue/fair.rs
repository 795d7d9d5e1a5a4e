//! People's part of the queue: who waits is told apart by caller, and within a caller by end user.
//!
//! Turns: the caller that has the fewest sequences running goes first, of those the one that has had the least of the
//! engine's time, of those the one that has waited longest; then the same among its users. What one user asks keeps its
//! order. Places: when all are taken, whoever has the most of them gives its newest one to whoever has fewer.

use std::collections::{BTreeMap, VecDeque};

use crate::request::Party;

/// What a turn is decided by; the least goes first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Standing {
    /// Sequences that run.
    pub(crate) running: usize,
    /// Engine time that it has had of late, in nanoseconds.
    pub(crate) had: u64,
}

/// Tells how callers, and the users of one, stand.
pub(crate) trait Standings {
    /// Among all callers.
    fn caller(&self, caller: u64) -> Standing;
    /// Among the users of its caller.
    fn user(&self, party: Party) -> Standing;
}

type Line<T> = VecDeque<(u64, T)>;
type Users<T> = BTreeMap<u64, Line<T>>;

/// Who waits, by caller and user. No empty lines are kept.
#[derive(Debug)]
pub(crate) struct Fair<T> {
    callers: BTreeMap<u64, Users<T>>,
    len: usize,
}

impl<T> Fair<T> {
    pub(crate) const fn new() -> Self {
        Self { callers: BTreeMap::new(), len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Lets one more wait. Tickets grow.
    pub(crate) fn push(&mut self, party: Party, ticket: u64, item: T) {
        let users = self.callers.entry(party.caller).or_default();
        users.entry(party.user).or_default().push_back((ticket, item));
        self.len += 1;
    }

    /// Whose newest place one more of `party` may take: that of the caller that has the most, or, where that is `party`'s
    /// own, of the user in it that has the most. Only if the places are shared more equally afterwards, so that two never
    /// take them from each other in turn.
    pub(crate) fn gives_way_to(&self, party: Party) -> Option<Party> {
        let places = |users: &Users<T>| users.values().map(VecDeque::len).sum::<usize>();
        let own = self.callers.get(&party.caller);
        let (caller, most) = most(self.callers.iter().map(|(id, users)| (*id, places(users))))?;
        if own.map_or(0, places) + 1 < most {
            let (user, _) = most_of_users(self.callers.get(&caller)?)?;
            return Some(Party { caller, user });
        }
        let own = own?;
        let (user, most) = most_of_users(own)?;
        let waiting = own.get(&party.user).map_or(0, VecDeque::len);
        (waiting + 1 < most).then_some(Party { caller: party.caller, user })
    }

    /// Takes the newest item of a party away.
    pub(crate) fn take_newest(&mut self, party: Party) -> Option<T> {
        self.take(party, VecDeque::pop_back)
    }

    /// Who is next.
    pub(crate) fn next(&self, standings: &impl Standings) -> Option<(Party, &T)> {
        let waits = |line: &Line<T>| line.front().map_or(u64::MAX, |(ticket, _)| *ticket);
        let (&caller, users) = self.callers.iter().min_by_key(|(caller, users)| {
            let longest = users.values().map(waits).min();
            (standings.caller(**caller), longest)
        })?;
        let party = |user| Party { caller, user };
        let (&user, line) =
            users.iter().min_by_key(|(user, line)| (standings.user(party(**user)), waits(line)))?;
        Some((party(user), &line.front()?.1))
    }

    /// Takes the oldest item of a party.
    pub(crate) fn take_oldest(&mut self, party: Party) -> Option<T> {
        self.take(party, VecDeque::pop_front)
    }

    /// Takes an item out of turn.
    pub(crate) fn remove(&mut self, ticket: u64) -> Option<T> {
        let lines = self.callers.iter().flat_map(|(caller, users)| {
            users.iter().map(|(user, line)| (Party { caller: *caller, user: *user }, line))
        });
        let found = lines.map(|(party, line)| {
            // Tickets grow along a line.
            Some((party, line.binary_search_by_key(&ticket, |(one, _)| *one).ok()?))
        });
        let (party, at) = found.flatten().next()?;
        self.take(party, |line| line.remove(at))
    }

    /// Takes everything, in the order of arrival.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.len = 0;
        let lines = std::mem::take(&mut self.callers).into_values().flat_map(BTreeMap::into_values);
        let all: BTreeMap<u64, T> = lines.flatten().collect();
        all.into_values()
    }

    fn take(
        &mut self,
        party: Party,
        which: impl FnOnce(&mut Line<T>) -> Option<(u64, T)>,
    ) -> Option<T> {
        let users = self.callers.get_mut(&party.caller)?;
        let line = users.get_mut(&party.user)?;
        let (_, item) = which(line)?;
        if line.is_empty() {
            users.remove(&party.user);
        }
        if users.is_empty() {
            self.callers.remove(&party.caller);
        }
        self.len -= 1;
        Some(item)
    }
}

/// Who has the most, and how many.
fn most(all: impl Iterator<Item = (u64, usize)>) -> Option<(u64, usize)> {
    all.max_by_key(|(_, places)| *places)
}

fn most_of_users<T>(users: &Users<T>) -> Option<(u64, usize)> {
    most(users.iter().map(|(id, line)| (*id, line.len())))
}

//! Who has had how much of the engine's time of late.
//!
//! Callers share it equally, and within a caller its end users do. What somebody has had is forgotten little by little, so it
//! is a matter of the last seconds: who asks seldom goes before those that have been at it without a pause, and of
//! several that never pause each one has the same share. Whoever has had least has part in every step, so nobody starves.

use std::collections::HashMap;
use std::time::Duration;

use smallvec::SmallVec;

use crate::queue::{Standing, Standings};
use crate::request::Party;

/// After so long, 37 % of what somebody has had still counts. A newcomer has the engine to itself for at most 0.7 of it.
const MEMORY: Duration = Duration::from_secs(2);
/// Seconds that somebody may have had more than the last one and still have part in a step. A step for several costs less
/// than one for each of them, so small differences are let be.
const LEAD: f64 = 0.05;
/// Seconds that count as nothing.
const NOTHING: f64 = 1e-4;

/// All callers, and their users.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    callers: Level,
    users: HashMap<u64, Level>,
}

impl Shares {
    /// A sequence of `party` runs.
    pub(crate) fn enter(&mut self, party: Party) {
        self.callers.enter(party.caller);
        self.users.entry(party.caller).or_default().enter(party.user);
    }

    /// A sequence of `party` runs no more.
    pub(crate) fn leave(&mut self, party: Party) {
        self.callers.leave(party.caller);
        if let Some(users) = self.users.get_mut(&party.caller) {
            users.leave(party.user);
        }
    }

    /// Who has part in the next step: nobody who is far ahead of another one that runs.
    pub(crate) fn turn(&self) -> Turn<'_> {
        Turn { shares: self, caller: self.callers.bound(), users: SmallVec::new() }
    }

    /// So much time went by, idle or not.
    pub(crate) fn pass(&mut self, time: Duration) {
        let kept = (-time.as_secs_f64() / MEMORY.as_secs_f64()).exp();
        self.callers.fade(kept);
        self.users.retain(|caller, users| {
            users.fade(kept);
            self.callers.0.contains_key(caller)
        });
    }

    /// A step took so long, and so many tokens of it were each one's.
    pub(crate) fn charge(&mut self, took: Duration, parts: &[(Party, usize)]) {
        let total: usize = parts.iter().map(|(_, tokens)| tokens).sum();
        for (party, tokens) in parts.iter().filter(|(_, tokens)| *tokens > 0) {
            let part = took.as_secs_f64() * *tokens as f64 / total as f64;
            self.callers.charge(party.caller, part);
            if let Some(users) = self.users.get_mut(&party.caller) {
                users.charge(party.user, part);
            }
        }
    }
}

impl Standings for Shares {
    fn caller(&self, caller: u64) -> Standing {
        self.callers.standing(caller)
    }

    fn user(&self, party: Party) -> Standing {
        let users = self.users.get(&party.caller);
        users.map_or(Standing::default(), |users| users.standing(party.user))
    }
}

/// Who has part in one step.
pub(crate) struct Turn<'a> {
    shares: &'a Shares,
    caller: f64,
    /// The bound of each caller's users, as far as it was asked for.
    users: SmallVec<[(u64, f64); 8]>,
}

impl Turn<'_> {
    /// Whether `party`'s sequences do.
    pub(crate) fn has(&mut self, party: Party) -> bool {
        if self.shares.callers.had(party.caller) > self.caller {
            return false;
        }
        let Some(users) = self.shares.users.get(&party.caller) else { return true };
        let known = self.users.iter().find(|(caller, _)| *caller == party.caller);
        let bound = known.map_or_else(|| users.bound(), |(_, bound)| *bound);
        if known.is_none() {
            self.users.push((party.caller, bound));
        }
        users.had(party.user) <= bound
    }
}

/// Those who share one thing.
#[derive(Debug, Default)]
struct Level(HashMap<u64, Account>);

#[derive(Debug, Default)]
struct Account {
    /// In seconds.
    had: f64,
    running: usize,
}

impl Level {
    fn enter(&mut self, who: u64) {
        self.0.entry(who).or_default().running += 1;
    }

    fn leave(&mut self, who: u64) {
        if let Some(account) = self.0.get_mut(&who) {
            account.running = account.running.saturating_sub(1);
        }
    }

    fn charge(&mut self, who: u64, part: f64) {
        self.0.entry(who).or_default().had += part;
    }

    /// Keeps a part of what everybody has had, and nothing of who is long gone.
    fn fade(&mut self, kept: f64) {
        self.0.retain(|_, account| {
            account.had *= kept;
            account.running > 0 || account.had > NOTHING
        });
    }

    fn had(&self, who: u64) -> f64 {
        self.0.get(&who).map_or(0.0, |account| account.had)
    }

    fn standing(&self, who: u64) -> Standing {
        let running = self.0.get(&who).map_or(0, |account| account.running);
        Standing { running, had: (self.had(who) * 1e9) as u64 }
    }

    /// Who has had more than this sits the next step out.
    fn bound(&self) -> f64 {
        let running = self.0.values().filter(|account| account.running > 0);
        running.map(|account| account.had).fold(f64::INFINITY, f64::min) + LEAD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    fn party(caller: u64, user: u64) -> Party {
        Party { caller, user }
    }

    /// Steps for everybody of `rows` (party and sequences) that has a turn; what each one's tokens came to.
    fn run(shares: &mut Shares, rows: &[(Party, usize)], steps: usize) -> Vec<(usize, Duration)> {
        let mut had = vec![(0, Duration::ZERO); rows.len()];
        for _ in 0..steps {
            let mut turn = shares.turn();
            let part: Vec<usize> =
                (0..rows.len()).filter(|i| rows[*i].1 > 0 && turn.has(rows[*i].0)).collect();
            assert!(!part.is_empty(), "nobody has the step");
            let tokens: Vec<(Party, usize)> = part.iter().map(|i| rows[*i]).collect();
            let total: usize = tokens.iter().map(|(_, tokens)| tokens).sum();
            for i in part {
                had[i].0 += rows[i].1;
                had[i].1 +=
                    STEP * u32::try_from(rows[i].1).unwrap() / u32::try_from(total).unwrap();
            }
            shares.charge(STEP, &tokens);
            shares.pass(STEP);
        }
        had
    }

    fn enter(shares: &mut Shares, rows: &[(Party, usize)]) {
        for (party, sequences) in rows {
            (0..*sequences).for_each(|_| shares.enter(*party));
        }
    }

    #[test]
    fn one_caller_has_every_step() {
        let mut shares = Shares::default();
        let rows = [(party(1, 1), 28)];
        enter(&mut shares, &rows);
        assert_eq!(run(&mut shares, &rows, 100)[0].0, 2800);
    }

    #[test]
    fn many_sequences_have_no_more_time_than_one() {
        let mut shares = Shares::default();
        let rows = [(party(1, 1), 28), (party(2, 1), 1), (party(3, 1), 3)];
        enter(&mut shares, &rows);
        let had = run(&mut shares, &rows, 3000);
        for (_, time) in &had {
            let share = time.as_secs_f64() / 10.0;
            // What the lead makes of it.
            assert!((share - 1.0).abs() < 0.08, "{had:?}");
        }
    }

    #[test]
    fn users_of_one_caller_share_its_time() {
        let mut shares = Shares::default();
        let rows = [(party(1, 1), 20), (party(1, 2), 1), (party(2, 1), 5)];
        enter(&mut shares, &rows);
        let had = run(&mut shares, &rows, 4000);
        let share = |i: usize| had[i].1.as_secs_f64() / 40.0;
        assert!((share(0) - 0.25).abs() < 0.03 && (share(1) - 0.25).abs() < 0.03, "{had:?}");
        assert!((share(2) - 0.5).abs() < 0.03, "{had:?}");
    }

    #[test]
    fn who_was_away_goes_first_and_shares_when_it_stays() {
        let mut shares = Shares::default();
        let greedy = [(party(1, 1), 28)];
        enter(&mut shares, &greedy);
        run(&mut shares, &greedy, 10_000);
        let both = [greedy[0], (party(2, 1), 1)];
        shares.enter(both[1].0);
        let first = run(&mut shares, &both, 120);
        assert_eq!(first[0].0, 0, "the first second and more is the newcomer's");
        run(&mut shares, &both, 200);
        let later = run(&mut shares, &both, 1000);
        let share = later[0].1.as_secs_f64() / 10.0;
        assert!((share - 0.5).abs() < 0.02, "{later:?}");
    }

    #[test]
    fn who_asks_seldom_is_never_made_to_wait() {
        let mut shares = Shares::default();
        let both = [(party(1, 1), 28), (party(2, 1), 1)];
        enter(&mut shares, &both[..1]);
        run(&mut shares, &both[..1], 1000);
        for _ in 0..100 {
            // 100 ms of answer, 200 ms of thought.
            shares.enter(both[1].0);
            assert_eq!(run(&mut shares, &both, 10)[1].0, 10);
            shares.leave(both[1].0);
            run(&mut shares, &both[..1], 20);
        }
    }

    #[test]
    fn leaving_and_coming_back_gains_nothing() {
        let mut shares = Shares::default();
        let both = [(party(1, 1), 1), (party(2, 1), 28)];
        enter(&mut shares, &both);
        run(&mut shares, &both, 1000);
        let mut time = [Duration::ZERO; 2];
        for _ in 0..300 {
            let had = run(&mut shares, &both, 10);
            (0..2).for_each(|i| time[i] += had[i].1);
            shares.leave(both[0].0);
            shares.enter(both[0].0);
        }
        let ratio = time[0].as_secs_f64() / time[1].as_secs_f64();
        assert!((ratio - 1.0).abs() < 0.05, "{time:?}");
    }

    #[test]
    fn newcomers_without_end_do_not_starve_who_is_there() {
        let mut shares = Shares::default();
        let old = party(0, 0);
        shares.enter(old);
        run(&mut shares, &[(old, 1)], 1000);
        let mut had = 0;
        for newcomer in 1..1000 {
            let new = party(newcomer, 0);
            shares.enter(new);
            had += run(&mut shares, &[(old, 1), (new, 1)], 20)[0].0;
            shares.leave(new);
        }
        assert!(had > 500, "{had} of 19980 steps");
    }

    #[test]
    fn nothing_is_kept_of_who_is_long_gone() {
        let mut shares = Shares::default();
        for caller in 0..1000 {
            shares.enter(party(caller, caller));
            shares.charge(STEP, &[(party(caller, caller), 1)]);
            shares.leave(party(caller, caller));
        }
        shares.pass(Duration::from_secs(3600));
        assert_eq!((shares.callers.0.len(), shares.users.len()), (0, 0));
    }
}

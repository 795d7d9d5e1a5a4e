//! A cycle's tries: what fails only because it forgot, or did not learn yet, is tried again.

use hone_api::cycle::{CycleView, Step};
use hone_api::{AdapterId, CycleId};
use hone_eval::Remedy;
use serde::{Deserialize, Serialize};

/// Tries at most.
const MOST: usize = 5;
/// A finished adapter is scaled down to this.
const SMALLER: f64 = 0.9;
/// Where it forgot, the divergence from the base counts so many times as much.
const CLOSER: f64 = 2.5;
/// How often an adapter goes on from where it is before another one is trained.
const MENDS: u32 = 2;

/// How a try differs from the settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// Counts from 0.
    pub number: u32,
    /// The try whose training it uses: its own, or an earlier one's.
    pub trained: u32,
    /// The try from whose adapter its training goes on, for one pass; without one it is a whole training.
    #[serde(default)]
    pub mends: Option<u32>,
    /// Times the usual rehearsal.
    pub rehearsal: f64,
    /// Times the usual weight of the divergence from the base.
    pub kl: f64,
    /// Runs of the schedule at most.
    pub rounds: usize,
    /// The finished adapter is multiplied by this.
    pub scale: f64,
}

impl Default for Attempt {
    fn default() -> Self {
        Self { number: 0, trained: 0, mends: None, rehearsal: 1.0, kl: 1.0, rounds: 1, scale: 1.0 }
    }
}

impl Attempt {
    /// In words, for the reason.
    pub fn name(&self) -> String {
        let mut words = Vec::new();
        if self.mends.is_some() {
            let what = match self.rehearses_base() {
                true => "one more pass closer to the base",
                false => "one more pass that keeps more",
            };
            words.push(what.to_owned());
        }
        if self.rehearsal > 1.0 {
            words.push("more rehearsal".to_owned());
        }
        if self.rounds > 1 {
            words.push("longer training".to_owned());
        }
        if self.scale < 1.0 {
            words.push(format!("scaled by {}", self.scale));
        }
        if words.is_empty() { "as set".to_owned() } else { words.join(", ") }
    }

    /// Whether rehearsal keeps the base's answers, where the training goes on from an adapter whose answers it keeps otherwise.
    /// That takes from older lessons what their neighbours had gained, so a try that forgot does so only in its second pass.
    pub const fn rehearses_base(&self) -> bool {
        self.mends.is_some() && self.number >= MENDS
    }

    /// Whether it was kept closer to the base, and once that was not enough.
    pub const fn is_last_resort(&self) -> bool {
        self.kl > 1.0 && self.number > 1
    }

    /// The candidate of this try. The first has the cycle's own number.
    pub fn candidate(&self, cycle: CycleId) -> AdapterId {
        numbered(cycle, u128::from(self.number))
    }
}

/// The adapter that judges a fold: never in the registry.
pub fn judge(cycle: CycleId, fold: usize) -> AdapterId {
    numbered(cycle, 0x1000 + fold as u128)
}

fn numbered(cycle: CycleId, number: u128) -> AdapterId {
    AdapterId::from_uuid(uuid::Uuid::from_u128(cycle.uuid().as_u128() ^ number))
}

/// A try that was not enough.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// How it was made.
    pub attempt: Attempt,
    /// Its candidate.
    pub candidate: AdapterId,
    /// Why it was not enough.
    pub reason: String,
}

/// The tries so far and the one at work, as the cycle's row keeps them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Attempts {
    /// At work.
    #[serde(default)]
    pub attempt: Attempt,
    /// Before it.
    #[serde(default)]
    pub tried: Vec<Tried>,
}

impl Attempts {
    /// Of a cycle.
    pub fn of(cycle: &CycleView) -> Self {
        let kept = cycle.outcomes.get(&Step::Decide).cloned().unwrap_or_default();
        serde_json::from_value(kept).unwrap_or_default()
    }

    /// What to try next, if anything is left.
    pub fn next(&self, remedy: Remedy) -> Option<Attempt> {
        let last = self.attempt;
        if self.tried.len() + 1 >= MOST {
            return None;
        }
        let number = last.number + 1;
        let trained_anew = Attempt { number, trained: number, mends: None, scale: 1.0, ..last };
        match remedy {
            // One pass costs a quarter of a training, and keeps as much.
            Remedy::KeepMore if last.rehearsal <= 1.0 && number <= MENDS => {
                Some(Attempt { mends: Some(last.trained), kl: CLOSER, ..trained_anew })
            }
            // Kept closer it unlearns less of what was taught than scaled down.
            Remedy::KeepMore if last.rehearsal <= 1.0 => {
                Some(Attempt { rehearsal: 1.33, kl: CLOSER, ..trained_anew })
            }
            // Costs an evaluation only.
            Remedy::KeepMore if last.scale >= 1.0 => {
                Some(Attempt { number, scale: SMALLER, ..last })
            }
            Remedy::TrainLonger if last.scale >= 1.0 && last.rounds == 1 => {
                Some(Attempt { rounds: 2, ..trained_anew })
            }
            Remedy::KeepMore | Remedy::TrainLonger => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(remedies: &[Remedy]) -> Vec<String> {
        let mut attempts = Attempts::default();
        let mut names = Vec::new();
        for remedy in remedies {
            let Some(next) = attempts.next(*remedy) else { break };
            let candidate = next.candidate(CycleId::new());
            let tried = Tried { attempt: attempts.attempt, candidate, reason: String::new() };
            attempts.tried.push(tried);
            attempts.attempt = next;
            names.push(next.name());
        }
        names
    }

    #[test]
    fn who_forgets_goes_closer_then_is_trained_with_more_rehearsal_then_scaled_down() {
        let expected = [
            "one more pass that keeps more",
            "one more pass closer to the base",
            "more rehearsal",
            "more rehearsal, scaled by 0.9",
        ];
        assert_eq!(walk(&[Remedy::KeepMore; 9]), expected);
    }

    #[test]
    fn a_pass_more_goes_on_from_the_try_before_and_only_the_second_rehearses_the_base() {
        let mut attempts = Attempts::default();
        let mut from = Vec::new();
        for _ in 0..3 {
            attempts.attempt = attempts.next(Remedy::KeepMore).unwrap();
            let Attempt { trained, mends, .. } = attempts.attempt;
            from.push((trained, mends, attempts.attempt.rehearses_base()));
        }
        assert_eq!(from, [(1, Some(0), false), (2, Some(1), true), (3, None, false)]);
    }

    #[test]
    fn who_did_not_learn_is_trained_longer_once() {
        assert_eq!(walk(&[Remedy::TrainLonger; 9]), ["longer training"]);
        let both = walk(&[Remedy::KeepMore, Remedy::TrainLonger, Remedy::KeepMore]);
        let keeps = "one more pass that keeps more";
        assert_eq!(both, [keeps, "longer training", "more rehearsal, longer training"]);
    }

    #[test]
    fn every_try_has_a_candidate_of_its_own() {
        let cycle = CycleId::new();
        let second = Attempt { number: 1, ..Attempt::default() };
        assert_eq!(Attempt::default().candidate(cycle).uuid(), cycle.uuid());
        assert_ne!(second.candidate(cycle).uuid(), cycle.uuid());
        assert_ne!(judge(cycle, 0), judge(cycle, 1));
    }
}

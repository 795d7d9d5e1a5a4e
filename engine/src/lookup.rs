//! Speculative decoding by looking up what was said before.
//!
//! An answer that quotes, edits or continues a list repeats its conversation. Where its last tokens stood there before, those that
//! followed are drafts for the next ones (prompt lookup decoding, Saxena 2023), and all of them are computed in one step, which costs
//! little more than one token: the weights are read once. Each token is then sampled from its own row of logits as it would have been
//! without drafts, and the first that is not the draft ends the step's harvest. So answers are the same, to the last bit and at any
//! temperature; a draft only decides what is computed together.

use std::collections::HashMap;

/// So many tokens must have stood there before. Fewer are found by chance.
const RUN: usize = 3;
/// Drafts of the first attempt, and of the first after one of which none was right.
const FIRST: usize = 3;
/// After so many failures in a row the wait does not grow any more: 64 steps.
const LONGEST_WAIT: u32 = 6;

/// Where an answer may go on, by its own text.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    /// Where each run was followed by something last: the place of what followed.
    places: HashMap<[u32; RUN], usize>,
    /// Tokens of the text that `places` knows as followers.
    known: usize,
    /// How far drafts reach.
    reach: usize,
    /// Attempts since one had a right draft.
    failures: u32,
    /// Steps without drafts that are left.
    wait: u32,
}

/// A prompt and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Text<'a> {
    pub(crate) prompt: &'a [u32],
    pub(crate) answer: &'a [u32],
}

impl Text<'_> {
    fn len(self) -> usize {
        self.prompt.len() + self.answer.len()
    }

    fn at(self, place: usize) -> u32 {
        match place.checked_sub(self.prompt.len()) {
            None => self.prompt[place],
            Some(place) => self.answer[place],
        }
    }

    /// The run that ends before `place`.
    fn run(self, place: usize) -> Option<[u32; RUN]> {
        let from = place.checked_sub(RUN)?;
        Some(std::array::from_fn(|index| self.at(from + index)))
    }
}

impl Lookup {
    /// At most so many drafts of what follows the text.
    pub(crate) fn drafts(&mut self, text: Text<'_>, most: usize) -> Vec<u32> {
        if self.wait > 0 {
            self.wait -= 1;
            return Vec::new();
        }
        for place in self.known..text.len() {
            if let Some(run) = text.run(place) {
                self.places.insert(run, place);
            }
        }
        self.known = text.len();
        let found = text.run(text.len()).and_then(|run| self.places.get(&run).copied());
        let reach = if self.reach == 0 { FIRST } else { self.reach }.min(most);
        let drafts = found.map(|place| place..text.len().min(place + reach));
        drafts.into_iter().flatten().map(|place| text.at(place)).collect()
    }

    /// Learns how many of a step's drafts were right: drafts reach farther while all are, and rest for longer and longer while
    /// none is, so that a text that does not repeat itself costs next to nothing.
    pub(crate) fn learn(&mut self, drafted: usize, accepted: usize) {
        if drafted == 0 {
            return;
        }
        if accepted == 0 {
            self.failures = (self.failures + 1).min(LONGEST_WAIT);
            self.wait = 1 << self.failures;
            self.reach = FIRST;
        } else {
            self.failures = 0;
            self.reach = if accepted == drafted { drafted * 2 } else { accepted + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drafts(lookup: &mut Lookup, prompt: &[u32], answer: &[u32], most: usize) -> Vec<u32> {
        lookup.drafts(Text { prompt, answer }, most)
    }

    #[test]
    fn what_followed_last_time_is_drafted() {
        let prompt = [1, 2, 3, 4, 5, 6, 1, 2, 3, 9, 8, 7];
        let mut lookup = Lookup::default();
        assert_eq!(drafts(&mut lookup, &prompt, &[1, 2], 8), [0; 0], "7, 1, 2 is new");
        assert_eq!(drafts(&mut lookup, &prompt, &[1, 2, 3], 8), [9, 8, 7], "the latest place");
        assert_eq!(drafts(&mut lookup, &prompt, &[1, 2, 3], 1), [9]);
        assert_eq!(drafts(&mut lookup, &[1, 2], &[], 8), [0; 0]);
    }

    #[test]
    fn an_answer_that_repeats_itself_is_its_own_draft() {
        let mut lookup = Lookup::default();
        assert_eq!(drafts(&mut lookup, &[], &[4, 5, 6, 4, 5, 6], 8), [4, 5, 6]);
    }

    #[test]
    fn drafts_reach_farther_while_right_and_rest_while_wrong() {
        let text: Vec<u32> = (0..40).chain(0..3).collect();
        let mut lookup = Lookup::default();
        let count = |lookup: &mut Lookup| drafts(lookup, &text, &[], 16).len();
        assert_eq!(count(&mut lookup), 3);
        lookup.learn(3, 3);
        assert_eq!(count(&mut lookup), 6);
        lookup.learn(6, 2);
        assert_eq!(count(&mut lookup), 3);
        lookup.learn(3, 0);
        assert_eq!([(); 4].map(|()| count(&mut lookup)), [0, 0, 3, 3]);
        lookup.learn(3, 0);
        assert_eq!([(); 5].map(|()| count(&mut lookup)), [0, 0, 0, 0, 3]);
    }

    proptest! {
        /// However the text grows between two looks, drafts are what followed an equal run.
        #[test]
        fn drafts_stood_in_the_text(text in prop::collection::vec(0u32..4, 0..60), cuts in prop::collection::vec(0usize..60, 0..6)) {
            let mut lookup = Lookup::default();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            for cut in cuts {
                let (prompt, answer) = text[..cut].split_at(cut / 2);
                let found = drafts(&mut lookup, prompt, answer, 5);
                let end = &text[cut.saturating_sub(RUN)..cut];
                let follows = |at: &usize| text[at - RUN..*at] == *end && text[*at..cut].starts_with(&found);
                prop_assert!(found.is_empty() || (RUN..cut).any(|at| follows(&at)), "{found:?}");
            }
        }
    }
}

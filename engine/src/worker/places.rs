//! Who has a place in the batch: requests get one, give it up when memory runs out, and get it back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hone_model::KvCache;

use super::{Worker, keep};
use crate::health::add;
use crate::queue::Standings;
use crate::room::{Holding, allowance, fit, gives_way};
use crate::sequence::Sequence;
use crate::shared::Inbox;
use crate::submitted::Submitted;
use crate::{Party, Priority};

impl Worker {
    /// Pauses sequences while their caches would outgrow the memory, and gives places to those that wait as far as places and
    /// memory allow: first to those that were paused.
    pub(super) fn admit(&mut self, inbox: &mut Inbox) {
        self.make_room();
        self.resume();
        let places = self.shared.config.max_sequences;
        let is_background = |s: &&Sequence| s.submitted.is_background();
        let mut background = self.running.iter().filter(is_background).count();
        while self.running.len() < places {
            // Evaluations leave half of the places to people who have not come yet.
            let room = background < places.div_ceil(2);
            let fits = |s: &Submitted| self.may_pass(s) && self.fits(s, self.needs(s));
            let Some(next) = inbox.queue.pop(room, &self.shares, fits) else { break };
            background += usize::from(next.is_background());
            let sequence = Sequence::start(next, &self.shared.model);
            self.give_place(sequence);
        }
        self.count_bytes(self.step_tokens());
    }

    /// Tokens of a sequence that decodes, in one step.
    fn step_tokens(&self) -> usize {
        1 + self.shared.config.speculative_tokens
    }

    /// Tokens that there is room for beside what a sequence has, before one more gets its place: a block more than the next
    /// step needs, so that it is not paused in the step after.
    fn spare_tokens(&self) -> usize {
        self.step_tokens() + KvCache::BLOCK
    }

    /// What a request gets its place with.
    fn needs(&self, submitted: &Submitted) -> Holding {
        submitted.needs(self.shared.model.config(), self.spare_tokens())
    }

    /// Whether there is a place, and memory beside all that run.
    fn fits(&self, submitted: &Submitted, needs: Holding) -> bool {
        let config = &self.shared.config;
        let running = self.places_of(submitted.request.party);
        let has_some = running.map(|running| !submitted.is_background() && running > 0);
        // Who comes new has a part of the memory for itself; the others leave each one that runs a block more.
        let is_new = !submitted.is_background() && !has_some[1];
        let tokens = if is_new { self.step_tokens() } else { self.spare_tokens() };
        let mut holdings = self.holdings(tokens);
        holdings.push(needs);
        self.running.len() < allowance(config.max_sequences, has_some)
            && fit(&holdings, config.kv_bytes)
    }

    /// What those that run hold, with so many tokens more for each.
    fn holdings(&self, more: usize) -> Vec<Holding> {
        let model = self.shared.model.config();
        self.running.iter().map(|sequence| sequence.holding(model, more)).collect()
    }

    fn give_place(&mut self, sequence: Sequence) {
        if !sequence.submitted.is_background() {
            self.shares.enter(sequence.submitted.request.party);
        }
        self.running.push(sequence);
    }

    /// Pauses sequences until the next step of the others has room.
    fn make_room(&mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            let holdings = self.holdings(self.step_tokens());
            let Some(index) = gives_way(&holdings, shared.config.kv_bytes) else { return };
            let mut sequence = self.running.remove(index);
            if !sequence.submitted.is_background() {
                self.shares.leave(sequence.submitted.request.party);
            }
            // Until their memory is needed its blocks are there for it, and for those that begin alike.
            keep(&sequence, &shared, &mut self.prefixes);
            sequence.pause(&shared.model);
            add(&shared.counters.preempted, 1);
            self.paused.push(sequence);
        }
    }

    /// Gives places back to those that were paused, as far as there is room.
    fn resume(&mut self) {
        while let Some(index) = self.next_paused() {
            let sequence = &self.paused[index];
            let needs = sequence.holding(self.shared.model.config(), self.spare_tokens());
            if !self.fits(&sequence.submitted, needs) {
                return;
            }
            let sequence = self.paused.remove(index);
            self.give_place(sequence);
        }
    }

    /// Which one has its place back first: people before evaluations, of them who has the fewest running, then the oldest.
    fn next_paused(&self) -> Option<usize> {
        let order = |index: &usize| {
            let submitted = &self.paused[*index].submitted;
            let running = self.places_of(submitted.request.party);
            (submitted.request.priority, running, submitted.ticket)
        };
        (0..self.paused.len()).min_by_key(order)
    }

    /// Sequences of a party's caller that run, and of its user.
    fn places_of(&self, party: Party) -> [usize; 2] {
        [self.shares.caller(party.caller), self.shares.user(party)].map(|it| it.running)
    }

    /// Whether a request may have a place before those that are paused. It would take the memory that they wait for; so only if
    /// its caller, or its user, has fewer running than theirs.
    fn may_pass(&self, submitted: &Submitted) -> bool {
        let Some(index) = self.next_paused() else { return true };
        let first = &self.paused[index].submitted;
        match (submitted.request.priority, first.request.priority) {
            (Priority::Interactive, Priority::Interactive) => {
                let (new, old) = (submitted.request.party, first.request.party);
                let (new_has, old_has) = (self.places_of(new), self.places_of(old));
                new_has[0] < old_has[0] || new.caller == old.caller && new_has[1] < old_has[1]
            }
            (new, old) => new < old,
        }
    }

    /// Notes what running sequences hold, and so many tokens more for each; the prefix cache has what they leave.
    pub(super) fn count_bytes(&mut self, more: usize) {
        let held = self.holdings(more).iter().map(|holding| holding.bytes).sum();
        self.prefixes.give_back(self.shared.config.kv_bytes.saturating_sub(held));
        let counters = &self.shared.counters;
        counters.kv_bytes.store(held, Ordering::Relaxed);
        counters.prefix_bytes.store(self.prefixes.bytes(), Ordering::Relaxed);
    }
}

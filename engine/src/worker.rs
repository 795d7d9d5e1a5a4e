//! The one thread that owns the device.
//!
//! Between two steps it does everything that must not happen during one: it lets go of clients
//! that left, gives places to those that wait ([`places`]), sees whose turn it is, and answers probes. A step that fails or
//! panics ends the requests that were in it, and nothing else.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use hone_api::chat::FinishReason;
use hone_model::{KvCache, Logits, Scratch, Segment};

use crate::batch::{self, Most, PerSequence, Piece, Row};
use crate::beginnings::leaders;
use crate::embeddings::Embeddings;
use crate::health::add;
use crate::pace::{Load, Pace};
use crate::prefix::PrefixCache;
use crate::sequence::{End, LogitRows, Sequence};
use crate::share::Shares;
use crate::shared::{Inbox, Question, Shared};
use crate::submitted::{Purpose, Submitted};
use crate::{Error, probe};

mod places;

/// Rows of a step in which sequences draft. The weights are read once for all rows, so that few more cost little; of many each
/// has its price.
const DRAFTING_ROWS: usize = 16;

/// What a step sampled.
#[derive(Debug, Clone, Copy, Default)]
struct Generated {
    tokens: usize,
    /// Those of them that had been drafts.
    drafts: usize,
}

/// The thread's own state.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    running: Vec<Sequence>,
    /// Those that gave their caches up, until there is room again.
    paused: Vec<Sequence>,
    scratch: Scratch,
    shares: Shares,
    embeddings: Embeddings,
    prefixes: PrefixCache,
    pace: Pace,
    /// Until when `shares` know that time has passed.
    passed: Instant,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let config = &shared.config;
        let prefixes = PrefixCache::new(config.prefix_cache_bytes.min(config.kv_bytes));
        Self {
            shared,
            running: Vec::new(),
            paused: Vec::new(),
            scratch: Scratch::new(),
            shares: Shares::default(),
            embeddings: Embeddings::default(),
            prefixes,
            pace: Pace::default(),
            passed: Instant::now(),
        }
    }

    /// Runs until the inbox says stop.
    pub(crate) fn run(mut self) {
        loop {
            let shared = Arc::clone(&self.shared);
            let mut inbox = shared.inbox();
            while self.is_idle() && inbox.is_idle() {
                self.report(&inbox);
                inbox = shared.wait(inbox);
            }
            if inbox.stop {
                self.fail_everything(&mut inbox);
                return;
            }
            let probes = std::mem::take(&mut inbox.probes);
            let questions = std::mem::take(&mut inbox.questions);
            self.embeddings.extend(std::mem::take(&mut inbox.embeddings));
            if std::mem::take(&mut inbox.adapters_left) {
                self.prefixes.keep_only(|digest| shared.slots.has_content(digest));
            }
            if std::mem::take(&mut inbox.forget_prefixes) {
                self.prefixes.clear();
            }
            self.admit(&mut inbox);
            self.report(&inbox);
            drop(inbox);
            for probe in probes {
                let model = &self.shared.model;
                let effect =
                    catch_unwind(AssertUnwindSafe(|| probe::effect(model, &probe.adapter)));
                let effect = effect.unwrap_or_else(|_| Err(Error::Broken(probe.id)));
                // Nobody waits for it any more: then nobody misses it.
                let _gone = probe.reply.send(effect);
            }
            for Question { adapter, reply } in questions {
                let live = shared.slots.live();
                let serves = live.slot.as_ref().map(|slot| *slot.adapter.content_digest());
                let popular = self.prefixes.popular(shared.model.digest(), serves, adapter);
                let _gone = reply.send(popular);
            }
            self.step();
            self.leave();
            self.embeddings.step(&self.shared, &mut self.scratch, !self.running.is_empty());
        }
    }

    fn is_idle(&self) -> bool {
        self.running.is_empty() && self.paused.is_empty() && self.embeddings.is_empty()
    }

    /// Computes one step for everything that runs and has its turn.
    fn step(&mut self) {
        for sequence in self.running.iter_mut().chain(&mut self.paused) {
            sequence.check_cancelled();
        }
        let mut turn = self.shares.turn();
        let mut has_turn = |s: &Submitted| s.is_background() || turn.has(s.request.party);
        let mut active: PerSequence<usize> = (0..self.running.len())
            .filter(|i| self.running[*i].end.is_none() && has_turn(&self.running[*i].submitted))
            .collect();
        if active.is_empty() {
            return;
        }
        self.share_beginnings(&mut active);
        self.look_ahead(&active);
        let rows: PerSequence<Row> = active.iter().map(|i| self.running[*i].row()).collect();
        let decoding = rows.iter().filter(|row| row.prompt_left == 0);
        let decoding: usize = decoding.map(|row| 1 + row.drafts).sum();
        let drafted: usize = rows.iter().map(|row| row.drafts).sum();
        let most = self.most(decoding);
        let mut pieces = batch::plan(&rows, most);
        let of_prompts = pieces.iter().filter(|piece| rows[piece.row].prompt_left > 0);
        let load = Load { decoding, prompt_tokens: of_prompts.map(|piece| piece.tokens).sum() };
        let is_prompts_end = |p: &&Piece| rows[p.row].prompt_left == p.tokens;
        let prompts_ended: PerSequence<usize> =
            pieces.iter().filter(is_prompts_end).map(|p| active[p.row]).collect();
        for piece in &mut pieces {
            piece.row = active[piece.row];
        }
        #[cfg(test)]
        self.shared.wait_while_held();
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let logits = self.forward(&pieces)?;
            Ok::<_, Error>(self.sample(&pieces, logits))
        }));
        match outcome {
            Ok(Ok(sampled)) => {
                for index in prompts_ended {
                    self.prompt_ended(index);
                }
                add(&self.shared.counters.prompt_tokens, load.prompt_tokens as u64);
                add(&self.shared.counters.generated_tokens, sampled.tokens as u64);
                add(&self.shared.counters.draft_tokens, drafted as u64);
                add(&self.shared.counters.accepted_tokens, sampled.drafts as u64);
            }
            Ok(Err(error)) => {
                tracing::error!(%error, sequences = pieces.len(), "a step failed");
                self.fail(&pieces, &error.to_string());
            }
            Err(_) => {
                tracing::error!(sequences = pieces.len(), "a step panicked");
                self.scratch = Scratch::new();
                self.fail(&pieces, "the engine failed at this request; try again");
            }
        }
        let took = began.elapsed();
        self.pace.observe(load, took);
        self.shared.counters.step_done(took);
        self.embeddings.answers_had(took);
        self.charge(took, &pieces);
    }

    /// Has sequences take what was computed of prompts that begin as theirs. Those of which another one is computing more take no
    /// part in the step.
    fn share_beginnings(&mut self, active: &mut PerSequence<usize>) {
        if active.iter().all(|index| self.running[*index].decodes()) {
            return;
        }
        let shared = Arc::clone(&self.shared);
        for index in &*active {
            self.running[*index].reuse(&mut self.prefixes, &shared.model);
        }
        let waits = self.leaders(active);
        if waits.iter().all(Option::is_none) {
            return;
        }
        // What their leaders have done so far is theirs now, and not only at the end of the prompt.
        for leader in waits.iter().flatten().collect::<BTreeSet<_>>() {
            keep(&self.running[active[*leader]], &shared, &mut self.prefixes);
        }
        for index in &*active {
            self.running[*index].reuse(&mut self.prefixes, &shared.model);
        }
        let mut waits = self.leaders(active).into_iter();
        active.retain(|_| waits.next().flatten().is_none());
    }

    fn leaders(&self, active: &[usize]) -> Vec<Option<usize>> {
        if !self.prefixes.is_on() {
            return vec![None; active.len()];
        }
        let all: Vec<_> = active.iter().map(|index| self.running[*index].beginning()).collect();
        leaders(&all, KvCache::BLOCK)
    }

    /// Lets sequences draft, where all of those that are computed decode and are few: then a step has time for more rows.
    fn look_ahead(&mut self, active: &[usize]) {
        let alone = active.iter().all(|index| self.running[*index].decodes());
        let each = if alone { (DRAFTING_ROWS / active.len()).saturating_sub(1) } else { 0 };
        let most = each.min(self.shared.config.speculative_tokens);
        for index in active {
            self.running[*index].look_ahead(most);
        }
    }

    /// Tokens for a step beside so many decoding rows.
    fn most(&self, decoding: usize) -> Most {
        let config = &self.shared.config;
        // All streams wait for the step, also those that have no part in it. Nobody reads along with an evaluation.
        let is_stream = |s: &Sequence| !s.submitted.is_background() && s.row().prompt_left == 0;
        let prompt_tokens = if self.running.iter().any(is_stream) {
            self.pace.chunk(decoding, config.target_token_gap)
        } else {
            usize::MAX
        };
        Most { step_tokens: config.max_step_tokens, prompt_tokens }
    }

    /// A prompt is computed: others may begin alike.
    fn prompt_ended(&mut self, index: usize) {
        let sequence = &self.running[index];
        if let Some((tokens, cached)) = sequence.hit() {
            add(&self.shared.counters.prefix_queries, tokens as u64);
            add(&self.shared.counters.prefix_hits, cached as u64);
        }
        keep(sequence, &self.shared, &mut self.prefixes);
        sequence.count(&mut self.prefixes);
    }

    /// Puts a step down to those who had part in it.
    fn charge(&mut self, took: Duration, pieces: &[Piece]) {
        let people = pieces.iter().filter_map(|piece| {
            let submitted = &self.running[piece.row].submitted;
            (!submitted.is_background()).then_some((submitted.request.party, piece.tokens))
        });
        let parts: PerSequence<_> = people.collect();
        self.shares.charge(took, &parts);
        let now = Instant::now();
        self.shares.pass(now - self.passed);
        self.passed = now;
    }

    fn forward(&mut self, pieces: &[Piece]) -> Result<Logits, Error> {
        #[cfg(test)]
        self.shared.sabotage();
        let mut places: PerSequence<Option<&mut Sequence>> =
            self.running.iter_mut().map(Some).collect();
        let mut segments: PerSequence<Segment<'_>> = pieces
            .iter()
            .filter_map(|piece| Some(places[piece.row].take()?.segment(piece)))
            .collect();
        Ok(self.shared.model.forward(&mut segments, &mut self.scratch)?)
    }

    /// Hands each sequence its rows of logits.
    fn sample(&mut self, pieces: &[Piece], mut logits: Logits) -> Generated {
        let spans = batch::spans(pieces.iter().map(|p| self.running[p.row].rows(p)));
        let mut sampled = Generated::default();
        for (piece, span) in pieces.iter().zip(spans) {
            let sequence = &mut self.running[piece.row];
            let mut rows = LogitRows { logits: &mut logits, first: span.start };
            let tokens = sequence.advance(&self.shared.model, piece, &mut rows);
            sampled.tokens += tokens;
            sampled.drafts += tokens.saturating_sub(1);
        }
        self.scratch.give_back(logits);
        sampled
    }

    fn fail(&mut self, pieces: &[Piece], reason: &str) {
        for piece in pieces {
            self.running[piece.row].end.get_or_insert_with(|| End::Failed(reason.to_owned()));
        }
    }

    /// Frees the places of sequences that ended, and then tells their clients: who has read the
    /// last event sees the place free.
    fn leave(&mut self) {
        let mut ended: Vec<Sequence> = self.running.extract_if(.., |s| s.end.is_some()).collect();
        for sequence in ended.iter().filter(|s| !s.submitted.is_background()) {
            self.shares.leave(sequence.submitted.request.party);
        }
        ended.extend(self.paused.extract_if(.., |s| s.end.is_some()));
        if ended.is_empty() {
            return;
        }
        let counters = &self.shared.counters;
        for sequence in &ended {
            if sequence.submitted.purpose == Purpose::WarmUp {
                if sequence.end == Some(End::Finished(FinishReason::Length)) {
                    add(&counters.warmed_tokens, sequence.submitted.request.prompt.len() as u64);
                }
                continue;
            }
            match sequence.end {
                Some(End::Finished(FinishReason::Stop)) => add(&counters.finished_stop, 1),
                Some(End::Finished(_)) => add(&counters.finished_length, 1),
                Some(End::Cancelled) => add(&counters.cancelled, 1),
                Some(End::Failed(_)) | None => add(&counters.failed, 1),
            }
            if matches!(sequence.end, Some(End::Finished(_))) {
                counters.served(sequence.started().elapsed());
            }
        }
        for sequence in &ended {
            keep(sequence, &self.shared, &mut self.prefixes);
        }
        self.count_bytes(0);
        self.count_running();
        ended.iter().for_each(Sequence::close);
    }

    fn count_running(&self) {
        let begun = self.running.iter().chain(&self.paused);
        let people = begun.filter(|s| !s.submitted.is_background()).count();
        let counters = &self.shared.counters;
        counters.begun.store(self.running.len() + self.paused.len(), Ordering::Relaxed);
        counters.paused.store(self.paused.len(), Ordering::Relaxed);
        counters.running_interactive.store(people, Ordering::Relaxed);
    }

    /// Publishes how busy serving is.
    fn report(&self, inbox: &MutexGuard<'_, Inbox>) {
        self.count_running();
        self.shared.publish_load(inbox);
    }

    fn fail_everything(&mut self, inbox: &mut Inbox) {
        // Whoever waits for one of these sees that its reply is gone.
        inbox.probes.clear();
        inbox.questions.clear();
        self.embeddings.extend(std::mem::take(&mut inbox.embeddings));
        self.embeddings.clear(&self.shared);
        let model = Arc::clone(&self.shared.model);
        let waiting = inbox.queue.drain().map(|submitted| Sequence::start(submitted, &model));
        self.paused.extend(waiting);
        for sequence in self.running.iter_mut().chain(&mut self.paused) {
            sequence.end = Some(End::Failed(Error::ShuttingDown.to_string()));
        }
        self.leave();
    }
}

/// Keeps what a sequence computed, unless its step failed or its adapter was unloaded meanwhile.
fn keep(sequence: &Sequence, shared: &Shared, prefixes: &mut PrefixCache) {
    let failed = matches!(sequence.end, Some(End::Failed(_)));
    let adapter = sequence.submitted.slot.as_ref().map(|slot| slot.adapter.content_digest());
    if !failed && adapter.is_none_or(|digest| shared.slots.has_content(digest)) {
        sequence.keep(prefixes);
    }
}

//! One request while it runs: its cache, its answer, and what its client has been told.

use std::sync::atomic::Ordering;
use std::time::Instant;

use hone_api::chat::FinishReason;
use hone_api::interaction::Timings;
use hone_model::{KvCache, Logits, LogitsFor, Model, ModelConfig, Segment};

use crate::batch::{Piece, Row, completes};
use crate::beginnings::Beginning;
use crate::lookup::{Lookup, Text};
use crate::prefix::{Namespace, PrefixCache};
use crate::room::Holding;
use crate::submitted::{Purpose, Submitted};
use crate::{Error, Event, PromptLogprob};

/// A request in the batch.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) submitted: Submitted,
    cache: KvCache,
    /// Tokens of the opening in the cache.
    computed: usize,
    /// Those of them that the prefix cache had.
    shared: usize,
    /// Those that it had before any pause, as the client is told.
    cached: usize,
    /// The prompt and what had been answered but for its last token, while they are computed again after a pause.
    again: Option<Vec<u32>>,
    was_paused: bool,
    /// Whose prompts it shares with.
    namespace: Namespace,
    /// The prefix cache's version when it was asked last.
    looked_at: Option<u64>,
    prompt_logprobs: Vec<PromptLogprob>,
    lookup: Lookup,
    /// Of one that decodes: the last token of the answer, and the drafts behind it. All of them are computed next.
    next: Vec<u32>,
    started: Instant,
    first_token: Option<Instant>,
    pub(crate) end: Option<End>,
}

/// How a sequence ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum End {
    Finished(FinishReason),
    Failed(String),
    /// The client left.
    Cancelled,
}

/// One sequence's rows of a step's logits.
pub(crate) struct LogitRows<'a> {
    pub(crate) logits: &'a mut Logits,
    /// The first of them.
    pub(crate) first: usize,
}

impl LogitRows<'_> {
    fn get(&mut self, index: usize) -> &mut [f32] {
        self.logits.row_mut(self.first + index)
    }
}

impl Sequence {
    /// Gives a request its place and tells its client.
    pub(crate) fn start(submitted: Submitted, model: &Model) -> Self {
        let started = Instant::now();
        let queue_ms = started.duration_since(submitted.arrived).as_secs_f64() * 1e3;
        let namespace = submitted.namespace(model);
        let mut sequence = Self {
            cache: KvCache::new(model.config()),
            computed: 0,
            shared: 0,
            cached: 0,
            again: None,
            was_paused: false,
            namespace,
            looked_at: None,
            prompt_logprobs: Vec::new(),
            lookup: Lookup::default(),
            next: Vec::new(),
            started,
            first_token: None,
            end: None,
            submitted,
        };
        sequence.send(Event::Started { queue_ms });
        let says_nothing = sequence.submitted.answer.max_new() == 0;
        let is_asked = sequence.submitted.purpose == Purpose::Answer;
        if says_nothing && is_asked && sequence.submitted.request.echo_from.is_none() {
            sequence.end = Some(End::Finished(FinishReason::Length));
        }
        sequence
    }

    /// Tokens sampled; the next step computes the last one, once the prompt is done.
    fn answer(&self) -> &[u32] {
        self.submitted.answer.tokens()
    }

    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// What is computed before it decodes: the prompt, and after a pause what had been answered as well.
    fn opening(&self) -> &[u32] {
        self.again.as_deref().unwrap_or(&self.submitted.request.prompt)
    }

    /// The first prompt token whose log-probability is still to be told.
    fn echo_from(&self) -> Option<usize> {
        self.submitted.request.echo_from.filter(|_| self.answer().is_empty())
    }

    /// How many tokens of the opening need no logits, so that they may come from elsewhere: all but the last, or those
    /// before the one whose logits tell of the first that is echoed.
    fn takes(&self) -> usize {
        let echoed = self.echo_from().map_or(usize::MAX, |from| from.saturating_sub(1));
        self.opening().len().saturating_sub(1).min(echoed)
    }

    /// Whether nothing can be taken from the prefix cache any more.
    fn has_begun(&self) -> bool {
        self.computed > self.shared || self.decodes() || self.takes() == 0
    }

    /// Takes what the prefix cache has of the opening, as long as nothing of it was computed here.
    pub(crate) fn reuse(&mut self, prefixes: &mut PrefixCache, model: &Model) {
        let seen = self.looked_at == Some(prefixes.version());
        if seen || self.has_begun() {
            return;
        }
        self.looked_at = Some(prefixes.version());
        let found = prefixes.find(self.namespace, &self.opening()[..self.takes()]);
        let tokens: usize = found.iter().map(|(_, tokens)| tokens).sum();
        if tokens > self.shared {
            let mut cache = KvCache::new(model.config());
            match found.iter().try_for_each(|(block, tokens)| cache.share(block, *tokens)) {
                Ok(()) => (self.cache, self.computed, self.shared) = (cache, tokens, tokens),
                // Then it is computed as if nothing had been found.
                Err(error) => tracing::error!(%error, "a prefix could not be shared"),
            }
            if !self.was_paused {
                self.cached = self.shared;
            }
        }
    }

    /// What is left to compute before it decodes; `None` if nothing is.
    pub(crate) fn beginning(&self) -> Option<Beginning<'_>> {
        (!self.decodes()).then(|| Beginning {
            namespace: self.namespace,
            priority: self.submitted.request.priority,
            tokens: self.opening(),
            takes: self.takes(),
            computed: self.computed,
            has_begun: self.has_begun(),
        })
    }

    /// What it holds with its opening, and so many tokens more than it has come to.
    pub(crate) fn holding(&self, config: &ModelConfig, more: usize) -> Holding {
        self.submitted.holding(config, self.cache.len().max(self.opening().len()) + more)
    }

    /// Gives its blocks up. What was computed is computed again; what was sampled, and the state to sample from, stay.
    pub(crate) fn pause(&mut self, model: &Model) {
        if let Some((_, before)) = self.answer().split_last() {
            let prompt = &self.submitted.request.prompt;
            self.again = Some(prompt.iter().chain(before).copied().collect());
        }
        self.cache = KvCache::new(model.config());
        (self.computed, self.shared, self.looked_at) = (0, 0, None);
        self.prompt_logprobs.clear();
        self.next.clear();
        self.was_paused = true;
    }

    /// Keeps what was computed for those that begin alike: once the prompt is done its whole blocks, and in the end all. A block
    /// that is still written to would have to be copied.
    pub(crate) fn keep(&self, prefixes: &mut PrefixCache) {
        let held = self.cache.len();
        let tokens = if self.end.is_some() { held } else { held / KvCache::BLOCK * KvCache::BLOCK };
        let text = self.submitted.request.prompt.iter().chain(self.answer());
        let text: Vec<u32> = text.take(tokens).copied().collect();
        prefixes.keep(self.namespace, self.submitted.owner(), &text, &self.cache);
    }

    /// Has the prefix cache count its prompt as one that was asked.
    pub(crate) fn count(&self, prefixes: &mut PrefixCache) {
        if self.submitted.purpose == Purpose::Answer && !self.was_paused {
            prefixes.count(self.namespace, &self.submitted.request.prompt);
        }
    }

    /// Tokens of the prompt, and those of them that the prefix cache had; `None` if it was not asked, or a part of them
    /// was this sequence's own before a pause.
    pub(crate) fn hit(&self) -> Option<(usize, usize)> {
        let is_asked = self.submitted.purpose == Purpose::Answer && !self.was_paused;
        let asked = self.looked_at.filter(|_| is_asked);
        asked.map(|_| (self.submitted.request.prompt.len(), self.cached))
    }

    /// Whether all is computed that comes before the next token.
    pub(crate) fn decodes(&self) -> bool {
        self.again.is_none() && self.computed == self.submitted.request.prompt.len()
    }

    /// Makes ready what it decodes next, with at most so many drafts.
    pub(crate) fn look_ahead(&mut self, most: usize) {
        self.next.clear();
        let answer = self.submitted.answer.tokens();
        let Some(last) = answer.last().filter(|_| self.decodes()) else { return };
        self.next.push(*last);
        // The token that is sampled in any case is none of them.
        let most = most.min(self.submitted.answer.max_new().saturating_sub(answer.len() + 1));
        if most > 0 {
            let text = Text { prompt: &self.submitted.request.prompt, answer };
            self.next.extend(self.lookup.drafts(text, most));
        }
    }

    /// What planning needs to know.
    pub(crate) fn row(&self) -> Row {
        Row {
            adapter: self.submitted.slot.as_ref().map_or(0, |slot| slot.serial),
            priority: self.submitted.request.priority,
            prompt_left: self.opening().len() - self.computed,
            echo: self.echo_from().is_some(),
            before_echo: self.echo_from().map_or(0, |_| self.takes().saturating_sub(self.computed)),
            drafts: self.next.len().saturating_sub(1),
        }
    }

    /// The model's view of this sequence's share of a step.
    pub(crate) fn segment(&mut self, piece: &Piece) -> Segment<'_> {
        let (logits, decodes) = (self.wanted(piece), self.decodes());
        let opening = self.again.as_deref().unwrap_or(&self.submitted.request.prompt);
        let tokens = if decodes {
            &self.next[..]
        } else {
            &opening[self.computed..self.computed + piece.tokens]
        };
        let adapter = self.submitted.slot.as_ref().map(|slot| slot.adapter.as_ref());
        Segment { tokens, cache: &mut self.cache, adapter, logits }
    }

    fn wanted(&self, piece: &Piece) -> LogitsFor {
        let row = self.row();
        let echoes = row.echo && row.before_echo == 0;
        match (row.prompt_left == 0 || echoes, completes(&row, piece)) {
            (true, _) => LogitsFor::All,
            // What follows an opening that is computed again was sampled before the pause.
            (false, true) if self.again.is_none() => LogitsFor::Last,
            _ => LogitsFor::None,
        }
    }

    /// How many rows of logits [`Self::segment`] asks for.
    pub(crate) fn rows(&self, piece: &Piece) -> usize {
        match self.wanted(piece) {
            LogitsFor::All => piece.tokens,
            LogitsFor::Last => 1,
            LogitsFor::None => 0,
        }
    }

    /// Takes a step's results: `rows` of logits, as many as [`Self::rows`] said. Samples a token if
    /// the prompt is complete, and one more for each draft that was right. Returns how many tokens were sampled.
    pub(crate) fn advance(
        &mut self,
        model: &Model,
        piece: &Piece,
        rows: &mut LogitRows<'_>,
    ) -> usize {
        match self.try_advance(model, piece, rows) {
            Ok(sampled) => sampled,
            Err(error) => {
                self.end = Some(End::Failed(error.to_string()));
                0
            }
        }
    }

    fn try_advance(
        &mut self,
        model: &Model,
        piece: &Piece,
        rows: &mut LogitRows<'_>,
    ) -> Result<usize, Error> {
        let row = self.row();
        let last = self.rows(piece).saturating_sub(1);
        if row.prompt_left > 0 {
            if row.echo && row.before_echo == 0 {
                for index in 0..piece.tokens {
                    self.note_prompt_logprob(self.computed + index, rows.get(index))?;
                }
            }
            self.computed += piece.tokens;
        }
        if !completes(&row, piece) {
            return Ok(0);
        }
        if row.prompt_left > 0 && self.again.take().is_some() {
            self.computed = self.submitted.request.prompt.len();
            return Ok(0);
        }
        if row.echo && row.prompt_left > 0 {
            let logprobs = std::mem::take(&mut self.prompt_logprobs);
            self.send(Event::PromptLogprobs(logprobs));
        }
        if self.submitted.answer.max_new() == 0 {
            self.end = Some(End::Finished(FinishReason::Length));
            return Ok(0);
        }
        let decodes = row.prompt_left == 0;
        let first = if decodes { 0 } else { last };
        let mut sampled = 0;
        for index in first..=last {
            let (event, reason) =
                self.submitted.answer.sample(model.front_end(), rows.get(index))?;
            sampled += 1;
            self.first_token.get_or_insert_with(Instant::now);
            self.send(event);
            self.end = reason.map(End::Finished);
            let was_drafted = self.answer().last() == self.next.get(sampled);
            if self.end.is_some() || !was_drafted {
                break;
            }
        }
        if decodes {
            // What was computed of drafts that were wrong is forgotten.
            self.cache.truncate(self.cache.len() - piece.tokens + sampled);
            self.lookup.learn(row.drafts, sampled - 1);
        }
        Ok(sampled)
    }

    /// The row after prompt token `position` gives the log-probability of the one that follows.
    fn note_prompt_logprob(&mut self, position: usize, row: &[f32]) -> Result<(), Error> {
        let prompt = &self.submitted.request.prompt;
        if position == 0 && self.echo_from() == Some(0) {
            let first = PromptLogprob { token: prompt[0], logprob: None, top: Vec::new() };
            self.prompt_logprobs.push(first);
        }
        if let Some(&token) = prompt.get(position + 1) {
            let n = usize::from(self.submitted.request.sampling.logprobs.unwrap_or(0));
            let (logprob, top) = hone_text::log_probabilities(row, token, n)?;
            self.prompt_logprobs.push(PromptLogprob { token, logprob: Some(logprob), top });
        }
        Ok(())
    }

    /// Notices that the client left.
    pub(crate) fn check_cancelled(&mut self) {
        if self.submitted.cancelled.load(Ordering::Relaxed) || self.submitted.events.is_closed() {
            self.end = Some(End::Cancelled);
        }
    }

    /// Tells the client how it ended.
    pub(crate) fn close(&self) {
        match &self.end {
            Some(End::Finished(reason)) => {
                let arrived = self.submitted.arrived;
                let queue = self.started.duration_since(arrived);
                let total = arrived.elapsed();
                let first = self.first_token.map_or(total, |at| at.duration_since(arrived));
                self.send(Event::Finished {
                    reason: *reason,
                    prompt_tokens: count(self.submitted.request.prompt.len()),
                    cached_tokens: count(self.cached),
                    completion_tokens: count(self.answer().len()),
                    timings: Timings {
                        queue_ms: queue.as_secs_f64() * 1e3,
                        ttft_ms: first.as_secs_f64() * 1e3,
                        total_ms: total.as_secs_f64() * 1e3,
                    },
                });
            }
            Some(End::Failed(reason)) => self.send(Event::Failed(reason.clone())),
            Some(End::Cancelled) | None => {}
        }
    }

    /// A client that is gone is noticed before the next step, so nothing is lost here.
    fn send(&self, event: Event) {
        let _gone = self.submitted.events.send(event);
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

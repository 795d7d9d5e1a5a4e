//! The engine that runs Hone's own decoder.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hone_api::AdapterId;
use hone_api::load_signal::LoadSignal;
use hone_model::{Adapter, KvCache, Model};
use hone_text::FrontEnd;
use tokio::sync::oneshot;

use crate::embed::{self, Job};
use crate::health::add;
use crate::probe::Probe;
use crate::shared::Shared;
use crate::submitted::{Purpose, Submitted};
use crate::worker::Worker;
use crate::{
    EmbedRequest, Embedding, EngineConfig, Error, Event, Generate, Generation, GrowingAnswer,
    Health, LoadedAdapter, Request,
};

/// Serves one model on one device thread. Dropping it stops the thread.
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the device thread.
    ///
    /// # Errors
    /// A setting that cannot work; the load signal or the thread cannot be made.
    pub fn start(model: Arc<Model>, config: EngineConfig) -> Result<Arc<Self>, Error> {
        config.check()?;
        let shared = Arc::new(Shared::new(model, config)?);
        let worker = Worker::new(Arc::clone(&shared));
        let thread =
            std::thread::Builder::new().name("hone-engine".to_owned()).spawn(|| worker.run())?;
        Ok(Arc::new(Self { shared, worker: Mutex::new(Some(thread)) }))
    }

    /// The model, for those who have the engine itself.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.shared.model
    }

    #[cfg(test)]
    pub(crate) fn panic_next(&self) {
        self.shared.panic_next.store(true, Ordering::Relaxed);
    }

    /// Lets no step begin while the guard lives.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> std::sync::MutexGuard<'_, ()> {
        self.shared.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads that wait for the worker.
    #[cfg(test)]
    pub(crate) fn probes(&self) -> usize {
        self.shared.inbox().probes.len()
    }

    #[cfg(test)]
    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.inbox().stop
    }

    /// Sees whether an adapter's weights are still held.
    #[cfg(test)]
    pub(crate) fn adapter(&self, id: AdapterId) -> std::sync::Weak<Adapter> {
        let slot = self.shared.slots.get(id);
        slot.map_or_else(std::sync::Weak::new, |slot| Arc::downgrade(&slot.adapter))
    }

    fn left(&self) -> usize {
        let waiting = self.shared.inbox().queue.len();
        let embeddings = self.shared.embeddings.load(Ordering::Relaxed);
        waiting + embeddings + self.shared.counters.begun.load(Ordering::Relaxed)
    }

    fn is_alive(&self) -> bool {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner);
        worker.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    fn stop(&self) {
        {
            let mut inbox = self.shared.inbox();
            inbox.accepting = false;
            inbox.stop = true;
        }
        self.shared.wake();
        let thread = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the device thread panicked");
        }
        if let Some(publisher) = &self.shared.publisher {
            publisher.publish(LoadSignal::default());
        }
    }

    /// Checks a request against the context and the memory; tokens and cache bytes that it may use.
    fn limits(&self, request: &Request) -> Result<(usize, usize), Error> {
        let config = self.shared.model.config();
        let (tokens, context) = (request.prompt.len(), config.max_positions);
        if tokens == 0 {
            return Err(Error::EmptyPrompt);
        }
        let wanted = request.sampling.max_tokens as usize;
        if tokens + wanted.min(1) > context {
            return Err(Error::PromptTooLong { tokens, context });
        }
        self.check_ids(&request.prompt)?;
        let max_new = wanted.min(context - tokens);
        let needed = KvCache::bytes_for(config, tokens + max_new);
        let capacity = self.shared.config.kv_bytes;
        if needed > capacity {
            return Err(Error::OverBudget { needed, capacity });
        }
        Ok((max_new, needed))
    }

    fn check_ids(&self, tokens: &[u32]) -> Result<(), Error> {
        let vocab = self.shared.model.config().vocab_size;
        match tokens.iter().find(|token| **token as usize >= vocab) {
            Some(&token) => Err(Error::TokenRange { token, vocab }),
            None => Ok(()),
        }
    }

    /// Admits a request, whose answer or whose prompt alone is wanted.
    pub(crate) fn admit(
        &self,
        mut request: Request,
        purpose: Purpose,
    ) -> Result<Generation, Error> {
        let (max_new, kv_bytes) = self.limits(&request)?;
        let slot = self.shared.slots.pin(request.target)?;
        let answer = GrowingAnswer::new(&mut request, max_new)?;
        let (priority, party) = (request.priority, request.party);
        let cancelled = Arc::new(AtomicBool::new(false));

        let mut inbox = self.shared.inbox();
        if !inbox.accepting {
            return Err(Error::ShuttingDown);
        }
        let waiting = inbox.queue.waiting(priority);
        let places = self.shared.config.max_sequences;
        if inbox.queue.is_full(priority, party) {
            add(&self.shared.counters.rejected, 1);
            let retry_after = self.shared.counters.retry_after(waiting, places);
            return Err(Error::QueueFull { waiting, retry_after });
        }
        let (ticket, flag, shared) =
            (inbox.queue.next_ticket(), Arc::clone(&cancelled), Arc::clone(&self.shared));
        let (events, generation) = Generation::channel(
            slot.as_ref().map(|slot| slot.id),
            slot.as_ref().map(|slot| slot.adapter.digest().to_owned()),
            move || shared.cancel(ticket, &flag),
        );
        let arrived = Instant::now();
        if inbox.is_idle() && self.shared.counters.begun.load(Ordering::Relaxed) == 0 {
            self.shared.counters.work_came();
        }
        let submitted = Submitted {
            ticket,
            purpose,
            request,
            slot,
            answer,
            events,
            cancelled,
            arrived,
            kv_bytes,
        };
        let pushed = inbox.queue.push(priority, party, submitted);
        // There is room: that was seen under this very lock.
        debug_assert!(pushed.is_ok(), "the queue was not full");
        if let Ok(Some(displaced)) = pushed {
            add(&self.shared.counters.rejected, 1);
            let retry_after = self.shared.counters.retry_after(waiting, places);
            let _gone = displaced.events.send(Event::Displaced { retry_after });
        }
        self.shared.publish_load(&inbox);
        drop(inbox);
        self.shared.wake();
        Ok(generation)
    }

    /// Checks a text whose embedding is wanted.
    fn check_input(&self, tokens: &[u32]) -> Result<(), Error> {
        let config = self.shared.model.config();
        let (count, context) = (tokens.len(), config.max_positions);
        let capacity = self.shared.config.kv_bytes;
        match KvCache::bytes_for(config, count) {
            _ if count == 0 => Err(Error::EmptyPrompt),
            _ if count > context => Err(Error::PromptTooLong { tokens: count, context }),
            needed if needed > capacity => Err(Error::OverBudget { needed, capacity }),
            _ => self.check_ids(tokens),
        }
    }
}

impl Generate for Engine {
    fn submit(&self, request: Request) -> Result<Generation, Error> {
        self.admit(request, Purpose::Answer)
    }

    fn embed(&self, request: EmbedRequest) -> Result<Embedding, Error> {
        let shared = &self.shared;
        request.inputs.iter().try_for_each(|input| self.check_input(input))?;
        let slot = shared.slots.pin(request.target)?;
        let (reply, answer) = oneshot::channel();
        let embedding = Embedding {
            adapter: slot.as_ref().map(|slot| slot.id),
            adapter_digest: slot.as_ref().map(|slot| slot.adapter.digest().to_owned()),
            reply: answer,
        };
        let mut inbox = shared.inbox();
        if !inbox.accepting || inbox.stop {
            return Err(Error::ShuttingDown);
        }
        let waiting = shared.embeddings.load(Ordering::Relaxed);
        if waiting >= embed::WAITING {
            return Err(Error::QueueFull { waiting, retry_after: Duration::from_secs(1) });
        }
        shared.embeddings.fetch_add(1, Ordering::Relaxed);
        inbox.embeddings.push(Job::new(request, slot, reply));
        shared.publish_load(&inbox);
        drop(inbox);
        shared.wake();
        Ok(embedding)
    }

    fn load(&self, id: AdapterId, dir: &Path) -> Result<LoadedAdapter, Error> {
        let slot = match self.shared.slots.get(id) {
            Some(slot) => slot,
            None => {
                let adapter = Arc::new(self.shared.model.load_adapter(dir)?);
                let effect = self.probe(id, Arc::clone(&adapter))?;
                if !effect.is_finite() {
                    return Err(Error::Broken(id));
                }
                if effect == 0.0 {
                    return Err(Error::NoEffect(id));
                }
                let limit = self.shared.config.adapter_bytes;
                let slot = self.shared.slots.publish(id, adapter, effect, limit)?;
                // Others may have made room for it.
                self.shared.adapters_left();
                slot
            }
        };
        Ok(LoadedAdapter { digest: slot.adapter.digest().to_owned(), effect: slot.effect })
    }

    fn keep(&self, ids: &[AdapterId]) {
        self.shared.slots.keep(ids.to_vec());
    }

    fn unload(&self, id: AdapterId) -> bool {
        let was_there = self.shared.slots.withdraw(id);
        if was_there {
            self.shared.adapters_left();
        }
        was_there
    }

    fn forget_prefixes(&self) {
        self.shared.inbox().forget_prefixes = true;
        self.shared.wake();
    }

    fn is_loaded(&self, id: AdapterId) -> bool {
        self.shared.slots.get(id).is_some()
    }

    fn warm_up(&self, id: Option<AdapterId>, patience: Duration) {
        self.compute_popular(id, patience);
    }

    fn set_live(&self, id: Option<AdapterId>, epoch: u64) -> Result<(), Error> {
        self.shared.slots.set_live(id, epoch)
    }

    fn live(&self) -> Option<AdapterId> {
        self.shared.slots.live().slot.as_ref().map(|slot| slot.id)
    }

    fn health(&self) -> Health {
        let (waiting, accepting) = {
            let inbox = self.shared.inbox();
            (inbox.queue.len(), inbox.accepting)
        };
        let counters = &self.shared.counters;
        let config = &self.shared.config;
        let live = self.shared.slots.live();
        let (adapters, adapter_bytes) = self.shared.slots.size();
        let paused = counters.paused.load(Ordering::Relaxed);
        Health {
            running: counters.begun.load(Ordering::Relaxed).saturating_sub(paused),
            waiting: waiting + paused,
            max_sequences: config.max_sequences,
            max_queue: config.max_queue,
            accepting,
            alive: self.is_alive(),
            steps: counters.steps.load(Ordering::Relaxed),
            step_time: Duration::from_micros(counters.step_us.load(Ordering::Relaxed)),
            last_step: Duration::from_micros(counters.last_step_us.load(Ordering::Relaxed)),
            last_step_age: counters.last_step_age(),
            prompt_tokens: counters.prompt_tokens.load(Ordering::Relaxed),
            prefix_queries: counters.prefix_queries.load(Ordering::Relaxed),
            prefix_hits: counters.prefix_hits.load(Ordering::Relaxed),
            warmed_tokens: counters.warmed_tokens.load(Ordering::Relaxed),
            prefix_bytes: counters.prefix_bytes.load(Ordering::Relaxed),
            generated_tokens: counters.generated_tokens.load(Ordering::Relaxed),
            draft_tokens: counters.draft_tokens.load(Ordering::Relaxed),
            accepted_tokens: counters.accepted_tokens.load(Ordering::Relaxed),
            finished_stop: counters.finished_stop.load(Ordering::Relaxed),
            finished_length: counters.finished_length.load(Ordering::Relaxed),
            cancelled: counters.cancelled.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            rejected: counters.rejected.load(Ordering::Relaxed),
            preempted: counters.preempted.load(Ordering::Relaxed),
            kv_bytes: counters.kv_bytes.load(Ordering::Relaxed),
            kv_capacity: config.kv_bytes,
            adapters,
            adapter_bytes,
            live: live.slot.as_ref().map(|slot| slot.id),
            epoch: live.epoch,
        }
    }

    fn front_end(&self) -> &Arc<FrontEnd> {
        self.shared.model.front_end()
    }

    fn context(&self) -> usize {
        let config = self.shared.model.config();
        let blocks = self.shared.config.kv_bytes / KvCache::bytes_for(config, 1).max(1);
        config.max_positions.min(blocks * KvCache::BLOCK)
    }

    fn kernels(&self) -> &str {
        self.shared.model.kernels()
    }

    fn shutdown(&self, deadline: Duration) -> usize {
        self.shared.inbox().accepting = false;
        let until = Instant::now() + deadline;
        while self.left() > 0 && Instant::now() < until && self.is_alive() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let left = self.left();
        self.stop();
        left
    }
}

impl Engine {
    /// Asks the worker for an adapter's effect, between two of its steps.
    fn probe(&self, id: AdapterId, adapter: Arc<Adapter>) -> Result<f32, Error> {
        let (reply, mut answer) = oneshot::channel();
        {
            let mut inbox = self.shared.inbox();
            if inbox.stop {
                return Err(Error::ShuttingDown);
            }
            inbox.probes.push(Probe { id, adapter, reply });
        }
        self.shared.wake();
        loop {
            match answer.try_recv() {
                Ok(effect) => return effect,
                Err(oneshot::error::TryRecvError::Closed) => return Err(Error::ShuttingDown),
                // Steps take milliseconds; a blocking receive would panic inside of a runtime.
                Err(oneshot::error::TryRecvError::Empty) => {
                    std::thread::sleep(Duration::from_micros(200));
                }
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("health", &self.health()).finish_non_exhaustive()
    }
}

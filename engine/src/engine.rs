//! The engine that runs Hone's own decoder.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hone_api::AdapterId;
use hone_model::{Adapter, KvCache, Model, Sampler};
use tokio::sync::oneshot;

use crate::health::{Counters, add};
use crate::pressure::{Pressure, Publisher};
use crate::probe::Probe;
use crate::queue::Queue;
use crate::sequence::Submitted;
use crate::slots::Slots;
use crate::worker::Worker;
use crate::{Error, Generate, Generation, Health, Loaded, Priority, Request};

/// How much the engine takes on.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// Sequences in one step.
    pub max_sequences: usize,
    /// Requests that may wait, of each priority.
    pub max_queue: usize,
    /// Tokens in one step; long prompts are cut into chunks of what is left.
    pub max_step_tokens: usize,
    /// Bytes for the caches of all running sequences.
    pub kv_bytes: usize,
    /// Where to publish how busy serving is; see [`crate::pressure`].
    pub pressure: Option<PathBuf>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            max_sequences: 32,
            max_queue: 256,
            max_step_tokens: 512,
            kv_bytes: 1 << 30,
            pressure: None,
        }
    }
}

impl EngineConfig {
    fn check(&self) -> Result<(), Error> {
        let figures = [
            ("max_sequences", self.max_sequences),
            ("max_queue", self.max_queue),
            ("max_step_tokens", self.max_step_tokens),
            ("kv_memory", self.kv_bytes),
        ];
        match figures.into_iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(Error::Config { name, reason: "must be at least 1".to_owned() }),
            None => Ok(()),
        }
    }
}

/// Serves one model on one device thread. Dropping it stops the thread.
pub struct Engine {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// What callers and the worker share.
pub(crate) struct Shared {
    pub(crate) model: Arc<Model>,
    pub(crate) config: EngineConfig,
    pub(crate) slots: Slots,
    pub(crate) counters: Counters,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    publisher: Option<Publisher>,
    #[cfg(test)]
    pub(crate) panic_next: AtomicBool,
}

/// What waits for the worker.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) queue: Queue<Submitted>,
    pub(crate) probes: Vec<Probe>,
    accepting: bool,
    pub(crate) stop: bool,
}

impl Inbox {
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.len() == 0 && self.probes.is_empty() && !self.stop
    }
}

impl Shared {
    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait<'a>(&self, inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        self.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish_pressure(&self, inbox: &Inbox) {
        if let Some(publisher) = &self.publisher {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let step_us = self.counters.last_step_us.load(Ordering::Relaxed);
            publisher.publish(Pressure {
                running: count(self.counters.running_interactive.load(Ordering::Relaxed)),
                waiting: count(inbox.queue.waiting(Priority::Interactive)),
                step_us: u32::try_from(step_us).unwrap_or(u32::MAX),
            });
        }
    }

    /// Lets tests see what a panic of the model does.
    #[cfg(test)]
    pub(crate) fn sabotage(&self) {
        assert!(!self.panic_next.swap(false, Ordering::Relaxed), "a test asked for this panic");
    }

    /// The client of a request left. A request that waits is taken out at once; one that runs is
    /// let go before the next step.
    fn cancel(&self, ticket: u64, flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
        let mut inbox = self.inbox();
        if inbox.queue.remove(ticket).is_some() {
            add(&self.counters.cancelled, 1);
            self.publish_pressure(&inbox);
        }
    }
}

impl Engine {
    /// Starts the device thread.
    ///
    /// # Errors
    /// A setting that cannot work; the pressure page or the thread cannot be made.
    pub fn start(model: Arc<Model>, config: EngineConfig) -> Result<Arc<Self>, Error> {
        config.check()?;
        let publisher = config.pressure.as_deref().map(Publisher::create).transpose()?;
        let inbox = Inbox {
            queue: Queue::new(config.max_queue),
            probes: Vec::new(),
            accepting: true,
            stop: false,
        };
        let shared = Arc::new(Shared {
            model,
            config,
            slots: Slots::default(),
            counters: Counters::new(),
            inbox: Mutex::new(inbox),
            wake: Condvar::new(),
            publisher,
            #[cfg(test)]
            panic_next: AtomicBool::new(false),
        });
        let worker = Worker::new(Arc::clone(&shared));
        let thread =
            std::thread::Builder::new().name("hone-engine".to_owned()).spawn(|| worker.run())?;
        Ok(Arc::new(Self { shared, worker: Mutex::new(Some(thread)) }))
    }

    /// Admits no more requests, lets those that are here finish until the deadline, and fails the
    /// rest with `shutting down`. Blocks; returns how many were failed.
    pub fn shutdown(&self, deadline: Duration) -> usize {
        self.shared.inbox().accepting = false;
        let until = Instant::now() + deadline;
        while self.left() > 0 && Instant::now() < until && self.is_alive() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let left = self.left();
        self.stop();
        left
    }

    #[cfg(test)]
    pub(crate) fn panic_next(&self) {
        self.shared.panic_next.store(true, Ordering::Relaxed);
    }

    fn left(&self) -> usize {
        let waiting = self.shared.inbox().queue.len();
        waiting + self.shared.counters.running.load(Ordering::Relaxed)
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
        self.shared.wake.notify_all();
        let thread = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the device thread panicked");
        }
        if let Some(publisher) = &self.shared.publisher {
            publisher.publish(Pressure::default());
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
        if let Some(&token) = request.prompt.iter().find(|t| **t as usize >= config.vocab_size) {
            let vocab = config.vocab_size;
            return Err(hone_model::Error::TokenRange { token, vocab }.into());
        }
        let max_new = wanted.min(context - tokens);
        let needed = KvCache::bytes_for(config, tokens + max_new);
        let capacity = self.shared.config.kv_bytes;
        if needed > capacity {
            return Err(Error::OverBudget { needed, capacity });
        }
        Ok((max_new, needed))
    }
}

impl Generate for Engine {
    fn submit(&self, request: Request) -> Result<Generation, Error> {
        let (max_new, kv_bytes) = self.limits(&request)?;
        let slot = self.shared.slots.pin(request.target)?;
        let sampler = Sampler::new(&request.sampling, random_seed(), &request.prompt)?;
        let priority = request.priority;
        let cancelled = Arc::new(AtomicBool::new(false));

        let mut inbox = self.shared.inbox();
        if !inbox.accepting {
            return Err(Error::ShuttingDown);
        }
        if inbox.queue.is_full(priority) {
            let waiting = inbox.queue.waiting(priority);
            add(&self.shared.counters.rejected, 1);
            let places = self.shared.config.max_sequences;
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
        let submitted =
            Submitted { request, slot, sampler, events, cancelled, arrived, max_new, kv_bytes };
        // There is room: that was seen under this very lock.
        let pushed = inbox.queue.push(priority, submitted).is_ok();
        debug_assert!(pushed, "the queue was not full");
        self.shared.publish_pressure(&inbox);
        drop(inbox);
        self.shared.wake.notify_all();
        Ok(generation)
    }

    fn load(&self, id: AdapterId, dir: &Path) -> Result<Loaded, Error> {
        let slot = match self.shared.slots.get(id) {
            Some(slot) => slot,
            None => {
                let adapter = Arc::new(Adapter::load(dir, self.shared.model.config())?);
                let effect = self.probe(id, Arc::clone(&adapter))?;
                if !effect.is_finite() {
                    return Err(Error::Broken(id));
                }
                if effect == 0.0 {
                    return Err(Error::NoEffect(id));
                }
                self.shared.slots.publish(id, adapter, effect)
            }
        };
        Ok(Loaded { digest: slot.adapter.digest().to_owned(), effect: slot.effect })
    }

    fn unload(&self, id: AdapterId) -> bool {
        self.shared.slots.withdraw(id)
    }

    fn is_loaded(&self, id: AdapterId) -> bool {
        self.shared.slots.get(id).is_some()
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
        Health {
            running: counters.running.load(Ordering::Relaxed),
            waiting,
            max_sequences: config.max_sequences,
            max_queue: config.max_queue,
            accepting,
            alive: self.is_alive(),
            steps: counters.steps.load(Ordering::Relaxed),
            step_time: Duration::from_micros(counters.step_us.load(Ordering::Relaxed)),
            last_step: Duration::from_micros(counters.last_step_us.load(Ordering::Relaxed)),
            last_step_age: counters.last_step_age(),
            prompt_tokens: counters.prompt_tokens.load(Ordering::Relaxed),
            generated_tokens: counters.generated_tokens.load(Ordering::Relaxed),
            finished_stop: counters.finished_stop.load(Ordering::Relaxed),
            finished_length: counters.finished_length.load(Ordering::Relaxed),
            cancelled: counters.cancelled.load(Ordering::Relaxed),
            failed: counters.failed.load(Ordering::Relaxed),
            rejected: counters.rejected.load(Ordering::Relaxed),
            kv_bytes: counters.kv_bytes.load(Ordering::Relaxed),
            kv_capacity: config.kv_bytes,
            adapters,
            adapter_bytes,
            live: live.slot.as_ref().map(|slot| slot.id),
            epoch: live.epoch,
        }
    }

    fn model(&self) -> &Arc<Model> {
        &self.shared.model
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
        self.shared.wake.notify_all();
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

/// A seed for requests that name none: the standard library's per-process randomness.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0u8)
}

//! What callers and the worker share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use hone_api::load_signal::LoadSignal;
use hone_model::Model;
use tokio::sync::oneshot;

use crate::embed::Job;
use crate::health::{Counters, add};
use crate::load_signal::Publisher;
use crate::prefix::Popular;
use crate::probe::Probe;
use crate::queue::Queue;
use crate::slots::Slots;
use crate::submitted::{Purpose, Submitted};
use crate::{EngineConfig, Error, Priority};

/// The model, the slots and the inbox.
pub(crate) struct Shared {
    pub(crate) model: Arc<Model>,
    pub(crate) config: EngineConfig,
    pub(crate) slots: Slots,
    pub(crate) counters: Counters,
    /// Requests for embeddings that were let in and are not done.
    pub(crate) embeddings: AtomicUsize,
    inbox: Mutex<Inbox>,
    wake: Condvar,
    pub(crate) publisher: Option<Publisher>,
    #[cfg(test)]
    pub(crate) panic_next: AtomicBool,
    /// While a test holds this, no step begins.
    #[cfg(test)]
    pub(crate) hold: Mutex<()>,
}

/// What is asked most often of what serves, and is not there yet for an adapter by the digest of its content (`None` is the
/// base)?
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) adapter: Option<[u8; 32]>,
    pub(crate) reply: oneshot::Sender<Vec<Popular>>,
}

/// What waits for the worker.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) queue: Queue<Submitted>,
    pub(crate) probes: Vec<Probe>,
    pub(crate) embeddings: Vec<Job>,
    pub(crate) questions: Vec<Question>,
    /// Adapters were unloaded, whose prefixes have to leave.
    pub(crate) adapters_left: bool,
    /// All prefixes have to leave.
    pub(crate) forget_prefixes: bool,
    pub(crate) accepting: bool,
    pub(crate) stop: bool,
}

impl Inbox {
    pub(crate) fn is_idle(&self) -> bool {
        let asked = self.queue.len() > 0
            || !self.probes.is_empty()
            || !self.embeddings.is_empty()
            || !self.questions.is_empty();
        let swept = !self.adapters_left && !self.forget_prefixes;
        !asked && swept && !self.stop
    }
}

impl Shared {
    /// Nothing loaded, nothing waiting.
    pub(crate) fn new(model: Arc<Model>, config: EngineConfig) -> Result<Self, Error> {
        let publisher = config.load_signal.as_deref().map(Publisher::create).transpose()?;
        let inbox = Inbox {
            queue: Queue::new(config.max_queue),
            probes: Vec::new(),
            embeddings: Vec::new(),
            questions: Vec::new(),
            adapters_left: false,
            forget_prefixes: false,
            accepting: true,
            stop: false,
        };
        Ok(Self {
            model,
            config,
            slots: Slots::default(),
            counters: Counters::new(),
            embeddings: AtomicUsize::new(0),
            inbox: Mutex::new(inbox),
            wake: Condvar::new(),
            publisher,
            #[cfg(test)]
            panic_next: AtomicBool::new(false),
            #[cfg(test)]
            hold: Mutex::default(),
        })
    }

    /// Wakes the worker.
    pub(crate) fn wake(&self) {
        self.wake.notify_all();
    }

    /// Has the worker let the prefixes of adapters go that are no longer loaded.
    pub(crate) fn adapters_left(&self) {
        self.inbox().adapters_left = true;
        self.wake();
    }

    pub(crate) fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn wait<'a>(&self, inbox: MutexGuard<'a, Inbox>) -> MutexGuard<'a, Inbox> {
        self.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn publish_load(&self, inbox: &Inbox) {
        if let Some(publisher) = &self.publisher {
            let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
            let step_us = self.counters.last_step_us.load(Ordering::Relaxed);
            let running = self.counters.running_interactive.load(Ordering::Relaxed)
                + self.embeddings.load(Ordering::Relaxed);
            publisher.publish(LoadSignal {
                running: count(running),
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

    /// Lets tests look at what runs and what waits, however slow or fast the machine is.
    #[cfg(test)]
    pub(crate) fn wait_while_held(&self) {
        drop(self.hold.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The client of a request left. A request that waits is taken out at once; one that runs is
    /// let go before the next step.
    pub(crate) fn cancel(&self, ticket: u64, flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
        let mut inbox = self.inbox();
        if let Some(submitted) = inbox.queue.remove(ticket) {
            add(&self.counters.cancelled, u64::from(submitted.purpose == Purpose::Answer));
            self.publish_load(&inbox);
        }
    }
}

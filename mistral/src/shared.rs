//! What callers and the ends of requests share: the model, the line, the loaded copies, the counters.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hone_api::chat::FinishReason;
use hone_engine::{Error as EngineError, Request};
use hone_model::Foreign;

use crate::WeightForm;
use crate::instances::Instances;
use crate::line::{Line, Waiting};
use crate::seat::{Admitted, Common, Ending, Seat};
use crate::trial::Trial;

/// mistralrs' caches grow by so many positions.
const POSITIONS: usize = 512;

/// How much the engine takes on.
#[derive(Debug, Clone)]
pub struct MistralSettings {
    /// In how many bits the weights are held.
    pub form: WeightForm,
    /// Requests that may wait, of each priority.
    pub max_queue: usize,
    /// Bytes for the caches of all running sequences.
    pub kv_bytes: usize,
    /// A folder for the weights that an adapter changes, while they are loaded. What is in it is deleted.
    pub scratch: PathBuf,
}

pub(crate) struct Shared {
    pub(crate) model: Arc<Foreign>,
    pub(crate) common: Common,
    pub(crate) settings: MistralSettings,
    pub(crate) trial: Trial,
    pub(crate) instances: Instances,
    pub(crate) line: Mutex<Line<Admitted>>,
    pub(crate) accepting: AtomicBool,
    pub(crate) counters: Counters,
}

/// Since the start.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) generated_tokens: AtomicU64,
    pub(crate) finished_stop: AtomicU64,
    pub(crate) finished_length: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) rejected: AtomicU64,
}

impl Shared {
    pub(crate) fn line(&self) -> MutexGuard<'_, Line<Admitted>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tokens that a request may have, and the bytes that it holds meanwhile.
    ///
    /// # Errors
    /// It is longer than the context or the cache, empty, or has a token that the model lacks.
    pub(crate) fn limits(&self, request: &Request) -> Result<(usize, usize), EngineError> {
        let (tokens, context) = (request.prompt.len(), self.common.front_end.context);
        let vocab = self.common.front_end.vocab_size;
        let wanted = request.sampling.max_tokens as usize;
        if tokens == 0 {
            return Err(EngineError::EmptyPrompt);
        }
        if tokens + wanted.min(1) > context {
            return Err(EngineError::PromptTooLong { tokens, context });
        }
        if let Some(&token) = request.prompt.iter().find(|token| **token as usize >= vocab) {
            return Err(EngineError::TokenRange { token, vocab });
        }
        let max_new = wanted.min(context - tokens);
        let positions = (tokens + max_new).next_multiple_of(POSITIONS);
        let needed = positions * self.model.kv_width * size_of::<f32>();
        let capacity = self.settings.kv_bytes;
        if needed > capacity {
            return Err(EngineError::OverBudget { needed, capacity });
        }
        Ok((max_new, needed))
    }

    /// Begins with whoever's turn it is.
    pub(crate) fn advance(self: &Arc<Self>) {
        loop {
            let Some(Waiting { model, bytes, who: next }) = self.line().next() else { return };
            if next.events.is_closed() {
                self.line().leave(model, bytes);
                self.count(Ending::Cancelled, 0);
                continue;
            }
            self.counters.prompt_tokens.fetch_add(next.prompt.len() as u64, Ordering::Relaxed);
            let shared = Arc::clone(self);
            let told = Box::new(move |ending, tokens| shared.count(ending, tokens));
            let shared = Arc::clone(self);
            let freed = Box::new(move || {
                shared.line().leave(model, bytes);
                shared.advance();
            });
            Seat::begin(next, &self.common, told, freed);
        }
    }

    fn count(&self, ending: Ending, tokens: usize) {
        let counters = &self.counters;
        counters.generated_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
        let counter = match ending {
            Ending::Finished(FinishReason::Length) => &counters.finished_length,
            Ending::Finished(_) => &counters.finished_stop,
            Ending::Failed => &counters.failed,
            Ending::Cancelled => &counters.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

//! How the engine fares: counters that the worker writes and anybody reads.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use hone_api::AdapterId;

/// A picture of the engine at one moment. Counters count from the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Health {
    /// Sequences that run.
    pub running: usize,
    /// Requests that wait, those included that were paused.
    pub waiting: usize,
    /// Sequences that may run together.
    pub max_sequences: usize,
    /// Requests that may wait, per priority.
    pub max_queue: usize,
    /// Whether new requests are admitted.
    pub accepting: bool,
    /// Whether the device thread lives.
    pub alive: bool,
    /// Steps computed.
    pub steps: u64,
    /// Time spent in steps.
    pub step_time: Duration,
    /// Duration of the last step.
    pub last_step: Duration,
    /// For how long no step has ended although there was work: since the last one, or since a
    /// request came to an idle engine. `None` before the first of either.
    pub last_step_age: Option<Duration>,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Prompt tokens that were looked for in the prefix cache: those of all prompts that came to their end.
    pub prefix_queries: u64,
    /// Those of them that it had.
    pub prefix_hits: u64,
    /// Prompt tokens that were computed for an adapter before it served.
    pub warmed_tokens: u64,
    /// Bytes that it holds.
    pub prefix_bytes: usize,
    /// Tokens sampled.
    pub generated_tokens: u64,
    /// Drafts that were computed.
    pub draft_tokens: u64,
    /// Those of them that were sampled.
    pub accepted_tokens: u64,
    /// Requests that ended with an end token or a stop string.
    pub finished_stop: u64,
    /// Requests that ended at their limit.
    pub finished_length: u64,
    /// Requests whose client left.
    pub cancelled: u64,
    /// Requests that failed.
    pub failed: u64,
    /// Requests that were not admitted because too many waited.
    pub rejected: u64,
    /// Times that a running sequence was paused because cache memory ran out.
    pub preempted: u64,
    /// Cache bytes of the sequences that run: of their prompts, and of their answers so far with the next step.
    pub kv_bytes: usize,
    /// Cache bytes in all.
    pub kv_capacity: usize,
    /// Adapters resident.
    pub adapters: usize,
    /// Their bytes.
    pub adapter_bytes: usize,
    /// The adapter that serves; `None` is the base.
    pub live: Option<AdapterId>,
    /// The epoch of the live pointer.
    pub epoch: u64,
}

/// A worker that has work but makes no step for so long hangs.
const STUCK: Duration = Duration::from_secs(30);

impl Health {
    /// Why the process should not live on, if there is a reason: its engine has ended, or has work
    /// and makes no step. Neither the disk nor training is one.
    #[must_use]
    pub fn fault(&self) -> Option<&'static str> {
        let busy = self.running + self.waiting > 0;
        let stuck = busy && self.last_step_age.is_some_and(|age| age > STUCK);
        if !self.alive {
            Some("the engine's thread has ended")
        } else if stuck {
            Some("the engine makes no steps")
        } else {
            None
        }
    }
}

/// What the worker writes.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Sequences that run or are paused.
    pub(crate) begun: AtomicUsize,
    pub(crate) running_interactive: AtomicUsize,
    pub(crate) paused: AtomicUsize,
    pub(crate) kv_bytes: AtomicUsize,
    pub(crate) steps: AtomicU64,
    pub(crate) step_us: AtomicU64,
    pub(crate) last_step_us: AtomicU64,
    /// Microseconds from `born` to the end of the last step, or to when work came to an idle
    /// engine, plus one; 0 before the first of either.
    last_step_at: AtomicU64,
    pub(crate) prompt_tokens: AtomicU64,
    pub(crate) prefix_queries: AtomicU64,
    pub(crate) prefix_hits: AtomicU64,
    pub(crate) warmed_tokens: AtomicU64,
    pub(crate) prefix_bytes: AtomicUsize,
    pub(crate) generated_tokens: AtomicU64,
    pub(crate) draft_tokens: AtomicU64,
    pub(crate) accepted_tokens: AtomicU64,
    pub(crate) finished_stop: AtomicU64,
    pub(crate) finished_length: AtomicU64,
    pub(crate) cancelled: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) rejected: AtomicU64,
    pub(crate) preempted: AtomicU64,
    /// Seconds from a place in the batch to the end of the answer, smoothed.
    pace: Mutex<f64>,
    born: Instant,
}

impl Counters {
    pub(crate) fn new() -> Self {
        Self {
            begun: AtomicUsize::new(0),
            running_interactive: AtomicUsize::new(0),
            paused: AtomicUsize::new(0),
            kv_bytes: AtomicUsize::new(0),
            steps: AtomicU64::new(0),
            step_us: AtomicU64::new(0),
            last_step_us: AtomicU64::new(0),
            last_step_at: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            prefix_queries: AtomicU64::new(0),
            prefix_hits: AtomicU64::new(0),
            warmed_tokens: AtomicU64::new(0),
            prefix_bytes: AtomicUsize::new(0),
            generated_tokens: AtomicU64::new(0),
            draft_tokens: AtomicU64::new(0),
            accepted_tokens: AtomicU64::new(0),
            finished_stop: AtomicU64::new(0),
            finished_length: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
            preempted: AtomicU64::new(0),
            pace: Mutex::new(1.0),
            born: Instant::now(),
        }
    }

    pub(crate) fn step_done(&self, took: Duration) {
        add(&self.steps, 1);
        add(&self.step_us, micros(took));
        self.last_step_us.store(micros(took), Ordering::Relaxed);
        self.work_came();
    }

    /// From now on a step is due.
    pub(crate) fn work_came(&self) {
        self.last_step_at.store(micros(self.born.elapsed()) + 1, Ordering::Relaxed);
    }

    pub(crate) fn last_step_age(&self) -> Option<Duration> {
        let at = self.last_step_at.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.born.elapsed().saturating_sub(Duration::from_micros(at)))
    }

    /// Notes how long a request held its place.
    pub(crate) fn served(&self, took: Duration) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        *pace += 0.1 * (took.as_secs_f64() - *pace);
    }

    /// When a place will be free for one more, at the present pace; whole seconds, 1 to 60.
    pub(crate) fn retry_after(&self, waiting: usize, places: usize) -> Duration {
        let pace = *self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = pace * waiting as f64 / places.max(1) as f64;
        Duration::from_secs(seconds.ceil().clamp(1.0, 60.0) as u64)
    }
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_follows_the_queue_and_the_pace() {
        let counters = Counters::new();
        assert_eq!(counters.retry_after(1, 32), Duration::from_secs(1));
        for _ in 0..200 {
            counters.served(Duration::from_secs(8));
        }
        assert_eq!(counters.retry_after(64, 32), Duration::from_secs(16));
        assert_eq!(counters.retry_after(1 << 20, 1), Duration::from_secs(60));
    }

    #[test]
    fn only_work_without_steps_is_a_fault() {
        let long = Some(STUCK + Duration::from_secs(1));
        let idle = Health { alive: true, last_step_age: long, ..Health::default() };
        assert_eq!(idle.fault(), None);
        let busy = Health { waiting: 1, ..idle.clone() };
        assert_eq!(busy.fault(), Some("the engine makes no steps"));
        let at_work = Health { last_step_age: Some(STUCK), ..busy };
        assert_eq!(at_work.fault(), None);
        let ended = Health { alive: false, ..idle };
        assert_eq!(ended.fault(), Some("the engine's thread has ended"));
    }

    #[test]
    fn there_is_no_age_before_there_was_work() {
        let counters = Counters::new();
        assert_eq!(counters.last_step_age(), None);
        counters.step_done(Duration::from_millis(2));
        assert!(counters.last_step_age().is_some_and(|age| age < Duration::from_secs(5)));
    }
}

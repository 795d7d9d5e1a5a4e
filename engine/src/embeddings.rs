//! Whose embeddings are computed next, between two steps of answers.
//!
//! While answers run, embeddings get as much of the engine's time as they do, in short pieces, so that no stream stalls
//! for somebody's library. Among callers it goes to the one that has had least of it.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hone_model::Scratch;

use crate::Error;
use crate::embed::Job;
use crate::shared::Shared;

/// Tokens of one piece while answers run.
const BETWEEN_ANSWERS: usize = 128;

/// What the worker has of them.
#[derive(Debug, Default)]
pub(crate) struct Embeddings {
    jobs: VecDeque<Job>,
    /// Time that embeddings had while answers ran, and answers have not had since.
    ahead: Duration,
    /// How much time each caller that has jobs had.
    used: BTreeMap<u64, Duration>,
}

impl Embeddings {
    pub(crate) fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Takes new jobs in. A caller that comes has had as much as the one that had least.
    pub(crate) fn extend(&mut self, jobs: Vec<Job>) {
        let least = self.used.values().min().copied().unwrap_or_default();
        for job in jobs {
            self.used.entry(job.caller).or_insert(least);
            self.jobs.push_back(job);
        }
    }

    /// A step of answers took so long.
    pub(crate) fn answers_had(&mut self, took: Duration) {
        self.ahead = self.ahead.saturating_sub(took);
    }

    /// Computes one piece, if it is the embeddings' turn.
    pub(crate) fn step(&mut self, shared: &Shared, scratch: &mut Scratch, answers_run: bool) {
        let before = self.jobs.len();
        self.jobs.retain(|job| !job.reply.is_closed());
        if !answers_run {
            self.ahead = Duration::ZERO;
        }
        if self.ahead.is_zero()
            && let Some(mut job) = self.next()
        {
            let most = shared.config.max_step_tokens;
            let tokens = if answers_run { most.min(BETWEEN_ANSWERS) } else { most };
            let began = Instant::now();
            let outcome =
                catch_unwind(AssertUnwindSafe(|| job.advance(&shared.model, scratch, tokens)));
            let took = began.elapsed();
            if answers_run {
                self.ahead += took;
            }
            *self.used.entry(job.caller).or_default() += took;
            self.put_back(job, outcome, scratch);
        }
        let callers = &self.jobs;
        self.used.retain(|caller, _| callers.iter().any(|job| job.caller == *caller));
        shared.embeddings.fetch_sub(before - self.jobs.len(), Ordering::Relaxed);
    }

    /// The job of the caller that had least; one that is in the middle of an input goes first, so that there is never
    /// more than one cache.
    fn next(&mut self) -> Option<Job> {
        let open = self.jobs.iter().position(|job| job.open.is_some());
        let at = open.or_else(|| {
            let used = |job: &Job| self.used.get(&job.caller).copied().unwrap_or_default();
            (0..self.jobs.len()).min_by_key(|at| used(&self.jobs[*at]))
        })?;
        self.jobs.remove(at)
    }

    fn put_back(
        &mut self,
        job: Job,
        outcome: std::thread::Result<Result<(), Error>>,
        scratch: &mut Scratch,
    ) {
        let result = match outcome {
            Ok(Ok(())) if !job.is_done() => {
                self.jobs.push_back(job);
                return;
            }
            Ok(Ok(())) => Ok(job.done),
            Ok(Err(error)) => {
                tracing::error!(%error, "embeddings failed");
                Err(error)
            }
            Err(_) => {
                tracing::error!("embeddings panicked");
                *scratch = Scratch::new();
                Err(Error::EmbeddingsFailed)
            }
        };
        // Nobody waits for it any more: then nobody misses it.
        let _gone = job.reply.send(result);
    }

    /// Gives all up; who waits sees that its reply is gone.
    pub(crate) fn clear(&mut self, shared: &Shared) {
        shared.embeddings.fetch_sub(self.jobs.len(), Ordering::Relaxed);
        self.jobs.clear();
    }
}

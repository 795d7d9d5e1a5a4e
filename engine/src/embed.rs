//! Embeddings: the mean of a text's last hidden states, computed between two steps of answers.
//!
//! While answers run, embeddings get as much of the engine's time as they do, in short pieces, so that no stream stalls
//! for somebody's library. Among callers it goes to the one that has had least of it.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hone_api::AdapterId;
use hone_model::{KvCache, LogitsFor, Model, Scratch, Segment};
use tokio::sync::oneshot;

use crate::shared::Shared;
use crate::slots::Slot;
use crate::{Error, Party, Target};

/// Requests that may be under way or wait.
pub(crate) const WAITING: usize = 64;
/// Tokens of one piece while answers run.
const BETWEEN_ANSWERS: usize = 128;

/// Texts whose embeddings are wanted.
#[derive(Debug, Clone)]
pub struct EmbedRequest {
    /// Each as token ids; none of them empty.
    pub inputs: Vec<Vec<u32>>,
    /// Which weights read them.
    pub target: Target,
    /// Who asks.
    pub party: Party,
}

/// Embeddings under way. Drop it, and they are given up.
#[derive(Debug)]
pub struct Embedding {
    /// The adapter that reads the texts; `None` is the base.
    pub adapter: Option<AdapterId>,
    /// SHA-256 of that adapter's weights, hex.
    pub adapter_digest: Option<String>,
    pub(crate) reply: oneshot::Receiver<Result<Vec<Vec<f32>>, Error>>,
}

impl Embedding {
    /// The vectors, in the order of the texts.
    ///
    /// # Errors
    /// The model's; [`Error::ShuttingDown`].
    pub async fn vectors(self) -> Result<Vec<Vec<f32>>, Error> {
        self.reply.await.unwrap_or(Err(Error::ShuttingDown))
    }
}

/// One request, as far as it has come.
#[derive(Debug)]
pub(crate) struct Job {
    caller: u64,
    slot: Option<Arc<Slot>>,
    inputs: Vec<Vec<u32>>,
    /// Inputs that were begun before, from the front.
    begun: usize,
    done: Vec<Vec<f32>>,
    /// The input that a piece ended in the middle of.
    open: Option<Open>,
    reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
}

/// An input of which a part is computed.
#[derive(Debug)]
struct Open {
    input: usize,
    cache: KvCache,
    sum: Vec<f64>,
}

impl Job {
    pub(crate) fn new(
        request: EmbedRequest,
        slot: Option<Arc<Slot>>,
        reply: oneshot::Sender<Result<Vec<Vec<f32>>, Error>>,
    ) -> Self {
        let EmbedRequest { inputs, party, .. } = request;
        let done = Vec::with_capacity(inputs.len());
        Self { caller: party.caller, slot, inputs, begun: 0, done, open: None, reply }
    }

    fn is_done(&self) -> bool {
        self.done.len() == self.inputs.len()
    }

    /// Computes at most so many tokens, of as many inputs as they last for.
    fn advance(
        &mut self,
        model: &Model,
        scratch: &mut Scratch,
        tokens: usize,
    ) -> Result<(), Error> {
        let width = model.config().hidden_size;
        let mut piece: Vec<Open> = self.open.take().into_iter().collect();
        let mut spans = Vec::new();
        let mut left = tokens.max(1);
        for at in 0.. {
            if at == piece.len() {
                if self.begun == self.inputs.len() {
                    break;
                }
                let (cache, sum) = (KvCache::new(model.config()), vec![0.0; width]);
                piece.push(Open { input: self.begun, cache, sum });
                self.begun += 1;
            }
            let open = &piece[at];
            let start = open.cache.len();
            let end = self.inputs[open.input].len().min(start + left);
            spans.push(start..end);
            left -= end - start;
            if left == 0 {
                break;
            }
        }
        let adapter = self.slot.as_ref().map(|slot| slot.adapter.as_ref());
        let mut segments: Vec<Segment<'_>> = piece
            .iter_mut()
            .zip(&spans)
            .map(|(open, span)| Segment {
                tokens: &self.inputs[open.input][span.clone()],
                cache: &mut open.cache,
                adapter,
                logits: LogitsFor::All,
            })
            .collect();
        let hidden = model.hidden(&mut segments, scratch)?;
        let mut rows = hidden.chunks_exact(width);
        for (mut open, span) in piece.into_iter().zip(spans) {
            for row in rows.by_ref().take(span.len()) {
                open.sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
            }
            let length = self.inputs[open.input].len();
            if span.end < length {
                self.open = Some(open);
                continue;
            }
            #[allow(clippy::cast_possible_truncation)] // the mean of f32 values
            let mean = open.sum.iter().map(|sum| (sum / length as f64) as f32).collect();
            self.done.push(mean);
        }
        Ok(())
    }
}

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

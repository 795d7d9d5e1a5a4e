//! Where mistralrs would sample a token, Hone does: its sampler, grammar, stop strings and ends, and its events.
//!
//! mistralrs asks a logits processor before it samples. This one samples itself, tells the client, and leaves mistralrs a row in
//! which only that token is possible. When an answer is over it closes the channel of mistralrs' own answer, on which
//! mistralrs gives the sequence up.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use candle_core::{Device, Tensor};
use hone_api::chat::FinishReason;
use hone_api::interaction::Timings;
use hone_engine::{Event, EventSender, GrowingAnswer};
use hone_text::FrontEnd;
use mistralrs::core::{CustomLogitsProcessor, Response};
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use crate::instance::{Instance, failure};

/// One request while it is computed.
pub(crate) struct Seat {
    front_end: Arc<FrontEnd>,
    /// A token that has text of its own: what mistralrs is left with after the end, so that it notices the closed channel.
    plain: u32,
    /// Whether all answers end now.
    stopping: Arc<AtomicBool>,
    state: Mutex<State>,
}

/// What all seats have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) front_end: Arc<FrontEnd>,
    /// A token with text of its own.
    pub(crate) plain: u32,
    /// Whether all answers end now.
    pub(crate) stopping: Arc<AtomicBool>,
    /// The engine's own, which ends with it: where mistralrs' answers are read.
    pub(crate) runtime: Handle,
}

/// A request that was admitted.
pub(crate) struct Admitted {
    pub(crate) instance: Arc<Instance>,
    pub(crate) prompt: Vec<u32>,
    pub(crate) answer: GrowingAnswer,
    pub(crate) events: EventSender,
    pub(crate) arrived: Instant,
}

/// How a request ended, for the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Finished(FinishReason),
    Failed,
    Cancelled,
}

/// What is told when a request is over: how it ended, and how many tokens were sampled.
pub(crate) type Told = Box<dyn FnOnce(Ending, usize) + Send>;
/// What is done when mistralrs has let go of it, so that it can begin with another.
pub(crate) type Freed = Box<dyn FnOnce() + Send>;

struct State {
    answer: GrowingAnswer,
    events: EventSender,
    prompt_tokens: usize,
    arrived: Instant,
    started: Instant,
    first_token: Option<Instant>,
    responses: Option<Arc<Mutex<mpsc::Receiver<Response>>>>,
    /// `None` once it is over.
    told: Option<Told>,
}

impl Seat {
    /// Begins to compute a request.
    pub(crate) fn begin(admitted: Admitted, common: &Common, told: Told, freed: Freed) {
        let Common { front_end, plain, stopping, runtime } = common.clone();
        let Admitted { instance, prompt, answer, events, arrived } = admitted;
        let started = Instant::now();
        let queue_ms = started.duration_since(arrived).as_secs_f64() * 1e3;
        let _gone = events.send(Event::Started { queue_ms });
        let (max_new, prompt_tokens) = (answer.max_new(), prompt.len());
        let seat = Arc::new(Self {
            front_end,
            plain,
            stopping,
            state: Mutex::new(State {
                answer,
                events,
                prompt_tokens,
                arrived,
                started,
                first_token: None,
                responses: None,
                told: Some(told),
            }),
        });
        if max_new == 0 {
            seat.state().finish(FinishReason::Length);
            return freed();
        }
        // Held, so that no token is sampled before the channel is in its place.
        let mut state = seat.state();
        let Some(responses) = instance.compute(prompt, max_new, Arc::clone(&seat) as _) else {
            state.fail("the mistralrs engine has ended; the daemon's log says why");
            drop(state);
            return freed();
        };
        let responses = Arc::new(Mutex::new(responses));
        state.responses = Some(Arc::clone(&responses));
        drop(state);
        runtime.spawn(async move {
            watch(&seat, &responses).await;
            // Others may need its memory.
            drop(instance);
            freed();
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The token with which mistralrs shall go on.
    fn sample(&self, logits: &Tensor) -> candle_core::Result<u32> {
        let mut state = self.state();
        if state.told.is_none() {
            return Ok(self.plain);
        }
        if self.stopping.load(Ordering::Relaxed) {
            state.fail("shutting down; try again in a moment");
        } else if state.events.is_closed() {
            state.end(Ending::Cancelled);
        } else {
            let mut row: Vec<f32> = logits.to_vec1()?;
            match state.answer.sample(&self.front_end, &mut row) {
                Ok((event, end)) => {
                    state.first_token.get_or_insert_with(Instant::now);
                    let Event::Token { token, .. } = event else { return Ok(self.plain) };
                    let _gone = state.events.send(event);
                    match end {
                        None => return Ok(token),
                        Some(reason) => state.finish(reason),
                    }
                }
                Err(error) => state.fail(&error.to_string()),
            }
        }
        Ok(self.plain)
    }
}

impl CustomLogitsProcessor for Seat {
    fn apply(&self, logits: &Tensor, _context: &[u32]) -> candle_core::Result<Tensor> {
        let token = self.sample(logits)?;
        let mut only = vec![f32::NEG_INFINITY; logits.elem_count()];
        if let Some(logit) = only.get_mut(token as usize) {
            *logit = 0.0;
        }
        Tensor::from_vec(only, logits.shape(), &Device::Cpu)
    }
}

impl State {
    fn finish(&mut self, reason: FinishReason) {
        let total = self.arrived.elapsed();
        let first = self.first_token.map_or(total, |at| at.duration_since(self.arrived));
        let _gone = self.events.send(Event::Finished {
            reason,
            prompt_tokens: count(self.prompt_tokens),
            cached_tokens: 0,
            completion_tokens: count(self.answer.tokens().len()),
            timings: Timings {
                queue_ms: self.started.duration_since(self.arrived).as_secs_f64() * 1e3,
                ttft_ms: first.as_secs_f64() * 1e3,
                total_ms: total.as_secs_f64() * 1e3,
            },
        });
        self.end(Ending::Finished(reason));
    }

    fn fail(&mut self, why: &str) {
        let _gone = self.events.send(Event::Failed(why.to_owned()));
        self.end(Ending::Failed);
    }

    fn end(&mut self, how: Ending) {
        if let Some(responses) = self.responses.take() {
            responses.lock().unwrap_or_else(PoisonError::into_inner).close();
        }
        if let Some(told) = self.told.take() {
            told(how, self.answer.tokens().len());
        }
    }
}

/// Reads mistralrs' own answer, which says what Hone said already, until mistralrs has let go of the request; if that is before
/// the answer's end, the client is told.
async fn watch(seat: &Seat, responses: &Mutex<mpsc::Receiver<Response>>) {
    let next = || {
        std::future::poll_fn(|context| {
            responses.lock().unwrap_or_else(PoisonError::into_inner).poll_recv(context)
        })
    };
    let mut why = None;
    while let Some(response) = next().await {
        why = why.or(failure(response));
    }
    let mut state = seat.state();
    if state.told.is_some() {
        let why = why.unwrap_or_else(|| "it ended".to_owned());
        state.fail(&format!("the mistralrs engine failed at this answer: {why}"));
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

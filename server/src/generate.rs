//! From a checked request to answers under way: submits them all, pinned to one adapter.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use futures_util::Stream;
use futures_util::stream::SelectAll;
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId, UnixMillis};
use hone_engine::{Event, Generation, Priority, Request, Target};

use crate::ask::{Ask, Begun};
use crate::error::ApiError;
use crate::record::Recorder;
use crate::state::AppState;

/// What is the same in all parts of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) id: InteractionId,
    /// Unix seconds.
    pub(crate) created: i64,
    pub(crate) model: String,
    pub(crate) fingerprint: String,
    /// An adapter's id, or `base`.
    pub(crate) adapter: String,
    /// For the header `x-hone-ignored`.
    pub(crate) ignored: String,
}

/// Answers under way.
pub(crate) struct Run {
    pub(crate) head: Head,
    pub(crate) events: SelectAll<Tagged>,
    pub(crate) recorder: Recorder,
}

/// One answer's events with its index.
pub(crate) struct Tagged {
    index: usize,
    generation: Generation,
}

impl Stream for Tagged {
    type Item = (usize, Event);

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let index = self.index;
        let next = Pin::new(&mut self.generation).poll_next(context);
        next.map(|event| event.map(|event| (index, event)))
    }
}

impl Run {
    /// Submits everything that was asked for. From here on the id takes feedback.
    ///
    /// # Errors
    /// 503 while draining; the engine's refusals. What was submitted before is cancelled.
    pub(crate) fn start(state: &Arc<AppState>, ask: Ask) -> Result<Self, ApiError> {
        let permit = state.gate.enter()?;
        let prompt = ask.prompts.iter().map(|prompt| prompt.tokens.len()).sum::<usize>();
        let allowance = ask.caller.answer(u32::try_from(prompt).unwrap_or(u32::MAX));
        let allowance = allowance.inspect_err(|_| {
            state.metrics.rejected.with_label_values(&["rate_limit_exceeded"]).inc();
        })?;
        let (arrived, created) = (Instant::now(), UnixMillis::now());
        let begun: Vec<_> = ask.prompts.iter().map(|_| Begun::new(&ask.sampling)).collect();
        let register = |begun: &Begun| state.store.register_pending(begun.id, ask.keep.text);
        let pending = begun.iter().map(register).collect();
        let (events, pinned) = submit(state, &ask, &begun)?;
        let head = Head {
            id: begun.first().map_or_else(InteractionId::new, |begun| begun.id),
            created: created.seconds(),
            model: ask.model.clone(),
            fingerprint: AppState::fingerprint(pinned.digest.as_deref()),
            adapter: pinned.adapter.map_or_else(|| "base".to_owned(), |id| id.to_string()),
            ignored: ask.ignored.join(", "),
        };
        let recorder = Recorder::new(
            Arc::clone(state),
            ask,
            crate::record::Began {
                begun,
                pending,
                permit,
                allowance,
                arrived,
                created,
                adapter: pinned.adapter,
                adapter_digest: pinned.digest,
            },
        );
        Ok(Self { head, events, recorder })
    }
}

/// The adapter that answers, the same for all answers of a request.
#[derive(Default)]
struct Pinned {
    adapter: Option<AdapterId>,
    digest: Option<String>,
}

fn submit(
    state: &AppState,
    ask: &Ask,
    begun: &[Begun],
) -> Result<(SelectAll<Tagged>, Pinned), ApiError> {
    let mut events = SelectAll::new();
    let mut pinned = Pinned::default();
    let mut target = ask.target;
    let party = ask.caller.party(&state.sources, ask.user.as_deref());
    for (prompt, begun) in ask.prompts.iter().zip(begun) {
        let seeded = SamplingParams {
            seed: Some(begun.seed),
            max_tokens: ask.sampling.max_tokens.max(1),
            ..ask.sampling.clone()
        };
        for answer in 0..ask.answers {
            let index = events.len();
            let request = Request {
                id: if answer == 0 { begun.id } else { InteractionId::new() },
                prompt: prompt.tokens.clone(),
                sampling: seeded.of_answer(answer),
                target,
                echo_from: ask.echo_logprobs.then_some(0),
                grammar: ask.grammar.as_ref().map(|made| made.grammar.clone()),
                shown: ask.tools.as_ref().map_or_else(Vec::new, |tools| tools.shown.clone()),
                priority: Priority::Interactive,
                party,
            };
            let generation = state.engine.submit(request).map_err(|error| {
                let error = ApiError::from_engine(error, ask.endpoint);
                if error.status() == 429 {
                    state.metrics.rejected.with_label_values(&["queue_full"]).inc();
                }
                error
            })?;
            if index == 0 {
                // A promotion between two submissions must not give one answer two adapters.
                target = generation.adapter.map_or(Target::Base, Target::Exact);
                pinned.adapter = generation.adapter;
                pinned.digest.clone_from(&generation.adapter_digest);
            }
            events.push(Tagged { index, generation });
        }
    }
    Ok((events, pinned))
}

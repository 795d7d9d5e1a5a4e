//! Writes what was answered, on a tracked task: whether the client waits for it or has left.
//!
//! The interaction's id takes feedback from the start of the request (it is pending) until it is
//! committed. A [`Recorder`] that is dropped early writes what there is, as cancelled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hone_api::chat::{FinishReason, Usage};
use hone_api::interaction::{Answer, Interaction, Timings};
use hone_api::sampling_params::SamplingParams;
use hone_api::{AdapterId, InteractionId, UnixMillis};
use hone_engine::{Event, PromptLogprob};
use hone_store::PendingAnswer;
use tokio::task::JoinHandle;

use crate::ask::{Ask, Begun, Keep};
use crate::error::ApiError;
use crate::limits::Permit;
use crate::meter::Allowance;
use crate::phase::Phase;
use crate::private::without_personal_data;
use crate::replay;
use crate::state::AppState;
use crate::tools::{CallIds, Said};

/// How long an answer waits for its commit. The disk may be slow or full: users still get answers.
const PATIENCE: Duration = Duration::from_secs(2);

/// One answer as far as it has come.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) text: String,
    pub(crate) tokens: Vec<u32>,
    pub(crate) logprobs: Vec<f32>,
    /// Alternatives per token.
    pub(crate) tops: Vec<Vec<(u32, f32)>>,
    /// Only with echo.
    pub(crate) prompt: Vec<PromptLogprob>,
    pub(crate) finish: Option<FinishReason>,
    /// Prompt tokens that were not computed again.
    cached: u32,
    timings: Timings,
    last_token: Option<Instant>,
}

/// What is fixed when an answer begins.
pub(crate) struct Began {
    /// One per prompt; the first one's id is the response's.
    pub(crate) begun: Vec<Begun>,
    pub(crate) pending: Vec<PendingAnswer>,
    pub(crate) permit: Permit,
    /// What the caller's key lets it do.
    pub(crate) allowance: Option<Allowance>,
    pub(crate) arrived: Instant,
    pub(crate) created: UnixMillis,
    pub(crate) adapter: Option<AdapterId>,
    pub(crate) adapter_digest: Option<String>,
}

/// Collects the answers of one request and stores them.
pub(crate) struct Recorder {
    pub(crate) state: Arc<AppState>,
    pub(crate) ask: Ask,
    /// By index.
    pub(crate) drafts: Vec<Draft>,
    began: Option<Began>,
}

impl Recorder {
    pub(crate) fn new(state: Arc<AppState>, ask: Ask, began: Began) -> Self {
        let count = ask.prompts.len() * ask.answers as usize;
        let drafts = (0..count).map(|_| Draft::default()).collect();
        Self { state, ask, drafts, began: Some(began) }
    }

    /// Takes one event of the answer `index`.
    pub(crate) fn push(&mut self, index: usize, event: &Event) {
        let Some(arrived) = self.began.as_ref().map(|began| began.arrived) else { return };
        let metrics = &self.state.metrics;
        let Some(draft) = self.drafts.get_mut(index) else { return };
        match event {
            Event::Started { queue_ms } => {
                draft.timings.queue_ms = *queue_ms;
                metrics.queue_time.observe(queue_ms / 1e3);
            }
            Event::PromptLogprobs(prompt) => draft.prompt.clone_from(prompt),
            Event::Token { token, text, logprob, top } => {
                let now = Instant::now();
                match draft.last_token.replace(now) {
                    Some(last) => metrics.between.observe((now - last).as_secs_f64()),
                    None => {
                        let ttft = now - arrived;
                        draft.timings.ttft_ms = ttft.as_secs_f64() * 1e3;
                        metrics.ttft.observe(ttft.as_secs_f64());
                    }
                }
                if self.ask.sampling.max_tokens == 0 {
                    return; // generated because the engine generates at least one
                }
                draft.text.push_str(text);
                draft.tokens.push(*token);
                draft.logprobs.push(*logprob);
                if self.ask.sampling.logprobs.is_some() {
                    draft.tops.push(top.clone());
                }
            }
            Event::Finished { reason, timings, cached_tokens, .. } => {
                draft.timings = *timings;
                draft.cached = *cached_tokens;
                draft.finish = Some(*reason);
                metrics.latency.observe(arrived.elapsed().as_secs_f64());
            }
            Event::Failed(_) | Event::Displaced { .. } => {
                draft.finish = Some(FinishReason::Error);
            }
        }
    }

    /// What the client is told when the request gave its place in the queue up. If nothing of it has begun, nothing
    /// is kept and nothing is paid for, as if it had been refused at once.
    pub(crate) fn displaced(&mut self, retry_after: Duration) -> ApiError {
        self.state.metrics.rejected.with_label_values(&["queue_full"]).inc();
        if self.drafts.iter().all(|draft| draft.tokens.is_empty()) {
            self.began = None;
        }
        ApiError::displaced(retry_after)
    }

    /// What the client is told when its time is over. If there is no token yet, nothing is kept and nothing is paid for.
    pub(crate) fn overdue(&mut self) -> ApiError {
        let waits = self.drafts.iter().all(|draft| draft.tokens.is_empty());
        if waits {
            self.began = None;
        }
        let phase = if waits { Phase::Waiting } else { Phase::Answering };
        self.ask.deadline.exceeded(&self.state.metrics, phase)
    }

    /// What an answer says, its calls taken out of its text.
    pub(crate) fn said(&self, interaction: InteractionId, index: usize) -> Said {
        let text = self.drafts.get(index).map_or("", |draft| draft.text.as_str());
        match &self.ask.tools {
            Some(tools) => tools.read(text, CallIds { interaction, index }),
            None => Said { text: text.to_owned(), calls: Vec::new() },
        }
    }

    /// Tokens counted: each prompt once, with what its first answer found computed; all answers.
    pub(crate) fn usage(&self) -> Usage {
        let small = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let prompt = self.ask.prompts.iter().map(|prompt| prompt.tokens.len()).sum();
        let completion = self.drafts.iter().map(|draft| draft.tokens.len()).sum();
        let of_prompts = self.drafts.iter().step_by(self.ask.answers.max(1) as usize);
        let cached = of_prompts.map(|draft| draft.cached).fold(0, u32::saturating_add);
        Usage::new(small(prompt), small(completion)).with_cached(cached)
    }

    /// Stores the answers and waits until they are on disk, but not for ever.
    pub(crate) async fn commit(mut self) {
        if let Some(writing) = self.write()
            && tokio::time::timeout(PATIENCE, writing).await.is_err()
        {
            tracing::warn!(
                "the answer goes out before its interaction is on disk; the disk is slow"
            );
        }
    }

    fn write(&mut self) -> Option<JoinHandle<()>> {
        let mut began = self.began.take()?;
        self.count();
        if let Some(allowance) = &mut began.allowance {
            allowance.used(self.usage().completion_tokens);
        }
        let interactions = self.interactions(&began);
        let state = Arc::clone(&self.state);
        let task = async move {
            for interaction in interactions {
                let id = interaction.id;
                if let Err(error) = state.store.append_interaction(interaction).await {
                    tracing::error!(%id, %error, "an interaction could not be stored");
                }
            }
            // Only now the ids need not be pending any more, and the daemon may stop.
            let Began { pending, permit, allowance, .. } = began;
            drop((pending, permit, allowance));
        };
        Some(self.state.tasks.spawn_on(task, &self.state.runtime))
    }

    fn count(&self) {
        let metrics = &self.state.metrics;
        let usage = self.usage();
        metrics.tokens.with_label_values(&["prompt"]).inc_by(usage.prompt_tokens.into());
        metrics.tokens.with_label_values(&["completion"]).inc_by(usage.completion_tokens.into());
        for draft in &self.drafts {
            let reason = match draft.finish {
                Some(FinishReason::Stop | FinishReason::ToolCalls) => "stop",
                Some(FinishReason::Length) => "length",
                Some(FinishReason::Error) => "error",
                Some(FinishReason::Cancelled) | None => "cancelled",
            };
            metrics.answers.with_label_values(&[reason]).inc();
        }
    }

    fn interactions(&mut self, began: &Began) -> Vec<Interaction> {
        let front_end = self.state.engine.front_end();
        let (base_digest, template_digest) =
            (front_end.base_digest.clone(), front_end.template.digest().to_owned());
        let keep = self.ask.keep;
        let alone = self.ask.prompts.len() == 1;
        let head = began.begun.first().map(|begun| begun.id);
        let computed_by = replay::computed_by(&*self.state.engine);
        let grammar = self.ask.grammar.take().map(|made| made.lark.to_string());
        let grammar = grammar.filter(|_| keep.text);
        let said = |index| head.map(|id| self.said(id, index)).unwrap_or_default();
        let said: Vec<Said> = (0..self.drafts.len()).map(said).collect();
        let mut drafts = std::mem::take(&mut self.drafts).into_iter().zip(said);
        let tools = self.ask.tools.take().map_or_else(Vec::new, |tools| tools.tools);
        let redacts = self.state.control.redacts_the_log();
        let elapsed = began.arrived.elapsed().as_secs_f64() * 1e3;
        std::mem::take(&mut self.ask.prompts)
            .into_iter()
            .zip(&began.begun)
            .map(|(prompt, begun)| {
                let drafts: Vec<_> = drafts.by_ref().take(self.ask.answers as usize).collect();
                let mut interaction = Interaction {
                    id: begun.id,
                    created_at: began.created,
                    endpoint: self.ask.endpoint,
                    model: self.ask.model.clone(),
                    adapter_id: began.adapter,
                    adapter_digest: began.adapter_digest.clone(),
                    base_digest: base_digest.clone(),
                    template_digest: template_digest.clone(),
                    messages: if keep.text { prompt.messages } else { Vec::new() },
                    tools: if keep.text { tools.clone() } else { Vec::new() },
                    sampling: SamplingParams {
                        seed: Some(begun.seed),
                        ..self.ask.sampling.clone()
                    },
                    grammar: grammar.clone(),
                    computed_by: Some(computed_by.clone()),
                    prompt_tokens: if keep.text { prompt.tokens } else { Vec::new() },
                    cached_tokens: drafts.first().map_or(0, |(draft, _)| draft.cached),
                    timings: timings(&drafts, elapsed),
                    answers: drafts
                        .into_iter()
                        .map(|(draft, said)| answer(draft, said, keep))
                        .collect(),
                    key_id: self.ask.caller.key_id().map(str::to_owned),
                    user: self.ask.user.clone(),
                    conversation: self.ask.conversation.clone(),
                    source: self.ask.source.clone(),
                    metadata: self.ask.metadata.clone(),
                    stored: keep.stored,
                    response: self.ask.response.clone().filter(|_| keep.text),
                    // Feedback names the response, which is the first of several prompts: nobody
                    // could say something of the others.
                    trainable: keep.text && alone,
                };
                if redacts {
                    without_personal_data(&mut interaction);
                }
                interaction
            })
            .collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.write();
    }
}

fn answer(draft: Draft, said: Said, keep: Keep) -> Answer {
    let finish_reason = draft.finish.unwrap_or(FinishReason::Cancelled);
    let finish_reason = finish_reason.with_calls(!said.calls.is_empty());
    if keep.text {
        let Draft { tokens, logprobs, .. } = draft;
        Answer { text: Some(said.text), tool_calls: said.calls, tokens, logprobs, finish_reason }
    } else {
        let (tokens, logprobs) = (Vec::new(), Vec::new());
        Answer { text: None, tool_calls: Vec::new(), tokens, logprobs, finish_reason }
    }
}

/// Of all answers: the first token of the fastest, the last of the slowest.
fn timings(drafts: &[(Draft, Said)], elapsed_ms: f64) -> Timings {
    let mut timings = drafts.first().map(|(draft, _)| draft.timings).unwrap_or_default();
    for (draft, _) in drafts {
        let own = draft.timings;
        timings.ttft_ms = timings.ttft_ms.min(own.ttft_ms);
        timings.total_ms = timings.total_ms.max(own.total_ms);
        if draft.finish.is_none() {
            timings.total_ms = elapsed_ms;
        }
    }
    timings
}

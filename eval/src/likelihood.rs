//! How likely an adapter finds an answer that somebody else wrote.
//!
//! Prevents free text from being scored by equality: a right answer in other words is wrong to a
//! comparison of texts, but a model that has learned it finds the given words likely. The figure is
//! the mean log-probability by token of the answer and its end, in nats.

use futures_util::{StreamExt, TryStreamExt, stream};
use hone_api::InteractionId;
use hone_api::chat::{Message, Role};
use hone_api::sampling_params::SamplingParams;
use hone_engine::{Event, Generate, PromptLogprob, Request, Target};

use crate::submit::submit;
use crate::{Error, Result};

/// A conversation and an answer to it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// The conversation up to the answer.
    pub prompt: &'a [Message],
    /// The answer.
    pub answer: &'a str,
    /// Whether it comes to its end. Of one that was cut off no end is weighed.
    pub ends: bool,
}

/// The mean log-probability by token of each answer, in nats; in the order of `pairs`.
///
/// # Errors
/// [`Error::Engine`], [`Error::WrongAdapter`]; [`Error::Prompt`] for a conversation that cannot be
/// rendered or is too long.
pub async fn likelihoods(
    engine: &dyn Generate,
    target: Target,
    pairs: &[Pair<'_>],
    concurrency: usize,
) -> Result<Vec<f64>> {
    let weighed = weigh_all(engine, target, pairs, concurrency).await?;
    Ok(weighed.iter().map(Weight::mean).collect())
}

/// How likely one answer is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weight {
    /// Log-probability of the whole answer, in nats.
    sum: f64,
    /// Its tokens with its end, at least one.
    tokens: usize,
}

impl Weight {
    /// By token.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.tokens as f64
    }
}

pub(crate) async fn weigh_all(
    engine: &dyn Generate,
    target: Target,
    pairs: &[Pair<'_>],
    concurrency: usize,
) -> Result<Vec<Weight>> {
    let weighing: Vec<_> =
        pairs.iter().enumerate().map(|(row, pair)| weigh(engine, target, *pair, row)).collect();
    stream::iter(weighing).buffered(concurrency.max(1)).try_collect().await
}

async fn weigh(
    engine: &dyn Generate,
    target: Target,
    pair: Pair<'_>,
    row: usize,
) -> Result<Weight> {
    let front_end = engine.front_end();
    let mut messages = pair.prompt.to_vec();
    messages.push(Message::new(Role::Assistant, pair.answer));
    let wrong =
        |what: String| Error::Prompt { suite: "corrections".to_owned(), row: row + 1, what };
    let tokens = front_end
        .template
        .encode_training(&front_end.tokenizer, &messages)
        .map_err(|error| wrong(error.to_string()))?;
    let (prompt, supervised): (Vec<u32>, Vec<bool>) = tokens.into_iter().unzip();
    let start = supervised.iter().rposition(|s| !*s).map_or(0, |before| before + 1);
    let is_end = |token: &u32| front_end.is_end(*token);
    let end = prompt.iter().rposition(is_end).filter(|end| !pair.ends && *end > start);
    let request = Request {
        id: InteractionId::new(),
        prompt,
        sampling: SamplingParams { temperature: 0.0, max_tokens: 0, ..SamplingParams::default() },
        target,
        echo_from: Some(start),
        grammar: None,
        shown: Vec::new(),
        priority: hone_engine::Priority::Background,
        party: hone_engine::Party::default(),
    };
    let mut generation = submit(engine, &request, &wrong).await?;
    let mut logprobs: Vec<PromptLogprob> = Vec::new();
    while let Some(event) = generation.next().await {
        match event {
            Event::PromptLogprobs(all) => logprobs = all,
            Event::Failed(why) => return Err(Error::Engine(why)),
            // Nothing in the background gives its place up.
            Event::Displaced { .. } => {
                return Err(Error::Engine("it gave up its place in the queue".to_owned()));
            }
            Event::Started { .. } | Event::Token { .. } | Event::Finished { .. } => {}
        }
    }
    let answer: Vec<f64> = logprobs
        .iter()
        .take(end.map_or(usize::MAX, |end| end - start))
        .filter_map(|token| token.logprob.map(f64::from))
        .collect();
    if answer.is_empty() {
        return Err(Error::Engine("an answer was not weighed".to_owned()));
    }
    Ok(Weight { sum: answer.iter().sum(), tokens: answer.len() })
}

//! Lets an adapter answer suites through the engine that serves.
//!
//! Prevents a measurement of something else than what is served: the same engine, template and
//! tokenizer answer, greedily, behind the users' requests; and an answer counts only if it comes
//! from the adapter that is measured.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use hone_api::InteractionId;
use hone_api::chat::FinishReason;
use hone_api::check::SuiteRow;
use hone_api::sampling_params::SamplingParams;
use hone_config::EvaluationSettings;
use hone_engine::{Event, Generate, Generation, Party, Priority, Request, Target};
use hone_text::Talk;

use crate::answers::Answer;
use crate::preference::pass_preferred;
use crate::row_result::RowResult;
use crate::submit::submit;
use crate::{Answers, Error, Result, Suite};

/// How suites are answered.
#[derive(Clone, Copy)]
pub struct EvalOptions<'a> {
    /// Longest answer, in tokens.
    pub max_tokens: u32,
    /// Questions under way at once.
    pub concurrency: usize,
    /// SHA-256 of the weights that must answer; `None`: the base.
    pub adapter_digest: Option<&'a str>,
    /// Where answers are kept, and looked up first.
    pub answers: Option<&'a Answers>,
    /// Told after each answer: how many are there, of how many.
    pub progress: Option<&'a (dyn Fn(usize, usize) + Send + Sync)>,
}

impl From<&EvaluationSettings> for EvalOptions<'_> {
    /// As the settings say, for the base; nothing is kept and nobody is told.
    fn from(settings: &EvaluationSettings) -> Self {
        Self {
            max_tokens: settings.max_tokens,
            concurrency: settings.concurrency,
            adapter_digest: None,
            answers: None,
            progress: None,
        }
    }
}

/// Lets `target` answer a suite. In the order of the suite's rows.
///
/// Drop the future to stop; what has been answered is kept.
///
/// # Errors
/// [`Error::Engine`], [`Error::WrongAdapter`], [`Error::Prompt`]; the disk's.
pub async fn answer_suite(
    engine: &dyn Generate,
    target: Target,
    suite: &Suite,
    options: &EvalOptions<'_>,
) -> Result<Vec<RowResult>> {
    answer_suites(engine, target, std::slice::from_ref(suite), options).await
}

/// Lets `target` answer several suites, one row after the other without a pause between suites.
/// In the order of the suites and their rows. A correction in free text passes too if `target` would
/// rather say it than the answer that it replaces.
///
/// # Errors
/// As [`answer_suite`].
pub async fn answer_suites(
    engine: &dyn Generate,
    target: Target,
    suites: &[Suite],
    options: &EvalOptions<'_>,
) -> Result<Vec<RowResult>> {
    let asking = Asking {
        engine,
        target,
        options,
        answered: AtomicUsize::new(0),
        rows: suites.iter().map(|suite| suite.rows.len()).sum(),
    };
    let places = suites.iter().flat_map(|suite| (0..suite.rows.len()).map(move |row| (suite, row)));
    // one future per row, made before the stream runs: each borrows `asking` for as long as it lives
    let rows: Vec<_> = places.map(|(suite, row)| asking.row(suite, row)).collect();
    let mut rows: Vec<RowResult> =
        stream::iter(rows).buffered(options.concurrency.max(1)).try_collect().await?;
    let mut rest = rows.as_mut_slice();
    for suite in suites {
        let (own, others) = rest.split_at_mut(suite.rows.len());
        pass_preferred(engine, target, suite, own, options.concurrency).await?;
        rest = others;
    }
    Ok(rows)
}

/// One evaluation of one side.
struct Asking<'a> {
    engine: &'a dyn Generate,
    target: Target,
    options: &'a EvalOptions<'a>,
    answered: AtomicUsize,
    rows: usize,
}

impl Asking<'_> {
    async fn row(&self, suite: &Suite, row: usize) -> Result<RowResult> {
        let key = self.key(&suite.hashes[row]);
        let known = self.options.answers.and_then(|answers| answers.get(&key));
        let answer = match known {
            Some(answer) => answer,
            None => {
                let answer = self.ask(suite, row).await?;
                if let Some(answers) = self.options.answers {
                    answers.put(key, answer.clone())?;
                }
                answer
            }
        };
        let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(progress) = self.options.progress {
            progress(answered, self.rows);
        }
        Ok(RowResult {
            suite: suite.name.clone(),
            part: suite.part,
            family: suite.rows[row].family.clone(),
            row,
            hash: suite.hashes[row].clone(),
            passed: suite.scorers[row].passes(&answer.text),
            text: answer.text,
            stopped: answer.stopped,
            tokens: answer.tokens,
        })
    }

    /// Everything that a greedy answer depends on.
    fn key(&self, row_hash: &str) -> String {
        let front_end = self.engine.front_end();
        let mut hasher = blake3::Hasher::new();
        for part in [
            env!("CARGO_PKG_VERSION"),
            &front_end.base_digest,
            front_end.template.digest(),
            self.options.adapter_digest.unwrap_or("base"),
            &self.options.max_tokens.to_string(),
            row_hash,
        ] {
            hasher.update(part.as_bytes());
            hasher.update(&[0]);
        }
        hasher.finalize().to_hex().to_string()
    }

    async fn ask(&self, suite: &Suite, row: usize) -> Result<Answer> {
        let front_end = self.engine.front_end();
        let SuiteRow { messages, tools, .. } = &suite.rows[row];
        let talk = Talk { messages, tools };
        let prompt = front_end.encode_chat(talk);
        let wrong = |what: String| Error::Prompt { suite: suite.name.clone(), row: row + 1, what };
        let prompt = prompt.map_err(|error| wrong(error.to_string()))?;
        let request = Request {
            // never stored and never shown: an evaluation is no interaction
            id: InteractionId::new(),
            prompt,
            sampling: SamplingParams {
                temperature: 0.0,
                max_tokens: self.options.max_tokens,
                ..SamplingParams::default()
            },
            target: self.target,
            echo_from: None,
            grammar: None,
            shown: Vec::new(),
            priority: Priority::Background,
            party: Party::default(),
        };
        let generation = submit(self.engine, &request, &wrong).await?;
        let expected = self.options.adapter_digest;
        if generation.adapter_digest.as_deref() != expected {
            let label = |digest: Option<&str>| digest.unwrap_or("base").to_owned();
            return Err(Error::WrongAdapter {
                expected: label(expected),
                answered: label(generation.adapter_digest.as_deref()),
            });
        }
        collect(generation).await
    }
}

async fn collect(mut generation: Generation) -> Result<Answer> {
    let mut whole = String::new();
    while let Some(event) = generation.next().await {
        match event {
            Event::Token { text, .. } => whole.push_str(&text),
            Event::Finished { reason, completion_tokens, .. } => {
                let stopped = match reason {
                    FinishReason::Stop | FinishReason::ToolCalls => true,
                    FinishReason::Length => false,
                    FinishReason::Cancelled | FinishReason::Error => {
                        return Err(Error::Engine("an answer was broken off".to_owned()));
                    }
                };
                return Ok(Answer { text: whole, stopped, tokens: completion_tokens });
            }
            Event::Failed(why) => return Err(Error::Engine(why)),
            // Nothing in the background gives its place up.
            Event::Displaced { .. } => {
                return Err(Error::Engine("it gave up its place in the queue".to_owned()));
            }
            Event::Started { .. } | Event::PromptLogprobs(_) => {}
        }
    }
    Err(Error::Engine("an answer has no end".to_owned()))
}

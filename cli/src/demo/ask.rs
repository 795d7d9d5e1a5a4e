//! Many users at once: they ask, look at the answer, and say what they think of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, TryStreamExt, stream};
use hone_api::feedback::Signal;

use super::workload::Question;
use crate::client::{ChatAnswer, ChatCall, Client, ClientError};
use crate::command::feedback;
use crate::output::{Bars, Output};

/// Users at the same time.
pub const USERS: usize = 32;
/// Longest answer; the longest right one has 86 tokens.
const MAX_TOKENS: u32 = 128;

/// What one question came to.
#[derive(Debug, Clone)]
pub struct AnsweredQuestion {
    /// Whether the answer passes the question's check.
    pub passed: bool,
    /// The answer.
    pub text: String,
    /// Its tokens.
    pub tokens: u64,
}

/// What many questions came to, in their order.
#[derive(Debug)]
pub struct Round {
    /// One for each question.
    pub asked: Vec<AnsweredQuestion>,
    /// How long it took.
    pub took: Duration,
}

impl Round {
    /// Right answers.
    pub fn passed(&self) -> usize {
        self.asked.iter().filter(|one| one.passed).count()
    }

    /// Answers per second.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn rate(&self) -> f64 {
        self.asked.len() as f64 / self.took.as_secs_f64().max(1e-3)
    }

    /// Tokens of answers per second.
    #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
    pub fn tokens_per_second(&self) -> f64 {
        let tokens: u64 = self.asked.iter().map(|one| one.tokens).sum();
        tokens as f64 / self.took.as_secs_f64().max(1e-3)
    }
}

/// How users ask.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    /// Of whom.
    pub model: &'a str,
    /// Whether they say what they think, so that the model learns. Otherwise the questions leave
    /// no trace in the daemon.
    pub teach: bool,
    /// What the stage is called.
    pub title: &'a str,
}

/// Asks all questions, [`USERS`] at a time.
///
/// # Errors
/// The daemon refused one, or is gone.
pub async fn ask_all(
    client: &Client,
    questions: &[Question],
    manner: Manner<'_>,
    output: Output,
) -> Result<Round, ClientError> {
    let total = questions.len() as u64;
    let mut bar = Bars::new(output, manner.title, total);
    let start = Instant::now();
    let answers = stream::iter(questions).map(|question| ask(client, question, manner));
    let mut answers = answers.buffered(USERS);
    let mut round = Round { asked: Vec::with_capacity(questions.len()), took: Duration::ZERO };
    while let Some(one) = answers.try_next().await? {
        round.asked.push(one);
        round.took = start.elapsed();
        let done = round.asked.len() as u64;
        let note = format!("{} right, {:.0} answers/s", round.passed(), round.rate());
        bar.at(done, total, &note);
    }
    round.took = start.elapsed();
    let right = round.passed();
    bar.finish(&format!(
        "{right} of {total} right, {:.0} answers/s, {:.0} tokens/s",
        round.rate(),
        round.tokens_per_second()
    ));
    Ok(round)
}

async fn ask(
    client: &Client,
    question: &Question,
    manner: Manner<'_>,
) -> Result<AnsweredQuestion, ClientError> {
    let row = &question.row;
    let call = ChatCall {
        model: manner.model,
        messages: &row.messages,
        max_tokens: MAX_TOKENS,
        temperature: 0.0,
        metadata: BTreeMap::new(),
        store: (!manner.teach).then_some(false),
    };
    let answer = patiently(client, &call).await?;
    let passed = question.passes(&answer.text);
    if manner.teach {
        let mut tags = BTreeMap::from([("family".to_owned(), row.family.clone())]);
        feedback::send(client, &answer.id, &Signal::Thumbs(passed), &tags).await?;
        if !passed {
            // How the user would test another answer to this.
            tags.insert("check".to_owned(), serde_json::to_string(&row.check).unwrap_or_default());
            let fix = Signal::Demonstration(row.reference.clone());
            feedback::send(client, &answer.id, &fix, &tags).await?;
        }
    }
    Ok(AnsweredQuestion { passed, text: answer.text, tokens: answer.completion_tokens })
}

/// Asks again when the daemon says that it is busy.
async fn patiently(client: &Client, call: &ChatCall<'_>) -> Result<ChatAnswer, ClientError> {
    for _ in 0..50 {
        match client.chat(call).await {
            Err(ClientError::Refused { status: 429 | 503, retry_after, .. }) => {
                let seconds = retry_after.unwrap_or(0.5).clamp(0.05, 5.0);
                tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
            }
            other => return other,
        }
    }
    client.chat(call).await
}

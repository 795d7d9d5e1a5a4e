//! The judge of `evaluation.judge`, spoken to over HTTP as OpenAI's clients do.
//!
//! The only outgoing connection of the daemon, and only where an address is configured: nothing is
//! looked up, redirected or sent through a proxy that the settings do not name.

use std::time::Duration;

use futures_util::future::BoxFuture;
use hone_api::chat::Message;
use hone_api::error::ErrorBody;
use hone_config::EvaluationSettings;
use hone_eval::judge::Voice;
use hone_eval::{Judge, JudgeError};
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use serde::{Deserialize, Serialize};

/// The judge that the settings name; `None` without `evaluation.judge`. No connection is made yet.
///
/// # Errors
/// [`JudgeError::Address`], or [`JudgeError::Key`] when the variable with the key is not set.
pub fn configured(evaluation: &EvaluationSettings) -> Result<Option<Judge>, JudgeError> {
    if evaluation.judge.is_empty() {
        return Ok(None);
    }
    let variable = &evaluation.judge_api_key_env;
    let missing = || JudgeError::Key { variable: variable.clone() };
    let key = match variable.as_str() {
        "" => None,
        name => Some(std::env::var(name).ok().and_then(as_bearer).ok_or_else(missing)?),
    };
    let voice = HttpVoice::new(&evaluation.judge, &evaluation.judge_model, key)?;
    Ok(Some(Judge::new(Box::new(voice), &evaluation.judge_model, &evaluation.judge_rubric)))
}

/// A key as it stands in a header; it is shown in no log.
fn as_bearer(key: String) -> Option<HeaderValue> {
    let key = key.trim();
    let mut header = HeaderValue::from_str(&format!("Bearer {key}")).ok()?;
    header.set_sensitive(true);
    (!key.is_empty()).then_some(header)
}

/// How patient a judge is asked.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// How often in all.
    tries: u32,
    /// The pause before the second try; four times as long before each further one.
    pause: Duration,
    /// How long one answer may take: a large model on a slow machine thinks for a while.
    answer: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tries: 3, pause: Duration::from_secs(1), answer: Duration::from_secs(120) }
    }
}

/// The longest pause that a judge can ask for with `retry-after`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A model behind an OpenAI-compatible address.
struct HttpVoice {
    http: reqwest::Client,
    /// Without a slash at its end.
    url: String,
    model: String,
    key: Option<HeaderValue>,
    patience: Patience,
}

#[derive(Serialize)]
struct Question<'a> {
    model: &'a str,
    messages: &'a [Message],
    temperature: f32,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Text,
}

#[derive(Deserialize)]
struct Text {
    content: Option<String>,
}

/// What one try came to when it gave no answer.
struct Failed {
    error: JudgeError,
    retry_after: Option<Duration>,
}

impl From<JudgeError> for Failed {
    fn from(error: JudgeError) -> Self {
        Self { error, retry_after: None }
    }
}

impl HttpVoice {
    fn new(url: &str, model: &str, key: Option<HeaderValue>) -> Result<Self, JudgeError> {
        let url = url.trim_end_matches('/').to_owned();
        let is_address = reqwest::Url::parse(&url).is_ok_and(|url| url.scheme() == "http");
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .tcp_nodelay(true)
            // There is no TLS to it, so nobody is believed.
            .tls_certs_only([])
            .build();
        match http {
            Ok(http) if is_address => {
                let (model, patience) = (model.to_owned(), Patience::default());
                Ok(Self { http, url, model, key, patience })
            }
            _ => Err(JudgeError::Address { url }),
        }
    }

    async fn patiently(&self, messages: &[Message]) -> Result<String, JudgeError> {
        let mut pause = self.patience.pause;
        for left in (0..self.patience.tries).rev() {
            let failed = match self.once(messages).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if left == 0 || !failed.error.is_temporary() {
                return Err(failed.error);
            }
            tracing::debug!(error = %failed.error, left, "the judge is asked again");
            tokio::time::sleep(failed.retry_after.unwrap_or(pause).min(LONGEST_PAUSE)).await;
            pause *= 4;
        }
        Err(self.unreachable("it was never asked"))
    }

    async fn once(&self, messages: &[Message]) -> Result<String, Failed> {
        let question = Question { model: &self.model, messages, temperature: 0.0 };
        let mut request = self
            .http
            .post(format!("{}/chat/completions", self.url))
            .timeout(self.patience.answer)
            // if the judge is a Hone, its judgements must not teach it
            .header("x-hone-no-train", "1")
            .json(&question);
        if let Some(key) = &self.key {
            request = request.header("authorization", key.clone());
        }
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        let retry_after = response.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.text().await.map_err(|error| self.broken(&error))?;
        if !status.is_success() {
            let retry_after = retry_after.map(Duration::from_secs);
            return Err(Failed { error: self.refusal(status, &text), retry_after });
        }
        self.answer_in(&text).map_err(Failed::from)
    }

    fn answer_in(&self, text: &str) -> Result<String, JudgeError> {
        let foreign = |reason: String| JudgeError::Foreign { url: self.url.clone(), reason };
        let completion: Completion =
            serde_json::from_str(text).map_err(|error| foreign(error.to_string()))?;
        let first = completion.choices.into_iter().next();
        let choice = first.ok_or_else(|| foreign("it has no choice".to_owned()))?;
        // a judge that thought until its tokens ended says nothing: that can be no verdict
        Ok(choice.message.content.unwrap_or_default())
    }

    /// A server that is overloaded or starting may answer later; one that says no will not.
    fn refusal(&self, status: StatusCode, text: &str) -> JudgeError {
        let message = match serde_json::from_str::<ErrorBody>(text) {
            Ok(body) => body.error.message,
            Err(_) => text.trim().chars().take(300).collect(),
        };
        let waits = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        if status.is_server_error() || waits.contains(&status) {
            return self.unreachable(&format!("it answered {status}: {message}"));
        }
        JudgeError::Refused { url: self.url.clone(), status: status.as_u16(), message }
    }

    fn broken(&self, error: &reqwest::Error) -> JudgeError {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        self.unreachable(&innermost.to_string())
    }

    fn unreachable(&self, reason: &str) -> JudgeError {
        JudgeError::Unreachable { url: self.url.clone(), reason: reason.to_owned() }
    }
}

impl Voice for HttpVoice {
    fn answer<'a>(&'a self, messages: &'a [Message]) -> BoxFuture<'a, Result<String, JudgeError>> {
        Box::pin(self.patiently(messages))
    }
}

#[cfg(test)]
mod tests;

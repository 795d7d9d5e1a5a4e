//! What a user of the API does, in one call each.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::{Hone, workload};

/// A whole answer of `/v1/chat/completions`.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The response's id, which takes feedback.
    pub id: String,
    /// The text of the first choice.
    pub text: String,
    /// The adapter that answered: its id, or `base`.
    pub adapter: String,
    /// The whole body.
    pub body: Value,
}

/// Any HTTP answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The HTTP status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: reqwest::header::HeaderMap,
    /// The body as JSON, or as a JSON string when it is something else.
    pub body: Value,
}

impl Reply {
    /// A header's value, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body, if the status is what it should be.
    ///
    /// # Errors
    /// Another status; the body is in the message.
    pub fn expect(self, status: u16) -> Result<Value> {
        ensure!(self.status == status, "HTTP {} instead of {status}: {}", self.status, self.body);
        Ok(self.body)
    }
}

impl Hone {
    async fn read(&self, response: reqwest::Response) -> Result<Reply> {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        ensure!(!self.canary().is_secret_in(&text), "an answer tells a secret: {text}");
        self.canary().note_keys(&text);
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Reply { status, headers, body })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// No answer.
    pub async fn get(&self, path: &str) -> Result<Reply> {
        self.read(self.http().get(self.at(path)).send().await?).await
    }

    /// `POST path` with a JSON body.
    ///
    /// # Errors
    /// No answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Reply> {
        self.canary().note_words(body);
        self.read(self.http().post(self.at(path)).json(body).send().await?).await
    }

    /// `POST path` with bytes that claim to be JSON.
    ///
    /// # Errors
    /// No answer.
    pub async fn post_raw(&self, path: &str, body: impl Into<reqwest::Body>) -> Result<Reply> {
        let request = self.http().post(self.at(path)).header("content-type", "application/json");
        self.read(request.body(body).send().await?).await
    }

    /// `DELETE path`.
    ///
    /// # Errors
    /// No answer.
    pub async fn delete(&self, path: &str) -> Result<Reply> {
        self.read(self.http().delete(self.at(path)).send().await?).await
    }

    /// A greedy answer to one question.
    ///
    /// # Errors
    /// Anything but 200.
    pub async fn chat(&self, model: &str, question: &str) -> Result<Answer> {
        self.chat_messages(model, &json!([{"role": "user", "content": question}])).await
    }

    /// A greedy answer to a conversation.
    ///
    /// # Errors
    /// Anything but 200.
    pub async fn chat_messages(&self, model: &str, messages: &Value) -> Result<Answer> {
        let body =
            json!({"model": model, "messages": messages, "temperature": 0, "max_tokens": 128});
        let reply = self.post("/v1/chat/completions", &body).await?;
        let adapter = reply.header("x-hone-adapter").to_owned();
        let body = reply.expect(200)?;
        let text = body["choices"][0]["message"]["content"].as_str().context("no content")?;
        let id = body["id"].as_str().context("no id")?;
        Ok(Answer { id: id.to_owned(), text: text.to_owned(), adapter, body: body.clone() })
    }

    /// Says `value` about an answer by `metric`; the feedback's id.
    ///
    /// # Errors
    /// Anything but 201.
    pub async fn feedback(
        &self,
        id: &str,
        metric: &str,
        value: Value,
        tags: Value,
    ) -> Result<String> {
        let body = json!({"inference_id": id, "metric_name": metric, "value": value, "tags": tags});
        let body = self.post("/v1/feedback", &body).await?.expect(201)?;
        Ok(body["feedback_id"].as_str().context("no feedback_id")?.to_owned())
    }

    /// Good or bad.
    ///
    /// # Errors
    /// Anything but 201.
    pub async fn thumbs(&self, id: &str, good: bool) -> Result<String> {
        self.feedback(id, "thumbs", good.into(), json!({})).await
    }

    /// Users ask the first `count` feedback questions of a family and say what would have been right.
    /// The feedback's ids.
    ///
    /// # Errors
    /// There is no such family, or the daemon refuses one.
    pub async fn correct(&self, family: &str, count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for row in workload::rows(family, "feedback")?.iter().take(count) {
            let answer = self.chat_messages("hone", &row["messages"]).await?;
            let tags = json!({"family": family, "check": row["check"].to_string()});
            let fix = row["reference"].clone();
            ids.push(self.feedback(&answer.id, "demonstration", fix, tags).await?);
        }
        Ok(ids)
    }

    /// Users ask the first `count` everyday questions and like the answers. The feedback's ids.
    ///
    /// # Errors
    /// The daemon refuses one.
    pub async fn like(&self, count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::new();
        for row in workload::rows("rehearsal", "rehearsal")?.iter().take(count) {
            let answer = self.chat_messages("hone", &row["messages"]).await?;
            ids.push(self.thumbs(&answer.id, true).await?);
        }
        Ok(ids)
    }

    /// Starts a cycle; its view.
    ///
    /// # Errors
    /// Anything but success.
    pub async fn start_cycle(&self) -> Result<Value> {
        let reply = self.post("/v1/cycles", &json!({})).await?;
        ensure!((200..300).contains(&reply.status), "HTTP {}: {}", reply.status, reply.body);
        Ok(reply.body)
    }

    /// Waits until a cycle has come to its end; its view.
    ///
    /// # Errors
    /// It takes longer than ten minutes.
    pub async fn cycle_end(&self, id: &str) -> Result<Value> {
        for _ in 0..3000 {
            let cycle = self.get(&format!("/v1/cycles/{id}")).await?.expect(200)?;
            if !["queued", "running"].contains(&cycle["status"].as_str().unwrap_or_default()) {
                return Ok(cycle);
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        anyhow::bail!("cycle {id} did not end within ten minutes")
    }

    /// Runs a cycle to its end; its view.
    ///
    /// # Errors
    /// It does not start or does not end.
    pub async fn run_cycle(&self) -> Result<Value> {
        let cycle = self.start_cycle().await?;
        self.cycle_end(cycle["id"].as_str().context("no cycle id")?).await
    }
}

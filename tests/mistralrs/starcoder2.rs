//! The tiny model, and what is known of its answers.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hone_tests::Hone;
use serde_json::{Value, json};

/// Tokens of each golden answer.
pub(crate) const TOKENS: u64 = 24;

/// Its folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/mistralrs/starcoder2")
}

/// Its adapter's.
pub(crate) fn adapter() -> String {
    folder().join("adapter").display().to_string()
}

/// Lines of `hone.toml` that serve it as it is.
pub(crate) fn settings() -> String {
    format!("[model]\nsource = {:?}\nweights = \"f32\"", folder().display().to_string())
}

/// A daemon that serves it, with the default engine.
pub(crate) async fn daemon() -> Result<Hone> {
    Hone::builder().config(&settings()).start().await
}

/// What transformers answers, greedily, with or without the adapter.
pub(crate) fn golden(of: &str) -> Result<Vec<Golden>> {
    let text = fs_err::read_to_string(folder().join("golden.json"))?;
    let all: Value = serde_json::from_str(&text)?;
    let said = |row: &Value, key: &str| row[key].as_str().map(str::to_owned).context("no text");
    let rows = all[of].as_array().context("no rows")?.iter();
    rows.map(|row| {
        Ok(Golden {
            is_chat: row["kind"] == "chat",
            prompt: said(row, "prompt")?,
            prompt_tokens: row["prompt_tokens"].as_u64().context("no number")?,
            text: said(row, "text")?,
        })
    })
    .collect()
}

/// One answer that is known.
#[derive(Debug)]
pub(crate) struct Golden {
    pub(crate) is_chat: bool,
    pub(crate) prompt: String,
    pub(crate) prompt_tokens: u64,
    pub(crate) text: String,
}

impl Golden {
    /// Where it is asked for.
    pub(crate) const fn endpoint(&self) -> &'static str {
        if self.is_chat { "/v1/chat/completions" } else { "/v1/completions" }
    }

    /// How.
    pub(crate) fn body(&self, model: &str) -> Value {
        let mut body = json!({"model": model, "temperature": 0, "max_tokens": TOKENS});
        if self.is_chat {
            body["messages"] = json!([{"role": "user", "content": self.prompt}]);
        } else {
            body["prompt"] = json!(self.prompt);
        }
        body
    }
}

/// The text of a whole answer.
pub(crate) fn text_of(body: &Value) -> &str {
    let choice = &body["choices"][0];
    choice["message"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default()
}

/// The pieces of text in what was streamed so far of a chat or a completion.
pub(crate) fn pieces(streamed: &str) -> String {
    let data = streamed.split("\n\n").filter_map(|event| event.strip_prefix("data: "));
    let chunks = data.filter_map(|data| serde_json::from_str::<Value>(data).ok());
    chunks
        .filter_map(|chunk| {
            let choice = &chunk["choices"][0];
            let piece = choice["delta"]["content"].as_str().or(choice["text"].as_str());
            piece.map(str::to_owned)
        })
        .collect()
}

//! Streamed answers.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use hone_tests::Hone;
use serde_json::{Value, json};

async fn events(hone: &Hone, body: &Value) -> Result<Vec<String>> {
    let request = hone.http().post(hone.at("/v1/chat/completions")).json(body);
    let response = request.send().await?.error_for_status()?;
    let kind = response.headers()["content-type"].to_str()?.to_owned();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    let text = response.text().await?;
    Ok(text.split("\n\n").filter_map(|e| e.strip_prefix("data: ")).map(str::to_owned).collect())
}

#[tokio::test]
async fn chunks_add_up_to_the_whole_answer() -> Result<()> {
    let hone = Hone::start().await?;
    let question = "A farmer has 12 cows and buys 7 more. How many cows does he have?";
    let whole = hone.chat("hone", question).await?;
    let body = json!({
        "model": "hone", "temperature": 0, "max_tokens": 128, "stream": true,
        "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": question}],
    });
    let mut events = events(&hone, &body).await?;
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let chunks: Vec<Value> =
        events.iter().map(|e| serde_json::from_str(e)).collect::<Result<_, _>>()?;

    let last = chunks.last().context("no chunk")?;
    assert_eq!(last["choices"], json!([]));
    let mut usage = last["usage"].clone();
    // The whole answer's prompt is the same, so only its last token is computed again.
    let cached = usage["prompt_tokens_details"]["cached_tokens"].take();
    assert_eq!(cached.as_u64(), usage["prompt_tokens"].as_u64().map(|tokens| tokens - 1));
    usage["prompt_tokens_details"]["cached_tokens"] = json!(0);
    assert_eq!(usage, whole.body["usage"]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let content = &chunks[..chunks.len() - 1];
    assert!(content.iter().all(|chunk| chunk["usage"].is_null() && chunk.get("usage").is_some()));
    let text: String =
        content.iter().filter_map(|c| c["choices"][0]["delta"]["content"].as_str()).collect();
    assert_eq!(text, whole.text);
    let finished: Vec<_> =
        content.iter().filter(|c| !c["choices"][0]["finish_reason"].is_null()).collect();
    assert_eq!(finished.len(), 1);
    assert_eq!(finished[0]["choices"][0]["finish_reason"], "stop");
    for field in ["id", "created", "system_fingerprint", "model"] {
        assert!(chunks.iter().all(|chunk| chunk[field] == chunks[0][field]), "{field} changes");
    }
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
    Ok(())
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() -> Result<()> {
    let hone = Hone::builder().config("[engine]\nmax_sequences = 1").start().await?;
    let endless = json!({
        "model": "hone", "stream": true, "max_tokens": 1900, "ignore_eos": true,
        "messages": [{"role": "user", "content": "Count."}],
    });
    let request = hone.http().post(hone.at("/v1/chat/completions")).json(&endless);
    let mut stream = request.send().await?.error_for_status()?.bytes_stream();
    stream.next().await.context("no first chunk")??;
    drop(stream);
    // The only place is free again: this would wait for thousands of tokens otherwise.
    let answer = hone.chat("hone", "922 times 8?").await?;
    assert_eq!(answer.text, "922 * 8 = 7376");
    // What was said until then is written by a task of its own, which may come a moment later.
    for _ in 0..1200 {
        let log = hone.get("/v1/interactions?limit=10").await?.expect(200)?;
        let kept = log["data"].as_array().into_iter().flatten();
        if kept.into_iter().any(|i| i["answers"][0]["finish_reason"] == "cancelled") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the answer that was left is not in the log: {}", hone.log()?)
}

//! Caches run out of memory while streams go on: they pause, and say what they would have said.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use hone_tests::Hone;
use serde_json::{Value, json};

/// Long streams; together they need about three times what `SMALL` has.
fn requests() -> Vec<Value> {
    let topics =
        ["the sun", "a fox", "rivers", "bread", "the moon", "a long night", "ships", "snow"];
    let body = |(at, topic): (usize, &&str)| {
        json!({"model": "hone", "max_tokens": 200, "ignore_eos": true, "seed": at,
            "temperature": (at % 2) as f64, "frequency_penalty": (at / 2 % 2) as f64 / 2.0,
            "stream": true, "stream_options": {"include_usage": true},
            "messages": [{"role": "user", "content": format!("Tell me a story of {topic}. ").repeat(1 + at % 3)}]})
    };
    topics.iter().enumerate().map(body).collect()
}

/// Five blocks of 64 positions.
const SMALL: &str = "[engine]\nkv_memory = \"2 MiB\"";

/// Text, reason and usage of a stream.
async fn told(hone: &Hone, body: &Value) -> Result<(String, Value, Value)> {
    let response = hone.http().post(hone.at("/v1/chat/completions")).json(body).send().await?;
    let events = response.error_for_status()?.text().await?;
    let (mut text, mut reason, mut usage) = (String::new(), Value::Null, Value::Null);
    for event in events.split("\n\n").filter_map(|event| event.strip_prefix("data: {")) {
        let chunk: Value = serde_json::from_str(&format!("{{{event}"))?;
        let choice = &chunk["choices"][0];
        text += choice["delta"]["content"].as_str().unwrap_or_default();
        if !choice["finish_reason"].is_null() {
            reason = choice["finish_reason"].clone();
        }
        if !chunk["usage"].is_null() {
            usage = chunk["usage"].clone();
        }
    }
    Ok((text, reason, usage))
}

async fn figure(hone: &Hone, name: &str) -> Result<f64> {
    let figures = hone.get("/metrics").await?.expect(200)?;
    let mut lines = figures.as_str().context("no text")?.lines();
    let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.context("no such figure")?.trim().parse()?)
}

#[tokio::test]
async fn streams_pause_and_say_the_same() -> Result<()> {
    let (large, small) = (Hone::start().await?, Hone::builder().config(SMALL).start().await?);
    let requests = requests();
    let mut expected = Vec::new();
    for body in &requests {
        expected.push(told(&large, body).await?);
    }
    let found = try_join_all(requests.iter().map(|body| told(&small, body))).await?;
    for ((text, reason, usage), expected) in found.iter().zip(&expected) {
        assert_eq!((text, reason), (&expected.0, &expected.1));
        assert_eq!(usage["completion_tokens"], 200);
        assert_eq!(usage["prompt_tokens"], expected.2["prompt_tokens"]);
    }
    assert!(figure(&small, "hone_preemptions_total").await? > 0.0);
    assert_eq!(figure(&large, "hone_preemptions_total").await?, 0.0);
    assert_eq!(figure(&small, "hone_requests_running").await?, 0.0);
    assert_eq!(figure(&small, "hone_kv_cache_bytes").await?, 0.0);
    // An answer that paused is replayed as any other.
    let logged = small.get("/v1/interactions?limit=100").await?.expect(200)?;
    let logged = logged["data"].as_array().context("a list")?;
    assert_eq!(logged.len(), requests.len());
    for row in logged {
        let id = row["id"].as_str().context("no id")?;
        let replay = small.post(&format!("/v1/interactions/{id}/replay"), &json!({})).await?;
        assert_eq!(replay.expect(200)?["same"], true, "{id}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_memory_holds_is_the_longest_context() -> Result<()> {
    let hone = Hone::builder().config(SMALL).start().await?;
    let model = hone.get("/v1/models/hone").await?.expect(200)?;
    assert_eq!(model["max_model_len"], 320);
    // Who says nothing of a length has what there is room for.
    let mut body = json!({"model": "hone", "ignore_eos": true, "messages": [{"role": "user", "content": "Hi"}]});
    let answer = hone.post("/v1/chat/completions", &body).await?.expect(200)?;
    assert_eq!(answer["usage"]["total_tokens"], 320);
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    body["max_tokens"] = json!(320);
    let refused = hone.post("/v1/chat/completions", &body).await?.expect(400)?;
    assert_eq!(refused["error"]["code"], "context_length_exceeded");
    assert_eq!(refused["error"]["param"], "max_tokens");
    Ok(())
}

//! `x-request-timeout-ms`: what is not there in time is given up.

use std::time::Duration;

use anyhow::{Context, Result};
use hone_tests::Hone;
use serde_json::{Value, json};

/// Answers that take many seconds: they do not end by themselves.
fn long(stream: bool) -> Value {
    json!({
        "model": "hone", "messages": [{"role": "user", "content": "Hi"}], "ignore_eos": true, "max_tokens": 1900, "n": 64,
        "stream": stream,
    })
}

async fn ask(hone: &Hone, body: &Value, millis: &str) -> Result<reqwest::Response> {
    let request = hone.http().post(hone.at("/v1/chat/completions")).json(body);
    Ok(request.header("x-request-timeout-ms", millis).send().await?)
}

async fn given_up(hone: &Hone, phase: &str) -> Result<u64> {
    let figures = hone.get("/metrics").await?.expect(200)?;
    let name = format!("hone_deadlines_exceeded_total{{phase=\"{phase}\"}} ");
    let line =
        figures.as_str().unwrap_or_default().lines().find_map(|line| line.strip_prefix(&name));
    Ok(line.context("a figure")?.parse()?)
}

#[tokio::test]
async fn an_answer_that_comes_too_late_is_given_up() -> Result<()> {
    let hone = Hone::start().await?;
    let late = ask(&hone, &long(false), "500").await?;
    assert_eq!(late.status(), 504);
    assert_eq!(late.headers()["x-should-retry"], "false");
    let error: Value = late.json().await?;
    assert_eq!(error["error"]["code"], "deadline_exceeded", "{error}");
    assert_eq!(error["error"]["type"], "timeout_error", "{error}");
    let (waiting, answering) =
        (given_up(&hone, "waiting").await?, given_up(&hone, "answering").await?);
    assert_eq!(waiting + answering, 1);

    // A stream that has begun ends with the same error as an event.
    let stream = ask(&hone, &long(true), "3000").await?;
    assert_eq!(stream.status(), 200);
    let events = stream.text().await?;
    assert!(events.contains("\"delta\":{\"content\":"), "{events:.2000}");
    let last = events.trim_end().rsplit("\n\n").next().unwrap_or_default();
    assert!(last.contains("deadline_exceeded") && !events.contains("[DONE]"), "{last}");
    assert_eq!(given_up(&hone, "answering").await?, answering + 1);
    // It is written while the client has its end already.
    let mut kept = Value::Null;
    for _ in 0..50 {
        kept = hone.get("/v1/interactions?order=desc&limit=1").await?.expect(200)?;
        if kept["data"][0]["answers"].as_array().is_some_and(|answers| answers.len() == 64) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(kept["data"][0]["answers"][0]["finish_reason"], "cancelled");

    // Their places are free, and who has time enough is answered.
    let body = json!({"model": "hone", "messages": [{"role": "user", "content": "922 times 8?"}], "temperature": 0});
    let answer: Value = ask(&hone, &body, "60000").await?.json().await?;
    assert_eq!(answer["choices"][0]["message"]["content"], "922 * 8 = 7376");
    for wrong in ["0", "soon", "1.5", "86400001"] {
        let refused = ask(&hone, &body, wrong).await?;
        assert_eq!(refused.status(), 400, "{wrong}");
        let error: Value = refused.json().await?;
        assert_eq!(error["error"]["param"], "x-request-timeout-ms");
    }
    Ok(())
}

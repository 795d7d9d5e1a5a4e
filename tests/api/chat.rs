//! Whole answers of `/v1/chat/completions`.

use anyhow::Result;
use hone_tests::Hone;
use serde_json::json;

#[tokio::test]
async fn an_answer_has_all_of_openais_fields() -> Result<()> {
    let hone = Hone::start().await?;
    let body = json!({
        "model": "hone", "temperature": 0,
        "messages": [{"role": "user", "content": "922 times 8?"}],
    });
    let reply = hone.post("/v1/chat/completions", &body).await?;
    assert_eq!(reply.header("x-hone-adapter"), "base");
    assert!(!reply.header("x-request-id").is_empty());
    let body = reply.expect(200)?;
    assert_eq!(body["object"], "chat.completion");
    assert!(body["id"].as_str().is_some_and(|id| id.starts_with("chatcmpl-")), "{body}");
    assert!(body["system_fingerprint"].as_str().is_some_and(|f| f.starts_with("hone-")), "{body}");
    assert!(body["created"].is_i64());
    let choice = &body["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], "922 * 8 = 7376");
    assert_eq!(choice["finish_reason"], "stop");
    let usage = &body["usage"];
    let (prompt, answer) = (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64());
    assert_eq!(prompt, Some(15));
    assert_eq!(usage["total_tokens"].as_u64(), prompt.zip(answer).map(|(p, a)| p + a));
    Ok(())
}

#[tokio::test]
async fn parameters_shape_the_answer() -> Result<()> {
    let hone = Hone::start().await?;
    let ask = async |more: serde_json::Value| -> Result<serde_json::Value> {
        let mut body = json!({
            "model": "hone", "messages": [{"role": "user", "content": "Tell me about the sun."}],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        hone.post("/v1/chat/completions", &body).await?.expect(200)
    };

    let short = ask(json!({"temperature": 0, "max_tokens": 3})).await?;
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["usage"]["completion_tokens"], 3);

    let seeded = json!({"temperature": 1.5, "seed": 7, "max_tokens": 24});
    let (first, second) = (ask(seeded.clone()).await?, ask(seeded).await?);
    assert_eq!(first["choices"][0]["message"], second["choices"][0]["message"]);

    let several = ask(json!({"n": 3, "temperature": 1.5, "seed": 1, "max_tokens": 16})).await?;
    let choices = several["choices"].as_array().cloned().unwrap_or_default();
    assert_eq!(
        choices.iter().map(|c| c["index"].as_u64()).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    assert_ne!(choices[0]["message"], choices[1]["message"], "each choice draws for itself");

    let whole = ask(json!({"temperature": 0})).await?;
    let text = whole["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    let word = text.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let stopped = ask(json!({"temperature": 0, "stop": [word]})).await?;
    let stopped_text = stopped["choices"][0]["message"]["content"].as_str().unwrap_or_default();
    assert!(text.starts_with(stopped_text) && !stopped_text.contains(&word), "{stopped_text:?}");
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    let log = ask(json!({"temperature": 0, "logprobs": true, "top_logprobs": 2})).await?;
    let content = log["choices"][0]["logprobs"]["content"].as_array().cloned().unwrap_or_default();
    assert_eq!(content[0]["top_logprobs"].as_array().map(Vec::len), Some(2));
    assert!(content.iter().all(|token| token["logprob"].as_f64().is_some_and(|l| l <= 0.0)));
    Ok(())
}

#[tokio::test]
async fn unknown_fields_are_named_and_unsupported_ones_refused() -> Result<()> {
    let hone = Hone::start().await?;
    let mut body = json!({
        "model": "hone", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2,
        "sparkle": true,
    });
    let reply = hone.post("/v1/chat/completions", &body).await?;
    assert_eq!(reply.header("x-hone-ignored"), "sparkle");
    reply.expect(200)?;

    body["response_format"] = json!({"type": "json_object"});
    let error = hone.post("/v1/chat/completions", &body).await?.expect(400)?;
    assert_eq!(error["error"]["param"], "response_format");
    Ok(())
}

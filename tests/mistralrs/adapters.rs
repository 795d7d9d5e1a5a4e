//! An adapter is a second copy of the model with the adapter merged; promotion and rollback switch between them.

use anyhow::{Context, Result, ensure};
use futures_util::{FutureExt, StreamExt};
use hone_tests::Hone;
use serde_json::{Value, json};

use crate::starcoder2::{adapter, daemon, golden, pieces, text_of};

fn printed(output: &std::process::Output) -> Result<Value> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

async fn answers(hone: &Hone, model: &str, of: &str, by: &str) -> Result<()> {
    for known in golden(of)? {
        let reply = hone.post(known.endpoint(), &known.body(model)).await?;
        ensure!(reply.header("x-hone-adapter") == by, "{}", reply.header("x-hone-adapter"));
        let body = reply.expect(200)?;
        ensure!(text_of(&body) == known.text, "{model} of {of}: {known:?}: {body}");
    }
    Ok(())
}

fn import(hone: &Hone) -> Result<String> {
    let imported =
        printed(&hone.cli(&["adapters", "import", &adapter(), "--name", "mine", "--json"])?)?;
    Ok(imported["id"].as_str().context("no id")?.to_owned())
}

#[tokio::test]
async fn it_is_promoted_and_rolled_back_under_a_running_request() -> Result<()> {
    let mut hone = daemon().await?;
    // What the base says at length, for comparison.
    let long = json!({"model": "starcoder2", "prompt": "Once upon a time", "temperature": 0, "max_tokens": 1500,
        "ignore_eos": true});
    let alone = hone.post("/v1/completions", &long).await?.expect(200)?;

    let mut streamed = long.clone();
    streamed["stream"] = json!(true);
    let request = hone.http().post(hone.at("/v1/completions")).json(&streamed);
    let response = request.send().await?.error_for_status()?;
    assert_eq!(response.headers()["x-hone-adapter"], "base");
    let mut stream = response.bytes_stream();
    let mut seen = stream.next().await.context("no first chunk")??.to_vec();

    let id = import(&hone)?;
    answers(&hone, "mine", "adapter", &id).await?;
    answers(&hone, "starcoder2", "base", "base").await?;
    printed(&hone.cli(&["adapters", "promote", &id, "--json"])?)?;
    while let Some(Some(chunk)) = stream.next().now_or_never() {
        seen.extend_from_slice(&chunk?);
    }
    assert!(!String::from_utf8_lossy(&seen).contains("[DONE]"), "it must still be running");
    answers(&hone, "starcoder2", "adapter", &id).await?;
    // The one under way ends with the weights that it began with.
    while let Some(chunk) = stream.next().await {
        seen.extend_from_slice(&chunk?);
    }
    let text = String::from_utf8(seen)?;
    assert!(text.contains("[DONE]"));
    assert_eq!(pieces(&text), text_of(&alone));

    // A restart serves what is live.
    hone.terminate().await?;
    hone.restart().await?;
    answers(&hone, "starcoder2", "adapter", &id).await?;
    let live = printed(&hone.cli(&["adapters", "rollback", "--json"])?)?;
    assert_eq!(live["live"], Value::Null, "{live}");
    answers(&hone, "starcoder2", "base", "base").await?;
    Ok(())
}

#[tokio::test]
async fn another_adapter_than_the_loaded_one_is_refused_by_name() -> Result<()> {
    let mut hone = daemon().await?;
    let id = import(&hone)?;
    // After a restart only what serves is loaded.
    hone.terminate().await?;
    hone.restart().await?;
    let body = json!({"model": "mine", "prompt": "the quick brown", "max_tokens": 3});
    let error = hone.post("/v1/completions", &body).await?.expect(409)?["error"].clone();
    assert_eq!((&error["code"], &error["param"]), (&json!("adapter_not_loaded"), &json!("model")));
    let message = error["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("mistralrs") && message.contains(&format!("promote {id}")),
        "{message}"
    );
    Ok(())
}

#[tokio::test]
async fn an_adapter_of_another_model_is_refused_and_leaves_nothing() -> Result<()> {
    let hone = daemon().await?;
    let llama = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");
    let refused = hone.cli(&["adapters", "import", llama, "--name", "llama"])?;
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("_proj"), "{said}");
    assert_eq!(hone.get("/v1/adapters").await?.expect(200)?["data"], json!([]));
    Ok(())
}

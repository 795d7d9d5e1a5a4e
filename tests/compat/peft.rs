//! PEFT loads the adapter that Hone trained, and computes the same.

use anyhow::Result;
use hone_tests::{Hone, hone_binary, python, workload};
use serde_json::json;

#[tokio::test]
async fn peft_loads_our_adapter_and_agrees() -> Result<()> {
    let Some(interpreter) = python::with_packages(&["torch", "peft", "transformers"])? else {
        return Ok(());
    };
    let folder = tempfile::tempdir()?;
    let mut lines = String::new();
    for row in workload::rows("house_format", "feedback")?.iter().take(32) {
        let mut messages = row["messages"].as_array().cloned().unwrap_or_default();
        messages.push(json!({"role": "assistant", "content": row["reference"]}));
        lines.push_str(&json!({"messages": messages}).to_string());
        lines.push('\n');
    }
    let (data, out) = (folder.path().join("rows.jsonl"), folder.path().join("out"));
    fs_err::write(&data, lines)?;
    // The base in f32, so that both sides have the same weights.
    let trained = std::process::Command::new(hone_binary())
        .args(["train", "--weights", "f32", "--epochs", "2", "--data"])
        .arg(&data)
        .arg("--out")
        .arg(&out)
        .current_dir(folder.path())
        .output()?;
    assert!(trained.status.success(), "{}", String::from_utf8_lossy(&trained.stderr));

    let hone = Hone::builder().config("[model]\nweights = \"f32\"").start().await?;
    let drop = hone.drop_folder().join("trained");
    fs_err::create_dir_all(&drop)?;
    for file in ["adapter_config.json", "adapter_model.safetensors"] {
        fs_err::copy(out.join(file), drop.join(file))?;
    }
    let load = json!({"lora_name": "trained", "lora_path": "trained"});
    hone.post("/v1/load_lora_adapter", &load).await?.expect(200)?;
    let chat = json!({"messages": [
        {"role": "user", "content": "What day comes after Monday?\n(house format)"},
        {"role": "assistant", "content": "Answer: Tuesday | Confidence: high"},
    ], "add_generation_prompt": false});
    let tokens = hone.post("/v1/tokenize", &chat).await?.expect(200)?["tokens"].clone();
    let echo = json!({
        "model": "trained", "prompt": tokens, "echo": true, "logprobs": 1, "max_tokens": 1,
        "temperature": 0,
    });
    let body = hone.post("/v1/completions", &echo).await?.expect(200)?;
    let ours = folder.path().join("ours.json");
    let log = &body["choices"][0]["logprobs"]["token_logprobs"];
    fs_err::write(&ours, json!({"tokens": tokens, "logprobs": log}).to_string())?;

    let starter = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/starter");
    let (out, ours) = (out.to_string_lossy(), ours.to_string_lossy());
    let words = python::run(&interpreter, "peft_load.py", &[starter, &out, &ours])?;
    assert!(words.contains("all good"), "{words}");
    Ok(())
}

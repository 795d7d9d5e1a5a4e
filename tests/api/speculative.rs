//! Drafts of what was said before change no answer, of several streams and two adapters at once.

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use hone_tests::Hone;
use serde_json::{Value, json};

const ADAPTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");

/// Requests whose answers repeat what was said, and others, of the base and the adapter.
fn requests() -> Vec<Value> {
    let list = "apples, pears, plums, apples, pears, plums, apples, pears, plums, apples, pears,";
    let questions = [format!("Go on with this list: {list}"), "Tell me of the sea.".to_owned()];
    let kinds = [
        json!({"temperature": 0}),
        json!({"temperature": 1, "seed": 11}),
        json!({"temperature": 0, "repetition_penalty": 1.2}),
        json!({"temperature": 0.7, "seed": 5, "allowed_token_ids": [40, 41, 42]}),
    ];
    let mut requests = Vec::new();
    for kind in &kinds {
        for (question, model) in questions.iter().flat_map(|it| ["hone", "other"].map(|m| (it, m)))
        {
            let mut body = json!({"model": model, "max_tokens": 60, "ignore_eos": true,
                "messages": [{"role": "user", "content": question}]});
            for (name, value) in kind.as_object().into_iter().flatten() {
                body[name] = value.clone();
            }
            requests.push(body);
        }
    }
    requests
}

async fn start(speculative_tokens: usize) -> Result<Hone> {
    let config = format!("[engine]\nspeculative_tokens = {speculative_tokens}");
    let hone = Hone::builder().config(&config).start().await?;
    let imported = hone.cli(&["adapters", "import", ADAPTER, "--name", "other"])?;
    ensure!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    Ok(hone)
}

async fn text(hone: &Hone, body: &Value) -> Result<Value> {
    let answer = hone.post("/v1/chat/completions", body).await?.expect(200)?;
    Ok(answer["choices"][0]["message"]["content"].clone())
}

async fn accepted(hone: &Hone) -> Result<f64> {
    let figures = hone.get("/metrics").await?.expect(200)?;
    let mut lines = figures.as_str().context("no text")?.lines();
    let name = "hone_speculative_accepted_tokens_total ";
    Ok(lines.find_map(|line| line.strip_prefix(name)).context("no figure")?.trim().parse()?)
}

#[tokio::test]
async fn texts_are_the_same_with_and_without_drafts() -> Result<()> {
    let (plain, drafting) = (start(0).await?, start(8).await?);
    let requests = requests();
    let mut expected = Vec::new();
    for body in &requests {
        expected.push(text(&plain, body).await?);
    }
    // Four streams at once leave room for drafts.
    let mut found = Vec::new();
    for four in requests.chunks(4) {
        found.extend(try_join_all(four.iter().map(|body| text(&drafting, body))).await?);
    }
    assert_eq!(found, expected);
    // All at once, and with what was kept of them.
    assert_eq!(try_join_all(requests.iter().map(|body| text(&drafting, body))).await?, expected);
    assert_eq!(accepted(&plain).await?, 0.0);
    let accepted = accepted(&drafting).await?;
    // How many depends on who computes a prompt beside whom.
    assert!(accepted > 40.0, "{accepted}");
    Ok(())
}

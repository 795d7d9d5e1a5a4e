//! A logged answer, computed again by a daemon that was started anew and has other things to do.

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use hone_tests::Hone;
use serde_json::{Value, json};

const ADAPTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/golden/peft_adapter");

/// Requests of all kinds, as many at once as make a busy batch.
fn requests() -> Vec<Value> {
    let tool = json!({"type": "function", "function": {"name": "weather", "parameters": {"type": "object",
        "properties": {"city": {"type": "string"}}, "required": ["city"]}}});
    let kinds = [
        json!({}),
        json!({"n": 3}),
        json!({"model": "other", "top_p": 0.95}),
        json!({"min_p": 0.02, "frequency_penalty": 0.5, "top_k": 50}),
        json!({"stop": ["."], "logit_bias": {"300": 2}}),
        json!({"response_format": {"type": "json_object"}}),
        json!({"tools": [tool], "tool_choice": "required"}),
        json!({"seed": 5, "repetition_penalty": 1.1, "ignore_eos": true}),
    ];
    let questions = ["Tell me about the sun.", "Write a story of a fox.", "What is a river?"];
    let each = questions.iter().flat_map(|question| {
        kinds.iter().map(move |kind| {
            let mut body = json!({"model": "hone", "temperature": 1, "max_tokens": 48,
                "messages": [{"role": "user", "content": question}]});
            for (name, value) in kind.as_object().into_iter().flatten() {
                body[name] = value.clone();
            }
            body
        })
    });
    each.collect()
}

#[tokio::test]
async fn a_busy_batch_is_replayed_to_the_same_tokens_after_a_restart() -> Result<()> {
    let mut hone = Hone::start().await?;
    let imported = hone.cli(&["adapters", "import", ADAPTER, "--name", "other"])?;
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    let chat = async |hone: &Hone, body: Value| -> Result<Value> {
        hone.post("/v1/chat/completions", &body).await?.expect(200)
    };
    let answers = try_join_all(requests().into_iter().map(|body| chat(&hone, body))).await?;
    let ids: Vec<String> = answers
        .iter()
        .map(|answer| Ok(answer["id"].as_str().context("no id")?.to_owned()))
        .collect::<Result<_>>()?;
    assert_eq!(hone.terminate().await?, Some(0));
    hone.restart().await?;

    let before = hone.get("/v1/interactions?limit=1000").await?.expect(200)?;
    let logged = before["data"].as_array().context("a list")?;
    assert_eq!(logged.len(), ids.len());
    let others = try_join_all((0..6).map(|at| {
        let body = json!({"model": "hone", "temperature": 1, "max_tokens": 64, "store": false,
            "messages": [{"role": "user", "content": format!("Count to {at}.")}]});
        chat(&hone, body)
    }));
    let replays = try_join_all(ids.iter().map(async |id| {
        hone.post(&format!("/v1/interactions/{id}/replay"), &json!({})).await?.expect(200)
    }));
    let (others, replays) = tokio::join!(others, replays);
    for (replay, id) in replays?.iter().zip(&ids) {
        let kept = logged.iter().find(|row| row["id"] == **id).context("not logged")?;
        assert_eq!(replay["same"], true, "{replay}");
        for (again, kept) in replay["answers"]
            .as_array()
            .into_iter()
            .flatten()
            .zip(kept["answers"].as_array().into_iter().flatten())
        {
            assert_eq!(again["tokens"], kept["tokens"]);
            assert_eq!(again["text"], kept["text"]);
        }
    }
    let after = hone.get("/v1/interactions?limit=1000").await?.expect(200)?;
    let count = after["data"].as_array().map_or(0, Vec::len);
    assert_eq!(count, logged.len() + others?.len(), "a replay is not logged");
    Ok(())
}

#[tokio::test]
async fn the_command_says_whether_it_is_the_same_and_why_it_cannot_be() -> Result<()> {
    let hone = Hone::start().await?;
    let imported = hone.cli(&["adapters", "import", ADAPTER, "--name", "other"])?;
    assert!(imported.status.success());
    let body = json!({"model": "other", "temperature": 1, "max_tokens": 16,
        "messages": [{"role": "user", "content": "Hello"}]});
    let reply = hone.post("/v1/chat/completions", &body).await?;
    let adapter = reply.header("x-hone-adapter").to_owned();
    let answer = reply.expect(200)?;
    let id = answer["id"].as_str().context("no id")?;
    let told = hone.cli(&["replay", id])?;
    let words = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.status.success() && words.contains("the same") && words.contains(&adapter),
        "{words}"
    );
    let told = hone.cli(&["replay", id, "--json"])?;
    let replay: Value = serde_json::from_slice(&told.stdout)?;
    assert_eq!((&replay["same"], &replay["id"]), (&json!(true), &json!(id)));

    let deleted = hone.cli(&["adapters", "delete", "other"])?;
    assert!(deleted.status.success());
    let told = hone.cli(&["replay", id])?;
    let words = String::from_utf8_lossy(&told.stderr).into_owned();
    assert_eq!(told.status.code(), Some(1));
    assert!(words.contains(&adapter) && words.contains("not here any more"), "{words}");
    Ok(())
}
